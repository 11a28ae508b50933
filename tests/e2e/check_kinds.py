"""The kinds of change that the checker of mounts knows as machines of versions.

See check_engine.py.  What each promises is DESIGN's and README's table "What is
promised"; a kind's want() is that promise for one name, one attribute, one byte.
"""
import ctypes
import os
import stat

from check_engine import Kind

PAGE = 4096
SLOT = 512 * 1024         # a chunk, of a file that is as large
NOBODY = 65534
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def rename2(old, new, flags):
    """renameat2(2), which Python lacks."""
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), old)


def put(path, data, flags=os.O_CREAT | os.O_TRUNC):
    """A file's whole content, by one write and close."""
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path, dir_fd=None, size=4 << 20):
    fd = os.open(path, os.O_RDONLY, dir_fd=dir_fd)
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def opened(path, flags=os.O_RDONLY, dir_fd=None):
    """The inode that an open finds."""
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def accessible(path):
    return os.access(path, os.F_OK)


# -------------------------------------------------------------------- names

def name_looks(name):
    """Every way to ask whether @name is there, as True or False."""
    def gone(fn):
        def look(kind, m):
            try:
                return fn(m) is not False
            except FileNotFoundError:
                return False
        return look
    return {
        "stat": gone(lambda m: os.stat(m.at(name))),
        "openat stat": gone(lambda m: os.stat(name, dir_fd=m.fd)),
        "access": gone(lambda m: accessible(m.at(name))),
        "open": gone(lambda m: opened(m.at(name))),
        "openat": gone(lambda m: opened(name, dir_fd=m.fd)),
        "readdir": gone(lambda m: name in os.listdir(m.fd)),
        "scandir": gone(lambda m: name in [e.name for e in os.scandir(m.path) if e.stat()]),
        "utime": gone(lambda m: os.chmod(m.at(name), 0o700)),
    }


class Create(Kind):
    """A file comes and goes."""
    name = "create"
    looks = name_looks("n")

    def row(self, v):
        return "create" if v % 2 else "unlink"

    def want(self, look, v):
        return v % 2 == 1

    def change(self, m, v):
        if v % 2:
            os.close(os.open(m.at("n"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700))
        else:
            os.unlink(m.at("n"))


class Mkdir(Create):
    """A directory comes and goes."""
    name = "mkdir"
    looks = {**name_looks("n"), "walk": lambda k, m: os.path.lexists(m.at("n/.")),
             "nlink": lambda k, m: os.stat(m.path).st_nlink == 3}

    def row(self, v):
        return "mkdir" if v % 2 else "rmdir"

    def change(self, m, v):
        if v % 2:
            os.mkdir(m.at("n"), 0o700)
        else:
            os.rmdir(m.at("n"))


class Special(Create):
    """A fifo and a symlink come and go."""
    name = "special"
    looks = {"lstat": lambda k, m: stat.S_IFMT(os.lstat(m.at("n")).st_mode),
             "readdir": lambda k, m: [e.name for e in os.scandir(m.fd)]}

    def row(self, v):
        return ("unlink special", "mkfifo", "unlink special", "symlink")[v % 4]

    def want(self, look, v):
        if look == "readdir":
            return ["n"] if v % 2 else []
        return ("ENOENT", stat.S_IFIFO, "ENOENT", stat.S_IFLNK)[v % 4]

    def change(self, m, v):
        if v % 2 == 0:
            os.unlink(m.at("n"))
        elif v % 4 == 1:
            os.mkfifo(m.at("n"))
        else:
            os.symlink("nowhere", m.at("n"))


class Remade(Kind):
    """rmdir and mkdir of one name: B finds the new directory, and nothing of the old one."""
    name = "rmdir+mkdir"
    looks = {
        "mode": lambda k, m: os.stat(m.at("d")).st_mode & 0o7777,
        "old entry": lambda k, m: accessible(m.at("d/e")),
        "listing": lambda k, m: sorted(os.listdir(m.at("d"))),
        "openat": lambda k, m: os.fstat(opened_dir(m, "d")).st_mode & 0o7777,
    }
    agree = (".", "d")

    def prepare(self, m):
        os.mkdir(m.at("d"), 0o700)

    def want(self, look, v):
        if look == "old entry":
            return v % 2 == 1
        if look == "listing":
            return ["e"] if v % 2 else []
        return 0o700 | v % 64

    def between(self, look, v, saw):
        return saw in ("ENOENT", False, [], 0o700, 0o700 | v % 64)

    def change(self, m, v):
        if v % 2 == 0:
            os.rmdir(m.at("d/e"))
        os.rmdir(m.at("d"))
        os.mkdir(m.at("d"), 0o700)
        os.chmod(m.at("d"), 0o700 | v % 64)
        if v % 2:
            os.mkdir(m.at("d/e"))


def opened_dir(m, name):
    """An open directory, which the mount holds until the next one."""
    old = m.held.pop(name, None)
    if old is not None:
        os.close(old)
    m.held[name] = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=m.fd)
    return m.held[name]


class Rename(Kind):
    """A file has the one name or the other."""
    name = "rename"
    looks = {
        "stat a": lambda k, m: os.stat(m.at("a")).st_ino,
        "stat b": lambda k, m: os.stat(m.at("b")).st_ino,
        "open a": lambda k, m: opened("a", dir_fd=m.fd),
        "open b": lambda k, m: opened("b", dir_fd=m.fd),
        "access a": lambda k, m: accessible(m.at("a")),
        "access b": lambda k, m: accessible(m.at("b")),
        "readdir": lambda k, m: sorted(os.listdir(m.fd)),
        "fstat": lambda k, m: os.fstat(m.held["f"]).st_ino,
    }

    def prepare(self, m):
        put(m.at("a"), b"x")
        self.ino = os.stat(m.at("a")).st_ino

    def hold(self, m):
        for name in "ab":
            try:
                m.held["f"] = os.open(name, os.O_RDONLY, dir_fd=m.fd)
            except FileNotFoundError:
                continue

    def want(self, look, v):
        here = "ab"[v % 2]
        if look == "readdir":
            return [here]
        if look == "fstat":
            return self.ino
        there = look[-1] == here
        return there if look.startswith("access") else self.ino if there else "ENOENT"

    def change(self, m, v):
        os.rename(m.at("ab"[(v - 1) % 2]), m.at("ab"[v % 2]))


class RenameParent(Kind):
    """A directory two levels up has the one name or the other."""
    name = "rename parent"
    looks = {
        **{f"{what} {p}": lambda k, m, p=p, fn=fn: fn(m, f"{p}/q/r/f")
           for p in ("p0", "p1")
           for what, fn in (("stat", lambda m, path: os.stat(m.at(path)).st_ino),
                            ("open", lambda m, path: opened(path, dir_fd=m.fd)),
                            ("up", lambda m, path: os.stat(f"../../../{path}", dir_fd=m.held["r"]).st_ino))},
        "openat": lambda k, m: opened("f", dir_fd=m.held["r"]),
        "readdir": lambda k, m: os.listdir(m.path),
    }

    def prepare(self, m):
        os.makedirs(m.at("p0/q/r"))
        put(m.at("p0/q/r/f"), b"x")
        self.ino = os.stat(m.at("p0/q/r/f")).st_ino

    def hold(self, m):
        name = os.listdir(m.path)[0]
        m.held["r"] = os.open(m.at(f"{name}/q/r"), os.O_RDONLY | os.O_DIRECTORY)

    def want(self, look, v):
        if look == "readdir":
            return [f"p{v % 2}"]
        return self.ino if look == "openat" or look[-1] == str(v % 2) else "ENOENT"

    def change(self, m, v):
        os.rename(m.at(f"p{(v - 1) % 2}"), m.at(f"p{v % 2}"))


class RenameOver(Kind):
    """A file replaced by rename: old or new, whole, never neither."""
    name = "rename over"
    size = 3 * PAGE
    looks = {
        "read": lambda k, m: k.number(get(m.at("f"))),
        "openat": lambda k, m: k.number(get("f", dir_fd=m.fd)),
        "size": lambda k, m: os.stat(m.at("f")).st_size - k.size,
    }
    agree = ("f",)

    def number(self, data):
        """The version that a whole content tells; "torn" of two."""
        v = int.from_bytes(data[:8], "big")
        return v if data == self.content(v) else f"torn: {len(data)} bytes, first of {v}"

    def content(self, v):
        return v.to_bytes(8, "big") * (self.size // 8) + b"." * (v % 512)

    def prepare(self, m):
        put(m.at("f"), self.content(0))

    def want(self, look, v):
        return v % 512 if look == "size" else v

    def change(self, m, v):
        put(m.at("new"), self.content(v))
        os.rename(m.at("new"), m.at("f"))


class Exchange(Kind):
    """RENAME_EXCHANGE of two files."""
    name = "rename exchange"
    looks = {f"{what} {n}": lambda k, m, n=n, fn=fn: fn(m, n)
             for n in "ab"
             for what, fn in (("stat", lambda m, n: os.stat(m.at(n)).st_ino),
                              ("read", lambda m, n: get(n, dir_fd=m.fd)))}
    agree = (".", "a", "b")

    def prepare(self, m):
        for n in "ab":
            put(m.at(n), n.encode())
        self.ino = [os.stat(m.at(n)).st_ino for n in "ab"]

    def want(self, look, v):
        which = ("ab".index(look[-1]) + v) % 2
        return self.ino[which] if look.startswith("stat") else b"ab"[which:which + 1]

    def change(self, m, v):
        rename2(m.at("a"), m.at("b"), RENAME_EXCHANGE)


class Link(Kind):
    """A second name comes and goes."""
    name = "link"
    looks = {
        "nlink": lambda k, m: os.stat(m.at("f")).st_nlink,
        "fstat nlink": lambda k, m: os.fstat(m.held["f"]).st_nlink,
        "stat g": lambda k, m: os.stat(m.at("g")).st_ino,
        "open g": lambda k, m: opened("g", dir_fd=m.fd),
        "readdir": lambda k, m: len(os.listdir(m.fd)),
    }
    agree = (".", "f", "g")

    def row(self, v):
        return "link" if v % 2 else "unlink link"

    def prepare(self, m):
        put(m.at("f"), b"x")
        self.ino = os.stat(m.at("f")).st_ino

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDONLY, dir_fd=m.fd)

    def want(self, look, v):
        if look.endswith("g"):
            return self.ino if v % 2 else "ENOENT"
        return 1 + v % 2

    def change(self, m, v):
        if v % 2:
            os.link(m.at("f"), m.at("g"))
        else:
            os.unlink(m.at("g"))


class Symlink(Kind):
    """A symlink replaced: by rename over it, and by unlink and symlink."""
    name = "symlink replaced"
    looks = {
        "readlink": lambda k, m: os.readlink(m.at("s")),
        "readlinkat": lambda k, m: os.readlink("s", dir_fd=m.fd),
        "through": lambda k, m: get(m.at("s/id")),
    }
    agree = ("s",)

    def target(self, v):
        return f"d{v % 3}" + "/." * (v % 5)

    def prepare(self, m):
        for k in range(3):
            os.mkdir(m.at(f"d{k}"))
            put(m.at(f"d{k}/id"), b"%d" % k)
        os.symlink(self.target(0), m.at("s"))

    def want(self, look, v):
        return b"%d" % (v % 3) if look == "through" else self.target(v)

    def between(self, look, v, saw):
        return v % 2 == 1 and saw == "ENOENT"

    def change(self, m, v):
        if v % 2:
            os.unlink(m.at("s"))
            os.symlink(self.target(v), m.at("s"))
        else:
            os.symlink(self.target(v), m.at("t"))
            os.rename(m.at("t"), m.at("s"))


# --------------------------------------------------------------- attributes

def attribute_looks(fn):
    """Every way to a struct stat of the file "f", as @fn of it."""
    return {
        "stat": lambda k, m: fn(os.stat(m.at("f"))),
        "openat stat": lambda k, m: fn(os.stat("f", dir_fd=m.fd)),
        "fstat": lambda k, m: fn(os.fstat(m.held["f"])),
        "open fstat": lambda k, m: fn(os.fstat(k.again(m))),
        "scandir": lambda k, m: [fn(e.stat()) for e in os.scandir(m.fd) if e.name == "f"][0],
    }


class Attribute(Kind):
    """An attribute of the file "f", which every looker holds open."""
    agree = (".", "f")

    def again(self, m):
        old = m.held.pop("again", None)
        if old is not None:
            os.close(old)
        m.held["again"] = os.open(m.at("f"), os.O_RDONLY)
        return m.held["again"]

    def prepare(self, m):
        put(m.at("f"), b"x" * 100)

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDWR, dir_fd=m.fd)


class Chmod(Attribute):
    """Permission bits."""
    name = "chmod"
    looks = attribute_looks(lambda st: st.st_mode & 0o777)

    def prepare(self, m):
        super().prepare(m)
        os.chmod(m.at("f"), 0o600)

    def want(self, look, v):
        return 0o600 + v % 64

    def change(self, m, v):
        if v % 2:
            os.chmod(m.at("f"), 0o600 + v % 64)
        else:
            os.fchmod(self.again(m), 0o600 + v % 64)


class Permission(Attribute):
    """What a user may: the file's bits, and those of the directory two up."""
    name = "permission"
    looks = {
        "open": lambda k, m: k.as_nobody(lambda: bool(opened(m.at("d/e/f")))),
        "stat": lambda k, m: k.as_nobody(lambda: bool(os.stat(m.at("d/e/f")))),
        "access": lambda k, m: k.as_nobody(lambda: os.access(m.at("d/e/f"), os.R_OK, effective_ids=True)),
    }
    agree = ("d", "d/e/f")

    def as_nobody(self, look):
        os.seteuid(NOBODY)
        try:
            return look()
        finally:
            os.seteuid(0)

    def prepare(self, m):
        os.makedirs(m.at("d/e"))
        put(m.at("d/e/f"), b"x")

    def hold(self, m):
        pass

    def want(self, look, v):
        if v % 4 == 0 or v % 4 == 2 or (v % 4 == 1 and look == "stat"):
            return True
        return False if look == "access" else "EACCES"

    def change(self, m, v):
        if v % 4 < 2:
            os.chmod(m.at("d/e/f"), 0o600 if v % 4 == 1 else 0o644)
        elif v % 4 == 2:
            os.chmod(m.at("d/e/f"), 0o644)
        else:
            os.chmod(m.at("d"), 0o700)
        if v % 4 == 0:
            os.chmod(m.at("d"), 0o755)


class Chown(Attribute):
    """Owner and group."""
    name = "chown"
    looks = attribute_looks(lambda st: [st.st_uid, st.st_gid])

    def want(self, look, v):
        return [v % 60000, v % 50000]

    def change(self, m, v):
        os.chown(m.at("f"), *self.want("", v))


class Utimens(Attribute):
    """Times to the nanosecond."""
    name = "utimens"
    looks = attribute_looks(lambda st: [st.st_mtime_ns, st.st_atime_ns])

    def prepare(self, m):
        super().prepare(m)
        self.change(m, 0)

    def want(self, look, v):
        return [10**18 + v, 10**17 + v]

    def change(self, m, v):
        os.utime(m.at("f"), ns=(10**17 + v, 10**18 + v))


class Xattr(Attribute):
    """An extended attribute set, changed, removed."""
    name = "setxattr"
    looks = {
        "getxattr": lambda k, m: os.getxattr(m.at("f"), "user.k"),
        "fgetxattr": lambda k, m: os.getxattr(m.held["f"], "user.k"),
        "listxattr": lambda k, m: os.listxattr(m.at("f")),
    }

    def row(self, v):
        return "setxattr" if v % 3 else "removexattr"

    def want(self, look, v):
        if look == "listxattr":
            return ["user.k"] if v % 3 else []
        return b"%d" % v if v % 3 else "ENODATA"

    def change(self, m, v):
        if v % 3:
            os.setxattr(m.at("f"), "user.k", b"%d" % v)
        else:
            os.removexattr(m.at("f"), "user.k")


NAMES = [Create, Mkdir, Special, Remade, Rename, RenameParent, RenameOver, Exchange, Link, Symlink]
ATTRIBUTES = [Chmod, Permission, Chown, Utimens, Xattr]
