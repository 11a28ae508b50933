"""fallocate, SEEK_DATA and SEEK_HOLE, copy_file_range, sizes at every limit: on two mounts."""
import contextlib
import ctypes
import errno
import os
import random
import stat
import time

import pytest

from swarm import run, wait_for

SLOT = 512 * 1024
PIB = 1 << 50
LARGEST = (1 << 63) - 1
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, off, size):
    if libc.fallocate(fd, mode, off, size):
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def clone(src, dst, src_off, dst_off, size):
    """copy_file_range() until it is all there; how many calls."""
    calls = 0
    while size:
        n = os.copy_file_range(src, dst, size, src_off, dst_off)
        assert n
        src_off, dst_off, size, calls = src_off + n, dst_off + n, size - n, calls + 1
    return calls


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def noise(n, seed=0):
    return random.Random(seed).randbytes(n)


def layout(fd):
    """[(where data begins, where it ends)]"""
    runs, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        end = os.lseek(fd, at, os.SEEK_HOLE)
        runs.append((at, end))
        at = end
    return runs


def refused(err, fn, *args):
    with pytest.raises(OSError) as e:
        fn(*args)
    assert e.value.errno == err, e.value


@contextlib.contextmanager
def as_user(uid):
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


# ------------------------------------------------------------------ fallocate

@pytest.mark.parametrize("mode", [PUNCH | KEEP, ZERO, ZERO | KEEP])
def test_a_hole_is_seen_at_once_everywhere(pair, mode):
    a, b = pair
    data = bytearray(noise(3 * SLOT + 1000))
    write(f"{a}/f", data)
    with opened(f"{b}/f", os.O_RDONLY) as rb, opened(f"{a}/f") as fa:
        assert os.pread(rb, len(data), 0) == data       # its pages are cached there now
        before = os.stat(f"{b}/f")
        fallocate(fa, mode, SLOT - 100, SLOT + 5000)
        data[SLOT - 100:2 * SLOT + 4900] = bytes(SLOT + 5000)
        assert os.pread(fa, len(data), 0) == data
        assert os.pread(rb, len(data), 0) == data
        after = os.stat(f"{b}/f")
        assert after.st_size == len(data)
        assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns
        assert after.st_blocks == -(-(len(data) - SLOT - 5000) // 512)
        for fd in (fa, rb):
            assert layout(fd) == [(0, SLOT - 100), (2 * SLOT + 4900, len(data))]


def test_what_is_dirty_is_punched_in_order(pair):
    a, b = pair
    with opened(f"{a}/f", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"x" * 100000, 0)
        fallocate(fd, PUNCH | KEEP, 1000, 50000)
        os.pwrite(fd, b"y" * 10, 2000)
        want = b"x" * 1000 + bytes(1000) + b"y" * 10 + bytes(48990) + b"x" * 49000
        assert os.pread(fd, 200000, 0) == want
    assert read(f"{b}/f") == want


def test_sizes_follow_the_mode(pair):
    a, b = pair
    write(f"{a}/f", b"0123456789")
    with opened(f"{a}/f") as fd:
        fallocate(fd, KEEP, 0, 1 << 20)
        assert os.stat(f"{b}/f").st_size == 10
        fallocate(fd, PUNCH | KEEP, 5, 1 << 20)
        assert os.stat(f"{b}/f").st_size == 10
        fallocate(fd, ZERO | KEEP, 8, 1 << 20)
        assert os.stat(f"{b}/f").st_size == 10
        fallocate(fd, 0, 0, 100)
        assert os.stat(f"{b}/f").st_size == 100
        os.posix_fallocate(fd, 50, 10)
        assert os.stat(f"{b}/f").st_size == 100
        fallocate(fd, ZERO, 2, 2 * SLOT)
        assert os.stat(f"{b}/f").st_size == os.fstat(fd).st_size == 2 * SLOT + 2
        assert os.pread(fd, 20, 0) == b"01" + bytes(18)
    assert read(f"{b}/f") == b"01" + bytes(2 * SLOT)
    os.truncate(f"{b}/f", 3)
    os.truncate(f"{b}/f", 20)
    assert read(f"{a}/f") == b"01" + bytes(18)


def test_refused_as_the_manual_says(pair):
    a, _ = pair
    write(f"{a}/f", b"0123456789")
    with opened(f"{a}/f") as fd:
        refused(errno.EINVAL, fallocate, fd, 0, -1, 10)
        refused(errno.EINVAL, fallocate, fd, 0, 0, 0)
        refused(errno.EINVAL, fallocate, fd, 0, 0, -1)
        refused(errno.EFBIG, fallocate, fd, 0, LARGEST, 1)
        refused(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 1)
        refused(errno.EOPNOTSUPP, fallocate, fd, COLLAPSE, 0, 1)
        refused(errno.EOPNOTSUPP, fallocate, fd, INSERT, 0, 1)
        refused(errno.EOPNOTSUPP, fallocate, fd, UNSHARE, 0, 1)
        refused(errno.EOPNOTSUPP, fallocate, fd, 0x8000, 0, 1)
        refused(errno.ENOSPC, fallocate, fd, 0, 0, PIB)
        refused(errno.ENOSPC, fallocate, fd, KEEP, 0, PIB)
        assert os.fstat(fd).st_size == 10
    with opened(f"{a}/f", os.O_RDONLY) as fd:
        refused(errno.EBADF, fallocate, fd, 0, 0, 1)
    with opened(a, os.O_RDONLY | os.O_DIRECTORY) as fd:
        refused(errno.EBADF, fallocate, fd, 0, 0, 1)
    os.mkfifo(f"{a}/fifo")
    with opened(f"{a}/fifo") as fd:
        refused(errno.ESPIPE, fallocate, fd, 0, 0, 1)
    assert read(f"{a}/f") == b"0123456789"


def test_suid_goes_with_the_content(pair):
    a, b = pair
    os.chmod(a, 0o777)
    for name in ("punched", "cloned"):
        write(f"{a}/{name}", b"0123456789")
        os.chmod(f"{a}/{name}", 0o6777)
    write(f"{a}/source", b"abc")
    with as_user(1000), opened(f"{a}/punched") as p, opened(f"{a}/cloned") as c, opened(f"{a}/source", os.O_RDONLY) as s:
        fallocate(p, PUNCH | KEEP, 0, 5)
        clone(s, c, 0, 0, 3)
    for name in ("punched", "cloned"):
        assert stat.S_IMODE(os.stat(f"{b}/{name}").st_mode) == 0o777


# ------------------------------------------------------------ data and holes

def test_data_and_holes(pair):
    a, b = pair
    with opened(f"{a}/f", os.O_RDWR | os.O_CREAT) as fd:
        refused(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
        refused(errno.ENXIO, os.lseek, fd, 0, os.SEEK_HOLE)
        os.truncate(fd, 10 * SLOT)
        refused(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
        assert os.lseek(fd, 5, os.SEEK_HOLE) == 5
        os.pwrite(fd, b"x" * 100, 3 * SLOT - 50)       # not yet committed
        assert layout(fd) == [(3 * SLOT - 50, 3 * SLOT + 50)]
        assert os.lseek(fd, 3 * SLOT, os.SEEK_DATA) == 3 * SLOT
        assert os.lseek(fd, 10 * SLOT - 1, os.SEEK_HOLE) == 10 * SLOT - 1
        refused(errno.ENXIO, os.lseek, fd, 10 * SLOT, os.SEEK_HOLE)
        refused(errno.ENXIO, os.lseek, fd, 10 * SLOT - 1, os.SEEK_DATA)
        refused(errno.ENXIO, os.lseek, fd, LARGEST, os.SEEK_DATA)
        refused(errno.ENXIO, os.lseek, fd, -1, os.SEEK_DATA)
    with opened(f"{b}/f", os.O_RDONLY) as fd:
        assert layout(fd) == [(3 * SLOT - 50, 3 * SLOT + 50)]
        assert os.lseek(fd, -1, os.SEEK_END) == 10 * SLOT - 1


def test_a_sparse_pebibyte(pair, swarm):
    a, b = pair
    at = [0, PIB // 2 + 77, PIB - 9]
    with opened(f"{a}/f", os.O_RDWR | os.O_CREAT) as fd:
        for off in at:
            os.pwrite(fd, b"some data", off)
        begin = time.monotonic()
        assert layout(fd) == [(off, off + 9) for off in at]
        assert time.monotonic() - begin < 5
    st = os.stat(f"{b}/f")
    assert st.st_size == PIB and st.st_blocks == 1
    with opened(f"{b}/f") as fd:
        for off in at:
            assert os.pread(fd, 9, off) == b"some data"
        assert os.pread(fd, 4096, PIB // 3) == bytes(4096)
        fallocate(fd, PUNCH | KEEP, 4, PIB // 2 + 75)
        assert layout(fd) == [(0, 4), (PIB // 2 + 79, PIB // 2 + 86), (PIB - 9, PIB)]
    run("cp", "--sparse=auto", f"{b}/f", f"{b}/g", timeout=60)
    assert os.stat(f"{a}/g").st_size == PIB
    with opened(f"{a}/g", os.O_RDONLY) as fd:
        assert layout(fd) == [(0, 4), (PIB // 2 + 79, PIB // 2 + 86), (PIB - 9, PIB)]
    info = swarm.info(f"{a}/g")
    assert info["size"] == PIB
    os.truncate(f"{a}/f", 2)
    assert read(f"{b}/f") == b"so"


def test_the_largest_file(pair):
    a, b = pair
    with opened(f"{a}/f", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"z", LARGEST - 1)
        assert os.fstat(fd).st_size == LARGEST
        refused(errno.EINVAL, os.pwrite, fd, b"z", LARGEST)      # beyond what an off_t can say
        assert os.pwrite(fd, b"y", LARGEST - 1) == 1
        assert os.pread(fd, 3, LARGEST - 3) == b"\0\0y"
        refused(errno.EINVAL, os.ftruncate, fd, -1)
    with opened(f"{b}/f") as fd:
        assert os.fstat(fd).st_size == LARGEST
        assert os.pread(fd, 1, LARGEST - 1) == b"y"
        assert layout(fd) == [(LARGEST - 1, LARGEST)]
        os.ftruncate(fd, 10)
        os.ftruncate(fd, LARGEST)
        assert os.pread(fd, 1, LARGEST - 1) == b"\0"
        assert layout(fd) == []
    with opened(f"{a}/f", os.O_WRONLY | os.O_APPEND) as fd:
        refused(errno.EFBIG, os.write, fd, b"more")


def test_the_limit_of_a_process(pair):
    a, _ = pair
    script = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
f, g = os.open(sys.argv[1], os.O_RDWR), os.open(sys.argv[2], os.O_RDONLY)
for fn in (lambda: os.pwrite(f, b"x", 1000), lambda: os.ftruncate(f, 1001), lambda: os.posix_fallocate(f, 0, 1001),
           lambda: os.copy_file_range(g, f, 10, 0, 1000)):
    try:
        fn()
    except OSError as e:
        print(e.errno)
print(os.pwrite(f, b"x" * 10, 995))
"""
    write(f"{a}/f", b"")
    write(f"{a}/g", b"0123456789")
    out = run("/usr/bin/python3", "-c", script, f"{a}/f", f"{a}/g").stdout.split()
    assert out == [str(errno.EFBIG)] * 4 + ["5"]


# -------------------------------------------------------------------- clones

def test_a_clone_is_seen_at_once_everywhere(pair):
    a, b = pair
    src, dst = noise(3 * SLOT + 1000, 1), bytearray(noise(2 * SLOT, 2))
    write(f"{a}/src", src)
    write(f"{a}/dst", dst)
    with opened(f"{b}/dst", os.O_RDONLY) as rb, opened(f"{a}/dst") as fa, opened(f"{a}/src", os.O_RDONLY) as s:
        assert os.pread(rb, len(dst), 0) == dst
        clone(s, fa, 12345, SLOT // 2, 2 * SLOT)
        dst[SLOT // 2:] = src[12345:12345 + 2 * SLOT]
        assert os.pread(fa, 4 * SLOT, 0) == dst
        assert os.pread(rb, 4 * SLOT, 0) == dst
        assert os.fstat(rb).st_size == len(dst)
    assert read(f"{b}/src") == src


def test_what_is_dirty_is_cloned_in_order(pair):
    a, b = pair
    with opened(f"{a}/src", os.O_RDWR | os.O_CREAT) as s, opened(f"{a}/dst", os.O_RDWR | os.O_CREAT) as d:
        os.pwrite(s, b"new source", 0)
        os.pwrite(d, b"x" * 100, 0)
        clone(s, d, 4, 10, 6)
        os.pwrite(s, b"OLD", 4)
        os.pwrite(d, b"!", 12)
        want = b"x" * 10 + b"so!rce" + b"x" * 84
        assert os.pread(d, 200, 0) == want
    assert read(f"{b}/dst") == want
    assert read(f"{b}/src") == b"new OLDrce"


def test_clone_within_a_file_and_at_its_end(pair):
    a, b = pair
    data = bytearray(noise(2 * SLOT))
    write(f"{a}/f", data)
    with opened(f"{a}/f") as fd:
        refused(errno.EINVAL, os.copy_file_range, fd, fd, 100, 0, 50)
        clone(fd, fd, 0, SLOT + 7, 1000)
        data[SLOT + 7:SLOT + 1007] = data[:1000]
        assert os.copy_file_range(fd, fd, 1 << 40, 2 * SLOT - 10, 2 * SLOT) == 10
        data += data[-10:]
        assert os.copy_file_range(fd, fd, 100, len(data), 0) == 0
    assert read(f"{b}/f") == data


def test_holes_are_cloned(pair):
    a, b = pair
    write(f"{a}/dst", noise(5 * SLOT))
    with opened(f"{a}/src", os.O_RDWR | os.O_CREAT) as s, opened(f"{a}/dst") as d:
        os.ftruncate(s, 5 * SLOT)
        os.pwrite(s, b"data", 2 * SLOT + 1)
        clone(s, d, 0, 0, 5 * SLOT)
        assert layout(d) == [(2 * SLOT + 1, 2 * SLOT + 5)]
    assert read(f"{b}/dst") == read(f"{b}/src")
    assert os.stat(f"{b}/dst").st_blocks == 1


def used(swarm):
    return sum(p["used_bytes"] for p in swarm.status()["peers"])


def settle(swarm):
    """The stores' bytes, once they do not move."""
    last = [used(swarm)]

    def same():
        time.sleep(1.5)         # longer than between two heartbeats
        last.append(used(swarm))
        return last[-1] == last[-2]
    wait_for(same, "the stores to settle", 30)
    return last[-1]


def test_ten_gibibytes_at_once(make_swarm):
    """cp inside the folder moves no byte; both copies are whole; garbage only when both are gone."""
    with contextlib.ExitStack() as files:
        s = make_swarm(peers=2, tracker_args=["--garbage-grace", "2"])
        a, b = s.peers
        one = noise(1 << 20, 3)
        with open(a.path("part"), "wb") as f:
            for i in range(256):
                f.write(i.to_bytes(4, "big") + one[4:])
        full = 2 * 512 * (SLOT + 128)           # copies, chunks, trailers
        wait_for(lambda: used(s) == full, "the stores to say what they have")
        src = files.enter_context(opened(a.path("part"), os.O_RDONLY))
        big = files.enter_context(opened(a.path("big"), os.O_RDWR | os.O_CREAT))
        for i in range(40):
            clone(src, big, 0, i << 28, 1 << 28)
        assert os.stat(b.path("big")).st_size == 10 << 30
        begin = time.monotonic()
        run("cp", a.path("big"), a.path("copy"), timeout=120)
        took = time.monotonic() - begin
        print(f"cp of 10 GiB: {took:.2f} s")
        assert took < 20, "bytes were moved"
        assert os.stat(b.path("copy")).st_size == 10 << 30
        assert settle(s) == full
        info = s.info(a.path("copy"))
        assert info["size"] == 10 << 30
        os.unlink(b.path("part"))
        os.unlink(b.path("big"))
        with opened(b.path("copy"), os.O_RDWR) as fd:
            for i in (0, 17, 256 * 39 + 255):
                assert os.pread(fd, 1 << 20, i << 20) == (i % 256).to_bytes(4, "big") + one[4:]
            os.pwrite(fd, b"another", 5 << 20)
            assert os.pread(fd, 7, 256 + 5 << 20) == b"\0\0\0\5" + one[4:7]
    assert s.status()["garbage_chunks"] == 0
    os.unlink(a.path("copy"))
    wait_for(lambda: used(s) < full // 100, "the chunks to go", 60)


def test_files_of_other_chunk_sizes(pair, swarm, tmp_path):
    """Where the pieces would be too many for a slot the kernel copies, and nobody sees a difference."""
    a, b = pair
    data = noise(3 * SLOT + 777, 4)
    write(tmp_path / "local", data)
    top = os.path.basename(a)
    swarm.pspfs("distribute", tmp_path / "local", f"/{top}/small", "--chunk-size", "1K")
    swarm.pspfs("distribute", tmp_path / "local", f"/{top}/large", "--chunk-size", "4M")
    for src, dst in (("small", "normal"), ("large", "large2"), ("normal", "back"), ("large2", "again")):
        run("cp", f"{a}/{src}", f"{a}/{dst}")
        assert read(f"{b}/{dst}") == data, (src, dst)
    with opened(f"{a}/normal", os.O_RDONLY) as src, opened(f"{b}/small", os.O_RDONLY), opened(f"{a}/small") as dst:
        clone(src, dst, 100, 0, SLOT)           # big chunks in small slots
        assert os.pread(dst, len(data), 0) == data[100:SLOT + 100] + data[SLOT:]
    assert read(f"{b}/small") == data[100:SLOT + 100] + data[SLOT:]
    assert read(f"{b}/normal") == data


def test_clones_are_replicated_repaired_and_fetched(make_swarm, tmp_path):
    """A chunk of two files is a chunk: each has its copies, its MD5, survives a peer and the other file."""
    s = make_swarm(peers=3, tracker_args=["--repair-after", "1", "--garbage-grace", "1"])
    a, b, c = s.peers
    data = noise(4 * SLOT, 5)
    write(a.path("one"), data)
    run("cp", a.path("one"), a.path("two"))
    info = s.info(a.path("two"))
    assert info["chunks"] == s.info(a.path("one"))["chunks"]
    with opened(b.path("two")) as fd:
        os.pwrite(fd, b"changed", SLOT + 5)
    changed = data[:SLOT + 5] + b"changed" + data[SLOT + 12:]
    s.pspfs("replicate", "/two", "--copies", "3")
    wait_for(lambda: all(len(k["holders"]) == 3 for k in s.info(a.path("two"))["chunks"]), "three copies", 60)
    os.unlink(a.path("one"))
    wait_for(lambda: s.status()["garbage_chunks"] == 0, "garbage to go", 30)
    s.pspfs("get", "/two", tmp_path / "got")
    assert read(tmp_path / "got") == changed
    a.kill()
    assert read(c.path("two")) == changed


# ----------------------------------------------------------------- at random

class Oracle:
    """Files as bytearrays, and what is done to them on either mount."""
    SIZE = 5 * SLOT // 2

    def __init__(self, dirs, seed, files=2):
        self.rng = random.Random(seed)
        self.names = [f"f{i}" for i in range(files)]
        self.data = [bytearray() for _ in self.names]
        self.fds = [[os.open(f"{d}/{n}", os.O_RDWR | os.O_CREAT) for n in self.names] for d in dirs]
        self.done = []

    def close(self):
        for fd in sum(self.fds, []):
            os.close(fd)

    def span(self):
        size = self.rng.choice([1, 100, 4096, 70000, SLOT, 3 * SLOT // 2])
        size = self.rng.randrange(1, size + 1)
        off = self.rng.randrange(self.SIZE - size)
        if self.rng.random() < 0.4:
            off -= off % 4096
        return off, size

    def put(self, i, off, data):
        have = self.data[i]
        if len(have) < off:
            have += bytes(off - len(have))
        have[off:off + len(data)] = data

    def write(self, fds, i):
        off, size = self.span()
        data = self.rng.randbytes(size)
        assert os.pwrite(fds[i], data, off) == size
        self.put(i, off, data)
        return off, size

    def truncate(self, fds, i):
        size = self.rng.randrange(self.SIZE)
        os.ftruncate(fds[i], size)
        del self.data[i][size:]
        self.data[i] += bytes(size - len(self.data[i]))
        return size,

    def punch(self, fds, i):
        off, size = self.span()
        fallocate(fds[i], PUNCH | KEEP, off, size)
        self.zero_bytes(i, off, size)
        return off, size

    def zero_bytes(self, i, off, size):
        end = min(off + size, len(self.data[i]))
        if off < end:
            self.data[i][off:end] = bytes(end - off)

    def zero(self, fds, i):
        off, size = self.span()
        fallocate(fds[i], ZERO, off, size)
        self.zero_bytes(i, off, size)
        if len(self.data[i]) < off + size:
            self.put(i, off + size, b"")
        return off, size

    def clone(self, fds, i):
        off, size = self.span()
        j = self.rng.randrange(len(fds))
        to = self.rng.randrange(self.SIZE - size)
        size = min(size, max(0, len(self.data[j]) - off))
        if i == j and abs(to - off) < size:
            return "overlaps",
        os.fstat(fds[j])        # as cp does: copy_file_range(2) itself stops at the size that the kernel knew
        clone(fds[j], fds[i], off, to, size)
        if size:
            self.put(i, to, bytes(self.data[j][off:off + size]))
        return j, off, to, size

    def flush(self, fds, i):
        os.fsync(fds[i])
        return ()

    def read(self, fds, i):
        off, size = self.span()
        assert os.pread(fds[i], size, off) == self.data[i][off:off + size], "it reads otherwise"
        assert os.fstat(fds[i]).st_size == len(self.data[i])
        return off, size

    def seek(self, fds, i):
        holes = bytearray(len(self.data[i]))
        for begin, end in layout(fds[i]):
            holes[begin:end] = self.data[i][begin:end]
        assert holes == self.data[i], "data in a hole"
        return ()

    def step(self):
        where, i = self.rng.randrange(len(self.fds)), self.rng.randrange(len(self.names))
        op = self.rng.choice([self.write] * 6 + [self.read] * 4 +
                             [self.truncate, self.punch, self.punch, self.zero, self.clone, self.clone, self.seek])
        self.done.append((op.__name__, where, i))
        self.done[-1] += op(self.fds[where], i)
        # the other mount sees what is committed
        if op in (self.write, ):
            os.fsync(self.fds[where][i])


def test_at_random_on_two_mounts(pair):
    seed = int(os.environ.get("PSPFS_SEED") or random.randrange(1 << 32))
    print(f"PSPFS_SEED={seed}")
    o = Oracle(pair, seed)
    try:
        for _ in range(700):
            o.step()
        for d in pair:
            for name, data in zip(o.names, o.data):
                assert read(f"{d}/{name}") == data
    except BaseException:
        print("\n".join(map(str, o.done[-40:])))
        raise
    finally:
        o.close()


def test_at_random_on_one_mount_unflushed(pair):
    """As above, but what is dirty stays so until something else needs it."""
    seed = int(os.environ.get("PSPFS_SEED") or random.randrange(1 << 32))
    print(f"PSPFS_SEED={seed}")
    o = Oracle(pair[:1], seed)
    real, os.fsync = os.fsync, lambda fd: None
    try:
        for _ in range(1000):
            o.step()
    except BaseException:
        print("\n".join(map(str, o.done[-40:])))
        raise
    finally:
        os.fsync = real
        o.close()
    for name, data in zip(o.names, o.data):
        assert read(f"{pair[1]}/{name}") == data
