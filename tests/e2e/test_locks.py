"""Locks exclude across mounts: flock(2), fcntl(2), OFD; waiting, interrupting, dying, restarting."""
import contextlib
import errno
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from callers import frozen
from lock_child import Child
from swarm import SLOWER, wait_for

LEASE = 10                              # seconds: how long a silent mount keeps its locks


@pytest.fixture
def children():
    """children(mount...): a process for each, with a file of its mount open as fd."""
    with contextlib.ExitStack() as ends:
        def make(*paths, flags="rw"):
            made = []
            for path in paths:
                child = Child()
                ends.callback(child.end)
                child.path = path
                child.fd = child.ok("open", path, flags)
                made.append(child)
            return made
        yield make


@pytest.fixture
def two(pair, children):
    """Two processes on two mounts, the same file open in both."""
    a, b = (d + "/f" for d in pair)
    open(a, "w").close()
    return children(a, b)


# ------------------------------------------------------------------- exclusion

def test_flock_excludes(two):
    a, b = two
    a.ok("flock", a.fd, "x")
    b.fails(errno.EAGAIN, "flock", b.fd, "X")
    b.fails(errno.EAGAIN, "flock", b.fd, "S")
    a.ok("flock", a.fd, "u")
    b.ok("flock", b.fd, "S")
    a.ok("flock", a.fd, "S")
    a.fails(errno.EAGAIN, "flock", a.fd, "X")


def test_flock_conversion_gives_up_first(two):
    """As flock(2) says: a conversion that fails has lost the old lock."""
    a, b = two
    a.ok("flock", a.fd, "s")
    b.ok("flock", b.fd, "s")
    a.fails(errno.EAGAIN, "flock", a.fd, "X")
    b.ok("flock", b.fd, "X")


def test_flock_conversion_of_both(two):
    """Two shared holders that both want it alone: neither waits for ever."""
    a, b = two
    a.ok("flock", a.fd, "s")
    b.ok("flock", b.fd, "s")
    a.tell("flock", a.fd, "x")
    b.tell("flock", b.fd, "x")
    wait_for(lambda: a.answered() or b.answered(), "one of them")
    first, second = (a, b) if a.answered() else (b, a)
    assert first.answer() is None
    first.ok("flock", first.fd, "u")
    assert second.answer() is None


@pytest.mark.parametrize("way", ["", "ofd_"])
def test_ranges_exclude(two, way):
    a, b = two
    a.ok(way + "try", a.fd, "w", 100, 10)
    b.fails(errno.EAGAIN, way + "try", b.fd, "w", 109, 1)
    b.fails(errno.EAGAIN, way + "try", b.fd, "r", 0, 0)
    b.ok(way + "try", b.fd, "w", 110, 1)
    b.ok(way + "try", b.fd, "r", 0, 100)
    a.ok(way + "try", a.fd, "u", 104, 2)
    b.ok(way + "try", b.fd, "w", 104, 2)
    b.fails(errno.EAGAIN, way + "try", b.fd, "w", 103, 1)
    b.fails(errno.EAGAIN, way + "try", b.fd, "w", 106, 1)
    a.fails(errno.EAGAIN, way + "try", a.fd, "w", 0, 0)


def test_ofd_and_process_locks_meet_but_flock_does_not(two):
    a, b = two
    a.ok("try", a.fd, "w")
    b.fails(errno.EAGAIN, "ofd_try", b.fd, "w")
    b.ok("flock", b.fd, "X")


def test_shared_upgrade_downgrade(two):
    a, b = two
    a.ok("try", a.fd, "r", 0, 10)
    b.ok("try", b.fd, "r", 5, 10)
    a.fails(errno.EAGAIN, "try", a.fd, "w", 0, 10)
    a.ok("try", a.fd, "w", 0, 5)
    b.fails(errno.EAGAIN, "try", b.fd, "r", 4, 1)
    a.ok("try", a.fd, "r", 0, 5)
    b.ok("try", b.fd, "r", 4, 1)


def test_getlk_tells(two):
    a, b = two
    assert b.ok("get", b.fd, "w")[0] == "u"
    a.ok("try", a.fd, "r", 10, 20)
    a.ok("try", a.fd, "w", 2 ** 62, 0)
    assert b.ok("get", b.fd, "r", 0, 100)[0] == "u"
    assert b.ok("get", b.fd, "w", 0, 100) == ["r", 10, 20, a.pid]
    assert b.ok("get", b.fd, "r", 2 ** 63 - 1, 1) == ["w", 2 ** 62, 0, a.pid]
    assert a.ok("get", a.fd, "w")[0] == "u"


# --------------------------------------------------------------------- waiting

@pytest.mark.parametrize("way", ["flock", "wait", "ofd_wait"])
def test_waiting_wakes(two, way):
    a, b = two
    want = ["flock", b.fd, "x"] if way == "flock" else [way, b.fd, "w", 5, 1]
    a.ok("flock", a.fd, "x")
    a.ok("ofd_try", a.fd, "w", 0, 10)
    b.tell(*want)
    assert not b.answered(0.5)
    a.ok("flock", a.fd, "u")
    a.ok("ofd_try", a.fd, "u", 0, 10)
    assert b.answer(2 * SLOWER) is None


@pytest.mark.parametrize("way", ["flock", "wait"])
def test_interrupted(two, way):
    """Ctrl-C on a waiter returns within a second, and nothing stays held."""
    a, b = two
    lock, unlock = (("flock", "x"), ("flock", "u")) if way == "flock" else (("wait", "w"), ("wait", "u"))
    a.ok(lock[0], a.fd, lock[1])
    for _ in range(3):
        b.tell(lock[0], b.fd, lock[1])
        assert not b.answered(0.3)
        b.interrupt()
        assert b.answer(1 * SLOWER) == {"errno": errno.EINTR}
    a.ok(unlock[0], a.fd, unlock[1])
    a.ok(lock[0], a.fd, lock[1], secs=2 * SLOWER)


def test_interrupt_races_with_the_grant(two):
    """Whoever wins: EINTR and not held, or granted and held."""
    a, b = two
    for i in range(60):
        a.ok("try", a.fd, "w")
        b.tell("wait", b.fd, "w")
        time.sleep(0.005 + (i % 7) * 0.001)
        a.tell("try", a.fd, "u")
        time.sleep((i % 10) * 0.0001)
        b.interrupt()
        a.answer()
        got = b.answer(2 * SLOWER)
        if isinstance(got, dict):
            assert got == {"errno": errno.EINTR}
            a.ok_soon("try", a.fd, "w")
        else:
            a.fails(errno.EAGAIN, "try", a.fd, "w")
            b.ok("try", b.fd, "u")
        b.ok("pid")             # a late signal hits here, if it does
        a.ok("try", a.fd, "u")
        b.ok("try", b.fd, "u")


def test_deadlock_is_told(two, pair, children):
    """A circle through two files, two mounts."""
    a, b = two
    a2, b2 = (c.ok("open", d + "/g") for c, d in zip(two, pair))
    a.ok("try", a.fd, "w")
    b.ok("try", b2, "w")
    a.tell("wait", a2, "w")
    assert not a.answered(0.5)
    b.fails(errno.EDEADLK, "wait", b.fd, "w")
    b.ok("try", b2, "u")
    assert a.answer(2 * SLOWER) is None


def test_a_writer_is_not_starved(pair, children):
    """Readers come and go without a gap; the writer gets its turn."""
    path_a, path_b = (d + "/f" for d in pair)
    r1, r2, w = children(path_a, path_b, path_a)
    r1.ok("wait", r1.fd, "r")
    w.tell("wait", w.fd, "w")
    assert not w.answered(0.3)
    end = time.monotonic() + 20 * SLOWER
    readers = [r1, r2]
    while not w.answered():
        assert time.monotonic() < end, "the writer starves"
        old, new = readers
        new.tell("wait", new.fd, "r")
        new.answered(0.02)
        old.ok("wait", old.fd, "u")
        if w.answered(0.2):
            break
        new.answer()
        readers.reverse()
    assert w.answer() is None


# ------------------------------------------------------------------- releasing

def test_close_releases(two):
    """A process's locks go when it closes any descriptor of the file."""
    a, b = two
    again = a.ok("open", a.path)
    a.ok("try", a.fd, "w")
    a.ok("close", again)
    b.ok("try", b.fd, "w")
    b.ok("close", b.fd)
    a.ok("try", a.fd, "w")


def test_close_releases_flock_and_ofd(two):
    a, b = two
    a.ok("flock", a.fd, "x")
    a.ok("ofd_try", a.fd, "w")
    a.ok("close", a.fd)
    b.ok_soon("flock", b.fd, "X")
    b.ok_soon("ofd_try", b.fd, "w")


def test_close_of_a_reader_releases(pair, children):
    path_a, path_b = (d + "/f" for d in pair)
    open(path_a, "w").close()
    a, = children(path_a, flags="r")
    b, = children(path_b)
    a.ok("try", a.fd, "r")
    b.fails(errno.EAGAIN, "try", b.fd, "w")
    a.ok("close", a.fd)
    b.ok_soon("try", b.fd, "w")
    b.ok("try", b.fd, "u")
    # from now on the file is known to be locked: its closes are exact
    fd, other = (a.ok("open", path_a, "r") for _ in range(2))
    a.ok("try", fd, "r")
    a.ok("close", other)
    b.ok("try", b.fd, "w")


@pytest.mark.parametrize("call", ["fcntl.flock(fd, {})", "fcntl.fcntl(fd, 37 if {} & 4 else 38, ofd())"])
def test_the_close_before_does_not_release(pair, call):
    """The kernel numbers the next open file like the closed one, and may tell of the close late."""
    code = "import fcntl, os, struct, sys\n" \
           "def ofd(): return struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)\n" \
           "def lock(path, how):\n" \
           "    fd = os.open(path, os.O_RDWR | os.O_CREAT)\n" \
           "    try:\n" \
           f"        {call.format('how')}\n" \
           "        return fd\n" \
           "    except BlockingIOError:\n" \
           "        os.close(fd)\n" \
           "both = 0\n" \
           "for k in range(500):\n" \
           "    mine = lock(sys.argv[1], fcntl.LOCK_EX)\n" \
           "    for _ in range(2 * (k % 4 == 0)):\n" \
           "        other = lock(sys.argv[2], fcntl.LOCK_EX | fcntl.LOCK_NB)\n" \
           "        if other: both += 1; os.close(other)\n" \
           "    os.close(mine)\n" \
           "print(both)\n"
    crowd = [subprocess.Popen([sys.executable, "-c", code, *(f"{d}/f{k}" for d in pair)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for k in range(32)]
    try:
        assert [p.communicate(timeout=60 * SLOWER)[0] for p in crowd] == ["0\n"] * len(crowd)
    finally:
        for p in crowd:
            p.kill()


def test_death_of_a_process_releases(two):
    a, b = two
    a.ok("flock", a.fd, "x")
    a.ok("try", a.fd, "w")
    b.fails(errno.EAGAIN, "try", b.fd, "w")
    a.kill()
    b.ok_soon("try", b.fd, "w")
    b.ok_soon("flock", b.fd, "X")


def test_death_of_a_waiter(two, pair, children):
    a, b = two
    c, = children(pair[0] + "/f")
    a.ok("try", a.fd, "w")
    b.tell("wait", b.fd, "w")
    assert not b.answered(0.3)
    b.kill()
    a.ok("try", a.fd, "u")
    c.ok_soon("try", c.fd, "w")


# ------------------------------------------------------------------- coherence

def test_the_next_holder_reads_what_was_written(two):
    """Without close or fsync; with what it had read before in its page cache."""
    a, b = two
    for i in range(50):
        me, other = (a, b) if i % 2 else (b, a)
        me.ok("wait", me.fd, "w", 1000, 1)
        if i:
            assert me.ok("read", me.fd, 100, 0) == f"{i - 1:06}" * 10
        me.ok("write", me.fd, f"{i:06}" * 10, 0)
        other.tell("wait", other.fd, "r", 1000, 1)
        me.ok("wait", me.fd, "u", 1000, 1)
        assert other.answer() is None
        assert other.ok("read", other.fd, 100, 0) == f"{i:06}" * 10
        other.ok("wait", other.fd, "u", 1000, 1)


COUNT = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for _ in range(int(sys.argv[2])):
    if sys.argv[3] == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX)
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX)
    n = int(os.pread(fd, 100, 0) or 0)
    os.pwrite(fd, str(n + 1).encode(), 0)
    fcntl.flock(fd, fcntl.LOCK_UN) if sys.argv[3] == "flock" else fcntl.lockf(fd, fcntl.LOCK_UN)
"""


@pytest.mark.parametrize("way, total", [("flock", 2000), ("fcntl", 10000)])
def test_increments(pair, way, total):
    """Two processes on each of two mounts: no update is lost."""
    open(pair[0] + "/count", "w").close()
    n = total // 4
    procs = [subprocess.Popen([sys.executable, "-c", COUNT, d + "/count", str(n), way])
             for d in pair for _ in range(2)]
    try:
        for p in procs:
            assert p.wait(240 * SLOWER) == 0
    finally:
        for p in procs:
            p.kill()
            p.wait()
    assert int(open(pair[1] + "/count").read()) == 4 * n


# ------------------------------------------------------------- mounts that die

def test_a_killed_mount_loses_its_locks(make_swarm, children):
    swarm = make_swarm(peers=2)
    first, second = swarm.peers
    b, = children(second.path("f"))
    a, = children(first.path("f"))
    a.ok("try", a.fd, "w")
    b.fails(errno.EAGAIN, "try", b.fd, "w")
    b.tell("wait", b.fd, "w")
    assert not b.answered(0.3)
    first.kill()
    assert b.answer((LEASE + 5) * SLOWER) is None
    b.ok("write", b.fd, "mine", 0)
    b.ok("fsync", b.fd)


def test_unmounting_releases_at_once(make_swarm, children):
    swarm = make_swarm(peers=2)
    b, = children(swarm.peers[1].path("f"))
    a, = children(swarm.peers[0].path("f"))
    a.ok("flock", a.fd, "x")
    b.tell("flock", b.fd, "x")
    assert not b.answered(0.3)
    a.kill()
    swarm.peers[0].stop()
    assert b.answer(3 * SLOWER) is None


def test_the_tracker_dies_with_locks_held(make_swarm, children):
    """kill -9 and a restart: what was held is held, who waits goes on waiting."""
    swarm = make_swarm(peers=3)
    paths = [p.path("f") for p in swarm.peers]
    a, b, c = children(*paths)
    a.ok("try", a.fd, "w", 0, 10)
    a.ok("flock", a.fd, "s")
    b.ok("try", b.fd, "r", 100, 10)
    b.tell("wait", b.fd, "w", 5, 1)
    assert not b.answered(0.3)
    swarm.kill_tracker()
    swarm.start_tracker()
    c.fails(errno.EAGAIN, "try", c.fd, "w", 9, 1, secs=25 * SLOWER)
    c.fails(errno.EAGAIN, "try", c.fd, "w", 109, 1)
    c.fails(errno.EAGAIN, "flock", c.fd, "X")
    c.ok("flock", c.fd, "S")
    assert not b.answered(0.2)
    a.ok("write", a.fd, "still mine", 0)
    a.ok("try", a.fd, "u")
    assert b.answer(5 * SLOWER) is None
    assert b.ok("read", b.fd, 10, 0) == "still mine"


def test_nobody_hears_free_before_all_are_back(make_swarm, children):
    swarm = make_swarm(peers=2)
    holder, other = swarm.peers
    a, b = children(holder.path("f"), other.path("f"))
    a.ok("try", a.fd, "w", 10, 5)
    with frozen(holder.proc):
        swarm.kill_tracker()
        swarm.start_tracker()
        b.tell("get", b.fd, "r")
        assert not b.answered(3)
    assert b.answer(LEASE * SLOWER) == ["w", 10, 5, a.pid]


def test_a_frozen_mount_does_not_go_on(make_swarm, children):
    """SIGSTOP for longer than the lease: others get its locks, and what it writes afterwards fails until it
    lets go."""
    swarm = make_swarm(peers=2)
    frozen, other = swarm.peers
    a, = children(frozen.path("f"))
    b, = children(other.path("f"))
    a.ok("try", a.fd, "w")
    a.ok("write", a.fd, "a" * 10, 0)
    b.tell("wait", b.fd, "w")
    assert not b.answered(0.3)
    frozen.proc.send_signal(signal.SIGSTOP)
    try:
        assert b.answer((LEASE + 5) * SLOWER) is None
        b.ok("write", b.fd, "b" * 10, 0)
        b.ok("fsync", b.fd)
        b.ok("try", b.fd, "u")
    finally:
        frozen.proc.send_signal(signal.SIGCONT)
    wait_for(lambda: "its locks are lost" in frozen.read_log(), "the mount to notice")
    a.fails(errno.EIO, "write", a.fd, "a" * 10, 0)
    a.fails(errno.EIO, "fsync", a.fd)
    a.fails(errno.EIO, "try", a.fd, "w", 100, 1)
    assert b.ok("read", b.fd, 10, 0) == "b" * 10
    a.fails(errno.EIO, "try", a.fd, "u")
    a.ok("try", a.fd, "w")
    a.ok("write", a.fd, "c" * 10, 0)
    a.ok("fsync", a.fd)
    assert b.ok("read", b.fd, 10, 0) == "c" * 10


# ---------------------------------------------------------------------- SQLite

ROWS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for i in range(int(sys.argv[3])):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t(who, n) VALUES (?, ?)", (sys.argv[2], i))
    db.execute("UPDATE total SET n = n + 1")
    db.execute("COMMIT")
"""


def test_sqlite_two_writers(pair):
    """The rollback journal, a writer on each of two mounts: no row is lost."""
    path = pair[0] + "/db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode=DELETE; CREATE TABLE t(who, n); CREATE TABLE total(n);"
                         "INSERT INTO total VALUES (0)")
    n = 60
    procs = [subprocess.Popen([sys.executable, "-c", ROWS, d + "/db", str(k), str(n)])
             for k, d in enumerate(pair)]
    try:
        for p in procs:
            assert p.wait(240 * SLOWER) == 0
    finally:
        for p in procs:
            p.kill()
            p.wait()
    for d in pair:
        with contextlib.closing(sqlite3.connect(d + "/db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*), count(DISTINCT who || '-' || n) FROM t").fetchone() == (2 * n, 2 * n)
            assert db.execute("SELECT n FROM total").fetchone() == (2 * n,)


def test_sqlite_wal_is_for_one_mount_at_a_time(pair):
    """WAL's index is shared memory, which ends at the machine: another mount is refused (SQLITE_PROTOCOL)
    while it is in use, and takes it over when it is closed."""
    a, b = (d + "/db" for d in pair)
    with contextlib.closing(sqlite3.connect(a, isolation_level=None)) as db:
        assert db.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        db.execute("CREATE TABLE t(n)")
        with contextlib.closing(sqlite3.connect(a, isolation_level=None)) as second:
            for i in range(20):
                (db if i % 2 else second).execute("INSERT INTO t VALUES (?)", (i,))
            assert second.execute("SELECT count(*) FROM t").fetchone() == (20,)
        with contextlib.closing(sqlite3.connect(b, timeout=0.2)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locking protocol|locked"):
                other.execute("SELECT count(*) FROM t").fetchone()
    with contextlib.closing(sqlite3.connect(b, timeout=5, isolation_level=None)) as other:
        other.execute("INSERT INTO t VALUES (99)")
        assert other.execute("SELECT count(*) FROM t").fetchone() == (21,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
