"""Who may do what: modes, owners, groups, sticky directories, set-id bits.

From POSIX.1-2017, and inode(7), chmod(2), chown(2), open(2), unlink(2), rename(2).
"""
import errno
import os
import shutil
import stat
import time

import pytest

from oracle import EXCHANGE, KINDS, NOBODY, NOREPLACE, OTHER, UTIME_NOW, UTIME_OMIT, Table, a_swarm

T = Table()
swarm = a_swarm
O = os.O_CREAT | os.O_WRONLY
# The whole table takes minutes; what tells most of it is always played.
ALL = os.environ.get("PSPFS_CASES") == "all"


def of(short, whole):
    return whole if ALL else short


# uid, gid, other groups
WHO = {"root": (0, 0), "owner": (NOBODY, NOBODY), "member": (OTHER, OTHER, 7, NOBODY), "other": (OTHER, OTHER, 7),
       "gidonly": (OTHER, NOBODY), "ownerother": (NOBODY, OTHER)}
CALLS = {
    "open_r": ("open", None, "d/f", os.O_RDONLY), "open_w": ("open", None, "d/f", os.O_WRONLY),
    "open_rw": ("open", None, "d/f", os.O_RDWR), "open_t": ("open", None, "d/f", os.O_WRONLY | os.O_TRUNC),
    "open_rt": ("open", None, "d/f", os.O_TRUNC), "open_c": ("open", None, "d/f", O), "path": ("open", None, "d/f", os.O_PATH),
    "create": ("open", None, "d/new", O), "excl": ("open", None, "d/f", O | os.O_EXCL),
    "noatime": ("open", None, "d/f", os.O_NOATIME), "truncate": ("truncate", "d/f", 3), "stat": ("stat", "d/f"),
    "lstat": ("lstat", "d/f"), "access_r": ("access", "d/f", os.R_OK), "access_w": ("access", "d/f", os.W_OK),
    "access_x": ("access", "d/f", os.X_OK), "access_f": ("access", "d/f", os.F_OK),
    "ls": ("ls", "d"), "unlink": ("unlink", "d/f"), "rmdir": ("rmdir", "d/sub"), "mkdir": ("mkdir", "d/new"),
    "mkfifo": ("make", "fifo", "d/new"), "symlink": ("symlink", "f", "d/new"), "link": ("link", "d/f", "d/new"),
    "link_out": ("link", "d/f", "out"), "rename": ("rename", "d/f", "d/new"), "rename_out": ("rename", "d/f", "out"),
    "rename_in": ("rename", "mine", "d/new"), "rename_over": ("rename", "mine", "d/f"),
    "rename_dir": ("rename", "d/sub", "out"), "exchange": ("rename", "mine", "d/f", EXCHANGE),
    "noreplace": ("rename", "d/f", "d/g", NOREPLACE), "chmod": ("chmod", "d/f", 0o604),
    "chmod_dir": ("chmod", "d", 0o705), "chown_u": ("chown", "d/f", OTHER, -1), "chown_g": ("chown", "d/f", -1, 7),
    "chown_same": ("chown", "d/f", NOBODY, NOBODY), "chown_none": ("chown", "d/f", -1, -1),
    "chown_gown": ("chown", "d/f", -1, OTHER), "utimens": ("utimens", "d/f", (1, 2), (3, 4)),
    "utimens_null": ("utimens", "d/f", None, None), "utimens_now": ("utimens", "d/f", (0, UTIME_NOW), (0, UTIME_NOW)),
    "utimens_omit": ("utimens", "d/f", (0, UTIME_OMIT), (0, UTIME_OMIT)),
    "utimens_a": ("utimens", "d/f", (0, UTIME_NOW), (0, UTIME_OMIT)),
    "utimens_m": ("utimens", "d/f", (0, UTIME_OMIT), (5, 6)), "run": ("run", "d/f"),
    "setx": ("setx", "d/f", "user.a", b"1"), "getx": ("getx", "d/f", "user.b"), "listx": ("listx", "d/f"),
    "rmx": ("rmx", "d/f", "user.b"), "setx_dir": ("setx", "d", "user.a", b"1"),
    "trusted": ("setx", "d/f", "trusted.a", b"1"), "security": ("setx", "d/f", "security.a", b"1"),
}


def scene(dir_mode, file_mode, *who):
    """d/f and d/sub of the owner's; "mine" and "out" of whoever acts."""
    return (("mkdir", "d"), ("put", "d/f", b"#!/bin/true\n"), ("chmod", "d/f", file_mode), ("mkdir", "d/sub"),
            ("setx", "d/f", "user.b", b"2"),
            ("chown", "d/f", NOBODY, NOBODY), ("chown", "d/sub", NOBODY, NOBODY), ("chown", "d", NOBODY, NOBODY),
            ("chmod", "d/f", file_mode), ("chmod", "d", dir_mode), ("ids", *who), ("create", "mine"))


SHORT = of(("root", "owner", "member", "other"), WHO)
for who in SHORT:
    ids = WHO[who]
    for call, step in CALLS.items():
        for dir_mode in of((0o755, 0o1777, 0o311), (0o777, 0o755, 0o1777, 0o666, 0o311, 0o070, 0)):
            T.case(f"{who}_{call}_dir_{dir_mode:o}", *scene(dir_mode, 0o644, *ids), step)
        for file_mode in of((0o000, 0o070, 0o444), (0o777, 0o000, 0o070, 0o007, 0o444, 0o222, 0o111, 0o6777, 0o2644)):
            T.case(f"{who}_{call}_file_{file_mode:o}", *scene(0o777, file_mode, *ids), step, ("stat", "d/f"))

# Sticky directories: whose entry it is, and whose directory.
for who, ids in WHO.items():
    for dir_owner in (0, NOBODY, OTHER):
        for owner in (0, NOBODY, OTHER):
            for kind in of(("file", "dir", "link"), KINDS):
                setup = (("mkdir", "d"), ("make", kind, "d/f"), ("lchown", "d/f", owner, owner), ("mkdir", "e"),
                         ("chmod", "e", 0o777), ("chown", "d", dir_owner, dir_owner), ("chmod", "d", 0o1777),
                         ("ids", *ids))
                T.case(f"sticky_{who}_{dir_owner}_{owner}_{kind}", *setup, ("rename", "d/f", "d/f2"),
                       ("rename", "d/f", "e/f"), ("make", kind, "n"), ("rename", "n", "d/f"),
                       ("rename", "n", "d/f", EXCHANGE), ("unlink", "d/f"), ("rmdir", "d/f"))

# Set-id bits: who writes, cuts, gives away.
for who in SHORT:
    ids = WHO[who]
    for mode in of((0o6777, 0o2767, 0o6711), (0o4777, 0o2777, 0o6777, 0o2767, 0o6766, 0o1777, 0o7777, 0o6711)):
        for call, steps in {
            "write": (("open", "h", "f", os.O_WRONLY), ("write", "h", b"x"), ("stat", "f"), ("fstat", "h")),
            "write_none": (("open", "h", "f", os.O_WRONLY), ("write", "h", b""), ("stat", "f")),
            "truncate": (("truncate", "f", 1), ("stat", "f")), "truncate_same": (("truncate", "f", 4), ("stat", "f")),
            "ftruncate": (("open", "h", "f", os.O_RDWR), ("ftruncate", "h", 9), ("stat", "f")),
            "open_trunc": (("open", None, "f", os.O_WRONLY | os.O_TRUNC), ("stat", "f")),
            "chown_none": (("chown", "f", -1, -1), ("stat", "f")), "chown_same": (("chown", "f", NOBODY, NOBODY), ("stat", "f")),
            "chown_g": (("chown", "f", -1, 7), ("stat", "f")), "chown_u": (("chown", "f", OTHER, -1), ("stat", "f")),
            "chown_gown": (("chown", "f", -1, OTHER), ("stat", "f")),
            "chmod_same": (("chmod", "f", mode), ("stat", "f")), "chmod_x": (("chmod", "f", mode ^ 0o010), ("stat", "f")),
            "utimens": (("utimens", "f", None, None), ("stat", "f")), "link": (("link", "f", "g"), ("stat", "f")),
            "rename": (("rename", "f", "g"), ("stat", "g")), "setx": (("setx", "f", "user.a", b"1"), ("stat", "f")),
        }.items():
            T.case(f"setid_{who}_{mode:o}_{call}", ("put", "f", b"abcd"), ("chown", "f", NOBODY, NOBODY),
                   ("chmod", "f", mode), ("ids", *ids), *steps)
        for kind in KINDS[1:]:
            T.case(f"setid_kind_{who}_{mode:o}_{kind}", ("make", kind, "f"), ("lchown", "f", NOBODY, NOBODY),
                   ("chmod", "f", mode), ("ids", *ids), ("lchown", "f", -1, 7), ("lstat", "f"),
                   ("lchown", "f", -1, -1), ("lstat", "f"), ("chmod", "f", mode), ("lstat", "f"))

# Set-group-id directories give their group, and to directories the bit.
for who in SHORT:
    ids = WHO[who]
    for mode in of((0o2777,), (0o2777, 0o3777, 0o777)):
        for kind in of(("file", "dir", "fifo", "link"), KINDS):
            for bits in of((0o2777, 0o6755), (0o777, 0o2777, 0o2755, 0o6777)):
                T.case(f"inherit_{who}_{mode:o}_{kind}_{bits:o}", ("umask", 0), ("mkdir", "d"), ("chown", "d", NOBODY, 7),
                       ("chmod", "d", mode), ("ids", *ids), ("make", kind, "d/f", bits), ("lstat", "d/f"),
                       ("mkdir", "d/g"), ("mkdir", "d/g/h"), ("lstat", "d/g/h"))

T.case("umask", *[step for mask in (0, 0o22, 0o77, 0o777) for kind in KINDS for step in (
    ("umask", mask), ("make", kind, f"{kind}{mask}", 0o777), ("lstat", f"{kind}{mask}"))])
T.case("search", *[step for k in range(4) for step in (
    ("mkdir", "a"), ("mkdir", "a/b"), ("create", "a/b/f"), ("chmod", "a/b", 0o755 - (0o1 if k & 1 else 0)),
    ("chmod", "a", 0o755 - (0o1 if k & 2 else 0)), ("ids", NOBODY, NOBODY), ("stat", "a/b/f"), ("ls", "a/b"),
    ("open", None, "a/b/f", os.O_RDONLY), ("chmod", "a/b/f", 0o777), ("link", "a/b/f", "x"), ("ids", 0, 0),
    ("unlink", "a/b/f"), ("rmdir", "a/b"), ("rmdir", "a"))])
# What was allowed when it was opened stays so.
T.case("open_then_chmod", ("put", "f", b"abc"), ("chmod", "f", 0o666), ("ids", NOBODY, NOBODY),
       ("open", "h", "f", os.O_RDWR), ("ids", 0, 0), ("chmod", "f", 0), ("ids", NOBODY, NOBODY), ("read", "h", 10),
       ("write", "h", b"x"), ("ftruncate", "h", 2), ("open", None, "f", os.O_RDONLY), ("fchmod", "h", 0o777),
       ("fchown", "h", NOBODY, -1), ("fstat", "h"))
T.case("created_without_rights", ("ids", NOBODY, NOBODY), ("open", "h", "f", os.O_CREAT | os.O_RDWR, 0),
       ("write", "h", b"abc"), ("read", "h", 3, 0), ("open", None, "f", os.O_RDONLY), ("fchmod", "h", 0o600),
       ("open", None, "f", os.O_RDONLY), ("ftruncate", "h", 1), ("fstat", "h", "size"))
T.case("revoked_by_group", ("put", "f", b"abc"), ("chown", "f", 0, 7), ("chmod", "f", 0o660), ("ids", OTHER, OTHER, 7),
       ("open", None, "f", os.O_RDONLY), ("ids", 0, 0), ("chown", "f", 0, 8), ("ids", OTHER, OTHER, 7),
       ("open", None, "f", os.O_RDONLY), ("ids", OTHER, OTHER, 8), ("open", None, "f", os.O_RDONLY))
T.case("chown_values", ("create", "f"), *[("chown", "f", u, g) for u in (0, 1, 65535, 65536, 2**31, 2**32 - 2, -1)
                                          for g in (0, 2**32 - 2, -1)], ("stat", "f"))


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("mounts", (1, 2))
def test_as_locally(swarm, mounts, part):
    T.part(part, 6).check(swarm, mounts)


def as_nobody(fn, *args, **kw):
    """What @fn fails with, or 0."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        fn(*args, **kw)
        return 0
    except OSError as e:
        return e.errno
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("fn, args", [(os.chmod, (0o6755,)), (os.chown, (-1, NOBODY)), (os.chown, (NOBODY, -1)),
                                      (os.utime, ((1, 1),))])
@pytest.mark.parametrize("by_fd", [False, True])
def test_who_was_the_owner(swarm, fn, args, by_fd):
    """Another mount has given the file away; the kernel here does not know it yet."""
    here, there = (p.path(f"given-{fn.__name__}-{args[0]}-{by_fd}".replace(" ", "")) for p in swarm.peers)
    with open(there, "w"):
        pass
    os.chmod(there, 0o666)
    os.chown(there, NOBODY, NOBODY)
    with open(here, "rb") as f:
        os.stat(here)
        os.chown(there, 0, 0)
        assert as_nobody(fn, f.fileno() if by_fd else here, *args) == errno.EPERM
    st = os.stat(there)
    assert (st.st_mode, st.st_uid, st.st_gid) == (0o100666, 0, 0)
    assert st.st_mtime > 1


def test_set_group_id_of_a_group_that_was_mine(swarm):
    here, there = (p.path("given-group") for p in swarm.peers)
    with open(there, "w"):
        pass
    os.chown(there, NOBODY, NOBODY)
    os.stat(here)
    os.chown(there, -1, 7)
    assert as_nobody(os.chmod, here, 0o2755) == 0
    assert os.stat(there).st_mode == 0o100755


@pytest.fixture
def warm(swarm):
    """Files f0 .. f19 and directories d0 .. d3 in a sticky one, as one mount and the other see it: both root's, and known
    here so well that the kernel believes their names (which it is not to while others change them: TOLD_CONTENDED_MS)."""
    here, there = (p.path("warm") for p in swarm.peers)
    os.mkdir(there)
    os.chmod(there, 0o1777)
    for k in range(20):
        os.close(os.open(f"{there}/f{k}", O))
        os.chmod(f"{there}/f{k}", 0o666)
    for k in range(4):
        os.mkdir(f"{there}/d{k}")
    time.sleep(3.1)
    for name in os.listdir(here) * 2:
        os.stat(f"{here}/{name}")
    yield here, there
    shutil.rmtree(there)


OWNERS_CALLS = [(os.chmod, (0o600,)), (os.chown, (-1, NOBODY)), (os.utime, ((1, 1),))]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("by_fd", [False, True])
def test_who_is_the_owner_now(warm, by_fd, written):
    """The kernel judges by the owner that it saw last, without asking, also where what it was told has ended before."""
    here, there = warm
    for k, (fn, args) in enumerate(OWNERS_CALLS * 2):
        name = f"f{k}" if k < 3 else f"d{k - 3}"
        fd = os.open(f"{here}/{name}", os.O_RDONLY) if by_fd else -1
        os.stat(f"{here}/{name}")
        if written:
            os.utime(f"{there}/{name}")
        os.chown(f"{there}/{name}", NOBODY, NOBODY)
        # A second change of owner: nobody has asked here since the first.
        os.chown(f"{there}/{name}", OTHER, OTHER)
        os.chown(f"{there}/{name}", NOBODY, NOBODY)
        assert as_nobody(fn, fd if by_fd else f"{here}/{name}", *args) == 0, name
        if by_fd:
            os.close(fd)


@pytest.mark.parametrize("written", [False, True])
def test_who_may_unlink_in_a_sticky_directory_now(warm, written):
    here, there = warm
    for k, left in enumerate((0, errno.EPERM)):
        if k:
            os.chown(f"{there}/f1", NOBODY, NOBODY)
            os.stat(f"{here}/f1")
        if written:
            with open(f"{there}/f{k}", "w") as f:
                f.write("more")
        os.chown(f"{there}/f{k}", *(OTHER, OTHER) if k else (NOBODY, NOBODY))
        assert as_nobody(os.unlink, f"{here}/f{k}") == left


def test_owner_of_the_mount_itself_now(swarm):
    here, there = (p.path("") for p in swarm.peers)
    was = os.stat(here)
    try:
        os.chown(there, NOBODY, NOBODY)
        assert as_nobody(os.chmod, here, 0o1777) == 0
    finally:
        os.chown(there, was.st_uid, was.st_gid)
        os.chmod(there, stat.S_IMODE(was.st_mode))
