"""Directories listed again: from memory while the lease lasts, never old."""
import ctypes
import os
import random
import subprocess
import time

STATS_S = 2             # how often a mount tells its counters
libc = ctypes.CDLL(None, use_errno=True)


def requests(swarm):
    """Requests to the tracker so far, once none are made any more."""
    now, was = swarm.counter("requests"), None
    end = time.monotonic() + 60
    while now != was:
        assert time.monotonic() < end, "the mounts are never quiet"
        time.sleep(2 * STATS_S)
        now, was = swarm.counter("requests"), now
    return now


def ls(path):
    return subprocess.run(["ls", "-lA", path], check=True, capture_output=True, text=True, timeout=60).stdout


def fill(path, n):
    for k in range(n):
        os.close(os.open(f"{path}/{k:05}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def test_again_is_no_request(swarm, pair):
    a, b = pair
    fill(a, 100)
    os.mkdir(f"{a}/sub")
    want = {m: ls(m) for m in pair}
    before = requests(swarm)
    for _ in range(10):
        assert ls(a) == want[a] and ls(b) == want[b] and len(os.listdir(b)) == 101
    assert requests(swarm) == before


def test_many_pages(swarm, pair):
    """3000 entries are three pages of the tracker's; they are kept all the same."""
    a, b = pair
    fill(a, 3000)
    want = [f"{k:05}" for k in range(3000)]
    assert sorted(os.listdir(b)) == want
    before = requests(swarm)
    assert sorted(os.listdir(b)) == want and sorted(e.name for e in os.scandir(b) if e.stat()) == want
    assert requests(swarm) == before


def test_changes_are_in_the_next_one(pair):
    a, b = pair
    here = set()
    rng = random.Random(1)
    for k in range(200):
        name, m = f"n{rng.randrange(20)}", rng.choice(pair)
        if name in here and rng.random() < 0.3:
            other = f"n{rng.randrange(20)}"
            os.rename(f"{m}/{name}", f"{m}/{other}")
            here.discard(name)
            here.add(other)
        elif name in here:
            os.unlink(f"{m}/{name}")
            here.discard(name)
        else:
            os.close(os.open(f"{m}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            here.add(name)
        assert set(os.listdir(a)) == here == set(os.listdir(b)), f"step {k}"


def test_attributes_that_changed_come_together(swarm, pair):
    """The names are known, the attributes are not: they are not asked for one by one."""
    a, b = pair
    fill(a, 50)
    ls(b)
    for k in range(50):
        os.chmod(f"{a}/{k:05}", 0o600)
    before = requests(swarm)
    assert ls(b).count("-rw-------") == 50
    assert requests(swarm) - before < 10


class Dir:
    """opendir(3) and what goes with it."""

    class Dirent(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                    ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]

    def __init__(self, path):
        for name, result, args in (("opendir", ctypes.c_void_p, [ctypes.c_char_p]),
                                   ("readdir64", ctypes.POINTER(self.Dirent), [ctypes.c_void_p]),
                                   ("telldir", ctypes.c_long, [ctypes.c_void_p]),
                                   ("seekdir", None, [ctypes.c_void_p, ctypes.c_long]),
                                   ("closedir", ctypes.c_int, [ctypes.c_void_p])):
            getattr(libc, name).restype, getattr(libc, name).argtypes = result, args
        self.p = libc.opendir(os.fsencode(path))
        assert self.p

    def read(self):
        e = libc.readdir64(self.p)
        return e.contents.name.decode() if e else None

    def tell(self):
        return libc.telldir(self.p)

    def seek(self, at):
        libc.seekdir(self.p, at)

    def close(self):
        libc.closedir(self.p)


def test_places_stay(pair):
    """telldir and seekdir, from memory and from the tracker, with changes between."""
    a, b = pair
    fill(a, 2500)
    d = Dir(b)
    places, name = {}, ""
    while name is not None:         # asks for pages; afterwards it is known
        at, name = d.tell(), d.read()
        places[name] = at
    assert len(places) == 2503
    names = [n for n in places if n and n[0] != "."]
    for known in (True, False):
        if not known:
            os.unlink(f"{a}/00077")
        for name in names[::97] + names[-2:]:
            d.seek(places[name])
            assert d.read() == name
            following = names[names.index(name) + 1:][:1]
            assert d.read() == (following[0] if following else None)
    d.seek(places["00077"])
    assert d.read() == "00078"
    d.close()
