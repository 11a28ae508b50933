"""pspfs share: a peer becomes a holder of a file that it has, without a byte
over the network; and the MD5s of whole files."""
import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess

import pytest

from swarm import Swarm, end, program, run, wait_for

SLOT = 512 * 1024
SENT = ("chunks_sent", "chunk_bytes_sent", "chunks_received", "chunk_bytes_received")


@pytest.fixture(scope="module")
def one():
    """Three peers, one copy: nothing moves by itself."""
    with Swarm(peers=3, tracker_args=["--copies", "1"]) as s:
        yield s


@pytest.fixture
def src(one, request):
    """A directory on the disk, outside of the swarm."""
    path = f"{one.dir}/src-{request.node.name}"
    os.mkdir(path)
    return path


def make(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def share(swarm, peer, *argv, check=True):
    done = swarm.pspfs("--json", "share", "--store", getattr(peer, "store", peer), *argv, check=check)
    return json.loads(done.stdout) if check else done


def refused(swarm, peer, *argv):
    done = share(swarm, peer, *argv, check=False)
    assert done.returncode == 2 and not done.stdout, done
    return done.stderr


def holders(swarm, path):
    """{slot: the addresses of who holds its chunk}"""
    info = swarm.info(path)
    by_id = {c["id"]: {h.split(":")[0] for h in c["holders"]} for c in info["chunks"]}
    return {s["slot"]: by_id[s["slices"][-1]["chunk"]] for s in info["slots"]}


def stored(peer):
    return {f for _, _, files in os.walk(f"{peer.store}/chunks") for f in files}


def md5_of(swarm, path, *argv):
    """The tracker's word for it, computed if need be; None; or why nobody can."""
    done = swarm.pspfs("--json", "tracker", path, *argv)
    return json.loads(done.stdout)["md5"] or done.stderr or None


def known_md5_of(swarm, path):
    """Without waiting for it."""
    return md5_of(swarm, path, "--no-md5")


def counts(swarm):
    """What the peers have sent and received; told every two seconds."""
    return {n: swarm.counter(n) for n in SENT}


def test_whole_then_parts(one, src):
    """Created by one, joined by two more, with parts; read on another mount."""
    a, b, c = one.peers
    data = os.urandom(10 * SLOT + 12345)
    f = make(f"{src}/film", data)
    before = counts(one)
    got = share(one, a, f, "/film")
    md5 = hashlib.md5(data).hexdigest()
    assert got["created"] and got["chunks"] == 11 and got["bytes"] == len(data) and got["md5"] == md5
    assert known_md5_of(one, "/film") == md5
    h = holders(one, "/film")
    assert len(h) == 11 and all(v == {a.addr} for v in h.values())

    # 20% - 40% is from slot 2 on, up to slot 4
    got = share(one, b, f, "/film", "--range", "20%-40%")
    assert not got["created"] and got["chunks"] == 2 and "md5" not in got
    got = share(one, c, f, "/film", "--range", f"{4 * SLOT}-{6 * SLOT + 100}")
    assert got["chunks"] == 2
    h = holders(one, "/film")
    assert {k for k, v in h.items() if b.addr in v} == {2, 3}
    assert {k for k, v in h.items() if c.addr in v} == {4, 5}
    assert share(one, c, f, "/film", "--range", "80%-100%")["chunks"] == 3

    # longer than a peer takes to tell its counters
    told = []
    wait_for(lambda: (told.append(1), len(told) > 150)[1], "counters to be told", 30)
    assert counts(one) == before
    assert open(c.path("film"), "rb").read() == data
    assert open(a.path("film"), "rb").read() == data


def test_ranges_that_touch_cover_all(one, src):
    a, b, _ = one.peers
    f = make(f"{src}/f", os.urandom(7 * SLOT) + b"x")  # zeros are a hole
    share(one, a, f, "/touch")
    got = [share(one, b, f, "/touch", "--range", f"{k}%-{k + 20}%")["chunks"] for k in range(0, 100, 20)]
    assert sum(got) == 8
    assert all(b.addr in v for v in holders(one, "/touch").values())


def test_a_file_that_holds_just_the_range(one, src):
    a, b, _ = one.peers
    data = os.urandom(6 * SLOT)
    share(one, a, make(f"{src}/f", data), "/partfile")
    part = make(f"{src}/part", data[SLOT:3 * SLOT + 50])
    assert share(one, b, part, "/partfile", "--range", f"{SLOT}-{3 * SLOT + 50}")["chunks"] == 2
    first = make(f"{src}/first", data[:SLOT])
    assert share(one, b, first, "/partfile", "--range", f"0-{SLOT}")["chunks"] == 1
    assert {k for k, v in holders(one, "/partfile").items() if b.addr in v} == {0, 1, 2}
    half = make(f"{src}/half", data[3 * SLOT:])
    assert share(one, b, half, "/partfile", "--range", "50%-100%")["chunks"] == 3
    assert "another file" in refused(one, b, part, "/partfile", "--range", f"{SLOT}-{3 * SLOT + 51}")
    assert "must hold the range" in refused(one, b, part, "/partfile", "--range", "0%-20%")


def test_only_the_whole_file_creates(one, src):
    a = one.peers[0]
    f = make(f"{src}/f", os.urandom(3 * SLOT))
    for span in (f"0-{SLOT}", "0%-20%", f"0-{3 * SLOT - 1}"):
        why = refused(one, a, f, "/nobody-has-it", "--range", span)
        assert "only a peer that has the whole file" in why and "without a range" in why
    assert not os.path.exists(a.path("nobody-has-it"))
    assert share(one, a, f, "/everybody-has-it", "--range", "0%-100%")["created"]


def test_a_file_that_differs(one, src):
    """Refused, with the place; and nothing of it is kept."""
    a, b, _ = one.peers
    data = bytearray(os.urandom(40 * SLOT))
    share(one, a, make(f"{src}/f", data), "/differs")
    data[33 * SLOT + 7] ^= 1
    bad = make(f"{src}/bad", data)
    before = stored(b)
    why = refused(one, b, bad, "/differs")
    assert f"bytes {33 * SLOT}-{34 * SLOT - 1} differ" in why and "another" in why
    assert stored(b) == before
    assert not any(b.addr in v for v in holders(one, "/differs").values())
    assert share(one, b, bad, "/differs", "--range", f"0-{33 * SLOT}")["chunks"] == 33
    # what was there before stays
    assert "differ" in refused(one, b, bad, "/differs")
    assert sum(b.addr in v for v in holders(one, "/differs").values()) == 33


def test_what_was_read_before(one, src):
    """Cached copies become replicas; or stay what they were."""
    a, b, _ = one.peers
    data = bytearray(os.urandom(20 * SLOT))
    f = make(f"{src}/f", data)
    share(one, a, f, "/cached")
    ids = {c["id"] for c in one.info("/cached")["chunks"]}

    def kinds():
        return sorted(n.split(".")[1] for n in stored(b) if n.split(".")[0] in ids)
    assert open(b.path("cached"), "rb").read() == data
    wait_for(lambda: kinds() == ["cached"] * 20, "what was read to be kept")
    data[19 * SLOT] ^= 1
    assert "differ" in refused(one, b, make(f"{src}/bad", data), "/cached")
    assert kinds() == ["cached"] * 20
    assert share(one, b, f, "/cached")["chunks"] == 20
    assert kinds() == ["chunk"] * 20


def test_sizes_must_agree(one, src):
    a, b, _ = one.peers
    data = os.urandom(2 * SLOT)
    share(one, a, make(f"{src}/f", data), "/sizes")
    why = refused(one, b, make(f"{src}/long", data + b"x"), "/sizes")
    assert f"{2 * SLOT + 1} bytes" in why and f"{2 * SLOT}:" in why
    why = refused(one, b, f"{src}/f", "/sizes", "--range", f"{SLOT}-{3 * SLOT + 1}")
    assert f"has only {2 * SLOT}" in why
    why = refused(one, b, f"{src}/f", "/sizes", "--range", f"1-{SLOT}")
    assert "no whole chunk" in why and f"{SLOT} bytes" in why
    why = refused(one, b, f"{src}/f", "/sizes", "--range", "1%-2%")
    assert "no whole chunk" in why and str(SLOT) in why


def test_holes(one, src):
    a, b, c = one.peers
    f = f"{src}/f"
    with open(f, "wb") as out:
        out.seek(3 * SLOT)
        out.write(os.urandom(SLOT))
        out.write(bytes(SLOT))
        out.truncate(9 * SLOT + 5)
    data = open(f, "rb").read()
    got = share(one, a, f, "/holes")
    assert got["chunks"] == 1 and got["size"] == len(data)
    assert got["md5"] == hashlib.md5(data).hexdigest() == known_md5_of(one, "/holes")
    assert os.stat(c.path("holes")).st_blocks * 512 == SLOT
    assert open(c.path("holes"), "rb").read() == data
    assert share(one, b, f, "/holes")["chunks"] == 1
    with open(f, "r+b") as out:
        out.seek(6 * SLOT + 9)
        out.write(b"x")
    why = refused(one, b, f, "/holes")
    assert " differ from /holes" in why


def test_empty(one, src):
    a, b, _ = one.peers
    f = make(f"{src}/empty", b"")
    got = share(one, a, f)
    assert got["created"] and got["chunks"] == 0 and got["md5"] == hashlib.md5(b"").hexdigest()
    assert os.stat(b.path("empty")).st_size == 0
    assert known_md5_of(one, "/empty") == hashlib.md5(b"").hexdigest()
    assert not share(one, b, f)["created"]


def test_its_own_mount_sees_it_at_once(one, src):
    """Warm caches of the mount whose peer shares: also of names that were not."""
    a, b, _ = one.peers
    for p in (a, b):
        if p is a:
            os.mkdir(p.path("warm"))
        assert os.listdir(p.path("warm")) == []
        assert not os.path.exists(p.path("warm", "f"))
    mtime = os.stat(a.path("warm")).st_mtime_ns
    data = os.urandom(SLOT + 1)
    f = make(f"{src}/f", data)
    share(one, a, f, a.path("warm", "f"))       # a path in a mounted folder
    for p in (a, b):
        assert os.listdir(p.path("warm")) == ["f"]
        assert os.stat(p.path("warm", "f")).st_size == len(data)
        assert open(p.path("warm", "f"), "rb").read() == data
    assert os.stat(a.path("warm")).st_mtime_ns > mtime
    os.unlink(a.path("warm", "f"))
    assert not os.path.exists(a.path("warm", "f"))
    share(one, a, f, "/warm/f")
    assert open(a.path("warm", "f"), "rb").read() == data


def test_mode_and_chunk_size(one, src):
    a = one.peers[0]
    f = make(f"{src}/f", os.urandom(10000))
    os.chmod(f, 0o4640)
    assert share(one, a, f, "/small-chunks", "--chunk-size", "4K", "--copies", "1")["chunks"] == 3
    assert one.info("/small-chunks")["chunk_size"] == 4096
    assert os.stat(a.path("small-chunks")).st_mode & 0o7777 == 0o640


def test_names_that_cannot_be(one, src):
    a = one.peers[0]
    f = make(f"{src}/f", b"x")
    os.makedirs(a.path("a-directory"))
    os.symlink("f", a.path("a-link"))
    assert "is a directory" in refused(one, a, f, "/a-directory")
    assert "special file" in refused(one, a, f, "/a-link")
    why = refused(one, a, f, "/not/there")
    assert "/not does not exist" in why and "make it first" in why
    assert "No such file" in refused(one, a, f"{src}/nothing")
    assert "regular file" in refused(one, a, src)
    for argv in (["--range", "5"], ["--range", "9-3"], ["--copies", "0"], ["--chunk-size", "x"], ["--what"]):
        assert share(one, a, *argv, f, check=False).returncode == 1
    assert share(one, a, check=False).returncode == 1


def test_no_peer_here(one, src):
    f = make(f"{src}/f", b"x")
    why = refused(one, f"{src}/no-store", f)
    assert "no peer runs" in why and "--store" in why
    os.mkdir(f"{src}/stale")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(f"{src}/stale/socket")
    s.close()
    assert "no peer runs" in refused(one, f"{src}/stale", f)


def at_home(swarm, links, *argv):
    """pspfs share where /var/lib/pspfs has just these {name: store}."""
    script = 'mount -t tmpfs none /var/lib && mkdir /var/lib/pspfs && cd /var/lib/pspfs && ' + \
        "".join(f"ln -s {store} {name} && " for name, store in links.items()) + 'exec "$@"'
    return run("unshare", "-m", "sh", "-c", script, "sh", program("pspfs"), "--tracker", swarm.tracker_addr,
               "--key", swarm.key, "share", *argv, check=False)


def test_which_peer(one, src):
    """The only one that runs, of the usual stores; else it is to be named."""
    a, b, _ = one.peers
    f = make(f"{src}/which", os.urandom(1000))
    done = at_home(one, {}, f)
    assert done.returncode == 2 and "no peer runs" in done.stderr and "/var/lib/pspfs/peer:" in done.stderr
    os.mkdir(f"{src}/idle")
    done = at_home(one, {"peer": f"{src}/idle", "peer-9.9.9.9": a.store}, f)
    assert done.returncode == 0, done.stderr
    assert holders(one, "/which") == {0: {a.addr}}
    both = {"peer-1.1.1.1": a.store, "peer-2.2.2.2": b.store}
    done = at_home(one, both, f)
    assert done.returncode == 2 and "several peers" in done.stderr and "--store" in done.stderr
    assert all(f"/var/lib/pspfs/{name}" in done.stderr for name in both)
    assert at_home(one, both, f, "--peer", "2.2.2.2").returncode == 0
    assert holders(one, "/which") == {0: {a.addr, b.addr}}
    assert "no peer runs" in at_home(one, both, f, "--peer", "3.3.3.3").stderr
    assert at_home(one, both, f, "--peer", "2.2.2.2", "--store", a.store).returncode == 1


def test_who_may(one, src):
    """The socket is of the peer's user alone; rubbish does no harm."""
    a = one.peers[0]
    assert os.stat(f"{a.store}/socket").st_mode & 0o777 == 0o600
    packets = [b"", b"x", b"\x08\x01", b"\x08\x01\0\0", b"\xff" * 5000, struct.pack(">HHI", 0x801, 0, 5)]
    for p in packets:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(10)
            s.connect(f"{a.store}/socket")
            s.send(p)
            with contextlib.suppress(ConnectionError):
                answer = s.recv(8192)
                assert not answer or answer[2:4] != b"\0\0"
    share(one, a, make(f"{src}/after", b"fine"))


def test_people(one, src):
    a = one.peers[0]
    f = make(f"{src}/for-people", os.urandom(SLOT))
    out = one.pspfs("share", f, "--store", a.store).stdout
    assert "created /for-people" in out and "1 chunks" in out and "512 KiB" in out and "md5 " in out
    assert "joined /for-people" in one.pspfs("share", f, "--store", a.store).stdout


def test_a_full_store(make_swarm):
    """ENOSPC, in words; nothing is left of it."""
    s = make_swarm(peers=1, tracker_args=["--copies", "1"], peer_options={"capacity": "8M"})
    s.add_peer(capacity="1G")
    a = s.peers[0]
    f = make(f"{s.dir}/big", os.urandom(20 << 20))
    why = refused(s, a, f, "/big")
    assert "store is full" in why and "capacity=" in why
    assert not stored(a) and os.listdir(a.mnt) == []
    small = make(f"{s.dir}/small", os.urandom(4 << 20))
    assert share(s, a, small, "/small")["created"]


def test_no_tracker(make_swarm):
    """An error in words, when the peer's patience is at its end; then it works again."""
    s = make_swarm(peers=1, tracker_args=["--copies", "1"], peer_options={"timeout": 1})
    a = s.peers[0]
    f = make(f"{s.dir}/f", os.urandom(SLOT))
    s.kill_tracker()
    why = refused(s, a, f, "/f")
    assert "the tracker does not answer" in why and "running" in why
    s.start_tracker()
    wait_for(lambda: share(s, a, f, "/f", check=False).returncode == 0, "the peer to be back")
    assert stored(a) and os.path.exists(a.path("f"))


def test_psppeerd(make_swarm):
    """A machine that only lends its disk shares likewise; its socket goes with it."""
    s = make_swarm(peers=1, tracker_args=["--copies", "1"])
    store = f"{s.dir}/" + "long" * 30           # longer than a socket's address
    log = open(f"{s.dir}/peerd.log", "wb")
    argv = [program("psppeerd"), "--foreground", "--tracker", s.tracker_addr, "--key", s.key, "--addr",
            "127.0.0.77", "--port", str(s.port + 1), "--store", store, "--capacity", "1G"]
    proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: os.path.exists(f"{store}/socket"), "psppeerd")
        data = os.urandom(3 << 20)
        share(s, store, make(f"{s.dir}/f", data), "/f")
        assert open(s.peers[0].path("f"), "rb").read() == data
        proc.kill()                             # leaves its socket behind
        proc.wait(10)
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def again():
            done = share(s, store, f"{s.dir}/f", "/f", check=False)
            return done.returncode == 0
        wait_for(again, "psppeerd, once more")
    finally:
        assert end(proc) == 0
    assert not os.path.exists(f"{store}/socket")


@contextlib.contextmanager
def under_way(swarm, peer, f, name, **kw):
    """A share of a big file that has begun to store."""
    before = stored(peer)
    proc = subprocess.Popen([program("pspfs"), "--tracker", swarm.tracker_addr, "--key", swarm.key, "share",
                             "--store", getattr(peer, "store", peer), f, name], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=kw.pop("stderr", subprocess.PIPE), text=True)
    try:
        wait_for(lambda: len(stored(peer)) > len(before) or proc.poll() is not None, "the first chunks")
        yield proc
    finally:
        if proc.poll() is None:
            proc.kill()
        proc.communicate(timeout=60)


@pytest.fixture(scope="module")
def big(one):
    with open(f"{one.dir}/big", "wb") as f:
        for _ in range(256):
            f.write(os.urandom(1 << 20))
    return f.name


def clean(peer, before):
    """Nothing is left, in the store or the folder."""
    wait_for(lambda: stored(peer) == before, "the store to be as it was")
    wait_for(lambda: not [n for n in os.listdir(peer.mnt) if n.startswith(".pspfs")], "hidden names to go")


def test_who_shares_goes(one, big):
    a = one.peers[0]
    before = stored(a)
    with under_way(one, a, big, "/cancelled") as proc:
        assert proc.poll() is None
        assert not os.path.exists(a.path("cancelled"))
        assert [n for n in os.listdir(a.mnt) if n.startswith(".pspfs-share-")]
        proc.kill()
    clean(a, before)
    assert not os.path.exists(a.path("cancelled"))


def test_the_file_changes_meanwhile(one, big):
    a, b, _ = one.peers
    before = stored(a)
    with under_way(one, a, big, "/changed") as proc:
        os.utime(big)
        _, err = proc.communicate(timeout=60)
        assert proc.returncode == 2 and "was changed while it was read" in err
    clean(a, before)
    assert share(one, a, big, "/changed")["chunks"] == 512
    ids = {c["id"] for c in one.info("/changed")["chunks"]}
    with under_way(one, b, big, "/changed") as proc:
        with open(a.path("changed"), "ab") as f:
            f.write(b"more")                    # a new chunk, perhaps at b
        _, err = proc.communicate(timeout=60)
        assert proc.returncode == 2 and "changed in the swarm meanwhile" in err
    assert not ids & {n.split(".")[0] for n in stored(b)}
    assert not any(b.addr in v for v in holders(one, "/changed").values())


def test_it_comes_to_exist_meanwhile(one, big):
    a, b, _ = one.peers
    before = stored(a)
    with under_way(one, a, big, "/twice") as proc:
        make(b.path("twice"), b"mine")
        _, err = proc.communicate(timeout=60)
        assert proc.returncode == 2 and "somebody else created /twice" in err
    wait_for(lambda: len(stored(a) - before) <= 1, "the store to be as it was")
    assert open(a.path("twice"), "rb").read() == b"mine"


def test_progress(one, big):
    """A bar, on a terminal."""
    a = one.peers[0]
    ours, theirs = os.openpty()
    with under_way(one, a, big, "/progress", stderr=theirs) as proc:
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):      # its other end is closed
            while len(text) < 1 << 20:
                text += os.read(ours, 4096)
        assert proc.wait(60) == 0
    os.close(ours)
    assert b"/progress" in text and b"256 MiB of 256 MiB" in text and b"100%" in text


def test_a_peer_that_ends(make_swarm, big):
    s = make_swarm(peers=1, tracker_args=["--copies", "1"])
    b = s.add_peer()
    with under_way(s, b, big, "/ended") as proc:
        b.stop()
        _, err = proc.communicate(timeout=60)
        assert proc.returncode == 2 and "ended meanwhile" in err or "ending" in err
    clean(s.peers[0], stored(s.peers[0]))
    assert not stored(b) and os.listdir(s.peers[0].mnt) == []


def test_md5_of_a_file_that_was_written(one):
    """Computed by a peer when it is asked for; kept; void after a change."""
    a, b, _ = one.peers
    data = os.urandom(5 * SLOT + 3)
    open(a.path("written"), "wb").write(data)
    md5 = hashlib.md5(data).hexdigest()
    assert known_md5_of(one, "/written") is None
    assert md5_of(one, "/written") == md5
    assert known_md5_of(one, "/written") == md5
    with open(b.path("written"), "r+b") as f:
        f.seek(2 * SLOT - 5)
        f.write(b"over two chunks")
    assert known_md5_of(one, "/written") is None
    want = hashlib.md5(open(a.path("written"), "rb").read()).hexdigest()
    assert want != md5 and md5_of(one, "/written") == want
    os.chmod(a.path("written"), 0o600)          # no content
    assert known_md5_of(one, "/written") == want
    os.truncate(a.path("written"), 20 * SLOT)
    with open(b.path("written"), "r+b") as f:   # a hole before it, and one behind
        f.seek(15 * SLOT + 7)
        f.write(b"in between")
    want = hashlib.md5(open(a.path("written"), "rb").read()).hexdigest()
    assert md5_of(one, "/written") == want


def test_md5_when_nobody_can(make_swarm):
    s = make_swarm(peers=2, tracker_args=["--copies", "1"], peer_options={"timeout": 1})
    a = s.peers[0]
    done = s.pspfs("tracker", "/", check=False)
    assert done.returncode == 2 and "not a file" in done.stderr
    open(a.path("f"), "wb").write(os.urandom(SLOT))
    (chunk,) = s.info("/f")["chunks"]
    for p in s.peers:
        if p.chunk_file(chunk["id"]):
            p.kill()
    why = md5_of(s, "/f")
    assert "no other peer can be asked" in why and "logs" in why
    for p in s.peers:
        if p.proc:
            p.stop()
    assert "no peer is active" in md5_of(s, "/f")
