"""Extended attributes and POSIX ACLs.

From xattr(7), setxattr(2), getxattr(2), listxattr(2), acl(5), umask(2), chmod(2).
"""
import os
import subprocess

import pytest

from oracle import KINDS, NOBODY, OTHER, Table, a_swarm, acl
from swarm import run

T = Table()
swarm = a_swarm
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE

for kind in KINDS:
    for ids in ((0, 0), (NOBODY, NOBODY), (OTHER, OTHER)):
        T.case(f"kinds_{kind}_{ids[0]}", ("make", kind, "f"), ("lchown", "f", NOBODY, NOBODY), ("ids", *ids),
               *[step for name in ("user.a", "trusted.a", "security.a", "system.a", "other.a", "a", "user.", "", "user.é")
                 for step in (("setx", "f", name, b"1"), ("getx", "f", name), ("rmx", "f", name))], ("listx", "f"))
T.case("sticky_dir", ("mkdir", "d"), ("chmod", "d", 0o1777), ("ids", NOBODY, NOBODY), ("setx", "d", "user.a", b"1"))
T.case("flags", ("create", "f"), ("setx", "f", "user.a", b"1", REPLACE), ("setx", "f", "user.a", b"1", CREATE),
       ("setx", "f", "user.a", b"2", CREATE), ("setx", "f", "user.a", b"3", REPLACE), ("getx", "f", "user.a"),
       ("setx", "f", "user.a", b"4", 4), ("rmx", "f", "user.a"),
       ("rmx", "f", "user.a"), ("getx", "f", "user.a"), ("setx", "f", "user.e", b""), ("getx", "f", "user.e"), ("listx", "f"))
T.case("sizes", ("create", "f"), ("setx", "f", "user.a", b"12345"), ("getx_into", "f", "user.a", 0),
       ("getx_into", "f", "user.a", 4), ("getx_into", "f", "user.a", 5), ("getx_into", "f", "user.a", 100),
       ("listx_into", "f", 0), ("listx_into", "f", 3), ("listx_into", "f", 7), ("getx_into", "f", "user.b", 0))
T.case("names", ("create", "f"), ("setx", "f", "user." + "n" * 250, b"1"), ("getx", "f", "user." + "n" * 250),
       ("setx", "f", "user." + "n" * 251, b"1"), ("getx", "f", "user." + "n" * 251), ("listx", "f"),
       ("setx", "none", "user.a", b"1"), ("getx", "none", "user.a"), ("listx", "none"), ("rmx", "none", "user.a"))
T.case("values", ("create", "f"), ("setx", "f", "user.a", bytes(range(256))), ("getx", "f", "user.a"),
       ("setx", "f", "user.b", b"x" * 65537), ("listx", "f"), ("link", "f", "g"), ("getx", "g", "user.a"),
       ("rename", "f", "h"), ("getx", "h", "user.a"), ("put", "h", b"new"), ("getx", "h", "user.a"))
T.case("trusted_unseen", ("create", "f"), ("chmod", "f", 0o666), ("setx", "f", "trusted.a", b"1"),
       ("setx", "f", "user.a", b"1"), ("ids", NOBODY, NOBODY), ("getx", "f", "trusted.a"), ("rmx", "f", "trusted.a"),
       ("rmx", "f", "user.a"))
T.case("capability_goes", ("put", "f", b"abc"), ("chmod", "f", 0o777),
       ("setx", "f", "security.capability", bytes.fromhex("0000000200200000000000000000000000000000")),
       ("getx", "f", "security.capability"), ("link", "f", "g"), ("chmod", "f", 0o755), ("getx", "f", "security.capability"),
       ("chown", "f", 1, 1), ("getx", "f", "security.capability"))

# ACLs: made, kept in step with the mode, inherited, obeyed.
FULL = acl("u::rw-", f"u:{NOBODY}:rwx", f"u:{OTHER}:---", "g::r--", "g:7:rw-", "m::rw-", "o::---")
PLAIN = acl("u::rw-", "g::r-x", "o::--x")
BAD = {"version": b"\1\0\0\0" + FULL[4:], "cut": FULL[:-3], "nomask": acl("u::rw-", "u:5:rwx", "g::r--", "o::---"),
       "twice": acl("u::rw-", "u::rw-", "g::r--", "o::---"), "order": acl("o::---", "u::rw-", "g::r--"),
       "noother": acl("u::rw-", "g::r--"), "same": acl("u::rw-", "u:5:r--", "u:5:r--", "g::r--", "m::r--", "o::---")}
for kind in KINDS:
    for name in (ACCESS, DEFAULT):
        T.case(f"acl_{kind}_{name}", ("make", kind, "f", 0o640), ("getx", "f", name), ("setx", "f", name, FULL),
               ("getx", "f", name), ("lstat", "f", "mode"), ("setx", "f", name, PLAIN), ("getx", "f", name), ("lstat", "f", "mode"),
               ("setx", "f", name, FULL), ("chmod", "f", 0o777), ("getx", "f", name), ("chmod", "f", 0o4710), ("getx", "f", name),
               ("listx", "f"), ("rmx", "f", name), ("lstat", "f", "mode"), ("rmx", "f", name), ("getx", "f", name), ("listx", "f"))
for how, value in BAD.items():
    T.case(f"acl_bad_{how}", ("create", "f"), ("setx", "f", ACCESS, FULL), ("setx", "f", ACCESS, value), ("getx", "f", ACCESS),
           ("mkdir", "d"), ("setx", "d", DEFAULT, value), ("getx", "d", DEFAULT), ("lstat", "f", "mode"))
for who, ids in {"root": (0, 0), "owner": (NOBODY, NOBODY), "other": (OTHER, OTHER)}.items():
    T.case(f"acl_set_by_{who}", ("create", "f", 0o640), ("chown", "f", NOBODY, NOBODY), ("ids", *ids), ("setx", "f", ACCESS, FULL),
           ("getx", "f", ACCESS), ("rmx", "f", ACCESS))
for how, d in {"full": FULL, "plain": PLAIN, "open": acl("u::rwx", "u:5:rwx", "g::rwx", "m::rwx", "o::rwx"),
               "closed": acl("u::---", "u:5:rwx", "g::---", "m::---", "o::---")}.items():
    for kind in KINDS:
        for mode in (0o777, 0o640, 0o2755, 0):
            T.case(f"inherit_{how}_{kind}_{mode:o}", ("umask", 0o27), ("mkdir", "d"), ("chmod", "d", 0o777), ("setx", "d", DEFAULT, d),
                   ("ids", NOBODY, NOBODY), ("make", kind, "d/f", mode), ("lstat", "d/f", "mode"), ("getx", "d/f", ACCESS),
                   ("getx", "d/f", DEFAULT), ("ids", 0, 0), ("mkdir", "d/g", mode), ("create", "d/g/h", mode), ("lstat", "d/g/h", "mode"))
    T.case(f"inherit_{how}_tmpfile", ("umask", 0o27), ("mkdir", "d"), ("setx", "d", DEFAULT, d),
           ("open", "h", "d", os.O_TMPFILE | os.O_RDWR, 0o666), ("fstat", "h", "mode"), ("flink", "h", "d/f"), ("getx", "d/f", ACCESS))
WHO = {"root": (0, 0), "owner": (1, 1), "user": (NOBODY, NOBODY), "none": (OTHER, OTHER), "group": (99, 99, 7), "gid": (99, 7),
       "other": (98, 98), "both": (98, 5, 7)}
for who, ids in WHO.items():
    for how, value in {"full": FULL, "nothing": acl("u::---", f"u:{NOBODY}:rwx", "g::---", "g:7:rwx", "m::---", "o::rwx"),
                       "groups": acl("u::rw-", "g::r--", "g:5:---", "g:7:-w-", "m::rwx", "o::rw-")}.items():
        T.case(f"obeyed_{who}_{how}", ("put", "f", b"abc"), ("chown", "f", 1, 5), ("setx", "f", ACCESS, value), ("ids", *ids),
               ("open", None, "f", os.O_RDONLY), ("open", None, "f", os.O_WRONLY), ("open", None, "f", os.O_RDWR),
               ("access", "f", os.R_OK), ("access", "f", os.W_OK), ("access", "f", os.X_OK), ("truncate", "f", 1))
        T.case(f"obeyed_dir_{who}_{how}", ("mkdir", "d"), ("create", "d/f"), ("chown", "d", 1, 5), ("setx", "d", ACCESS, value),
               ("ids", *ids), ("ls", "d"), ("stat", "d/f", "mode"), ("create", "d/g"), ("unlink", "d/f"))
# Taken away on one mount, refused on the next.
T.case("revoked", ("put", "f", b"abc", 0o600), *[step for k in range(6) for step in (
    ("ids", 0, 0), ("setx", "f", ACCESS, FULL if k % 2 == 0 else PLAIN), ("ids", NOBODY, NOBODY),
    ("open", None, "f", os.O_RDWR), ("open", None, "f", os.O_RDWR), ("ids", 0, 0), ("setx", "f", ACCESS, FULL), ("ids", NOBODY, NOBODY),
    ("open", None, "f", os.O_RDWR), ("ids", 0, 0), ("rmx", "f", ACCESS), ("ids", NOBODY, NOBODY), ("open", None, "f", os.O_RDWR),
    ("open", None, "f", os.O_RDWR))])
T.case("acl_sgid", ("create", "f"), ("chown", "f", NOBODY, 7), ("chmod", "f", 0o2755), ("ids", NOBODY, NOBODY), ("setx", "f", ACCESS, FULL),
       ("lstat", "f", "mode"), ("ids", 0, 0), ("chmod", "f", 0o2755), ("ids", NOBODY, NOBODY, 7), ("setx", "f", ACCESS, PLAIN),
       ("lstat", "f", "mode"), ("ids", 0, 0), ("setx", "f", ACCESS, FULL), ("lstat", "f", "mode"))
T.case("acl_times", ("create", "f"), ("snap", "f"), ("setx", "f", ACCESS, FULL), ("moved", "f"), ("snap", "f"), ("setx", "f", ACCESS, PLAIN),
       ("moved", "f"), ("setx", "f", ACCESS, FULL), ("snap", "f"), ("rmx", "f", ACCESS), ("moved", "f"))


@pytest.mark.parametrize("mounts", (1, 2))
def test_as_locally(swarm, mounts):
    T.check(swarm, mounts)


def test_limits(pair):
    """64 KiB of a value, and of all names and values of a file together."""
    a, b = pair
    open(f"{a}/f", "w").close()
    os.setxattr(f"{a}/f", "user.big", b"x" * 65000)
    assert os.getxattr(f"{b}/f", "user.big") == b"x" * 65000
    with pytest.raises(OSError) as e:
        os.setxattr(f"{b}/f", "user.more", b"x" * 1000)
    assert e.value.errno == 28 and os.listxattr(f"{a}/f") == ["user.big"]
    os.removexattr(f"{b}/f", "user.big")
    for k in range(500):
        os.setxattr(f"{a if k % 2 else b}/f", f"user.{k}", b"v" * (k % 50))
    assert sorted(os.listxattr(f"{b}/f")) == sorted(f"user.{k}" for k in range(500))
    assert os.getxattr(f"{a}/f", "user.49") == b"v" * 49


def test_the_commands(pair):
    """setfacl, getfacl and cp -p, as people use them."""
    a, b = pair
    open(f"{a}/f", "w").close()
    run("setfacl", "-m", f"u:{NOBODY}:rw,g:7:r", f"{a}/f")
    text = run("getfacl", "-n", "--omit-header", f"{b}/f").stdout
    assert f"user:{NOBODY}:rw-" in text and "group:7:r--" in text and "mask::rw-" in text
    run("cp", "-p", f"{b}/f", f"{b}/g")
    assert run("getfacl", "-n", "--omit-header", f"{a}/g").stdout == text
    run("setfacl", "-b", f"{b}/f")
    assert os.listxattr(f"{a}/f") == []
    os.mkdir(f"{a}/d")
    run("setfacl", "-d", "-m", f"u:{NOBODY}:rwx", f"{a}/d")
    subprocess.run(["touch", f"{b}/d/x"], check=True, timeout=30)
    assert f"user:{NOBODY}:rwx" in run("getfacl", "-n", f"{a}/d/x").stdout
