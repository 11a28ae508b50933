"""Files that are open: without a name, with O_TMPFILE, appended to, executed.

From POSIX.1-2017, and open(2), unlink(2), linkat(2), execve(2).
"""
import errno
import json
import mmap
import os
import subprocess
import time

import pytest

from oracle import NOBODY, OTHER, Table, a_swarm, link_open
from swarm import run, wait_for

T = Table()
swarm = a_swarm
O = os.O_CREAT | os.O_RDWR
TMP = os.O_TMPFILE | os.O_RDWR
REAPED_S = 1.5          # by then what nobody has open is gone
SCRIPT = b"#!/bin/sh\nexit 7\n"

# Without a name it stays until the last close.
T.case("unlinked", ("open", "h", "f", O), ("write", "h", b"abc"), ("unlink", "f"), ("fstat", "h", "nlink", "size"),
       ("write", "h", b"def"), ("read", "h", 9, 0), ("ftruncate", "h", 2), ("fchmod", "h", 0o600),
       ("fchown", "h", 1, 2), ("fstat", "h", "mode", "uid", "gid", "size", "nlink"), ("flink", "h", "g"), ("ls", "."),
       ("create", "f"), ("fstat", "h", "size"), ("shut", "h"), ("stat", "f", "size"))
T.case("replaced", ("put", "f", b"old"), ("open", "h", "f", os.O_RDWR), ("put", "g", b"new"), ("rename", "g", "f"),
       ("fstat", "h", "nlink", "size"), ("read", "h", 9), ("write", "h", b"x"), ("content", "f"), ("read", "h", 9, 0))
T.case("unlinked_two", ("open", "h", "f", O), ("open", "i", "f", os.O_RDONLY), ("link", "f", "g"), ("unlink", "f"),
       ("fstat", "h", "nlink"), ("unlink", "g"), ("fstat", "h", "nlink"), ("write", "h", b"abc"), ("shut", "h"),
       ("fstat", "i", "nlink", "size"), ("read", "i", 9))
T.case("rmdir_open", ("mkdir", "d"), ("open", "h", "d", os.O_RDONLY), ("rmdir", "d"), ("fchdir_create", "h", "x"),
       ("fchdir_ls", "h"), ("fstat", "h", "nlink"), ("mkdir", "d"), ("create", "d/y"), ("fchdir_ls", "h"))
for how, removal in (("rmdir", [("rmdir", "d")]), ("rename", [("mkdir", "e"), ("rename", "e", "d")])):
    T.case(f"removed_dir_{how}", ("mkdir", "d", 0o750), ("open", "h", "d", os.O_RDONLY), ("fchdir_ls", "h"), *removal,
           ("pause", REAPED_S), ("fstat", "h"), ("fchdir_ls", "h"), ("getdents", "h"), ("fchdir_open", "h", "."),
           ("fchdir_open", "h", ".."), ("fchdir_open", "h", "x"), ("fchdir_create", "h", "x"),
           ("fchdir_mkdir", "h", "x"), ("fchmod", "h", 0o711), ("fchown", "h", 3, 4),
           ("fsetx", "h", "user.a", b"1"), ("fgetx", "h", "user.a"), ("fsync", "h"), ("fstat", "h"),
           ("open", "i", "d", os.O_RDONLY), ("fstat", "h", "mode", "nlink"), ("shut", "h"),
           ("fstat", "i", "nlink"), ("ls", "."))
    T.case(f"removed_dir_two_{how}", ("mkdir", "d"), ("open", "h", "d", os.O_RDONLY), ("pause",),
           ("open", "i", "d", os.O_RDONLY), *removal, ("fstat", "h", "nlink"), ("fstat", "i", "nlink"), ("shut", "h"),
           ("fchmod", "i", 0o500), ("fstat", "i", "mode", "nlink"), ("getdents", "i"), ("shut", "i"))
T.case("renamed_dir_open", ("mkdir", "d"), ("open", "h", "d", os.O_RDONLY), ("mkdir", "e"), ("rename", "d", "e/f"),
       ("fchdir_create", "h", "x"), ("ls", "e/f"), ("fchdir_ls", "h"))
T.case("replaced_dir_open", ("mkdir", "d"), ("mkdir", "e"), ("open", "h", "e", os.O_RDONLY), ("rename", "d", "e"),
       ("fchdir_create", "h", "x"), ("ls", "e"), ("fstat", "h", "nlink"))

# O_TMPFILE
T.case("tmpfile", ("open", "h", ".", TMP, 0o640), ("fstat", "h", "mode", "nlink", "size", "uid", "gid"),
       ("write", "h", b"content"), ("fstat", "h", "size"), ("read", "h", 9, 0), ("ls", "."), ("flink", "h", "named"),
       ("fstat", "h", "nlink"), ("content", "named"), ("write", "h", b"more"), ("shut", "h"), ("content", "named"),
       ("stat", "named"))
T.case("tmpfile_empty_path", ("open", "h", ".", TMP), ("flink_empty", "h", "a"), ("flink_empty", "h", "b"),
       ("stat", "a", "nlink"), ("unlink", "a"), ("unlink", "b"), ("fstat", "h", "nlink"), ("flink", "h", "c"))
T.case("tmpfile_excl", ("open", "h", ".", TMP | os.O_EXCL), ("write", "h", b"x"), ("flink", "h", "a"), ("ls", "."))
T.case("tmpfile_over", ("create", "a"), ("open", "h", ".", TMP), ("flink", "h", "a"), ("flink", "h", "none/a"),
       ("flink", "h", "b"), ("ls", "."))
T.case("tmpfile_flags", ("create", "f"), ("open", None, ".", os.O_TMPFILE), ("open", None, "f", TMP),
       ("open", None, "none", TMP), ("open", None, ".", TMP | os.O_CREAT), ("open", None, ".", os.O_TMPFILE | os.O_WRONLY))
T.case("tmpfile_umask", ("umask", 0o27), ("open", "h", ".", TMP, 0o7777), ("fstat", "h", "mode"))
T.case("tmpfile_rights", ("mkdir", "d"), ("ids", NOBODY, NOBODY), ("open", None, "d", TMP), ("open", "h", ".", TMP, 0),
       ("write", "h", b"abc"), ("read", "h", 9, 0), ("fstat", "h", "mode", "uid", "gid"), ("flink", "h", "a"), ("stat", "a"))
T.case("tmpfile_sgid", ("mkdir", "d"), ("chown", "d", NOBODY, 7), ("chmod", "d", 0o2777), ("ids", OTHER, OTHER),
       ("open", "h", "d", TMP, 0o2775), ("fstat", "h", "mode", "uid", "gid"), ("flink", "h", "d/a"), ("stat", "d/a"))
T.case("tmpfile_times", ("mkdir", "d"), ("snap", "d"), ("open", "h", "d", TMP), ("moved", "d"), ("near", "h"), ("snap", "h", "d"),
       ("flink", "h", "d/a"), ("moved", "h"), ("moved", "d"))

# Appending, and what was opened how.
T.case("append", ("put", "f", b"12345"), ("open", "h", "f", os.O_WRONLY | os.O_APPEND), ("write", "h", b"6"),
       ("write", "h", b"7", 0), ("open", "i", "f", os.O_RDWR), ("write", "i", b"A"), ("write", "h", b"8"), ("read", "i", 20, 0),
       ("read", "h", 1), ("flags", "h"), ("flags", "i"))
T.case("append_trunc", ("put", "f", b"12345"), ("open", "h", "f", os.O_WRONLY | os.O_APPEND | os.O_TRUNC), ("stat", "f", "size"),
       ("write", "h", b"ab"), ("fstat", "h", "size"), ("shut", "h"), ("content", "f"))
T.case("trunc_under_reader", ("put", "f", b"12345"), ("open", "h", "f", os.O_RDONLY), ("read", "h", 2), ("truncate", "f", 1),
       ("read", "h", 2), ("truncate", "f", 4), ("read", "h", 9), ("put", "f", b"abcdef"), ("read", "h", 9))
T.case("wrong_way", ("put", "f", b"12345"), ("open", "r", "f", os.O_RDONLY), ("open", "w", "f", os.O_WRONLY),
       ("open", "p", "f", os.O_PATH), ("write", "r", b"x"), ("read", "w", 1), ("read", "p", 1), ("ftruncate", "r", 1),
       ("ftruncate", "p", 1), ("fchmod", "p", 0o600), ("fstat", "p", "size"), ("fsync", "p"), ("fsync", "r"),
       ("open", "d", ".", os.O_RDONLY), ("read", "d", 1), ("write", "d", b""), ("ftruncate", "d", 0), ("fsync", "d"))
for flag in ("O_SYNC", "O_DSYNC", "O_DIRECT", "O_NOATIME", "O_NOFOLLOW", "O_CLOEXEC"):
    T.case(f"flag_{flag}", ("open", "h", "f", O | getattr(os, flag)), ("flags", "h"))
T.case("sizes", ("create", "f"), *[("truncate", "f", n) for n in (0, 1, 4096, 2**31, 2**32, 2**40, 2**43, -1)],
       ("stat", "f", "size"), ("open", "h", "f", os.O_RDWR), ("write", "h", b"x", 2**42), ("fstat", "h", "size"),
       ("read", "h", 3, 2**42 - 1), ("ftruncate", "h", 3), ("read", "h", 9, 0), ("fstat", "h", "size", "blocks"))

# Executing.
T.case("exec", ("put", "f", SCRIPT), ("run", "f"), ("chmod", "f", 0o755), ("run", "f"), ("run", "none"), ("run", "."),
       ("ids", NOBODY, NOBODY), ("run", "f"), ("ids", 0, 0), ("chmod", "f", 0o744), ("ids", NOBODY, NOBODY), ("run", "f"),
       ("ids", 0, 0), ("chmod", "f", 0o711), ("ids", NOBODY, NOBODY), ("run", "f"))


@pytest.mark.parametrize("mounts", (1, 2))
def test_as_locally(swarm, mounts):
    T.check(swarm, mounts)


def test_text_busy(pair):
    a, b = pair
    run("cp", "/bin/sleep", f"{a}/sleep")
    with open(f"{a}/sleep", "r+b"):
        with pytest.raises(OSError) as e:
            subprocess.run([f"{a}/sleep", "0"])
        assert e.value.errno == errno.ETXTBSY
    proc = subprocess.Popen([f"{a}/sleep", "30"])
    try:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError) as e:
                os.open(f"{a}/sleep", flags)
            assert e.value.errno == errno.ETXTBSY
        with pytest.raises(OSError) as e:
            os.truncate(f"{a}/sleep", 0)
        assert e.value.errno == errno.ETXTBSY
        os.unlink(f"{b}/sleep")
        assert proc.poll() is None
    finally:
        proc.kill()
        proc.wait(10)


def test_program_by_mmap(pair):
    a, b = pair
    run("cp", "/bin/true", f"{a}/true")
    assert run(f"{b}/true").returncode == 0
    with open(f"{b}/true", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC) as m:
        assert m[1:4] == b"ELF"


@pytest.mark.parametrize("how", ("unlink", "rename", "rmdir"))
def test_open_here_removed_there(pair, how):
    """What is open on one mount and loses its name on another is whole until it is closed."""
    a, b = pair
    if how == "rmdir":
        os.mkdir(f"{a}/f")
        fd = os.open(f"{a}/f", os.O_RDONLY)
        os.rmdir(f"{b}/f")
        assert os.listdir(fd) == []
        with pytest.raises(OSError) as e:
            os.open("x", O, dir_fd=fd)
        assert e.value.errno == errno.ENOENT
        os.close(fd)
        return
    fd = os.open(f"{a}/f", O)
    os.write(fd, b"x" * 100000)
    if how == "unlink":
        os.unlink(f"{b}/f")
    else:
        with open(f"{b}/g", "wb") as f:
            f.write(b"other")
        os.rename(f"{b}/g", f"{b}/f")
    st = os.fstat(fd)
    assert st.st_nlink == 0 and st.st_size == 100000
    assert os.pwrite(fd, b"y" * 10, 200000) == 10
    os.fsync(fd)
    assert os.pread(fd, 5, 199998) == b"\0\0yyy" and os.fstat(fd).st_nlink == 0
    with pytest.raises(OSError) as e:
        link_open(fd, f"{a}/again")
    assert e.value.errno == errno.ENOENT
    os.close(fd)
    assert os.path.exists(f"{a}/f") == (how == "rename")


def test_tmpfile_goes_with_its_last_close(swarm, pair):
    a, b = pair

    def files():
        return json.loads(swarm.pspfs("--json", "status").stdout)["files"]
    before = files()
    while time.sleep(1) or files() != before:       # what other tests left is still going
        before = files()
    fd = os.open(a, TMP)
    os.write(fd, b"x" * 1000)
    os.fsync(fd)
    assert files() == before + 1 and os.listdir(b) == []
    os.close(fd)
    wait_for(lambda: files() == before, "the file without a name to go")
    fd = os.open(a, TMP)
    os.write(fd, b"kept")
    link_open(fd, f"{a}/name")
    os.close(fd)
    assert open(f"{b}/name", "rb").read() == b"kept"
    time.sleep(0.5)             # it must not be taken for one that is to go
    assert open(f"{a}/name", "rb").read() == b"kept" and os.stat(f"{b}/name").st_nlink == 1


def test_a_read_is_seen_elsewhere(pair):
    """relatime: told late, but told."""
    a, b = pair
    with open(f"{a}/f", "wb") as f:
        f.write(b"content")
    os.utime(f"{a}/f", (100, 200))
    was = os.stat(f"{b}/f").st_ctime_ns
    with open(f"{a}/f", "rb") as f:
        f.read()
    assert os.stat(f"{a}/f").st_atime > 200
    os.mkdir(f"{a}/d")
    assert os.listdir(f"{a}/d") == []

    def seen():
        os.chmod(f"{b}/f", 0o600)       # asks the tracker
        return os.stat(f"{b}/f").st_atime > 200
    time.sleep(1.5)
    wait_for(seen, "the read to be known")
    st = os.stat(f"{a}/f")
    assert st.st_atime_ns == os.stat(f"{b}/f").st_atime_ns and st.st_mtime == 200 and st.st_ctime_ns > was
    os.utime(f"{b}/f", (50, 200))
    assert os.stat(f"{a}/f").st_atime == 50


@pytest.mark.parametrize("flags", (os.O_SYNC, os.O_DSYNC, os.O_SYNC | os.O_DIRECT, os.O_SYNC | os.O_APPEND),
                         ids=("sync", "dsync", "direct", "append"))
def test_a_synchronous_write_is_done_when_it_returns(pair, flags):
    """Others see it, though nobody closes or syncs."""
    a, b = pair
    buf = mmap.mmap(-1, 4096)           # where O_DIRECT wants it
    fd = os.open(f"{a}/f", O | flags)
    for k in range(3):
        buf[:] = bytes([65 + k]) * 4096
        assert os.write(fd, buf) == 4096
        with open(f"{b}/f", "rb") as f:
            assert f.read() == b"".join(bytes([65 + i]) * 4096 for i in range(k + 1))
    os.close(fd)
