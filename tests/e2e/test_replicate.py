"""pspfs distribute and replicate: one part to each peer; every peer the whole."""
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from liar import lied_to
from swarm import SLOWER, Swarm, program, wait_for

SLOT = 512 * 1024


def write_file(swarm, name, size):
    """A local file outside the swarm: (path, its bytes)."""
    path, data = os.path.join(swarm.dir, name), os.urandom(size)
    with open(path, "wb") as f:
        f.write(data)
    return path, data


def read(path):
    with open(path, "rb") as f:
        return f.read()


def ranges(info):
    """[(from, end, holders)] of a file's slices, in order."""
    by_id = {c["id"]: c for c in info["chunks"]}
    found = []
    for slot in info["slots"]:
        for s in slot["slices"]:
            at = slot["slot"] * info["chunk_size"] + s["position"]
            found.append((at, at + s["length"], by_id[s["chunk"]]["holders"]))
    return sorted(found)


def check_parts(info, size, peers):
    """Disjoint, exhaustive, one holder each, every holder's bytes in one run; how many have one."""
    found = ranges(info)
    assert [a for a, _, _ in found] == [0, *[e for _, e, _ in found[:-1]]][:len(found)]
    assert (found[-1][1] if found else 0) == size
    assert all(len(h) == 1 for _, _, h in found)
    runs = [h[0] for k, (_, _, h) in enumerate(found) if not k or found[k - 1][2] != h]
    assert len(runs) == len(set(runs)) <= peers
    return len(runs)


def replicas(peer, info):
    """How many of a file's chunks a peer's store has as its own (.chunk)."""
    return sum((peer.chunk_file(c["id"]) or "").endswith(".chunk") for c in info["chunks"])


def nothing_left(swarm, peer, before):
    assert sorted(os.listdir(peer.mnt)) == sorted(before)
    wait_for(lambda: len(swarm.status()["peers"]) == len(swarm.peers), "guests to go")


@pytest.fixture(scope="module", params=[3, 5])
def some(request):
    with Swarm(peers=request.param) as s:
        yield s


# ------------------------------------------------------------- distribute

@pytest.mark.parametrize("size", [20 * SLOT + 123, 5 * SLOT, 4 * SLOT + 1, 2 * SLOT - 7, 1000, 2, 1])
def test_parts(some, size):
    n = len(some.peers)
    path, data = write_file(some, f"f{size}", size)
    done = json.loads(some.pspfs("--json", "distribute", path).stdout)
    assert done["size"] == size and done["name"] == f"/f{size}" and not done["deleted"]
    assert done["md5"] == hashlib.md5(data).hexdigest()
    assert [p["from"] for p in done["parts"]] == [0, *[p["end"] for p in done["parts"][:-1]]]
    assert done["parts"][-1]["end"] == size and len(done["parts"]) == n
    info = some.info(f"/f{size}")
    assert check_parts(info, size, n) == min(n, size)
    # as the command said
    for p in done["parts"]:
        for a, e, holders in ranges(info):
            if p["from"] <= a < p["end"]:
                assert holders == [p["peer"]] and e <= p["end"]
    if info["chunks"]:
        assert sum(replicas(p, info) for p in some.peers) == len(info["chunks"])
    assert some.status()["under_replicated_chunks"] == 0
    assert read(path) == data
    assert read(some.peers[1].path(f"f{size}")) == data


def test_a_peer_that_takes_none_yet():
    """One that has just registered: it is asked again."""
    with lied_to("put", "early", 5, peers=3) as (s, cut):
        path, data = write_file(s, "early", 9 * SLOT)
        s.pspfs("distribute", "--delete", path)
        assert len(cut()) == 5
        assert check_parts(s.info("/early"), len(data), 3) == 3
        assert read(s.peers[0].path("early")) == data


def test_an_empty_file(some):
    path, _ = write_file(some, "empty", 0)
    assert json.loads(some.pspfs("--json", "distribute", "--delete", path).stdout)["deleted"]
    assert os.stat(some.peers[0].path("empty")).st_size == 0 and not os.path.exists(path)


def test_no_repair_copies_the_parts(make_swarm):
    """One copy is what was asked for, whatever the swarm's number is."""
    s = make_swarm(peers=3, tracker_args=["--copies", "3"])
    path, data = write_file(s, "alone", 9 * SLOT)
    s.pspfs("distribute", path)
    s.add_peer()                        # repair looks at every chunk now
    open(s.peers[0].path("other"), "wb").write(b"x" * 100)
    wait_for(lambda: all(len(c["holders"]) == 3 for c in s.info("/other")["chunks"]), "other's copies")
    copied = s.counter("chunks_copied")
    time.sleep(2.5)                     # two walks of repair
    assert check_parts(s.info("/alone"), len(data), 3) == 3
    assert s.counter("chunks_copied") == copied
    assert s.status()["under_replicated_chunks"] == 0


def test_chunk_size_and_place(some):
    os.mkdir(some.peers[0].path("dir"))
    path, data = write_file(some, "small", 70000)
    some.pspfs("distribute", "--chunk-size", "1K", path, "/dir")
    info = some.info("/dir/small")
    assert info["chunk_size"] == 1024 and len(info["chunks"]) == 69
    assert check_parts(info, len(data), len(some.peers)) == len(some.peers)
    assert read(some.peers[1].path("dir", "small")) == data
    some.pspfs("distribute", "--chunk-size", "16M", path, some.peers[0].path("dir", "large"))
    assert some.info("/dir/large")["chunk_size"] == 16 << 20
    assert read(some.peers[0].path("dir", "large")) == data
    # and such a file is written to as any other
    with open(some.peers[1].path("dir", "large"), "r+b") as f:
        f.seek(1 << 20)
        f.write(b"behind")
    with open(some.peers[1].path("dir", "small"), "ab") as f:
        f.write(b"more" * 1000)
    assert read(some.peers[0].path("dir", "large")) == data.ljust(1 << 20, b"\0") + b"behind"
    assert read(some.peers[0].path("dir", "small")) == data + b"more" * 1000


def test_delete(some):
    path, data = write_file(some, "gone", 7 * SLOT + 5)
    done = some.pspfs("distribute", "--delete", path)
    assert not os.path.exists(path) and "verified, and deleted here" in done.stdout
    assert read(some.peers[0].path("gone")) == data


def test_refused(some):
    path, data = write_file(some, "twice", 1000)
    some.pspfs("distribute", path)
    before = os.listdir(some.peers[0].mnt)
    done = some.pspfs("distribute", "--delete", path, check=False)
    assert done.returncode == 2 and "/twice exists already" in done.stderr
    for argv, word in [(["/no/such"], "No such file"), ([some.dir], "not a regular file"),
                       ([path, "/no/dir/f"], "make the directory first")]:
        done = some.pspfs("distribute", *argv, check=False)
        assert done.returncode == 2 and word in done.stderr, done.stderr
    for argv in [[], [path, "a", "b"], ["--chunk-size", "3000", path], ["--chunk-size", "32M", path], ["--no", path]]:
        assert some.pspfs("distribute", *argv, check=False).returncode == 1, argv
    assert read(path) == data
    nothing_left(some, some.peers[0], before)


@pytest.mark.parametrize("when", ["sending", "verifying"])
def test_a_peer_dies(make_swarm, when):
    """FILE stays, and nothing of it in the swarm; the chunks are garbage."""
    s = make_swarm(peers=3)
    path, data = write_file(s, "kept", 40 * SLOT)
    victim = s.peers[2]
    args = [program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key, "distribute", "--delete", path]
    if when == "verifying":
        # Its chunks are there, and one is not what it was: put, then damaged.
        stop = damage_first(victim)
    with subprocess.Popen(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        if when == "sending":
            wait_for(lambda: os.path.isdir(f"{victim.store}/chunks") and any(
                files for _, _, files in os.walk(f"{victim.store}/chunks")), "its first chunk")
            victim.kill()
        out, err = p.communicate(timeout=60 * SLOWER)
    if when == "verifying":
        stop()
    assert p.returncode == 2, out + err
    assert f"127.0.0.{10 + victim.k}" in err and "it is still here" in err, err
    assert read(path) == data
    assert os.listdir(s.peers[0].mnt) == []
    wait_for(lambda: s.status()["chunks"] == 0 and s.status()["files"] == 1, "the hidden file to go")


def damage_first(peer):
    """Flip a byte of the first chunk that comes to a peer's disk, as soon as it is there."""
    import threading
    over = threading.Event()

    def watch():
        while not over.wait(0.0005):
            for where, _, files in os.walk(f"{peer.store}/chunks"):
                for name in files:
                    if name.endswith(".chunk"):
                        with open(os.path.join(where, name), "r+b") as f:
                            byte = f.read(1)
                            f.seek(0)
                            f.write(bytes([byte[0] ^ 1]))
                        return
    t = threading.Thread(target=watch)
    t.start()

    def stop():
        over.set()
        t.join()
    return stop


def test_interrupted(make_swarm):
    s = make_swarm(peers=2)
    path, data = write_file(s, "int", 200 * SLOT)
    args = [program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key, "distribute", "--delete", path]
    with subprocess.Popen(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        wait_for(lambda: any(f for _, _, f in os.walk(f"{s.peers[0].store}/chunks")), "its first chunk")
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=30 * SLOWER)
    assert p.returncode == 2 and "interrupted" in err, err
    assert read(path) == data and os.listdir(s.peers[0].mnt) == []
    wait_for(lambda: s.status()["chunks"] == 0, "the chunks to become garbage")


# -------------------------------------------------------------- replicate

def test_replicate_all(make_swarm):
    s = make_swarm(peers=4)
    path, data = write_file(s, "f", 30 * SLOT + 99)
    s.pspfs("distribute", "--delete", path)
    read(s.peers[1].path("f"))          # leaves cached copies here
    done = json.loads(s.pspfs("--json", "replicate", "--all", "/f").stdout)
    assert done["ended"] and done["copies"] == 255 and done["chunks"] == len(s.info("/f")["chunks"])
    assert len(done["peers"]) == 4
    assert all(p["ended"] and not p["failed"] and p["done"] == done["chunks"] and p["bytes"] == len(data)
               for p in done["peers"])
    assert done["counters"]["chunks_sent"] >= 2 * done["chunks"]
    assert "relay_requests" in done["counters"]
    info = s.info("/f")
    assert [replicas(p, info) for p in s.peers] == [len(info["chunks"])] * 4
    assert all(len(c["holders"]) == 4 for c in info["chunks"])
    # who comes later gets it, too
    late = s.add_peer()
    wait_for(lambda: replicas(late, info) == len(info["chunks"]), "the late peer's copies", 40)
    assert s.status()["under_replicated_chunks"] == 0
    # and the last one left still has it all
    for p in s.peers[:4]:
        p.kill()
    assert read(late.path("f")) == data


def test_replicate_copies(make_swarm):
    s = make_swarm(peers=4, tracker_args=["--copies", "1"])
    open(s.peers[0].path("f"), "wb").write(os.urandom(10 * SLOT))
    open(s.peers[0].path("other"), "wb").write(os.urandom(SLOT))
    done = s.pspfs("replicate", "--copies", "3", s.peers[0].path("f"))
    assert "3 copies wanted" in done.stdout
    wait_for(lambda: all(len(c["holders"]) >= 3 for c in s.info("/f")["chunks"]), "three copies", 40)
    assert len(s.info("/other")["chunks"][0]["holders"]) == 1
    assert s.status()["under_replicated_chunks"] == 0
    # more than there are peers: marked as lacking
    s.pspfs("replicate", "--copies", "6", "/other")
    wait_for(lambda: s.status()["under_replicated_chunks"] == 1, "the lack to be seen")


def test_replicate_refused(swarm):
    os.makedirs(swarm.peers[0].path("d"), exist_ok=True)
    open(swarm.peers[0].path("r"), "wb").write(b"x")
    for argv, code, word in [(["--all", "/d"], 2, "it is a directory"), (["--all", "/none"], 2, "No such file"),
                             (["/r"], 1, "--all or --copies"), (["--copies", "17", "/r"], 1, "from 1 to 16"),
                             (["--copies", "0", "/r"], 1, "from 1 to 16"), (["--all"], 1, "takes a PATH"),
                             (["--all", "--via", "pigeon", "/r"], 1, "auto, peers or tracker"),
                             (["--al", "--bad", "/r"], 1, "does not know --bad")]:
        done = swarm.pspfs("replicate", *argv, check=False)
        assert done.returncode == code and word in done.stderr, (argv, done.stderr)


def test_an_empty_file_is_complete(swarm):
    open(swarm.peers[0].path("nil"), "wb").close()
    done = json.loads(swarm.pspfs("--json", "replicate", "--all", "/nil").stdout)
    assert done["ended"] and done["chunks"] == 0 and len(done["peers"]) == 3


def test_a_peer_dies_meanwhile(make_swarm):
    """It is not waited for, it is named, and it gets the rest when it comes back."""
    s = make_swarm(peers=3)
    data = os.urandom(150 * SLOT)
    open(s.peers[0].path("f"), "wb").write(data)
    info, victim = s.info("/f"), s.peers[2]
    os.kill(victim.proc.pid, signal.SIGSTOP)    # it takes part, and gets nowhere
    args = [program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key, "replicate", "--all", "/f"]
    with subprocess.Popen(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        wait_for(lambda: replicas(s.peers[1], info) == len(info["chunks"]) or p.poll() is not None,
                 "the second to have all", 40)
        assert p.poll() is None
        victim.kill()
        out, err = p.communicate(timeout=60 * SLOWER)
    assert p.returncode == 2 and f"127.0.0.13:{s.port + 1} left before it had all" in err, out + err
    assert len(re.findall(r"^127\.0\.0\.1[123]:", out, re.M)) == 3
    victim.start()
    wait_for(lambda: replicas(victim, info) == len(info["chunks"]), "the rest", 60)


def test_chunks_that_nobody_has(make_swarm):
    """An honest end: who lacks how many."""
    s = make_swarm(peers=3)
    path, _ = write_file(s, "f", 12 * SLOT)
    s.pspfs("distribute", path)
    s.peers[2].kill()
    done = s.pspfs("replicate", "--all", "/f", check=False)
    assert done.returncode == 2
    assert len(re.findall(r"could not get 4 chunks", done.stderr)) == 2, done.stderr


def test_not_waiting(make_swarm):
    s = make_swarm(peers=3)
    open(s.peers[0].path("f"), "wb").write(os.urandom(20 * SLOT))
    info = s.info("/f")
    done = s.pspfs("replicate", "--all", "--no-wait", "/f")
    assert "every peer completes it now" in done.stdout
    wait_for(lambda: all(replicas(p, info) == len(info["chunks"]) for p in s.peers), "all copies")


def on_a_terminal(argv, interrupt_after=None):
    """(exit code, all that it wrote) of a command whose terminal we are."""
    pid, fd = pty.fork()
    if not pid:
        os.execv(argv[0], argv)
    text, deadline = b"", time.monotonic() + 60 * SLOWER
    try:
        while time.monotonic() < deadline:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    got = os.read(fd, 65536)
                except OSError:
                    break
                if not got:
                    break
                text += got
            if interrupt_after and interrupt_after in text:
                interrupt_after = None
                os.write(fd, b"\x03")
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"it does not end: {text}")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(fd)
    return os.waitstatus_to_exitcode(status), text.decode()


def test_progress_is_shown(make_swarm):
    s = make_swarm(peers=3)
    path, _ = write_file(s, "f", 60 * SLOT)
    common = [program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key]
    code, text = on_a_terminal([*common, "distribute", path])
    assert code == 0, text
    for p in s.peers:
        assert re.search(re.escape(f"{p.addr}:{s.port + 1}") + r" +\[#+\] 100%", text), text
    code, text = on_a_terminal([*common, "replicate", "--all", "/f"])
    assert code == 0 and text.count("\x1b[3A"), text        # drawn over itself, three lines
    for p in s.peers:
        assert re.search(re.escape(f"{p.addr}:{s.port + 1}") + r" +\[#+\] 100% 30 MiB of 30 MiB  done", text), text
    assert "chunks sent" in text


def test_ctrl_c_leaves_it_running(make_swarm):
    s = make_swarm(peers=3)
    open(s.peers[0].path("f"), "wb").write(os.urandom(100 * SLOT))
    info, slow = s.info("/f"), s.peers[2]
    os.kill(slow.proc.pid, signal.SIGSTOP)
    try:
        code, text = on_a_terminal([program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key,
                                    "replicate", "--all", "/f"], interrupt_after=b"127.0.0.12")
    finally:
        os.kill(slow.proc.pid, signal.SIGCONT)
    assert code == 2 and "the peers go on" in text, text
    wait_for(lambda: all(replicas(p, info) == len(info["chunks"]) for p in s.peers), "all copies", 40)


def test_a_tracker_that_wants_all(make_swarm):
    """copies=all for everything: each chunk at every peer, also at one that comes later."""
    s = make_swarm(peers=3, tracker_args=["--copies", "all"])
    open(s.peers[0].path("f"), "wb").write(os.urandom(5 * SLOT))
    info = s.info("/f")
    assert all(len(c["holders"]) == 3 for c in info["chunks"])
    late = s.add_peer()
    wait_for(lambda: replicas(late, info) == len(info["chunks"]), "the late peer's copies", 40)
    assert s.status()["under_replicated_chunks"] == 0
