"""The calls of model_fs.py and model_file.py, made on real directories."""
import ctypes
import errno
import mmap
import os
import stat
import time

from model_fs import USERS, Err

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
DIRENT_KINDS = {"d": stat.S_IFDIR, "f": stat.S_IFREG, "l": stat.S_IFLNK, "": 0}


def checked(got):
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got


def renameat2(old, new, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd, mode, off, n):
    checked(libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)))


def parts(data, n=3):
    """@data in pieces, as writev() takes it."""
    step = len(data) // n + 1
    return [data[i:i + step] for i in range(0, len(data), step)] or [b""]


class Real:
    """@tops: the same directory as each mount shows it."""

    def __init__(self, tops):
        self.tops, self.fds, self.user = tops, {}, 0

    def become(self, uid):
        if uid == self.user:
            return
        os.seteuid(0)
        os.setegid(USERS[uid])
        if uid:
            os.seteuid(uid)
        self.user = uid

    def call(self, op, args):
        """What the call returns; Err with its errno."""
        name, mount, uid = op[:3]
        self.become(uid)
        self.top = self.tops[mount]
        try:
            return self.tried(getattr(self, name), args)
        except OSError as e:
            raise Err(e.errno) from e
        finally:
            self.become(0)

    @staticmethod
    def tried(fn, args):
        """While somebody renames between directories the kernel cannot learn
        that another mount has moved a directory that it knows: ESTALE (as on
        other network filesystems).  It can a moment later."""
        end = time.monotonic() + 5
        while True:
            try:
                return fn(*args)
            except OSError as e:
                if e.errno != errno.ESTALE or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def at(self, path):
        return os.path.join(self.top, path)

    def forget(self, slots):
        """Close what the mount behind it may have lost."""
        for slot in slots:
            try:
                os.close(self.fds.pop(slot))
            except OSError:
                pass

    def end(self):
        self.become(0)
        self.forget(list(self.fds))

    # ------------------------------------------------------- opening, closing

    def open(self, slot, path, flags, mode):
        self.fds[slot] = os.open(self.at(path), flags | os.O_NONBLOCK, mode)

    def dup(self, slot, other):
        self.fds[other] = os.dup(self.fds[slot])

    def close(self, slot):
        os.close(self.fds.pop(slot))

    def fsync(self, slot):
        os.fsync(self.fds[slot])

    def fdatasync(self, slot):
        os.fdatasync(self.fds[slot])

    # --------------------------------------------------------------- content

    def read(self, slot, n):
        return os.read(self.fds[slot], n)

    def pread(self, slot, n, off):
        return os.pread(self.fds[slot], n, off)

    def preadv(self, slot, sizes, off):
        bufs = [bytearray(n) for n in sizes]
        n = os.preadv(self.fds[slot], bufs, off)
        return b"".join(bufs)[:n]

    def readv(self, slot, sizes):
        bufs = [bytearray(n) for n in sizes]
        n = os.readv(self.fds[slot], bufs)
        return b"".join(bufs)[:n]

    def write(self, slot, data):
        return os.write(self.fds[slot], data)

    def pwrite(self, slot, data, off):
        return os.pwrite(self.fds[slot], data, off)

    def writev(self, slot, data):
        return os.writev(self.fds[slot], parts(data))

    def pwritev(self, slot, data, off):
        return os.pwritev(self.fds[slot], parts(data), off)

    def mapped(self, slot, off, n, prot):
        fd = self.fds[slot]
        first = off - off % mmap.ALLOCATIONGRANULARITY
        return mmap.mmap(fd, off + n - first, mmap.MAP_SHARED, prot, offset=first), off - first

    def mmapread(self, slot, off, n):
        m, at = self.mapped(slot, off, n, mmap.PROT_READ)
        with m:
            return m[at:at + n]

    def mmapwrite(self, slot, off, data):
        m, at = self.mapped(slot, off, len(data), mmap.PROT_READ | mmap.PROT_WRITE)
        with m:
            m[at:at + len(data)] = data
            m.flush()

    def lseek(self, slot, off, whence):
        return os.lseek(self.fds[slot], off, whence)

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def ftruncate(self, slot, size):
        os.ftruncate(self.fds[slot], size)

    def fallocate(self, slot, mode, off, n):
        fallocate(self.fds[slot], mode, off, n)

    def copy_range(self, src, src_off, dst, dst_off, n):
        """The kernel goes by the size that it last took in, and throws an
        answer away that a revocation overtakes (of a compaction, say)."""
        want, done = min(n, os.fstat(self.fds[src]).st_size - src_off), 0
        for _ in range(3):
            done += os.copy_file_range(self.fds[src], self.fds[dst], n - done, src_off + done, dst_off + done)
            if done >= want:
                break
            os.fstat(self.fds[src])
        return done

    # ----------------------------------------------------------------- names

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)

    def symlink(self, target, path):
        os.symlink(target, self.at(path))

    def readlink(self, path):
        return os.readlink(self.at(path))

    def link(self, old, new):
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def linkfd(self, slot, path):
        checked(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % self.fds[slot],
                            AT_FDCWD, os.fsencode(self.at(path)), AT_SYMLINK_FOLLOW))

    def unlink(self, path):
        os.unlink(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def rename(self, old, new, flags):
        """While it renames between directories the kernel cannot learn that
        another mount has moved a directory that is in use here: ESTALE.
        It can at any other look-up."""
        try:
            renameat2(self.at(old), self.at(new), flags)
        except OSError as e:
            if e.errno != errno.ESTALE:
                raise
            for path in (old, new):
                os.path.lexists(self.at(path))
            renameat2(self.at(old), self.at(new), flags)

    @staticmethod
    def listed(where):
        """{name: (inode number, kind)}; a name that comes twice is a fault."""
        names = {}
        with os.scandir(where) as entries:
            for e in entries:
                if e.name in names:
                    raise Err(errno.EEXIST)
                kind = "l" if e.is_symlink() else "d" if e.is_dir(follow_symlinks=False) \
                    else "f" if e.is_file(follow_symlinks=False) else ""
                names[e.name] = (e.inode(), DIRENT_KINDS[kind])
        return names

    def readdir(self, path):
        return self.listed(self.at(path))

    def readdirfd(self, slot):
        return self.listed(self.fds[slot])

    # ------------------------------------------------------------ attributes

    def stat(self, path):
        return os.stat(self.at(path))

    def lstat(self, path):
        return os.lstat(self.at(path))

    def fstat(self, slot):
        return os.fstat(self.fds[slot])

    def access(self, path, mask):
        # os.access() hides which error it was
        if checked_access(self.at(path), os.F_OK):
            return os.access(self.at(path), mask, effective_ids=True)
        return False

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def fchmod(self, slot, mode):
        os.fchmod(self.fds[slot], mode)

    def lchown(self, path, owner, group):
        os.lchown(self.at(path), owner, group)

    def utimens(self, path, times):
        os.utime(self.at(path), **({"ns": tuple(times)} if times else {}))

    def setxattr(self, path, name, value, flags):
        os.setxattr(self.at(path), name, value, flags)

    def getxattr(self, path, name):
        return os.getxattr(self.at(path), name)

    def listxattr(self, path):
        return sorted(n for n in os.listxattr(self.at(path)) if not n.startswith(("security.", "system.")))

    def removexattr(self, path, name):
        os.removexattr(self.at(path), name)


def checked_access(path, mode):
    """faccessat(AT_EACCESS), its errors but EACCES of the file itself raised."""
    checked(libc.faccessat(AT_FDCWD, os.fsencode(path), mode, 0x200))
    return True


def features(top):
    """What is supported in the directory @top: names of calls."""
    found = set()
    path = os.path.join(top, f"probe-{os.getpid()}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(fd, bytes(8192))
        for mode in (0, 1, 3, 16, 17):
            try:
                fallocate(fd, mode, 4096, 8192)
                found.add(f"fallocate {mode}")
            except OSError:
                pass
        try:
            os.close(os.open(top, os.O_TMPFILE | os.O_RDWR, 0o600))
            found.add("tmpfile")
        except OSError:
            pass
    finally:
        os.close(fd)
        os.unlink(path)
    return found
