"""pspfs tracker, list and get: tracker files, and downloads without a mount.

Seed 003, the receiving side: LIST, GET NAME.track, and receivers that take
chunks from many peers at once and from one another.
"""
import contextlib
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import time

import pytest

from swarm import SLOWER, Swarm, program, run, wait_for

SLOT = 512 * 1024


def pspfs(s, *argv):
    return [*s.prefix, program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key, *map(str, argv)]


def get(s, *argv, code=0):
    """What pspfs --json get says."""
    done = run(*pspfs(s, "--json", "get", *argv), check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def start_get(s, *argv):
    return subprocess.Popen(pspfs(s, "--json", "get", *argv), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(proc, code=0, secs=120):
    try:
        out, err = proc.communicate(timeout=secs * SLOWER)
    except subprocess.TimeoutExpired:
        proc.kill()
        raise
    assert proc.returncode == code, (proc.returncode, out, err)
    return json.loads(out) if out else None


def md5(path):
    return hashlib.md5(open(path, "rb").read()).hexdigest()


def only(tmp_path, *names):
    """Nothing else is left: no part, no store."""
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def guests(s):
    return [p for p in s.status()["peers"] if p["guest"]]


# ------------------------------------------------------------------ the files

def make_empty(path):
    open(path, "wb").close()


def make_byte(path):
    open(path, "wb").write(b"x")


def make_slots(path):
    open(path, "wb").write(os.urandom(5 * SLOT + 1234))


def make_holes(path):
    with open(path, "wb") as f:
        f.seek(SLOT // 2)
        f.write(os.urandom(1000))
        f.seek(7 * SLOT + 17)
        f.write(os.urandom(SLOT))
        f.truncate(12 * SLOT + 5)


def make_patched(path):
    """Several slices a slot: the middle of chunks is hidden, twice."""
    open(path, "wb").write(os.urandom(3 * SLOT))
    for _ in range(3):
        with open(path, "r+b") as f:
            for _ in range(4):
                f.seek(random.randrange(3 * SLOT - 5000))
                f.write(os.urandom(random.randrange(1, 5000)))


@pytest.mark.parametrize("make", [make_empty, make_byte, make_slots, make_holes, make_patched])
def test_shapes(swarm, tmp_path, make):
    a = swarm.peers[0]
    name = make.__name__
    make(a.path(name))
    got = get(swarm, f"/{name}", tmp_path / "out")
    want = open(a.path(name), "rb").read()
    assert open(tmp_path / "out", "rb").read() == want
    assert got["complete"] and got["size"] == len(want) and got["missing"] == []
    assert got["md5"] == hashlib.md5(want).hexdigest(), "nobody had told it: a peer computed it"
    assert sum(x["bytes"] for x in got["sources"]) == got["bytes_fetched"]
    only(tmp_path, "out")
    if make is make_holes:
        assert os.stat(tmp_path / "out").st_blocks * 512 < 4 * SLOT
    # and from the tracker file
    (tmp_path / "f.track").write_text(swarm.pspfs("tracker", f"/{name}").stdout)
    get(swarm, "--track", tmp_path / "f.track", tmp_path / "again")
    assert open(tmp_path / "again", "rb").read() == want


def test_names(swarm, tmp_path):
    """DEST left out, or a directory; a path in a mounted folder."""
    a = swarm.peers[0]
    os.makedirs(a.path("names/deep"), exist_ok=True)
    open(a.path("names/deep/f"), "wb").write(b"hello")
    run(*pspfs(swarm, "get", "names/deep/f"), cwd=tmp_path)
    (tmp_path / "d").mkdir()
    run(*pspfs(swarm, "get", a.path("names/deep/f"), tmp_path / "d"))
    assert (tmp_path / "f").read_bytes() == (tmp_path / "d" / "f").read_bytes() == b"hello"


def test_refusals(swarm, tmp_path):
    a = swarm.peers[0]
    open(a.path("r"), "wb").write(b"new")
    os.makedirs(a.path("rdir"), exist_ok=True)

    def refused(code, *argv):
        done = run(*pspfs(swarm, "get", *argv), check=False)
        assert done.returncode == code, done.stderr
        return done.stderr
    assert "no such file in the swarm" in refused(2, "/none", tmp_path / "x")
    assert "not a file" in refused(2, "/rdir", tmp_path / "x")
    assert "NAME" in refused(1)
    assert "timeout=never" in refused(1, "/r", tmp_path / "x", "--timeout", "never")
    assert "cannot write" in refused(2, "/r", tmp_path / "no" / "x")
    only(tmp_path)
    (tmp_path / "x").write_bytes(b"old")
    assert "--force" in refused(2, "/r", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"old"
    get(swarm, "/r", tmp_path / "x", "--force")
    assert (tmp_path / "x").read_bytes() == b"new"
    (tmp_path / "bad.track").write_text("pspfs-track 1\nname /r\nsize x\n")
    err = refused(2, "--track", tmp_path / "bad.track", tmp_path / "y")
    assert "line 3" in err and "'x' is no size" in err
    only(tmp_path, "x", "bad.track")


def test_tracker_file(swarm, tmp_path):
    """The text says what the file is; the JSON says the same."""
    a = swarm.peers[0]
    data = os.urandom(3 * SLOT + 10)
    open(a.path("t f"), "wb").write(data)
    wait_for(lambda: all(len(c["holders"]) == 2 for c in swarm.info("/t f")["chunks"]), "both copies")
    text = swarm.pspfs("tracker", "/t f").stdout
    lines = [line.split(" ") for line in text.splitlines()]
    head = {line[0]: line[1] for line in lines[:9]}
    assert head["name"] == "/t%20f" and head["size"] == str(len(data)) and head["chunk-size"] == str(SLOT)
    pieces = [line for line in lines if line[0] == "piece"]
    assert len(pieces) == 4 and lines[-1] == ["end", "4"]
    for _, at, length, _, _, off, want in pieces:
        assert off == "0" and hashlib.md5(data[int(at):int(at) + int(length)]).hexdigest() == want
    held = [0] * 4
    for _, at, _, _, heard, ranges in [line for line in lines if line[0] == "holder"]:
        assert at.split(":")[0] in {p.addr for p in swarm.peers} and heard.endswith("Z")
        for first, end in (r.split("-") for r in ranges.split(",")):
            assert int(first) % SLOT == 0
            for k in range(int(first) // SLOT, -(-int(end) // SLOT)):
                held[k] += 1
    assert held == [2] * 4
    js = json.loads(swarm.pspfs("--json", "tracker", "/t f").stdout)
    assert js["name"] == "/t f" and len(js["pieces"]) == 4
    assert {h["address"] for h in js["holders"]} == {line[1] for line in lines if line[0] == "holder"}


def test_list(swarm):
    a = swarm.peers[0]
    for d in ("l", "l/m", "l/m/n", "l/empty"):
        os.makedirs(a.path(d), exist_ok=True)
    for i in range(300):                # more than a page
        open(a.path(f"l/m/f{i}"), "w").write("x" * i)
    open(a.path("l/m/n/big"), "wb").write(os.urandom(2 * SLOT))
    os.symlink("f1", a.path("l/m/link"))
    files = {f["path"]: f for f in json.loads(swarm.pspfs("--json", "list", "/l").stdout)["files"]}
    assert set(files) == {f"/l/m/f{i}" for i in range(300)} | {"/l/m/n/big"}
    assert all(files[f"/l/m/f{i}"]["size"] == i for i in range(300))
    big = files["/l/m/n/big"]
    assert big["size"] == 2 * SLOT and big["available_percent"] == 100
    assert big["modified"][:4] == time.strftime("%Y", time.gmtime())
    text = swarm.pspfs("list", a.path("l")).stdout
    assert "301 files" in text and "/l/m/n/big" in text
    assert swarm.pspfs("list", "/l/m/n/big").stdout.count("big") == 1
    assert "/l/m/n/big" in swarm.pspfs("list").stdout
    assert swarm.pspfs("list", "/nothing", check=False).returncode == 2


# ---------------------------------------------------------------- interrupted

@contextlib.contextmanager
def slow_swarm(rate="80mbit", latency="50ms", **kw):
    """A swarm whose loopback is slow, in a network namespace of its own."""
    ns = f"pspfs-get-{os.getpid()}"
    done = run("ip", "netns", "add", ns, check=False)
    if done.returncode:
        pytest.skip("no network namespaces here: " + done.stderr)
    prefix = ["nsenter", f"--net=/run/netns/{ns}"]
    try:
        run(*prefix, "ip", "link", "set", "lo", "up")
        with Swarm(prefix=prefix, **kw) as s:

            def slow():
                done = run(*prefix, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", rate,
                           "burst", "256k", "latency", latency, check=False)
                if done.returncode:
                    pytest.skip("tc does not work here: " + done.stderr)
            s.slow = slow
            yield s
    finally:
        run("ip", "netns", "del", ns, check=False)


@pytest.fixture
def slow():
    with slow_swarm(peers=2) as s:
        yield s


def part_bytes(path):
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return 0
    return sum(1 for i in range(0, len(data), SLOT) if any(data[i:i + 64]))


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_resume(slow, tmp_path, sig):
    size = 24 * SLOT
    data = os.urandom(size)
    open(slow.peers[0].path("f"), "wb").write(data)
    slow.slow()
    proc = start_get(slow, "/f", tmp_path / "out")
    wait_for(lambda: part_bytes(tmp_path / "out.part") > 8, "a third of it", 60)
    proc.send_signal(sig)
    out, err = proc.communicate(timeout=30 * SLOWER)
    assert not os.path.exists(tmp_path / "out")
    if sig == signal.SIGKILL:
        assert proc.returncode == -sig
    else:
        assert proc.returncode == 128 + sig, err
        assert "the same command goes on with it" in err and not json.loads(out)["complete"]
        only(tmp_path, "out.part")
    # a piece that was damaged meanwhile is fetched again
    with open(tmp_path / "out.part", "r+b") as f:
        whole = f.read()
        good = [i for i in range(24) if whole[i * SLOT:(i + 1) * SLOT] == data[i * SLOT:(i + 1) * SLOT]]
        assert len(good) >= 8
        f.seek(good[0] * SLOT + 1000)
        f.write(b"damaged")
    got = get(slow, "/f", tmp_path / "out")
    assert open(tmp_path / "out", "rb").read() == data
    assert got["bytes_resumed"] == (len(good) - 1) * SLOT
    assert got["bytes_fetched"] == size - got["bytes_resumed"]
    only(tmp_path, "out")
    wait_for(lambda: not guests(slow), "the guests to be forgotten", 15)


def test_one_at_a_time(slow, tmp_path):
    """Two that write the same DEST: the second is refused, and harms nothing."""
    data = os.urandom(24 * SLOT)
    open(slow.peers[0].path("f"), "wb").write(data)
    slow.slow()
    proc = start_get(slow, "/f", tmp_path / "out")
    wait_for(lambda: part_bytes(tmp_path / "out.part") > 2, "a part of it", 60)
    done = run(*pspfs(slow, "get", "/f", tmp_path / "out"), check=False)
    assert done.returncode == 2 and "another pspfs get" in done.stderr
    assert len(os.listdir(tmp_path)) == 2
    finish(proc)
    assert open(tmp_path / "out", "rb").read() == data
    only(tmp_path, "out")


@pytest.mark.parametrize("copies", [2, 1])
def test_a_seeder_dies(tmp_path, copies):
    """Half-way: with another copy nothing is lost; else the ranges are named."""
    with slow_swarm(peers=2, tracker_args=["--copies", str(copies)]) as s:
        a, b = s.peers
        data = os.urandom(24 * SLOT)
        for i in range(2):              # a half by each
            with open(s.peers[i].path("f"), "r+b" if i else "wb") as f:
                f.seek(12 * i * SLOT)
                f.write(data[12 * i * SLOT:12 * (i + 1) * SLOT])
        wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "the copies")
        s.slow()
        proc = start_get(s, "/f", tmp_path / "out", "--timeout", "3")
        wait_for(lambda: part_bytes(tmp_path / "out.part") > 6, "a part of it", 60)
        b.kill()
        if copies == 2:
            finish(proc)
            assert open(tmp_path / "out", "rb").read() == data
            return
        out, err = proc.communicate(timeout=60 * SLOWER)
        assert proc.returncode == 2 and "no active peer has" in err
        missing = [r for first, end in json.loads(out)["missing"] for r in range(first // SLOT, end // SLOT)]
        assert missing and set(missing) <= set(range(12, 24))
        part = open(tmp_path / "out.part", "rb").read()
        for i in set(range(24)) - set(missing):
            assert part[i * SLOT:(i + 1) * SLOT] == data[i * SLOT:(i + 1) * SLOT]
        b.start()
        assert get(s, "/f", tmp_path / "out")["bytes_fetched"] == len(missing) * SLOT
        assert open(tmp_path / "out", "rb").read() == data


def test_missing_ranges(make_swarm, tmp_path):
    """What nobody has is named; all else is fetched and kept."""
    s = make_swarm(peers=2, tracker_args=["--copies", "1"])
    a, b = s.peers
    data = os.urandom(8 * SLOT)
    parts = [data[i * SLOT:(i + 1) * SLOT] for i in range(8)]
    for i, part in enumerate(parts):     # each writer keeps its own
        with open((b if i in (2, 3, 6) else a).path("f"), "r+b" if i else "wb") as f:
            f.seek(i * SLOT)
            f.write(part)
    (tmp_path / "f.track").write_text(s.pspfs("tracker", "/f").stdout)
    b.stop()
    done = run(*pspfs(s, "--json", "get", "/f", tmp_path / "out", "--timeout", "2"), check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["missing"] == [[2 * SLOT, 4 * SLOT], [6 * SLOT, 7 * SLOT]]
    assert f"{2 * SLOT}-{4 * SLOT}, {6 * SLOT}-{7 * SLOT}" in done.stderr and "run the same command again" in done.stderr
    only(tmp_path, "out.part", "f.track")
    # It waits for a peer that comes back meanwhile.
    proc = start_get(s, "--track", tmp_path / "f.track", tmp_path / "out", "--timeout", "30")
    time.sleep(0.5)
    b.start()
    got = finish(proc)
    assert got["bytes_resumed"] == 5 * SLOT and got["bytes_fetched"] == 3 * SLOT
    assert open(tmp_path / "out", "rb").read() == data


def test_without_a_tracker(make_swarm, tmp_path):
    """The tracker file alone is enough."""
    s = make_swarm(peers=3)
    data = os.urandom(6 * SLOT + 5)
    open(s.peers[0].path("f"), "wb").write(data)
    (tmp_path / "f.track").write_text(s.pspfs("tracker", "--no-md5", "/f").stdout)
    s.stop_tracker()
    done = run(*pspfs(s, "get", "/f", tmp_path / "out"), check=False)
    assert done.returncode == 2 and "no tracker answers" in done.stderr
    done = run(*pspfs(s, "get", "--track", tmp_path / "f.track", tmp_path / "out", "--timeout", "5"))
    assert "asking the holders" in done.stderr and "nobody could tell the whole file's MD5" in done.stdout
    assert open(tmp_path / "out", "rb").read() == data
    s.start_tracker()


def test_a_wrong_tracker_file(swarm, tmp_path):
    """A wrong MD5 in it: of the whole, or of a piece.  No good copy is blamed for it."""
    a = swarm.peers[0]
    data = os.urandom(2 * SLOT)
    open(a.path("w"), "wb").write(data)
    text = swarm.pspfs("tracker", "/w").stdout.splitlines()
    track = tmp_path / "f.track"

    def attempt(**replaced):
        lines = [replaced.get(line.split(" ")[0] + str(i), line) for i, line in enumerate(text)]
        track.write_text("\n".join(lines) + "\n")
        return run(*pspfs(swarm, "get", "--track", track, tmp_path / "out", "--timeout", "1"), check=False)
    done = attempt(md53="md5 " + "0" * 32)
    assert done.returncode == 2 and "does not have the MD5 of the whole" in done.stderr
    only(tmp_path, "f.track", "out.part")
    done = attempt(md53="md5 " + hashlib.md5(data).hexdigest())
    assert done.returncode == 0 and "MD5 of the whole checked" in done.stdout
    os.unlink(tmp_path / "out")
    last = len(text) - 2
    assert text[last].startswith("piece ")
    done = attempt(**{f"piece{last}": text[last][:-32] + "0" * 32})
    assert done.returncode == 2 and f"bytes {SLOT}-{2 * SLOT}" in done.stderr, done.stderr
    assert "the tracker file is not right" in done.stderr
    assert swarm.status()["tracker_counters"].get("chunks_corrupt", 0) == 0
    assert all(len(c["holders"]) == 2 for c in swarm.info("/w")["chunks"])


def test_a_changed_file(make_swarm, tmp_path):
    """An old tracker file gives the old content, or says that it is old."""
    s = make_swarm(peers=2)
    a = s.peers[0]
    old = os.urandom(2 * SLOT)
    open(a.path("f"), "wb").write(old)
    (tmp_path / "f.track").write_text(s.pspfs("tracker", "--no-md5", "/f").stdout)
    open(a.path("f"), "wb").write(b"new")
    done = run(*pspfs(s, "get", "--track", tmp_path / "f.track", tmp_path / "out", "--timeout", "1"), check=False)
    if done.returncode:
        assert "the file has changed since" in done.stderr
    else:
        assert open(tmp_path / "out", "rb").read() == old
        assert "nobody could tell the whole file's MD5" in done.stdout, "that of the new content is no use"


def test_the_md5_comes_too_late(make_swarm, tmp_path):
    """Who is to compute it does not answer: every chunk was checked, that is said, it succeeds."""
    s = make_swarm(peers=2)
    data = os.urandom(3 * SLOT)
    open(s.peers[0].path("f"), "wb").write(data)
    wait_for(lambda: all(len(c["holders"]) == 2 for c in s.info("/f")["chunks"]), "both copies")
    first = s.peers[0].proc             # of two equals the tracker asks the first
    first.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        done = run(*pspfs(s, "get", "/f", tmp_path / "out", "--timeout", "1"))
        assert "checked chunk by chunk; nobody could tell the whole file's MD5" in done.stdout, done.stdout
        assert time.monotonic() - begun < 8 * SLOWER
    finally:
        first.send_signal(signal.SIGCONT)
    assert open(tmp_path / "out", "rb").read() == data
    js = json.loads(s.pspfs("--json", "tracker", "/f").stdout)
    assert js["md5"] == hashlib.md5(data).hexdigest()


@contextlib.contextmanager
def waits(s, *argv, words):
    """A pspfs on a terminal that has said these; it does not outlive the test."""
    ours, theirs = os.openpty()
    proc = subprocess.Popen(pspfs(s, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    text, limit = b"", time.monotonic() + 30 * SLOWER
    try:
        while words not in text:        # its end is an OSError
            left = limit - time.monotonic()
            assert left > 0 and select.select([ours], [], [], left)[0], text[-500:]
            text += os.read(ours, 4096)
        yield proc
    finally:
        if proc.poll() is None:
            proc.kill()
        proc.communicate(timeout=10)
        os.close(ours)


def test_waiting_for_the_md5(make_swarm, tmp_path):
    """Told on a terminal, and nowhere else; Ctrl-C ends it, in tracker and get."""
    s = make_swarm(peers=1)
    open(s.peers[0].path("f"), "wb").truncate(64 << 30)     # zeros to be hashed for minutes
    with waits(s, "tracker", "/f", words=b"waiting for a peer") as proc:
        proc.send_signal(signal.SIGINT)
        assert proc.wait(30 * SLOWER) == -signal.SIGINT
    with waits(s, "get", "/f", tmp_path / "out", words=b"waiting for the MD5") as proc:
        proc.send_signal(signal.SIGINT)
        assert proc.wait(30 * SLOWER) == 128 + signal.SIGINT
    done = s.pspfs("tracker", "--no-md5", "/f")
    assert "md5 -" in done.stdout and not done.stderr
    only(tmp_path, "out.part")
    proc = subprocess.Popen(pspfs(s, "tracker", "/f"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):          # it waits, in silence
        proc.communicate(timeout=2)
    proc.send_signal(signal.SIGINT)
    assert proc.communicate(timeout=30 * SLOWER)[1] == b""


def test_the_tracker_goes_while_the_md5_is_waited_for(make_swarm, tmp_path):
    """Nobody can tell it then: what was checked chunk by chunk is complete."""
    s = make_swarm(peers=1)
    open(s.peers[0].path("f"), "wb").truncate(64 << 30)
    with waits(s, "get", "/f", tmp_path / "out", words=b"waiting for the MD5") as proc:
        s.kill_tracker()
        said, _ = proc.communicate(timeout=30 * SLOWER)
        assert proc.returncode == 0 and "nobody could tell" in said
    only(tmp_path, "out")
    s.start_tracker()


# --------------------------------------------------------------------- crowds

def test_fifty_receivers(make_swarm, tmp_path):
    s = make_swarm(peers=3)
    data = os.urandom(8 * SLOT + 99)
    open(s.peers[0].path("f"), "wb").write(data)
    patience = "--timeout", str(10 * SLOWER)        # one machine has to start them all
    procs = [start_get(s, *patience, "/f", tmp_path / f"out{i}") for i in range(50)]
    for p in procs:
        finish(p, secs=180)
    want = hashlib.md5(data).hexdigest()
    assert {md5(tmp_path / f"out{i}") for i in range(50)} == {want}
    only(tmp_path, *[f"out{i}" for i in range(50)])
    wait_for(lambda: not guests(s), "the guests to be forgotten", 15)
    assert len(s.status()["peers"]) == 3


def test_receivers_help_one_another(tmp_path):
    with slow_swarm(rate="200mbit", peers=2) as s:
        data = os.urandom(48 * SLOT)
        open(s.peers[0].path("f"), "wb").write(data)
        s.slow()
        procs = [start_get(s, "/f", tmp_path / f"out{i}") for i in range(5)]
        seen = wait_for(lambda: guests(s), "a guest in the status", 30)
        assert all(g["number"] >= 0x40000000 for g in seen)
        assert " guest " in s.pspfs("status").stdout and "2 active peers" in s.pspfs("status").stdout
        got = [finish(p) for p in procs]
        assert {md5(tmp_path / f"out{i}") for i in range(5)} == {hashlib.md5(data).hexdigest()}
        for g in got:
            assert sum(x["bytes"] for x in g["sources"]) == len(data) == g["bytes_fetched"]
            assert g["bytes_from_receivers"] == sum(x["bytes"] for x in g["sources"] if x["receiver"])
        assert all(g["bytes_from_receivers"] > 0 for g in got), [g["bytes_from_receivers"] for g in got]
        print("from receivers:", [g["bytes_from_receivers"] // SLOT for g in got], "of 48 chunks")
        wait_for(lambda: not guests(s), "the guests to be forgotten", 15)
