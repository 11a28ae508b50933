"""A store's disk is full, read-only, removed or odd: what is seen, what is said, and that it passes."""
import concurrent.futures
import errno
import os
import shutil
import socket
import stat
import time

import pytest

from small_disks import MIB, Disk, RealDisk, peer_not_up, peer_on, said
from swarm import SLOWER, run, wait_for
from test_errors import fails

PROMPT = 3 * SLOWER                     # seconds: no deadline passed first
SLOT = 512 * 1024


@pytest.fixture
def disks():
    made = []
    yield made
    for d in made:
        d.gone()


@pytest.fixture
def full_swarm(make_swarm, disks):
    """make(sizes...): a swarm whose stores lie on disks of these sizes."""
    def make(*sizes, tracker_args=(), kind=Disk, **options):
        s = make_swarm(peers=0, tracker_args=tracker_args)
        for size in sizes:
            if size:
                peer_on(s, disks, size, kind, **options)
            else:
                s.add_peer(**options)
        return s
    return make


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def try_put(path, data):
    """0, or the error that write or close gave."""
    try:
        put(path, data)
        return 0
    except OSError as e:
        return e.errno


def until_put(path, data, what):
    wait_for(lambda: try_put(path, data) == 0, what, 20)


def copies(s, path):
    """Of each chunk, how many peers have it."""
    return [len(c["holders"]) for c in s.info(path)["chunks"]]


def addresses(s, path):
    return {h.split(":")[0] for c in s.info(path)["chunks"] for h in c["holders"]}


# ------------------------------------------------------------------ full

def test_all_disks_full(full_swarm):
    """ENOSPC at once, what was there is whole, and deleting makes room; said a few times, not for each chunk."""
    s = full_swarm("24m", "24m", "24m", tracker_args=["--garbage-grace", "1"])
    a, b, _ = s.peers
    kept = os.urandom(3 * MIB)
    put(a.path("kept"), kept)
    os.mkdir(a.path("d"))
    errors = set()
    for n in range(6):
        t = time.monotonic()
        errors.add(try_put((a, b)[n % 2].path(f"big{n}"), os.urandom(60 * MIB)))
        assert time.monotonic() - t < 2 * PROMPT
    assert errors == {errno.ENOSPC}
    assert content(a.path("kept")) == content(b.path("kept")) == kept
    assert sorted(os.listdir(b.mnt)) == ["big0", "big1", "big2", "big3", "big4", "big5", "d", "kept"]
    # names, and what is small enough to be nothing, go on
    os.rename(a.path("kept"), a.path("d", "kept"))
    assert os.stat(b.path("d", "kept")).st_size == len(kept)
    for p in s.peers:
        assert len(said(p.read_log(), "its disk is full")) == 1, p.read_log()
        assert len(p.read_log().splitlines()) < 40, p.read_log()
    assert len(said(a.read_log(), "stored nowhere")) == 1
    for n in range(6):
        os.unlink(b.path(f"big{n}"))
    until_put(a.path("after"), kept * 3, "room after deleting")
    assert content(b.path("after")) == kept * 3

    def over():
        try_put(a.path("again"), b"again")
        return said(a.read_log(), "chunks are stored again")
    wait_for(over, "the end of it in the log")
    wait_for(lambda: all(said(p.read_log(), "can be written again") for p in s.peers), "all to be well")
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "every chunk's copies", 30)


def test_one_disk_of_three_full(full_swarm):
    """Others take what it cannot; it is asked no more, and asked again when there is room."""
    s = full_swarm(None, None, "24m")
    a, b, c = s.peers
    disk = Disk.__new__(Disk)
    disk.path = c.store
    data = os.urandom(60 * MIB)
    for p in a, c:                      # ids are granted ahead: these name c also when the tracker knows better
        put(p.path("before"), data[:SLOT])
    disk.fill()
    for p in a, c:                      # also its own writes go to the others
        put(p.path(f"f{p.k}"), data)
        assert copies(s, a.path(f"f{p.k}")) == [2] * (60 * MIB // SLOT)
        assert content(b.path(f"f{p.k}")) == data
    assert len(said(c.read_log(), "its disk is full")) == 1
    assert len(said(a.read_log(), "does not store chunks")) <= 2, a.read_log()
    assert sum(len(p.read_log().splitlines()) for p in s.peers) < 30, s.logs()
    assert s.status()["under_replicated_chunks"] == 0

    def lends():
        return {p["address"].split(":")[0]: p["capacity_bytes"] - p["used_bytes"]
                for p in s.status()["peers"]}[c.addr]
    wait_for(lambda: lends() == 0, "the tracker to know")
    disk.make_room()
    wait_for(lambda: lends() > 10 * MIB, "room there again")

    def asked_again():                  # ids that were granted meanwhile name the others
        put(c.path("again"), data[:5 * MIB])
        return c.addr in addresses(s, c.path("again"))
    wait_for(asked_again, "it to be asked again")
    assert len(said(c.read_log(), "can be written again")) == 1


# ------------------------------------------------------------------ read-only

def test_disk_becomes_read_only(full_swarm, disks):
    s = full_swarm("64m", None, None, kind=RealDisk)
    a, b, c = s.peers
    data = os.urandom(10 * MIB)
    put(a.path("f"), data)
    disks[0].read_only()
    for n in range(3):
        put(a.path(f"g{n}"), data)      # the others have both copies
        with open(b.path(f"h{n}"), "wb") as f:
            f.write(data)
            os.fsync(f.fileno())
        assert copies(s, a.path(f"g{n}")) == copies(s, a.path(f"h{n}")) == [2] * 20
    assert len(said(a.read_log(), "read-only", "mounted read-write")) == 1, a.read_log()
    assert len(a.read_log().splitlines()) < 12, a.read_log()
    b.stop()                            # what only a and b had is still read from a
    assert content(c.path("f")) == data == content(a.path("f"))
    os.unlink(a.path("g0"))
    a.stop()
    disks[0].unmount()
    disks[0].mount()
    a.start()
    b.start()
    put(a.path("again"), data)
    assert a.addr in addresses(s, a.path("again")) and content(b.path("f")) == data
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "every chunk's copies", 30)


def test_read_only_at_start(full_swarm, disks):
    s = full_swarm(None)
    argv, p = peer_not_up(s)
    disks.append(Disk(p.store, "8m"))
    disks[0].read_only()
    fails(argv, 32, p.store, "read-only", "mount that read-write", "store=")
    disks[0].read_only(False)
    s.add_peer().stop()
    disks[0].read_only()                # one that was a store already
    fails(argv, 32, p.store, "read-only", "mount that read-write", "store=")
    disks[0].read_only(False)
    s.peers[1].start()


def test_start_on_a_full_disk(full_swarm, disks):
    """A new store says why not; one that exists serves what it has."""
    s = full_swarm(None)
    argv, p = peer_not_up(s)
    disks.append(Disk(p.store, "8m"))
    disks[0].fill()
    said_ = fails(argv, 32, p.store)
    assert "disk is full" in said_ or "not empty" in said_, said_
    disks[0].make_room()
    for name in os.listdir(p.store):
        os.unlink(f"{p.store}/{name}")
    b = s.add_peer()
    data = os.urandom(2 * MIB)
    put(b.path("f"), data)
    b.stop()
    disks[0].fill()
    b.start()
    assert content(b.path("f")) == data
    put(b.path("g"), data)              # at the other peer
    assert content(b.path("g")) == data


# ------------------------------------------------------------------ gone

def test_store_removed_while_it_is_used(make_swarm):
    s = make_swarm(peers=3)
    a, b, c = s.peers
    data = os.urandom(10 * MIB)
    put(a.path("f"), data)
    assert a.addr in addresses(s, a.path("f"))
    shutil.rmtree(a.store)
    assert content(a.path("f")) == data
    put(a.path("g"), data)
    with open(a.path("h"), "wb") as f:
        f.write(b"small")
        os.fsync(f.fileno())
    wait_for(lambda: said(a.read_log(), "store", "was removed"), "the peer to notice")
    wait_for(lambda: a.addr not in addresses(s, b.path("f")), "the tracker to know")
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "all copies elsewhere", 30)
    assert len(a.read_log().splitlines()) < 25, a.read_log()
    put(a.path("i"), data)
    for p in s.peers:
        assert [content(p.path(n)) for n in "fgi"] == [data] * 3 and content(p.path("h")) == b"small"
    assert a.addr not in addresses(s, b.path("i"))
    assert s.status()["chunks"] == 61   # nothing was taken for deleted
    a.stop()
    a.start()                           # as a new peer, with a new store
    put(a.path("j"), data)
    assert content(b.path("j")) == data and a.addr in addresses(s, b.path("j"))


def test_disk_dies_and_comes_back(full_swarm, disks):
    s = full_swarm("64m", None, None, kind=RealDisk)
    a, b, c = s.peers
    data = os.urandom(10 * MIB)
    put(a.path("f"), data)
    was = addresses(s, a.path("f"))
    assert a.addr in was
    disks[0].dies()
    put(a.path("g"), data)              # at the others
    for p in a, b, c:
        assert content(p.path("f")) == content(p.path("g")) == data
    wait_for(lambda: said(a.read_log(), "store", "cannot be used", "Input/output error"), "the peer to notice")
    wait_for(lambda: a.addr not in addresses(s, b.path("f")), "the tracker to know")
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "all copies elsewhere", 30)
    assert len(a.read_log().splitlines()) < 60, a.read_log()
    a.stop()
    disks[0].unmount()
    disks[0].mount()
    a.start()                           # what had reached the disk
    put(a.path("h"), data)
    assert [content(c.path(n)) for n in "fgh"] == [data] * 3 and a.addr in addresses(s, c.path("h"))
    assert s.status()["missing_chunks"] == 0


@pytest.mark.parametrize("how", ["moved", "unmounted"])
def test_store_goes_elsewhere(full_swarm, disks, how):
    """It is open still, and goes on; afterwards all of it is where it went."""
    s = full_swarm("64m", None)
    a, b = s.peers
    data = os.urandom(5 * MIB)
    put(a.path("f"), data)
    if how == "moved":
        run("mount", "--make-private", "/", check=False)
        disks.append(Disk.bound(a.store, f"{s.dir}/else"))
    run("umount", "-l", a.store)
    put(a.path("g"), data)
    assert content(b.path("g")) == content(a.path("f")) == data
    for _ in range(5):                  # through a look at the disk
        assert a.addr in addresses(s, b.path("g")) and s.status()["under_replicated_chunks"] == 0
        time.sleep(0.5)
    a.stop()
    if how == "unmounted":              # its bytes are gone with the last who had it open
        a.start()
        assert content(a.path("f")) == content(a.path("g")) == data
        return
    run("mount", "--move", f"{s.dir}/else", a.store)
    a.start()
    assert "2 chunks" not in a.read_log()
    wait_for(lambda: a.addr in addresses(s, a.path("f")), "what it has to be known again")
    b.kill()
    assert content(a.path("f")) == content(a.path("g")) == data
    b.start()


def test_store_emptied_while_stopped(make_swarm):
    s = make_swarm(peers=3, tracker_args=["--repair-after", "2"])
    a, b, c = s.peers
    data = os.urandom(10 * MIB)
    put(a.path("f"), data)
    a.stop()
    shutil.rmtree(a.store)
    a.start()
    assert content(a.path("f")) == data
    put(a.path("g"), data)
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "repair", 40)
    assert s.status()["missing_chunks"] == 0
    assert content(b.path("f")) == content(c.path("g")) == data


# ------------------------------------------------------------------ odd

@pytest.fixture(scope="module")
def lone():
    from swarm import Swarm
    with Swarm(peers=2) as s:
        put(s.peers[1].path("f"), b"x" * 3000)
        s.peers[1].stop()
        yield s


@pytest.mark.parametrize("name,kind,words", [
    ("journal.0", "dir", ["journal.0", "a directory, not a file", "move that away"]),
    ("journal.1", "link", ["journal.1", "symbolic link"]),
    ("swarm", "dir", ["swarm in it", "a directory, not a file"]),
    ("lock", "dir", ["lock in it", "a directory, not a file"]),
    ("chunks", "file", ["chunks in it", "no directory"]),
    ("tmp", "file", ["tmp in it", "no directory"]),
    ("quarantine", "link", ["quarantine in it", "no directory"]),
])
def test_what_is_in_the_way_is_named(lone, name, kind, words):
    p = lone.peers[1]
    path, kept = f"{p.store}/{name}", f"{lone.dir}/kept"
    os.rename(path, kept)
    try:
        if kind == "dir":
            os.mkdir(path)
        elif kind == "link":
            os.symlink(kept, path)
        else:
            open(path, "x").close()
        fails(p.argv(), 32, p.store, "store=", *words)
    finally:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
        os.rename(kept, path)


def test_a_directory_in_tmp_is_kept(lone):
    p = lone.peers[1]
    os.makedirs(f"{p.store}/tmp/strange/more")
    p.start()
    assert content(p.path("f")) == b"x" * 3000
    assert said(p.read_log(), "tmp/strange", "quarantine")
    assert any(n.startswith("strange") for n in os.listdir(f"{p.store}/quarantine"))
    p.stop()


def test_many_writers_of_a_full_swarm(full_swarm):
    """From several mounts at once: each hears of it, nobody waits, nothing that was closed is missing."""
    s = full_swarm("24m", "24m")
    closed = {}

    def write(n):
        data = os.urandom(1 * MIB)
        path = s.peers[n % 2].path(f"w{n}")
        t = time.monotonic()
        err = try_put(path, data)
        assert err in (0, errno.ENOSPC) and time.monotonic() - t < 2 * PROMPT
        if not err:
            closed[f"w{n}"] = data
        return err
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(write, range(60)))
    assert 0 in errors and errno.ENOSPC in errors
    for name, data in closed.items():
        assert content(s.peers[0].path(name)) == data == content(s.peers[1].path(name))
    for p in s.peers:
        assert len(p.read_log().splitlines()) < 120, p.read_log()


def test_cached_copies_are_no_reason_to_refuse(make_swarm):
    """Stores that reading has filled have room for what is written, and for its copies."""
    s = make_swarm(peers=3, peer_options=dict(capacity="24M"))
    old, new = os.urandom(22 * MIB), os.urandom(10 * MIB)
    put(s.peers[0].path("old"), old)
    for p in s.peers:
        assert content(p.path("old")) == old
    wait_for(lambda: all(p["chunks"] == 44 for p in s.status()["peers"]), "every store to be full")
    for p in s.peers:
        put(p.path(f"new{p.k}"), new[:3 * MIB])
        assert content(p.path("old")) == old
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "every chunk's copies")
    st = os.statvfs(s.peers[0].mnt)
    assert (st.f_blocks - st.f_bfree) * st.f_frsize < 33 * MIB


def test_a_full_disk_is_said_though_the_log_is_on_it(make_swarm, disks, tmp_path):
    """What the log has no room for goes to the system's log; it has the rest of the story afterwards."""
    dev = tmp_path / "dev"
    dev.mkdir()
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.settimeout(20 * SLOWER)
    syslog.bind(str(dev / "log"))
    for name in "null", "urandom":
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.stat(f"/dev/{name}").st_rdev)
    s = make_swarm(peers=1)
    disk = Disk(f"{s.dir}/full", "64M")
    disks.append(disk)
    s.prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {dev} /dev && exec "$@"', "sh"]
    lender, = s.add_lenders(1, store=f"{disk.path}/store", log=f"{disk.path}/log")
    lender.log = f"{disk.path}/log"
    s.prefix = []
    disk.fill()
    with open(lender.log, "ab", buffering=0) as f, pytest.raises(OSError):
        for _ in range(4097):           # the rest of its last page
            f.write(b".")
    data = os.urandom(4 * MIB)
    put(s.peers[0].path("f"), data)
    lines = [""]
    wait_for(lambda: "its disk is full" in lines[-1] or lines.append(syslog.recv(4096).decode()), "it to be said", 20)
    line = lines[-1]
    assert line.startswith("<28>psppeerd["), line
    disk.make_room()
    wait_for(lambda: said(lender.read_log(), "can be written again"), "it to be said in its log", 30)
    assert said(lender.read_log(), "could not be written here"), lender.read_log()
    assert content(s.peers[0].path("f")) == data
    lender.stop()
    syslog.close()
