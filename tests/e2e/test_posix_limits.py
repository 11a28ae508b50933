"""Quotas of files, a swarm that is full, directories of a million entries, cookies that hold."""
import contextlib
import ctypes
import errno
import os
import random
import sqlite3
import stat

import pytest

from swarm import SLOWER, Swarm, program, run, wait_for

MANY = 1_000_000
libc = ctypes.CDLL(None, use_errno=True)


def refused(call, *args):
    with pytest.raises(OSError) as e:
        call(*args)
    return e.value.errno


def rss(proc):
    with open(f"/proc/{proc.pid}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmRSS"))


# ------------------------------------------------------------------ a quota of files

def test_quota_of_files(make_swarm):
    s = make_swarm(peers=2, tracker_args=("--files", "20"))
    a, b = s.peers[0].mnt, s.peers[1].mnt
    made = 1                                    # the root
    with contextlib.suppress(OSError):
        for k in range(30):
            open(f"{(a, b)[k % 2]}/{k}", "x").close()
            made += 1
    assert made == 20 and len(os.listdir(a)) == 19
    was = os.stat(a)
    for call, *args in ((os.mkdir, f"{b}/d"), (os.symlink, "x", f"{b}/l"), (os.mkfifo, f"{a}/p"),
                        (os.open, f"{a}/new", os.O_CREAT | os.O_WRONLY), (os.open, b, os.O_TMPFILE | os.O_RDWR)):
        assert refused(call, *args) == errno.ENOSPC
    assert len(os.listdir(b)) == 19 and os.stat(b).st_mtime_ns == was.st_mtime_ns and os.stat(b).st_nlink == 2
    st = os.statvfs(b)
    assert st.f_files == 20 and st.f_ffree == 0
    assert " 20 " in run("df", "-i", a).stdout
    # what is there goes on
    with open(f"{b}/0", "w") as f:
        f.write("content")
    os.link(f"{a}/0", f"{a}/again")
    os.rename(f"{b}/1", f"{b}/one")
    os.unlink(f"{a}/2")

    def room():
        with contextlib.suppress(OSError):
            os.mkdir(f"{b}/d")
        return os.path.isdir(f"{a}/d")
    wait_for(room, "room for a directory")


def test_senseless_quota(make_swarm):
    done = run(program("psptrackerd"), "--files", "-3", check=False)
    assert done.returncode == 1 and "give a number" in done.stderr


# ------------------------------------------------------------------ a swarm that is full

def test_full_swarm_half_does_nothing(make_swarm):
    """Data has no room; names have, and what was refused left nothing behind."""
    s = make_swarm(peers=2, peer_options=dict(capacity="8M"))
    a, b = s.peers[0].mnt, s.peers[1].mnt
    with open(f"{a}/kept", "wb") as f:
        f.write(b"k" * 100000)
    with open(f"{a}/full", "wb") as f:
        with contextlib.suppress(OSError):
            for _ in range(40):
                f.write(os.urandom(1 << 20))
                f.flush()
                os.fsync(f.fileno())
    fd = os.open(f"{b}/kept", os.O_RDWR)
    was = os.fstat(fd)
    errors = set()
    for _ in range(3):
        try:
            os.pwrite(fd, os.urandom(1 << 20), 0)
            os.fsync(fd)
        except OSError as e:
            errors.add(e.errno)
    assert errors == {errno.ENOSPC}
    os.close(fd)
    with open(f"{a}/kept", "rb") as f:
        assert f.read() == b"k" * 100000
    now = os.stat(f"{a}/kept")
    assert (now.st_size, now.st_mode, now.st_nlink) == (was.st_size, was.st_mode, was.st_nlink)
    # a full disk takes names, and gives room back
    os.mkdir(f"{b}/d")
    os.symlink("x" * 200, f"{a}/l")
    os.rename(f"{a}/kept", f"{a}/d/kept")
    os.setxattr(f"{b}/d/kept", "user.a", b"1")
    os.chmod(f"{a}/d/kept", 0o600)
    os.truncate(f"{b}/full", 0)
    assert open(f"{b}/d/kept", "rb").read() == b"k" * 100000 and os.stat(f"{a}/full").st_size == 0


# ------------------------------------------------------------------ directories

class Dir:
    """A directory stream of the C library, for telldir and seekdir."""

    class Entry(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_ushort),
                    ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]

    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    libc.telldir.argtypes = libc.closedir.argtypes = libc.readdir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def __init__(self, path):
        self.p = libc.opendir(os.fsencode(path))
        assert self.p

    def read(self):
        e = libc.readdir(self.p)
        return ctypes.cast(e, ctypes.POINTER(self.Entry)).contents.name.decode() if e else None

    def tell(self):
        return libc.telldir(self.p)

    def seek(self, at):
        libc.seekdir(self.p, at)

    def rest(self):
        return list(iter(self.read, None))

    def close(self):
        libc.closedir(self.p)


def test_cookies_hold_while_others_change(pair):
    """telldir's places mean the same after others have added and removed; what stayed is seen once."""
    a, b = pair
    names = [f"f{k:04}" for k in range(3000)]
    for n in names:
        open(f"{a}/{n}", "w").close()
    d = Dir(b)
    order, places = [], []
    for n in iter(d.read, None):
        order.append(n)
        places.append(d.tell())
    assert sorted(order) == sorted(names + [".", ".."])
    rng = random.Random(5)
    for k in rng.sample(range(len(places)), 20):
        d.seek(places[k])
        assert d.rest() == order[k + 1:]
    gone = set(rng.sample(names, 1000))
    d.seek(places[50])
    head = [d.read() for _ in range(100)]
    for k, n in enumerate(gone):
        os.unlink(f"{a}/{n}")
        open(f"{a}/new{k}", "w").close()
    tail = d.rest()
    stayed = [n for n in order[51:] if n not in gone]
    seen = head + tail
    assert [n for n in seen if n in stayed] == stayed, "each that stayed once, in order"
    assert len(seen) == len(set(seen))
    for k in rng.sample(range(len(places)), 20):
        d.seek(places[k])
        assert [n for n in d.rest() if n in stayed] == [n for n in order[k + 1:] if n in stayed]
    d.close()


def fill(database, n):
    """So many files in the directory /many, put there as the tracker would have."""
    db = sqlite3.connect(database)
    ino, cookie, parent = 1 << 40, 1 << 40, (1 << 40) - 1
    cols = [r[1] for r in db.execute("PRAGMA table_info(inodes)")]
    like = dict(zip(cols, db.execute("SELECT * FROM inodes WHERE ino=1").fetchone()))

    def rows(first, count, **but):
        return ([{**like, **but, "ino": first + k}[c] for c in cols] for k in range(count))
    marks = ",".join("?" * len(cols))
    db.executemany(f"INSERT INTO inodes VALUES({marks})", rows(parent, 1, parent=1))
    db.executemany(f"INSERT INTO inodes VALUES({marks})",
                   rows(ino, n, mode=stat.S_IFREG | 0o644, nlink=1, parent=0))
    db.execute("INSERT INTO dentries VALUES(1,?,?,?)", (b"many", parent, cookie - 1))
    db.executemany("INSERT INTO dentries VALUES(?,?,?,?)",
                   ((parent, b"file-%07d" % k, ino + k, cookie + k) for k in range(n)))
    db.execute("UPDATE inodes SET nlink=nlink+1 WHERE ino=1")
    db.execute("UPDATE meta SET value=? WHERE key IN ('next_ino', 'next_cookie')", (1 << 41,))
    db.commit()
    db.close()


@pytest.fixture(scope="module")
def crowd():
    with Swarm(peers=0) as s:
        s.stop_tracker()
        [name] = [n for n in os.listdir(f"{s.dir}/tracker") if n.endswith(".db")]
        fill(f"{s.dir}/tracker/{name}", MANY)
        s.start_tracker()
        s.add_peer()
        yield s


def test_a_million_entries_in_bounded_memory(crowd):
    p = crowd.peers[0]
    top = p.path("many")
    before, tracker = rss(p.proc), rss(crowd.tracker)
    d, n, places = Dir(top), 0, []
    for name in iter(d.read, None):
        n += 1
        if n % 100_000 == 0:
            places.append((n, d.tell(), name))
    assert n == MANY + 2
    grown = rss(p.proc) - before
    if SLOWER == 1:                     # sanitizers keep what is freed
        assert grown < 400 << 20, f"the mount grew by {grown >> 20} MiB"
        assert rss(crowd.tracker) - tracker < 200 << 20
    for k, at, _ in reversed(places):
        d.seek(at)
        name = d.read()
        assert name is None or k >= MANY or name == f"file-{k - 2:07}"
    d.close()
    assert os.stat(f"{top}/file-0777777").st_mode == stat.S_IFREG | 0o644
    open(f"{top}/new", "x").close()
    os.unlink(f"{top}/file-0500000")
    assert os.path.exists(f"{top}/new") and not os.path.exists(f"{top}/file-0500000")


def test_numbers_never_change(make_swarm):
    s = make_swarm(peers=2)
    a, b = s.peers
    os.mkdir(a.path("d"))
    for k in range(50):
        open(a.path("d", str(k)), "w").close()
    os.symlink("x", a.path("l"))
    os.mkfifo(a.path("p"))

    def numbers(p):
        return {n: os.lstat(p.path(n)).st_ino for n in ("", "d", "l", "p", *(f"d/{k}" for k in range(50)))}
    was = numbers(a)
    assert numbers(b) == was and len(set(was.values())) == len(was)
    assert {e.name: e.inode() for e in os.scandir(b.path("d"))} == {str(k): was[f"d/{k}"] for k in range(50)}
    a.stop()
    b.kill()
    s.stop_tracker()
    s.start_tracker()
    a.start()
    b.start()
    assert numbers(a) == was and numbers(b) == was
    os.rename(a.path("d", "1"), a.path("moved"))
    os.unlink(a.path("d", "2"))
    open(b.path("d", "2"), "w").close()
    assert os.stat(b.path("moved")).st_ino == was["d/1"]
    assert os.stat(a.path("d", "2")).st_ino not in was.values()


# ------------------------------------------------------------------ how it is mounted

def test_read_only(make_swarm):
    s = make_swarm(peers=1)
    a = s.peers[0].mnt
    b = s.add_peer(**{"ro,capacity": "4G"}).mnt
    os.mkdir(f"{a}/d")
    with open(f"{a}/f", "w") as f:
        f.write("content")
    os.setxattr(f"{a}/f", "user.a", b"1")
    for call, *args in (
            (os.open, f"{b}/f", os.O_WRONLY), (os.open, f"{b}/f", os.O_RDWR), (os.open, f"{b}/new", os.O_CREAT),
            (os.open, f"{b}/f", os.O_TRUNC), (os.open, b, os.O_TMPFILE | os.O_RDWR), (os.mkdir, f"{b}/new"),
            (os.mkfifo, f"{b}/new"), (os.symlink, "x", f"{b}/new"), (os.link, f"{b}/f", f"{b}/new"),
            (os.rename, f"{b}/f", f"{b}/new"), (os.unlink, f"{b}/f"), (os.rmdir, f"{b}/d"), (os.chmod, f"{b}/f", 0o600),
            (os.chown, f"{b}/f", 1, 1), (os.truncate, f"{b}/f", 0), (os.utime, f"{b}/f", (1, 2)),
            (os.setxattr, f"{b}/f", "user.b", b"1"), (os.removexattr, f"{b}/f", "user.a")):
        assert refused(call, *args) == errno.EROFS, call
    assert refused(os.mkdir, f"{b}/d") == errno.EEXIST
    assert not os.access(f"{b}/f", os.W_OK) and os.access(f"{b}/f", os.R_OK)
    was = os.stat(f"{b}/f")
    assert open(f"{b}/f").read() == "content" and os.stat(f"{b}/f") == was


def test_noatime(make_swarm):
    s = make_swarm(peers=1, peer_options={"noatime,capacity": "4G"})
    f = s.peers[0].path("f")
    with open(f, "w") as out:
        out.write("content")
    os.utime(f, (100, 200))
    assert open(f).read() == "content" and os.stat(f).st_atime == 100
