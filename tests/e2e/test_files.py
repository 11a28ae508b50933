"""What one mount does is what another sees: names, attributes, content."""
import contextlib
import errno
import fcntl
import mmap
import os
import random
import stat
import subprocess
import sys
import threading
import time

import pytest

from swarm import run

SLOT = 512 * 1024


def write(path, data, mode="wb"):
    with open(path, mode) as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def noise(n, seed=0):
    return random.Random(seed).randbytes(n)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65537, SLOT - 1, SLOT, SLOT + 1, 3 * SLOT + 12345, 20 << 20])
def test_content_after_close(pair, size):
    a, b = pair
    data = noise(size, size)
    write(f"{a}/f", data)
    assert os.stat(f"{b}/f").st_size == size
    assert read(f"{b}/f") == data


def test_seen_at_once_on_the_same_mount(pair):
    a, _ = pair
    with open(f"{a}/f", "wb", buffering=0) as w, open(f"{a}/f", "rb", buffering=0) as r:
        for i in range(50):
            w.write(b"%08d" % i)
            r.seek(i * 8)
            assert r.read(8) == b"%08d" % i
            assert os.fstat(r.fileno()).st_size == (i + 1) * 8


def test_overwrite_in_place(pair):
    a, b = pair
    data = bytearray(noise(2 * SLOT + 777))
    write(f"{a}/f", data)
    rng = random.Random(7)
    for i in range(40):
        where = a if i % 2 else b
        off = rng.randrange(len(data) - 5000)
        piece = rng.randbytes(rng.randrange(1, 5000))
        with open(f"{where}/f", "r+b") as f:
            f.seek(off)
            f.write(piece)
        data[off:off + len(piece)] = piece
        other = b if i % 2 else a
        assert read(f"{other}/f") == data, f"round {i}"


def test_truncate_and_holes(pair):
    a, b = pair
    data = noise(SLOT * 2 + 100)
    write(f"{a}/f", data)
    os.truncate(f"{a}/f", 1000)
    assert read(f"{b}/f") == data[:1000]
    os.truncate(f"{b}/f", SLOT * 3)
    assert read(f"{a}/f") == data[:1000] + bytes(SLOT * 3 - 1000)
    with open(f"{a}/f", "r+b") as f:
        f.seek(SLOT * 2 + 5)
        f.write(b"island")
    got = read(f"{b}/f")
    assert got[SLOT * 2 + 5:SLOT * 2 + 11] == b"island" and not any(got[1000:SLOT * 2 + 5])
    with open(f"{a}/sparse", "wb") as f:
        f.seek(1 << 40)
        f.write(b"end")
    st = os.stat(f"{b}/sparse")
    assert st.st_size == (1 << 40) + 3 and st.st_blocks * 512 < 1 << 20
    with open(f"{b}/sparse", "rb") as f:
        f.seek((1 << 40) - 5)
        assert f.read() == bytes(5) + b"end"
    with open(f"{a}/f", "wb"):
        pass
    assert os.stat(f"{b}/f").st_size == 0


def test_names(pair):
    a, b = pair
    os.mkdir(f"{a}/d")
    write(f"{b}/d/f", b"x")
    assert os.listdir(f"{a}/d") == ["f"]
    os.rename(f"{a}/d/f", f"{a}/d/g")
    assert os.listdir(f"{b}/d") == ["g"] and not os.path.exists(f"{b}/d/f")
    os.link(f"{b}/d/g", f"{b}/h")
    assert os.stat(f"{a}/h").st_nlink == 2 and os.stat(f"{a}/h").st_ino == os.stat(f"{b}/d/g").st_ino
    os.symlink("d/g", f"{a}/s")
    assert os.readlink(f"{b}/s") == "d/g" and read(f"{b}/s") == b"x"
    os.unlink(f"{b}/h")
    assert not os.path.exists(f"{a}/h") and os.stat(f"{a}/d/g").st_nlink == 1
    with pytest.raises(OSError) as e:
        os.rmdir(f"{b}/d")
    assert e.value.errno == errno.ENOTEMPTY
    os.unlink(f"{a}/d/g")
    os.rmdir(f"{b}/d")
    assert sorted(os.listdir(a)) == ["s"]
    os.mkfifo(f"{a}/fifo")
    assert stat.S_ISFIFO(os.lstat(f"{b}/fifo").st_mode)


def test_rename_over(pair):
    a, b = pair
    write(f"{a}/f", b"old")
    for i in range(30):
        write(f"{a}/tmp", b"new%d" % i)
        os.rename(f"{a}/tmp", f"{a}/f")
        assert read(f"{b}/f") == b"new%d" % i
        assert os.listdir(b) == ["f"]
    os.makedirs(f"{a}/x/y")
    with pytest.raises(OSError) as e:
        os.rename(f"{a}/x", f"{a}/x/y/z")
    assert e.value.errno == errno.EINVAL


def test_attributes(pair):
    a, b = pair
    write(f"{a}/f", b"x")
    os.chmod(f"{a}/f", 0o640)
    assert stat.S_IMODE(os.stat(f"{b}/f").st_mode) == 0o640
    os.chown(f"{b}/f", 1234, 5678)
    st = os.stat(f"{a}/f")
    assert (st.st_uid, st.st_gid) == (1234, 5678)
    os.utime(f"{a}/f", ns=(123456789, 987654321987654321))
    st = os.stat(f"{b}/f")
    assert (st.st_atime_ns, st.st_mtime_ns) == (123456789, 987654321987654321)
    before = os.stat(f"{b}/f").st_ctime_ns
    time.sleep(0.01)
    os.chmod(f"{a}/f", 0o600)
    assert os.stat(f"{b}/f").st_ctime_ns > before
    os.mkdir(f"{a}/sg")
    os.chown(f"{a}/sg", 0, 4321)
    os.chmod(f"{a}/sg", 0o2775)
    os.mkdir(f"{b}/sg/sub")
    st = os.stat(f"{a}/sg/sub")
    assert st.st_gid == 4321 and st.st_mode & stat.S_ISGID


def test_xattrs(pair):
    a, b = pair
    write(f"{a}/f", b"x")
    os.setxattr(f"{a}/f", "user.colour", b"blue")
    assert os.getxattr(f"{b}/f", "user.colour") == b"blue"
    os.setxattr(f"{b}/f", "user.big", noise(4000))
    assert sorted(os.listxattr(f"{a}/f")) == ["user.big", "user.colour"]
    with pytest.raises(OSError) as e:
        os.setxattr(f"{a}/f", "user.colour", b"red", os.XATTR_CREATE)
    assert e.value.errno == errno.EEXIST
    os.removexattr(f"{b}/f", "user.colour")
    with pytest.raises(OSError) as e:
        os.getxattr(f"{a}/f", "user.colour")
    assert e.value.errno == errno.ENODATA


def test_trusted_xattrs_are_listed_for_root_alone(pair):
    a, b = pair
    write(f"{a}/f", b"x")
    os.chmod(a, 0o755)
    os.setxattr(f"{a}/f", "trusted.t", b"1")
    os.setxattr(f"{a}/f", "user.u", b"1")
    assert sorted(os.listxattr(f"{b}/f")) == ["trusted.t", "user.u"]
    names = run("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", sys.executable, "-c",
                f"import os; print(os.listxattr('{b}/f'))").stdout
    assert names == "['user.u']\n"


def test_mtime_moves_with_content(pair):
    a, b = pair
    write(f"{a}/f", b"1")
    seen = os.stat(f"{b}/f").st_mtime_ns
    for i in range(20):
        write(f"{a if i % 2 else b}/f", b"%d" % i)
        now = os.stat(f"{b}/f").st_mtime_ns
        assert now > seen
        seen = now


def test_mtime_of_the_writer_stays(pair):
    """utimens after the last write wins over the write's own time."""
    a, b = pair
    with open(f"{a}/f", "wb", buffering=0) as f:
        f.write(b"data")
        os.utime(f.fileno(), ns=(10**18, 10**18))
    assert os.stat(f"{b}/f").st_mtime_ns == 10**18
    assert os.stat(f"{a}/f").st_mtime_ns == 10**18


@pytest.mark.parametrize("size", [1, SLOT, 3 * SLOT + 5, 40 * SLOT])
def test_close_does_not_move_times(pair, size):
    """git notes a file's times before it closes it, and compares them ever after."""
    a, b = pair
    for mode in ("xb", "r+b", "ab"):
        with open(f"{a}/f", mode, buffering=0) as f:
            for off in range(0, size, 100000):
                f.write(bytes(min(100000, size - off)))
            before = os.fstat(f.fileno())
        for where in (a, b):
            now = os.stat(f"{where}/f")
            assert (now.st_mtime_ns, now.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns), mode


def test_a_new_owner_takes_bits_of_what_is_no_directory(pair):
    a, b = pair
    os.mkfifo(f"{a}/fifo")
    os.mkdir(f"{a}/dir")
    for name, left in (("fifo", 0o770), ("dir", 0o6770)):
        os.chmod(f"{a}/{name}", 0o6770)
        os.chown(f"{b}/{name}", 1, 1)
        assert stat.S_IMODE(os.stat(f"{a}/{name}").st_mode) == left


def test_times_are_those_of_the_write(pair):
    """Not of the close: what fstat said before it is still so after it."""
    a, b = pair
    for i in range(10):
        fd = os.open(f"{a}/f", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"%d" % i)
        before = os.fstat(fd)
        time.sleep(0.01)
        os.close(fd)
        for top in pair:
            now = os.stat(f"{top}/f")
            assert (now.st_mtime_ns, now.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
        os.chmod(f"{b}/f", 0o640 + i % 2)
        assert os.stat(f"{a}/f").st_ctime_ns > before.st_ctime_ns


def test_truncating_an_empty_file_is_a_change(pair):
    a, b = pair
    write(f"{a}/f", b"")
    before = os.stat(f"{b}/f")
    write(f"{b}/f", b"")
    for top in pair:
        now = os.stat(f"{top}/f")
        assert now.st_mtime_ns > before.st_mtime_ns and now.st_ctime_ns > before.st_ctime_ns


def test_appends_from_two_mounts(pair):
    a, b = pair
    per = 300

    def appender(where, tag):
        fd = os.open(f"{where}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for i in range(per):
            os.write(fd, b"%s%05d" % (tag, i) + b"." * (i % 50) + b"\n")
            if i % 10 == 0:
                os.fsync(fd)
        os.close(fd)
    threads = [threading.Thread(target=appender, args=x) for x in ((a, b"A"), (b, b"B"), (a, b"C"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = read(f"{a}/log").split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 3 * per
    for tag in (b"A", b"B", b"C"):
        mine = [ln for ln in lines if ln[:1] == tag]
        assert mine == [b"%s%05d" % (tag, i) + b"." * (i % 50) for i in range(per)]
    assert read(f"{b}/log") == read(f"{a}/log")


def test_append_taken_off_and_put_on(pair):
    """fcntl(F_SETFL) changes O_APPEND of an open file."""
    a, b = pair
    write(f"{a}/f", b"0123456789")
    fd = os.open(f"{a}/f", os.O_RDWR | os.O_APPEND)
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"in place", 0)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    write(f"{b}/f", b"of b", "ab")
    os.write(fd, b"of a")
    os.close(fd)
    assert read(f"{b}/f") == b"in place89of bof a"


def test_append_after_another_mount_changed_the_size(pair):
    """Who appends finds it there at once, where the file ends now."""
    a, b = pair
    with open(f"{a}/f", "w+b", buffering=0) as f:
        f.write(b"")
        with open(f"{a}/f", "ab", buffering=0) as log:
            os.truncate(f"{b}/f", 5000)
            log.write(b"line")
            assert os.fstat(f.fileno()).st_size == 5004
            assert os.pread(f.fileno(), 100, 4999) == b"\0line"


def test_mapped_pages_of_an_appending_handle(pair):
    a, b = pair
    write(f"{a}/f", b"." * 10000)
    fd = os.open(f"{a}/f", os.O_RDWR | os.O_APPEND)
    with mmap.mmap(fd, 10000) as m:
        m[5000:5006] = b"mapped"
        m.flush()
    assert read(f"{b}/f") == b"." * 5000 + b"mapped" + b"." * 4994
    os.close(fd)
    assert os.stat(f"{b}/f").st_size == 10000


def test_exclusive_create(pair):
    a, b = pair
    for i in range(50):
        won = []

        def taker(where, i=i, won=won):
            try:
                os.close(os.open(f"{where}/lock{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won.append(where)
            except FileExistsError:
                pass
        threads = [threading.Thread(target=taker, args=(x,)) for x in (a, b)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(won) == 1


def test_disjoint_writers_of_one_chunk(pair):
    a, b = pair
    write(f"{a}/f", bytes(100000))

    def writer(where, first):
        fd = os.open(f"{where}/f", os.O_WRONLY)
        for off in range(first, 100000, 2000):
            os.pwrite(fd, bytes([first // 1000 + 1]) * 1000, off)
            os.fsync(fd)
        os.close(fd)
    threads = [threading.Thread(target=writer, args=x) for x in ((a, 0), (b, 1000))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    want = (b"\1" * 1000 + b"\2" * 1000) * 50
    assert read(f"{a}/f") == want and read(f"{b}/f") == want


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_writes_against_an_oracle(pair, seed):
    """Two mounts take turns at random calls; an ordinary file does the same."""
    print("seed", seed)
    a, b = pair
    rng = random.Random(seed)
    oracle = bytearray()
    write(f"{a}/f", b"")
    for step in range(250):
        where = rng.choice((a, b))
        what = rng.random()
        if what < 0.6:
            off = rng.randrange(0, 3 * SLOT)
            data = rng.randbytes(rng.choice((1, 100, 4096, 70000, SLOT + 5)))
            with open(f"{where}/f", "r+b") as f:
                f.seek(off)
                f.write(data)
            if off > len(oracle):
                oracle.extend(bytes(off - len(oracle)))
            oracle[off:off + len(data)] = data
        elif what < 0.75:
            data = rng.randbytes(rng.randrange(1, 9000))
            write(f"{where}/f", data, "ab")
            oracle += data
        elif what < 0.9:
            size = rng.randrange(0, 4 * SLOT)
            os.truncate(f"{where}/f", size)
            oracle = oracle[:size] + bytes(max(0, size - len(oracle)))
        else:
            assert read(f"{where}/f") == oracle, f"seed {seed} step {step}"
        other = b if where == a else a
        assert os.stat(f"{other}/f").st_size == len(oracle), f"seed {seed} step {step}"
    assert read(f"{a}/f") == oracle and read(f"{b}/f") == oracle, f"seed {seed}"


def test_unlinked_but_open(pair):
    a, b = pair
    data = noise(SLOT + 99)
    write(f"{a}/f", data)
    with open(f"{b}/f", "rb") as f, open(f"{a}/f", "r+b") as g:
        assert f.read(10) == data[:10]
        os.unlink(f"{a}/f")
        assert os.listdir(b) == []
        time.sleep(0.5)
        assert f.read() == data[10:]
        assert os.fstat(f.fileno()).st_nlink == 0
        g.write(b"changed")
        g.flush()
        g.seek(0)
        assert g.read(7) == b"changed"
    with pytest.raises(FileNotFoundError):
        open(f"{b}/f", "rb")


def test_replaced_but_open(pair):
    a, b = pair
    write(f"{a}/f", b"old" * 1000)
    with open(f"{b}/f", "rb") as f:
        write(f"{a}/new", b"new")
        os.rename(f"{a}/new", f"{a}/f")
        assert read(f"{b}/f") == b"new"
        assert f.read() == b"old" * 1000


def test_reader_sees_fsync_of_a_writer(pair):
    a, b = pair
    with open(f"{a}/f", "wb", buffering=0) as w:
        w.write(b"one")
        os.fsync(w.fileno())
        with open(f"{b}/f", "rb", buffering=0) as r:
            assert r.read() == b"one"
            w.write(b"two")
            os.fsync(w.fileno())
            assert r.read() == b"two"
            w.seek(0)
            w.write(b"ONE")
            os.fsync(w.fileno())
            r.seek(0)
            assert r.read() == b"ONEtwo"


def test_mmap_reader(pair):
    a, b = pair
    data = noise(3 * SLOT + 17)
    write(f"{a}/f", data)
    with open(f"{b}/f", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        assert m[:] == data
    with open(f"{a}/f", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[100:105] = b"mmap!"
        m.flush()
    assert read(f"{b}/f")[100:105] == b"mmap!"


def test_editor_saves(pair):
    """Write a new file beside, fsync, rename over, fsync the directory."""
    a, b = pair
    write(f"{a}/doc", b"v0")
    d = os.open(a, os.O_RDONLY)
    for i in range(1, 20):
        with open(f"{a}/.doc.swp", "wb") as f:
            f.write(b"v%d" % i)
            f.flush()
            os.fsync(f.fileno())
        os.rename(f"{a}/.doc.swp", f"{a}/doc")
        os.fsync(d)
        assert read(f"{b}/doc") == b"v%d" % i
    os.close(d)


def test_readers_while_a_file_is_replaced(pair):
    """A reader opens the old file or the new one, and has it whole."""
    a, b = pair
    stop = time.monotonic() + 3
    wrong = []

    def reader(top):
        while time.monotonic() < stop:
            try:
                data = read(f"{top}/doc")
            except OSError as e:
                data = repr(e).encode()
            if len(data) != 16000 or data != data[:8] * 2000:
                wrong.append(data[:100])
    write(f"{a}/doc", b"%08d" % 0 * 2000)
    threads = [threading.Thread(target=reader, args=(x,)) for x in (a, b, b)]
    for t in threads:
        t.start()
    i = 0
    while time.monotonic() < stop:
        i += 1
        where = a if i % 3 else b
        write(f"{where}/new{i % 3}", b"%08d" % i * 2000)
        os.rename(f"{where}/new{i % 3}", f"{where}/doc")
    for t in threads:
        t.join()
    assert i > 20 and not wrong, wrong[:5]


def test_writers_while_a_file_is_removed(pair):
    """open() may find it gone; but what is open stays, also on another mount."""
    a, b = pair
    stop = time.monotonic() + 3
    wrong, opened = [], []

    def writer(top, flags):
        while time.monotonic() < stop:
            try:
                fd = os.open(f"{top}/f", os.O_RDWR | flags)
            except FileNotFoundError:
                continue
            except OSError as e:
                if e.errno != errno.ESTALE:     # removed time and again while opening it
                    wrong.append(e)
                continue
            opened.append(top)
            try:
                os.write(fd, b"x" * 100)
                os.pread(fd, 100, 0)
                os.close(fd)
            except OSError as e:
                wrong.append(e)
    threads = [threading.Thread(target=writer, args=x)
               for x in ((a, os.O_CREAT), (b, os.O_CREAT), (b, os.O_TRUNC), (b, 0))]
    for t in threads:
        t.start()
    i = 0
    while time.monotonic() < stop:
        i += 1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{a if i % 3 else b}/f")
    for t in threads:
        t.join()
    assert set(opened) == {a, b} and not wrong, wrong[:5]


def test_many_names(pair):
    a, b = pair
    names = {f"name-{i:05d}" for i in range(3000)}
    for n in names:
        os.close(os.open(f"{a}/{n}", os.O_CREAT | os.O_WRONLY))
    assert set(os.listdir(b)) == names
    assert len(list(os.scandir(a))) == 3000
    subprocess.run(["rm", "-r", b], check=True, timeout=60)
    assert not os.path.exists(a)
    os.mkdir(a)


def test_name_limits(pair):
    a, b = pair
    for name in ("x" * 255, "\u00e9" * 127, "with space", "a\nb", "-rf", "\\", "'"):
        write(f"{a}/{name}", b"y")
        assert read(f"{b}/{name}") == b"y"
    write(os.fsencode(a) + b"/\xff\xfe", b"y")
    assert b"\xff\xfe" in os.listdir(os.fsencode(b))
    with pytest.raises(OSError) as e:
        write(f"{a}/" + "x" * 256, b"")
    assert e.value.errno == errno.ENAMETOOLONG


def test_statfs_counts_copies(swarm, pair):
    a, _ = pair
    fs = os.statvfs(a)
    st = swarm.status()
    assert st["copies"] == 2
    assert abs(fs.f_blocks * fs.f_frsize - st["capacity_bytes"] // 2) < 1 << 20
    assert 0 < fs.f_bavail <= fs.f_bfree <= fs.f_blocks


def test_permissions_are_checked(pair):
    a, _ = pair
    write(f"{a}/secret", b"x")
    os.chmod(f"{a}/secret", 0o600)
    os.chmod(a, 0o755)
    code = subprocess.run(["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "cat", f"{a}/secret"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode
    assert code != 0
    code = subprocess.run(["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "touch", f"{a}/mine"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode
    assert code != 0


def test_suid_goes_with_a_strangers_write(pair):
    a, b = pair
    write(f"{a}/prog", b"#!")
    os.chmod(a, 0o777)
    os.chmod(f"{a}/prog", 0o6777)
    subprocess.run(["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "sh", "-c",
                    f"echo more >>{a}/prog"], check=True, timeout=20)
    assert stat.S_IMODE(os.stat(f"{b}/prog").st_mode) == 0o777
