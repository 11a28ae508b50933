"""Names, paths, kinds of objects: which errno each call gives, and what it makes.

From POSIX.1-2017 (the pages of each call) and Linux's manual pages.
"""
import errno
import os
import stat

import pytest

from check_kinds import rename2
from oracle import EXCHANGE, KINDS, NOREPLACE, WHITEOUT, Table, a_swarm

T = Table()
swarm = a_swarm
N255, N256 = "n" * 255, "n" * 256
DEEP = "/".join(["d" * 250] * 16)              # 4015 bytes
O = os.O_CREAT | os.O_WRONLY


def makers(name):
    """Every call that makes `name`, or looks for it."""
    return {
        "open": ("open", None, name, O), "open_excl": ("open", None, name, O | os.O_EXCL),
        "mkdir": ("mkdir", name), "fifo": ("make", "fifo", name), "sock": ("make", "sock", name),
        "bind": ("bind", name), "char": ("make", "char", name), "symlink": ("symlink", "x", name),
        "link": ("link", "src", name), "rename": ("rename", "src", name),
        "noreplace": ("rename", "src", name, NOREPLACE),
    }


def users(name):
    return {
        "open": ("open", None, name, os.O_RDONLY), "dir": ("open", None, name, os.O_DIRECTORY),
        "nofollow": ("open", None, name, os.O_NOFOLLOW), "stat": ("stat", name, "mode"),
        "lstat": ("lstat", name, "mode"), "readlink": ("readlink", name), "unlink": ("unlink", name),
        "rmdir": ("rmdir", name), "chmod": ("chmod", name, 0o700), "chown": ("chown", name, 1, 1),
        "lchown": ("lchown", name, 1, 1), "truncate": ("truncate", name, 0),
        "utimens": ("utimens", name, (1, 2), (3, 4)), "ls": ("ls", name),
        "link": ("link", name, "dst"), "rename": ("rename", name, "dst"),
        "exchange": ("rename", name, "src", EXCHANGE),
        "setx": ("setx", name, "user.a", b"v"), "getx": ("getx", name, "user.a"),
        "access": ("access", name, os.R_OK),
    }


SPOILT = {
    "255": N255, "256": N256, "256dir": f"{N256}/x", "noent": "none/x", "notdir": "src/x",
    "empty": "", "trail": "new/", "dot": "d/.", "dotdot": "d/..", "loop": "loop/x", "loopself": "loop",
    "dangling": "dangling", "viadangling": "dangling/x", "vialink": "tod/x", "slashes": "d//x",
    "long": f"{DEEP}/x", "toolong": "x/" * 2047 + "xx", "far": "d/" + "./" * 2046 + "x",
    "srctrail": "src/", "dtrail": "d/", "linktrail": "tod/", "existing": "src2", "existingdir": "d",
}

for how, name in SPOILT.items():
    setup = [("create", "src"), ("create", "src2"), ("mkdir", "d"), ("symlink", "loop", "loop"),
             ("symlink", "none", "dangling"), ("symlink", "d", "tod")]
    for call, step in makers(name).items():
        T.case(f"make_{call}_{how}", *setup, step)
    for call, step in users(name).items():
        T.case(f"use_{call}_{how}", *setup, step)

for kind in KINDS:
    for call, step in makers("there").items():
        T.case(f"over_{kind}_{call}", ("make", kind, "there"), ("create", "src"), step)
    for call, step in makers("there/x").items():
        T.case(f"under_{kind}_{call}", ("make", kind, "there"), ("create", "src"), step)
    for call, step in users("there").items():
        T.case(f"on_{kind}_{call}", ("make", kind, "there"), ("create", "src"), step)
    T.case(f"made_{kind}", ("umask", 0o27), ("ids", 65534, 65533, 7), ("make", kind, "there", 0o777),
           ("lstat", "there", "mode", "nlink", "uid", "gid", "rdev"))
    for other in KINDS:
        for flags in (0, NOREPLACE, EXCHANGE):
            T.case(f"rename_{kind}_{other}_{flags}", ("make", kind, "a"), ("mkdir", "d"), ("make", other, "d/b"),
                   ("rename", "a", "d/b", flags), ("ls", "."), ("ls", "d"), ("stat", "."), ("stat", "d"))
            T.case(f"rename_back_{kind}_{other}_{flags}", ("make", kind, "a"), ("mkdir", "d"),
                   ("make", other, "d/b"), ("rename", "d/b", "a", flags), ("ls", "."), ("ls", "d"), ("stat", "d"))
    T.case(f"links_{kind}", ("make", kind, "a"), ("link", "a", "b"), ("lstat", "a"), ("rename", "a", "b"),
           ("ls", "."), ("unlink", "a"), ("lstat", "b"), ("rename", "b", "b"), ("rename", "b", "b", NOREPLACE),
           ("rename", "b", "b", EXCHANGE))

# A directory and what is in it, itself and above it.
for flags in (0, NOREPLACE, EXCHANGE):
    T.case(f"rename_tree_{flags}", ("mkdir", "a"), ("mkdir", "a/b"), ("mkdir", "a/b/c"), ("mkdir", "e"),
           ("create", "f"),
           ("rename", "a", "a", flags), ("rename", "a", "a/b", flags), ("rename", "a", "a/b/c", flags),
           ("rename", "a", "a/x", flags), ("rename", "a", "a/b/x", flags), ("rename", "a/b", "a", flags),
           ("rename", "a/b/c", "a", flags), ("rename", "a/b", "e", flags), ("dots", "e"), ("dots", "a"),
           ("rename", "e", "a/b", flags), ("ls", "a"), ("stat", "a"), ("stat", "e"), ("stat", "."),
           ("rename", "f", "a", flags), ("rename", "a", "f", flags), ("rename", "e/", "x", flags),
           ("rename", "f", "x/", flags), ("rename", "f/", "y", flags), ("rename", "a/.", "z", flags),
           ("rename", "a/..", "z", flags), ("rename", ".", "z", flags), ("rename", "a", ".", flags),
           ("rename", "a", "e/..", flags), ("rename", "none", "a", flags), ("rename", "f", "none/x", flags))
T.case("rename_flags", ("create", "a"), ("create", "b"), ("rename", "a", "b", NOREPLACE | EXCHANGE),
       ("rename", "a", "b", 8), ("rename", "a", "b", EXCHANGE | WHITEOUT))
T.case("rename_nonempty", ("mkdir", "a"), ("mkdir", "b"), ("create", "b/x"), ("rename", "a", "b"),
       ("unlink", "b/x"), ("rename", "a", "b"), ("ls", "."), ("stat", "."))
T.case("rename_two_names", ("create", "a"), ("mkdir", "d"), ("link", "a", "d/b"), ("rename", "a", "d/b"),
       ("ls", "."), ("ls", "d"), ("rename", "a", "d/b", EXCHANGE), ("lstat", "a"))

T.case("rmdir", ("mkdir", "a"), ("mkdir", "a/b"), ("rmdir", "a"), ("rmdir", "a/b/."), ("rmdir", "a/b/.."),
       ("rmdir", "."), ("rmdir", "a/b/"), ("stat", "a"), ("symlink", "a", "l"), ("rmdir", "l"), ("rmdir", "l/"),
       ("unlink", "a"), ("unlink", "a/"), ("unlink", "l/"), ("rmdir", "a"), ("ls", "."))
T.case("mkdir_dots", ("mkdir", "a/"), ("mkdir", "."), ("mkdir", ".."), ("mkdir", "a/."), ("mkdir", "a/.."),
       ("mkdir", "b/."), ("symlink", "none", "l"), ("mkdir", "l"), ("mkdir", "l/"), ("ls", "."))
T.case("mkdir_modes", ("umask", 0o22), ("mkdir", "a", 0o7777), ("mkdir", "b", 0o1777), ("mkdir", "c", 0),
       ("stat", "a"), ("stat", "b"), ("stat", "c"))
T.case("open_modes", ("umask", 0o22), ("open", None, "a", O, 0o7777), ("open", None, "b", O, 0o1777),
       ("open", None, "c", O, 0), ("stat", "a"), ("stat", "b"), ("stat", "c"))
for major, minor in ((0, 0), (1, 3), (255, 255), (256, 256), (4095, 1048575), (300, 70000), (0, 1)):
    T.case(f"device_{major}_{minor}", ("mknod", "c", stat.S_IFCHR | 0o644, major, minor),
           ("mknod", "b", stat.S_IFBLK | 0o644, major, minor), ("lstat", "c", "mode", "rdev"),
           ("lstat", "b", "mode", "rdev"), ("rename", "c", "d"), ("lstat", "d", "rdev"))
for kind, mode in dict(reg=stat.S_IFREG, none=0, dir=stat.S_IFDIR, link=stat.S_IFLNK, odd=0o070000).items():
    T.case(f"mknod_{kind}", ("mknod", "x", mode | 0o640, 1, 2), ("lstat", "x", "mode", "rdev"))
    T.case(f"mknod_user_{kind}", ("ids", 65534, 65534), ("mknod", "x", mode | 0o640), ("lstat", "x", "mode", "rdev"))
T.case("mknod_user", ("ids", 65534, 65534), ("make", "char", "c"), ("make", "block", "b"), ("make", "fifo", "f"),
       ("make", "sock", "s"))

for n in (1, 2, 59, 60, 61, 254, 255, 256, 1000, 1023, 1024, 4000, 4094, 4095, 4096):
    T.case(f"symlink_{n}", ("symlink", "t" * n, "l"), ("lstat", "l", "size"), ("readlink", "l"))
T.case("symlink_targets", ("symlink", "", "a"), ("symlink", b"\xff\xfe\n /x".decode("latin-1"), "b"),
       ("readlink", "b"), ("symlink", "/", "c"), ("symlink", ".", "d"), ("ls", "d"), ("symlink", "a/", "e"))
T.case("symlink_chain", ("create", "l0"), *[("symlink", f"l{k}", f"l{k + 1}") for k in range(41)],
       ("stat", "l39", "mode"), ("stat", "l40", "mode"), ("stat", "l41", "mode"), ("open", None, "l41", os.O_RDONLY),
       ("chmod", "l40", 0o600), ("chmod", "l41", 0o600), ("truncate", "l41", 0))
T.case("symlink_loops", ("symlink", "b", "a"), ("symlink", "a", "b"), *users("a").values())

for k, raw in enumerate((b"\x01", b"\x7f", b"\x80", b"\xff\xfe", b"\n", b" ", b"-", b"\\", b"*?", b"..." , b"..a",
                         "ü".encode(), b"\xc3", bytes(range(1, 47)) + bytes(range(48, 256)))):
    name = os.fsdecode(raw)
    T.case(f"bytes_{k}", ("create", name), ("ls", "."), ("stat", name), ("rename", name, name + "x"), ("ls", "."),
           ("link", name + "x", name), ("unlink", name), ("ls", "."))
T.case("case_matters", ("create", "a"), ("create", "A"), ("ls", "."), ("same", "a", "A"))

T.case("open_flags", ("create", "f"), ("mkdir", "d"), ("symlink", "f", "l"), ("symlink", "d", "ld"),
       *[("open", None, n, fl) for n in ("f", "d", "l", "ld", "none") for fl in (
           os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_NOFOLLOW | os.O_DIRECTORY,
           os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_TRUNC, os.O_TRUNC | os.O_WRONLY, os.O_CREAT,
           os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_DIRECTORY, os.O_CREAT | os.O_NOFOLLOW, os.O_APPEND,
           os.O_SYNC | os.O_WRONLY, os.O_DSYNC, os.O_NOATIME, os.O_DIRECTORY | os.O_WRONLY)])
T.case("link_flags", ("create", "f"), ("symlink", "f", "l"), ("mkdir", "d"), ("symlink", "d", "ld"),
       ("link", "l", "a"), ("lstat", "a", "mode", "nlink"), ("link", "l", "b", 0x400), ("lstat", "b", "mode", "nlink"),
       ("link", "d", "c"), ("link", "ld", "c", 0x400), ("link", "d/", "c"), ("link", "f", "d"), ("link", "f", "f"),
       ("link", "none", "c"), ("link", "f", "none/c"), ("link", "f", "c", 1))


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("mounts", (1, 2))
def test_as_locally(swarm, mounts, part):
    T.part(part, 4).check(swarm, mounts)


@pytest.mark.parametrize("mounts", (1, 2))
def test_link_limit(swarm, mounts):
    """As many names as ext4 gives an inode, and no more."""
    tops = [p.mnt for p in swarm.peers[:mounts]]
    d = f"limit{mounts}"
    os.mkdir(f"{tops[0]}/{d}")
    dirs = [os.open(f"{t}/{d}", os.O_RDONLY) for t in tops]
    os.close(os.open("f", O, dir_fd=dirs[0]))
    for k in range(1, 65000):
        fd = dirs[k // 100 % mounts]
        os.link("f", f"f{k}", src_dir_fd=fd, dst_dir_fd=fd)
    with pytest.raises(OSError) as e:
        os.link("f", "g", src_dir_fd=dirs[-1], dst_dir_fd=dirs[-1])
    assert e.value.errno == errno.EMLINK and os.stat("f", dir_fd=dirs[0]).st_nlink == 65000
    os.unlink("f7", dir_fd=dirs[0])
    os.link("f", "g", src_dir_fd=dirs[-1], dst_dir_fd=dirs[-1])
    assert len(os.listdir(dirs[0])) == 65000
    for fd in dirs:
        os.close(fd)


@pytest.mark.parametrize("use", ("open", "cwd", "file", "cwd below"))
def test_a_directory_in_use_that_another_mount_moved(pair, use):
    """What README says of it: until it is looked at where it is now, it cannot leave that place from here."""
    a, b = pair
    os.mkdir(f"{a}/q")
    os.mkdir(f"{a}/r")
    for n, look in enumerate((os.stat, lambda path: os.listdir(os.path.dirname(path)), None)):
        os.makedirs(f"{a}/p/x{n}/in/deep")
        open(f"{a}/p/x{n}/in/f", "w").close()
        for below in ("", "/in", "/in/deep", "/in/f"):
            os.stat(f"{b}/p/x{n}{below}")
        was, fd = os.getcwd(), None
        try:
            if use.startswith("cwd"):
                os.chdir(f"{b}/p/x{n}" + "/in" * (use != "cwd"))
            else:
                fd = os.open(f"{b}/p/x{n}" + "/in/f" * (use == "file"), os.O_RDONLY)
            os.rename(f"{a}/p/x{n}", f"{a}/q/x{n}")
            os.rename(f"{b}/q/x{n}/in/deep", f"{b}/r/deep{n}")
            if look:
                look(f"{b}/q/x{n}")
                os.rename(f"{b}/q/x{n}", f"{b}/r/x{n}")
            else:
                os.rename(f"{b}/q/x{n}", f"{b}/q/y{n}")
                os.rename(f"{b}/q/y{n}", f"{b}/r/x{n}")
            assert os.listdir(f"{a}/r/x{n}/in") == os.listdir(f"{b}/r/x{n}/in") == ["f"]
        finally:
            os.chdir(was)
            if fd is not None:
                os.close(fd)


@pytest.mark.parametrize("how", ("known", "lease over", "children", "exchanged", "two at once"))
@pytest.mark.parametrize("to", ("elsewhere", "back"))
def test_a_directory_that_another_mount_moved(pair, how, to):
    """Renamed here next, by a kernel that had it where it was and cannot learn better while it renames."""
    a, b = pair
    names = ("x", "y") if how == "two at once" else ("x",)
    for d in ("p", "q", "r"):
        os.mkdir(f"{a}/{d}")
    for n in names:
        os.makedirs(f"{a}/p/{n}/in/deep")
    os.mkdir(f"{a}/q/other")
    for path in [f"p/{n}{below}" for n in names for below in ("", "/in", "/in/deep")] + ["q/other"]:
        os.stat(f"{b}/{path}")
    if how == "lease over":
        os.chmod(f"{a}/p/x", 0o700)
        os.chmod(f"{a}/p", 0o700)
    if how == "exchanged":
        rename2(f"{a}/p/x", f"{a}/q/other", EXCHANGE)
        os.rename(f"{a}/q/other", f"{a}/q/x")
    else:
        for n in names:
            os.rename(f"{a}/p/{n}", f"{a}/q/{n}")
    new = "p" if to == "back" else "r"
    if how == "children":
        os.rename(f"{b}/q/x/in", f"{b}/{new}/x")
        assert os.listdir(f"{a}/{new}/x") == ["deep"]
        return
    if how == "exchanged" and to == "back":
        os.rename(f"{b}/p/x", f"{b}/r/other")
    for n in names:
        os.rename(f"{b}/q/{n}", f"{b}/{new}/{n}")
    for n in names:
        assert os.listdir(f"{a}/{new}/{n}/in") == os.listdir(f"{b}/{new}/{n}/in") == ["deep"]
