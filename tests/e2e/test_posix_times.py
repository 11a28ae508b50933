"""Times: what each call does to them, on success and on failure; what they may be.

From POSIX.1-2017 (the pages of each call), inode(7), utimensat(2), and mount(8) on relatime.
"""
import os

import pytest

from oracle import AT_SYMLINK_NOFOLLOW, EXCHANGE, KINDS, NOBODY, UTIME_NOW, UTIME_OMIT, Table, a_swarm

T = Table()
swarm = a_swarm
O = os.O_CREAT | os.O_WRONLY
# One after the other, so that it can be seen whose times a name has.
SCENE = (("mkdir", "d"), ("mkdir", "e"), ("put", "d/f", b"content"), ("pause",), ("put", "e/g", b"other"), ("pause",),
         ("mkdir", "d/s"), ("pause",), ("mkdir", "e/t"), ("symlink", "f", "d/l"), ("setx", "d/f", "user.a", b"1"),
         ("link", "d/f", "d/f2"), ("pause",))
ALL = ("d", "e", "d/f", "e/g", "d/s", "e/t", "d/l")
CALLS = {
    "create": ("open", None, "d/new", O), "create_there": ("open", None, "d/f", O),
    "excl": ("open", None, "d/f", O | os.O_EXCL), "trunc": ("open", None, "d/f", O | os.O_TRUNC),
    "rdonly": ("open", None, "d/f", os.O_RDONLY), "mkdir": ("mkdir", "d/new"), "mkdir_there": ("mkdir", "d/s"),
    "fifo": ("make", "fifo", "d/new"), "fifo_there": ("make", "fifo", "d/f"), "symlink": ("symlink", "x", "d/new"),
    "symlink_there": ("symlink", "x", "d/f"), "link": ("link", "d/f", "e/new"), "link_there": ("link", "d/f", "e/g"),
    "link_dir": ("link", "d/s", "e/new"), "link_same": ("link", "d/f", "d/new"), "unlink": ("unlink", "d/f"),
    "unlink_dir": ("unlink", "d/s"), "unlink_none": ("unlink", "d/none"), "rmdir": ("rmdir", "d/s"),
    "rmdir_full": ("rmdir", "d"), "rmdir_file": ("rmdir", "d/f"), "rename": ("rename", "d/f", "d/new"),
    "rename_away": ("rename", "d/f", "e/new"), "rename_over": ("rename", "d/f", "e/g"),
    "rename_dir": ("rename", "d/s", "e/new"), "rename_dir_over": ("rename", "d/s", "e/t"),
    "rename_bad": ("rename", "d/f", "e/t"), "rename_none": ("rename", "d/none", "e/g"),
    "rename_same": ("rename", "d/f", "d/f2"), "rename_self": ("rename", "d/f", "d/f"),
    "exchange": ("rename", "d/f", "e/g", EXCHANGE), "exchange_mixed": ("rename", "d/f", "e/t", EXCHANGE),
    "exchange_in": ("rename", "d/f", "d/s", EXCHANGE),
    "noreplace": ("rename", "d/f", "e/g", 1), "chmod": ("chmod", "d/f", 0o600), "chmod_same": ("chmod", "d/f", 0o644),
    "chmod_dir": ("chmod", "d", 0o700), "chown": ("chown", "d/f", 1, 1), "chown_none": ("chown", "d/f", -1, -1),
    "chown_same": ("chown", "d/f", 0, 0), "lchown": ("lchown", "d/l", 1, 1), "truncate": ("truncate", "d/f", 3),
    "truncate_same": ("truncate", "d/f", 7), "truncate_more": ("truncate", "d/f", 70), "truncate_bad": ("truncate", "d/f", -1),
    "truncate_dir": ("truncate", "d/s", 0), "stat": ("stat", "d/f"), "access": ("access", "d/f", os.R_OK),
    "utimens_a": ("utimens", "d/f", (0, UTIME_NOW), (0, UTIME_OMIT)),
    "utimens_m": ("utimens", "d/f", (0, UTIME_OMIT), (0, UTIME_NOW)), "utimens_null": ("utimens", "d/f", None, None),
    "utimens_omit": ("utimens", "d/f", (0, UTIME_OMIT), (0, UTIME_OMIT)),
    "utimens_bad": ("utimens", "d/f", (0, 1000000000), (0, 0)), "utimens_neg": ("utimens", "d/f", (0, -1), (0, 0)),
    "utimens_set": ("utimens", "d/f", (2**31, 1), (2**31, 2)),
    "utimens_link": ("utimens", "d/l", (2**31, 1), (2**31, 2), AT_SYMLINK_NOFOLLOW),
    "setx": ("setx", "d/f", "user.b", b"1"), "setx_bad": ("setx", "d/f", "user.a", b"1", 1), "rmx": ("rmx", "d/f", "user.a"), "rmx_none": ("rmx", "d/f", "user.c"),
    "getx": ("getx", "d/f", "user.a"), "listx": ("listx", "d/f"),
}
for call, step in CALLS.items():
    names = [n for n in ALL if n not in ("d/f", "e/g", "d/s", "e/t")] + ["d/f", "e/g", "d/s", "e/t"]
    T.case(f"call_{call}", *SCENE, ("snap", *names), step, *[("moved", n) for n in names], ("moved", "d/f", "d/f"),
           ("near", "d/new"), ("near", "e/new"))
    T.case(f"refused_{call}", *SCENE, ("snap", *names), ("ids", NOBODY, NOBODY), step, ("ids", 0, 0),
           *[("moved", n) for n in names])
for call in ("rename", "rename_away", "rename_over", "rename_dir", "rename_dir_over", "exchange", "exchange_mixed"):
    step = CALLS[call]
    T.case(f"moved_{call}", *SCENE, ("snap", *ALL), step, ("moved", step[2], step[1]))
T.case("near", *[s for k in KINDS for s in (("make", k, k), ("near", k))])

# By handle: after the last close, and for what has lost its name.
for how, steps in {
    "write": (("write", "h", b"abc"),), "write_none": (("write", "h", b""),), "pwrite": (("write", "h", b"abc", 100),),
    "ftruncate": (("ftruncate", "h", 2),), "ftruncate_same": (("ftruncate", "h", 7),),
    "ftruncate_bad": (("ftruncate", "h", -1),), "fchmod": (("fchmod", "h", 0o600),), "fchown": (("fchown", "h", 1, 1),),
    "unlink": (("unlink", "d/f"),), "rename_over": (("rename", "e/g", "d/f"),), "fsync": (("fsync", "h"),),
    "link": (("link", "d/f", "n"),), "write_unlink": (("write", "h", b"abc"), ("unlink", "d/f")),
}.items():
    T.case(f"handle_{how}", *SCENE, ("open", "h", "d/f", os.O_RDWR), ("snap", "h", "d"), *steps, ("moved", "h"),
           ("fstat", "h", "nlink", "size"), ("moved", "d"), ("shut", "h"))
    T.case(f"handle_closed_{how}", *SCENE, ("unlink", "d/f2"), ("link", "d/f", "e/k"), ("open", "h", "d/f", os.O_RDWR),
           ("snap", "e/k"), *steps, ("shut", "h"), ("moved", "e/k"), ("stat", "e/k", "nlink", "size"))
T.case("write_keeps_mtime_set", ("open", "h", "f", os.O_CREAT | os.O_RDWR), ("write", "h", b"abc"),
       ("utimens", "f", (100, 1), (200, 2)), ("times_of", "f"), ("shut", "h"), ("times_of", "f"))

# relatime: a read tells when it was, if that was before the last change, or long ago.  Another mount
# sees it late, so these are played on one.
R = Table()
READ = {
    "read": (("open", "h", "x", os.O_RDONLY), ("read", "h", 3), ("shut", "h")),
    "read_none": (("open", "h", "x", os.O_RDONLY), ("read", "h", 0), ("shut", "h")),
    "noatime": (("open", "h", "x", os.O_NOATIME), ("read", "h", 3), ("shut", "h")),
    "open": (("open", None, "x", os.O_RDONLY),), "write": (("open", "h", "x", os.O_WRONLY), ("write", "h", b"q")),
    "path": (("open", None, "x", os.O_PATH),),
}
NOW = 4000000000
for how, steps in READ.items():
    for when, (a, m) in {"before": (100, 200), "after": (200, 100), "same": (100, 100), "future": (NOW, 100)}.items():
        R.case(f"atime_{how}_{when}", ("put", "x", b"content"), ("utimens", "x", (a, 5), (m, 5)), ("snap", "x"),
               *steps, ("moved", "x"))
    R.case(f"atime_{how}_new", ("put", "x", b"content"), ("snap", "x"), *steps, ("moved", "x"))
    R.case(f"atime_{how}_twice", ("put", "x", b"content"), ("snap", "x"), *steps, ("snap", "x"), *steps, ("moved", "x"))
R.case("atime_readdir", ("mkdir", "d"), ("create", "d/x"), ("snap", "d"), ("ls", "d"), ("moved", "d"), ("snap", "d"),
       ("ls", "d"), ("moved", "d"), ("create", "d/y"), ("snap", "d"), ("ls", "d"), ("moved", "d"), ("stat", "d/y", "size"),
       ("snap", "d"), ("open", None, "d", os.O_RDONLY), ("moved", "d"))
R.case("atime_readlink", ("symlink", "t", "l"), ("snap", "l"), ("readlink", "l"), ("moved", "l"), ("snap", "l"),
       ("readlink", "l"), ("moved", "l"))

# What they may be.  (ext4 keeps 34 bits of seconds; what is within them is compared.)
for k, (s, ns) in enumerate(((0, 0), (0, 1), (1, 999999999), (-1, 1), (-(2**31), 0), (2**31 - 1, 999999999), (2**31, 0),
                             (2**32, 7), (2**33, 123456789), (15032385535, 0))):
    for kind in KINDS:
        T.case(f"value_{k}_{kind}", ("make", kind, "x"), ("utimens", "x", (s, ns), (s + 0, ns), AT_SYMLINK_NOFOLLOW),
               ("times_of", "x"), ("utimens", "x", (0, UTIME_OMIT), (5, 6), AT_SYMLINK_NOFOLLOW), ("times_of", "x"),
               ("utimens", "x", (7, 8), (0, UTIME_OMIT), AT_SYMLINK_NOFOLLOW), ("times_of", "x"),
               ("utimens", "x", (0, UTIME_NOW), (0, UTIME_NOW), AT_SYMLINK_NOFOLLOW), ("near", "x"))


@pytest.mark.parametrize("mounts", (1, 2))
def test_as_locally(swarm, mounts):
    T.check(swarm, mounts)


def test_relatime_as_locally(swarm):
    R.check(swarm, 1)


@pytest.mark.parametrize("seconds", (-(2**40), -(2**31) - 1, 15032385536, 2**40, 2**55))
def test_seconds_that_a_disk_cannot_keep(pair, seconds):
    """64 bits of them are kept as they are, where ext4 takes the nearest that it has."""
    a, b = pair
    open(f"{a}/f", "w").close()
    os.utime(f"{a}/f", (seconds, seconds))
    assert int(os.stat(f"{b}/f").st_mtime) == seconds and int(os.stat(f"{b}/f").st_atime) == seconds
