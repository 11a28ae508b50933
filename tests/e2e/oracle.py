"""Cases of system calls, played on a local directory and on a swarm, compared.

A case is a list of steps; a step is a tuple of a method's name of Player and
its arguments.  The local directory is the oracle: each step has to have the
same result there, on one mount, and with the steps taking turns on two
mounts; and so has the tree that is left, as every mount shows it.  Paths are
relative to a directory of the case's own, 0777.
"""
import ctypes
import errno
import os
import pickle
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time

import pytest

from swarm import SLOWER, Swarm

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_EMPTY_PATH, AT_REMOVEDIR = -100, 0x1000, 0x200
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = 0x100, 0x400
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
NOBODY, OTHER = 65534, 65533
TICK = 0.012            # longer than a step of the local clock
KINDS = ("file", "dir", "fifo", "sock", "char", "block", "link")


def link_open(fd, path):
    """Give a name to what is open, as open(2)'s manual shows it for O_TMPFILE."""
    check(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW))


def name_of(err):
    return errno.errorcode.get(err, str(err))


def check(got):
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got


def acl(*entries):
    """The value of system.posix_acl_*: entries "u::rwx", "g:5:r--", "m::rw-"."""
    tags = {"u": 1, "g": 4, "m": 0x10, "o": 0x20}
    out = struct.pack("<I", 2)
    for entry in entries:
        who, ident, bits = entry.split(":")
        perm = sum(v for c, v in zip("rwx", (4, 2, 1)) if c in bits)
        tag = tags[who] << (1 if ident else 0)
        out += struct.pack("<HHI", tag, perm, int(ident) if ident else 0xffffffff)
    return out


class Player:
    """Steps.  Each goes to the next root; what has a handle, to where that is."""

    def __init__(self, roots):
        self.roots, self.turn = [os.open(r, os.O_RDONLY) for r in roots], 0
        self.paths = roots
        self.fds, self.at, self.times = {}, {}, {}

    def play(self, step):
        self.turn += 1
        if step[0].startswith("flink"):         # a link stays on its mount
            self.turn = self.at.get(step[1], 0)
        os.fchdir(self.roots[self.turn % len(self.roots)])
        try:
            return getattr(self, step[0])(*step[1:])
        except OSError as e:
            return name_of(e.errno)
        except KeyError:        # it could not be opened
            return "no handle"

    def close(self):
        self.ids(0, 0)
        os.chdir("/")
        for fd in [*self.fds.values(), *self.roots]:
            os.close(fd)

    # who
    def ids(self, uid, gid, *groups):
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(list(groups))
        os.setegid(gid)
        os.seteuid(uid)

    def umask(self, mask):
        os.umask(mask)

    # making
    def make(self, kind, name, mode=0o644):
        {"file": self.create, "dir": os.mkdir,
         "fifo": os.mkfifo,
         "sock": lambda n, m: os.mknod(n, m | stat.S_IFSOCK),
         "char": lambda n, m: os.mknod(n, m | stat.S_IFCHR, os.makedev(1, 3)),
         "block": lambda n, m: os.mknod(n, m | stat.S_IFBLK, os.makedev(7, 300)),
         "link": lambda n, m: os.symlink("target", n)}[kind](name, mode)

    def create(self, name, mode=0o644):
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    def mknod(self, name, mode, major=0, minor=0):
        os.mknod(name, mode, os.makedev(major, minor))

    def bind(self, name):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(name)

    def put(self, name, data, mode=0o644):
        fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    # calls by path
    def mkdir(self, name, mode=0o777):
        os.mkdir(name, mode)

    def symlink(self, target, name):
        os.symlink(target, name)

    def readlink(self, name):
        return os.readlink(name)

    def link(self, a, b, flags=0):
        check(libc.linkat(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))

    def unlink(self, name):
        os.unlink(name)

    def rmdir(self, name):
        os.rmdir(name)

    def rename(self, a, b, flags=0):
        check(libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))

    def chmod(self, name, mode):
        os.chmod(name, mode)

    def chown(self, name, uid, gid):
        os.chown(name, uid, gid)

    def lchown(self, name, uid, gid):
        os.lchown(name, uid, gid)

    def truncate(self, name, size):
        os.truncate(name, size)

    def utimens(self, name, atime, mtime, flags=0):
        """Times as (seconds, nanoseconds); None: no pointer at all."""
        both = None if atime is None else struct.pack("qqqq", *atime, *mtime)
        check(libc.utimensat(AT_FDCWD, os.fsencode(name), both, flags))

    def access(self, name, mode):
        return os.access(name, mode, effective_ids=True)

    def stat(self, name, *fields):
        return self.fields(os.stat(name), fields)

    def lstat(self, name, *fields):
        return self.fields(os.lstat(name), fields)

    def fields(self, st, fields):
        return tuple(getattr(st, "st_" + f) for f in fields or ("mode", "nlink", "uid", "gid"))

    def same(self, a, b):
        return os.lstat(a).st_ino == os.lstat(b).st_ino

    def ls(self, name="."):
        return sorted(os.listdir(os.fsencode(name)))

    def dots(self, name):
        """Does `name/..` lead to where `name` lies?"""
        return os.stat(name + "/..").st_ino == os.stat(os.path.dirname(name) or ".").st_ino

    def content(self, name):
        with open(name, "rb") as f:
            return f.read()

    def setx(self, name, key, value, flags=0):
        os.setxattr(name, key, value, flags, follow_symlinks=False)

    def getx(self, name, key):
        return os.getxattr(name, key, follow_symlinks=False)

    def getx_into(self, name, key, size):
        buf = ctypes.create_string_buffer(size or 1)
        return check(libc.getxattr(os.fsencode(name), os.fsencode(key), buf, size))

    def listx(self, name):
        return sorted(os.listxattr(name, follow_symlinks=False))

    def listx_into(self, name, size):
        buf = ctypes.create_string_buffer(size or 1)
        return check(libc.listxattr(os.fsencode(name), buf, size))

    def rmx(self, name, key):
        os.removexattr(name, key, follow_symlinks=False)

    def run(self, name):
        """The exit code of a program, by a child of the same user."""
        pid = os.fork()
        if not pid:
            code = 126
            try:
                os.execv(name, [name])
            except OSError as e:
                code = 128 + e.errno % 100
            finally:
                os._exit(code)
        return os.waitpid(pid, 0)[1]

    # calls by handle
    def open(self, fd, name, flags, mode=0o644):
        got = os.open(name, flags | os.O_NONBLOCK, mode)
        if fd is None:
            os.close(got)
        else:
            self.fds[fd], self.at[fd] = got, self.turn

    def shut(self, fd):
        os.close(self.fds.pop(fd))

    def read(self, fd, n, off=None):
        return os.read(self.fds[fd], n) if off is None else os.pread(self.fds[fd], n, off)

    def write(self, fd, data, off=None):
        n = os.write(self.fds[fd], data) if off is None else os.pwrite(self.fds[fd], data, off)
        if len(self.roots) > 1:         # what other mounts are promised to see
            os.fsync(self.fds[fd])
        return n

    def fstat(self, fd, *fields):
        return self.fields(os.fstat(self.fds[fd]), fields)

    def ftruncate(self, fd, size):
        os.ftruncate(self.fds[fd], size)

    def fchmod(self, fd, mode):
        os.fchmod(self.fds[fd], mode)

    def fchown(self, fd, uid, gid):
        os.fchown(self.fds[fd], uid, gid)

    def fsync(self, fd):
        os.fsync(self.fds[fd])

    def fchdir_create(self, fd, name):
        """Make a file in a directory that is held open."""
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=self.fds[fd]))

    def fchdir_mkdir(self, fd, name):
        os.mkdir(name, dir_fd=self.fds[fd])

    def fchdir_open(self, fd, name):
        os.close(os.open(name, os.O_RDONLY, dir_fd=self.fds[fd]))

    def fchdir_ls(self, fd):
        return sorted(os.listdir(self.fds[fd]))

    def getdents(self, fd):
        """Is there anything, even dots?  (readdir(3) makes an end of an error.)"""
        os.lseek(self.fds[fd], 0, os.SEEK_SET)
        return check(libc.getdents64(self.fds[fd], ctypes.create_string_buffer(4096), 4096)) > 0

    def fsetx(self, fd, key, value):
        os.setxattr(self.fds[fd], key, value)

    def fgetx(self, fd, key):
        return os.getxattr(self.fds[fd], key)

    def flink(self, fd, name):
        link_open(self.fds[fd], name)

    def flink_empty(self, fd, name):
        check(libc.linkat(self.fds[fd], b"", AT_FDCWD, os.fsencode(name), AT_EMPTY_PATH))

    def flags(self, fd):
        import fcntl
        return fcntl.fcntl(self.fds[fd], fcntl.F_GETFL) & ~0o100000  # O_LARGEFILE

    # times
    def pause(self, secs=TICK):
        time.sleep(secs)

    def snap(self, *names):
        for name in names:
            self.times[name] = self.now(name)
        time.sleep(TICK)

    def now(self, name):
        st = os.fstat(self.fds[name]) if name in self.fds else os.lstat(name)
        return st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns

    def moved(self, name, was=None):
        """Which of a, m, c are later than when `was` was snapped."""
        old, new = self.times[was or name], self.now(name)
        return "".join(("" if a == b else c if b > a else c.upper())
                       for c, a, b in zip("amc", old, new))

    def times_of(self, name):
        st = os.lstat(name)
        return st.st_atime_ns, st.st_mtime_ns

    def near(self, name):
        """Which of its times are about now."""
        return "".join(c for c, t in zip("amc", self.now(name)) if abs(t / 1e9 - time.time()) < 30)


def tree(top):
    """All of a tree that two filesystems have to agree about."""
    out = []
    for where, dirs, files in os.walk(os.fsencode(top)):
        dirs.sort()
        for name in sorted(dirs + files):
            p = os.path.join(where, name)
            st = os.lstat(p)
            size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
            out.append((os.path.relpath(p, os.fsencode(top)), oct(st.st_mode), st.st_nlink, st.st_uid,
                        st.st_gid, size, st.st_rdev,
                        os.readlink(p) if stat.S_ISLNK(st.st_mode) else None,
                        sorted((k, os.getxattr(p, k, follow_symlinks=False))
                               for k in os.listxattr(p, follow_symlinks=False))))
    return out


def play_case(name, steps, tops):
    roots = [os.path.join(t, name) for t in tops]
    os.mkdir(roots[0])
    os.chmod(roots[0], 0o777)
    p = Player(roots)
    try:
        results = [p.play(s) for s in steps]
        p.ids(0, 0)
        trees = [tree(r) for r in roots]
    finally:
        p.close()
    shutil.rmtree(roots[0])
    return results, trees


def child(cases, tops, out):
    os.umask(0)
    results = {}
    for name, steps in cases.items():
        try:
            results[name] = play_case(name, steps, tops)
        except Exception as e:          # told by who compares
            results[name] = ([repr(e)], [None])
        os.umask(0)
    with open(out, "wb") as f:
        pickle.dump(results, f)


def play(cases, tops, secs=300):
    """{name: (results of the steps, trees left)}, by a process of its own."""
    fd, out = tempfile.mkstemp()
    os.close(fd)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            child(cases, tops, out)
            code = 0
        finally:
            os._exit(code)
    try:
        end = time.monotonic() + secs * SLOWER
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"the cases took more than {secs} s")
            time.sleep(0.01)
        with open(out, "rb") as f:
            return pickle.load(f)
    finally:
        os.unlink(out)


def differences(cases, swarm, mounts):
    """A line for each step and each tree that is not as it is locally."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="pspfs-oracle-") as local:
        os.chmod(local, 0o755)
        want = play(cases, [local])
    tops = [p.mnt for p in swarm.peers[:mounts]]
    got = play(cases, tops)
    for name, steps in cases.items():
        assert len(want[name][0]) == len(steps), f"{name}: {want[name][0]}"
        if len(got[name][0]) != len(steps):
            lines.append(f"{name}: {got[name][0]}")
        for k, (w, g) in enumerate(zip(want[name][0], got[name][0])):
            if w != g:
                lines.append(f"{name}: step {k} {str(steps[k])[:200]}: local {str(w)[:200]}, here {str(g)[:200]}")
        for k, t in enumerate(got[name][1]):
            if t != want[name][1][0]:
                lines.append(f"{name}: tree on mount {k}:\n    local {want[name][1][0]}\n    here  {t}")
    return lines


# Of a swarm that is compared: devices and set-id bits count, as they do locally.
MOUNT = {"dev,suid,capacity": "4G"}


@pytest.fixture(scope="module")
def a_swarm():
    with Swarm(peers=2, peer_options=MOUNT) as s:
        yield s


class Table(dict):
    """Cases by name."""

    def case(self, name, *steps):
        assert name not in self, f"two cases are named {name}"
        self[name] = steps

    def part(self, k, n):
        """Every n-th case."""
        return Table(list(self.items())[k::n])

    def check(self, swarm, mounts):
        lines = differences(self, swarm, mounts)
        assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines)
