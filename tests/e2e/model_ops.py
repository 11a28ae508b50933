"""Operations at random: lists of [call, mount, user, arguments...], which
JSON can hold.  What the model knows makes most of them meaningful."""
import os
import random

from model_fs import EXCHANGE, NOREPLACE

NAMES = ["a", "b", "c", "d", "e"]
SLOTS = 12              # open at once
PAGE = 4096
FILES_MAX = 60          # inodes: then removing comes oftener than making
MODES = [0o644, 0o666, 0o600, 0o755, 0o777, 0o700, 0o444, 0, 0o6755, 0o2770, 0o4711, 0o640, 0o2644]
DIR_MODES = [0o755, 0o777, 0o1777, 0o2777, 0o700, 0o770, 0o711, 0o555]
XATTRS = ["user.a", "user.b", "trusted.c"]

#: call: how often
WEIGHTS = dict(
    open=130, close=90, dup=10, fsync=10, fdatasync=5,
    read=40, pread=60, preadv=15, readv=10, write=45, pwrite=70, pwritev=15, writev=10,
    mmapread=12, mmapwrite=12, lseek=25, truncate=15, ftruncate=20,
    mkdir=25, rmdir=12, unlink=45, rename=50, link=20, linkfd=6, symlink=15, mkfifo=6, readlink=10,
    stat=60, lstat=30, fstat=50, access=15, chmod=18, fchmod=6, lchown=12, utimens=10,
    setxattr=14, getxattr=14, listxattr=10, removexattr=8, readdir=45, readdirfd=6,
    fallocate=18, copy_range=14)


class Generator:
    """@supported: what model_real.features() found."""

    def __init__(self, seed, mounts, slot_bytes, supported):
        self.rng = random.Random(seed)
        self.mounts, self.slot_bytes = mounts, slot_bytes
        self.modes = [int(f.split()[1]) for f in sorted(supported) if f.startswith("fallocate")]
        self.tmpfile = "tmpfile" in supported
        weights = dict(WEIGHTS)
        if not self.modes:
            del weights["fallocate"]
        self.calls, self.weights = list(weights), list(weights.values())
        self.mount = 0

    def next(self, model):
        """The next operation, given what there is now."""
        rng, self.model = self.rng, model
        if rng.random() < 0.4:
            self.mount = rng.randrange(self.mounts)
        name = rng.choices(self.calls, self.weights)[0]
        if len(model.inodes) > FILES_MAX and name in ("mkdir", "symlink", "mkfifo", "link"):
            name = rng.choice(("unlink", "rmdir"))
        uid = rng.choices((0, 1001, 1002), (70, 20, 10))[0]
        args = getattr(self, name)()        # may choose another mount
        return [name, self.mount, uid, *args]

    # --------------------------------------------------------------- choices

    def paths(self):
        """All paths that there are, some wanted more than others."""
        found, todo = [], [("", self.model.inodes[self.model.root])]
        while todo:
            top, inode = todo.pop()
            for name, ino in inode.entries.items():
                path = f"{top}{name}"
                child = self.model.inodes[ino]
                found.append((path, child))
                if child.is_dir() and path.count("/") < 4:
                    todo.append((path + "/", child))
        return found

    def some(self, want):
        paths = [p for p, inode in self.paths() if want(inode)]
        return self.rng.choice(paths) if paths else None

    def old(self, want=lambda i: True):
        """A path that is there, as @want says; sometimes not."""
        r = self.rng.random()
        if r < 0.85:
            path = self.some(want)
            if path:
                return path
        return self.any_path()

    def any_path(self):
        rng = self.rng
        top = self.some(lambda i: i.is_dir()) if rng.random() < 0.7 else None
        r = rng.random()
        if r < 0.02:
            top = self.some(lambda i: not i.is_dir()) or top
        name = rng.choice(NAMES) if r > 0.006 else "x" * rng.choice((255, 256))
        return f"{top}/{name}" if top and top.count("/") < 4 else name

    def fresh(self):
        """A path where nothing is, mostly."""
        for _ in range(3):
            path = self.any_path()
            if not any(path == p for p, _ in self.paths()):
                break
        return path

    def slot(self, want=lambda f: True):
        """An open slot of this mount if there is one; the mount follows."""
        taken = self.model.slots
        mine = [s for s, f in taken.items() if want(f) and f.mount == self.mount] or \
               [s for s, f in taken.items() if want(f)] or list(taken)
        if not mine:
            return 0
        got = self.rng.choice(mine)
        self.mount = taken[got].mount
        return got

    def file_slot(self):
        return self.slot(lambda f: self.model.inodes[f.ino].is_file())

    def writable(self):
        return self.slot(lambda f: f.writable)

    def free(self):
        free = [s for s in range(SLOTS) if s not in self.model.slots]
        return self.rng.choice(free) if free else self.rng.randrange(SLOTS)

    def offset(self, most=3.2):
        """Near a border of slots or pages, or anywhere."""
        rng, slot = self.rng, self.slot_bytes
        r = rng.random()
        if r < 0.3:
            return max(0, slot * rng.randrange(0, 4) + rng.choice((-1, 0, 1, -PAGE, PAGE, 17, -17)))
        if r < 0.5:
            return max(0, PAGE * rng.randrange(0, int(most * slot) // PAGE) + rng.choice((-1, 0, 1)))
        if r < 0.7:
            return rng.randrange(0, 6000)
        return rng.randrange(int(most * slot))

    def length(self):
        rng, slot = self.rng, self.slot_bytes
        return rng.choice((0, 1, 2, 13, 100, 511, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, rng.randrange(20000),
                           rng.randrange(20000), slot, slot + 1, rng.randrange(2 * slot)))

    def noise(self, n=None):
        return ["noise", self.rng.randrange(1 << 30), self.length() if n is None else n]

    # ----------------------------------------------------------------- calls

    def open(self):
        rng = self.rng
        flags = rng.choices((os.O_RDONLY, os.O_WRONLY, os.O_RDWR), (3, 2, 6))[0]
        if self.tmpfile and rng.random() < 0.06:
            flags = os.O_TMPFILE | rng.choice((os.O_RDWR, os.O_WRONLY)) | (os.O_EXCL if rng.random() < .3 else 0)
            return [self.free(), self.old(lambda i: i.is_dir()), flags, rng.choice(MODES)]
        make = rng.random() < 0.45 and len(self.model.inodes) < FILES_MAX
        for flag, chance in ((os.O_TRUNC, 0.15), (os.O_APPEND, 0.2), (os.O_NOFOLLOW, 0.05)):
            flags |= flag if rng.random() < chance else 0
        if make:
            flags |= os.O_CREAT | (os.O_EXCL if rng.random() < 0.3 else 0)
        elif rng.random() < 0.08:
            flags |= os.O_DIRECTORY
        path = self.fresh() if make and rng.random() < 0.7 else \
            self.old(lambda i: i.is_file() or rng.random() < 0.05)
        return [self.free(), path, flags, rng.choice(MODES)]

    def close(self):
        return [self.slot()]

    def dup(self):
        return [self.slot(), self.free()]

    fsync = fdatasync = fstat = close

    def read(self):
        return [self.file_slot(), self.length()]

    def pread(self):
        return [self.file_slot(), self.length(), self.offset()]

    def preadv(self):
        return [self.file_slot(), [self.length() for _ in range(3)], self.offset()]

    def readv(self):
        return [self.file_slot(), [self.length() for _ in range(2)]]

    def write(self):
        return [self.writable(), self.noise()]

    def pwrite(self):
        return [self.writable(), self.noise(), self.offset()]

    writev, pwritev = write, pwrite

    def inside(self):
        """A slot and a range within its file."""
        slot = self.slot(lambda f: f.readable and self.model.inodes[f.ino].size > 1)
        f = self.model.slots.get(slot)
        size = self.model.inodes[f.ino].size if f else 1
        off = min(self.offset(), max(0, size - 1))
        return slot, off, max(1, min(self.length(), size - off))

    def mmapread(self):
        return list(self.inside())

    def mmapwrite(self):
        slot, off, n = self.inside()
        return [slot, off, self.noise(n)]

    def lseek(self):
        rng = self.rng
        whence = rng.choice((os.SEEK_SET, os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE))
        return [self.file_slot(), self.offset() if whence != os.SEEK_CUR else rng.randrange(5000), whence]

    def truncate(self):
        return [self.old(lambda i: i.is_file()), self.offset()]

    def ftruncate(self):
        return [self.writable(), self.offset()]

    def fallocate(self):
        return [self.writable(), self.rng.choice(self.modes), self.offset(), self.length() + 1]

    def copy_range(self):
        src = self.file_slot()
        return [src, self.offset(), self.writable(), self.offset(), self.length()]

    def mkdir(self):
        return [self.fresh(), self.rng.choice(DIR_MODES)]

    def mkfifo(self):
        return [self.fresh(), self.rng.choice(MODES)]

    def symlink(self):
        rng = self.rng
        target = rng.choice((self.any_path(), rng.choice(NAMES), "../" + rng.choice(NAMES), ".",
                             rng.choice(NAMES) + "/" + rng.choice(NAMES), "t" * rng.choice((1, 60, 2000, 4095))))
        return [target, self.fresh()]

    def link(self):
        return [self.old(lambda i: not i.is_dir() or self.rng.random() < 0.05), self.fresh()]

    def linkfd(self):
        return [self.file_slot(), self.fresh()]

    def unlink(self):
        return [self.old(lambda i: not i.is_dir() or self.rng.random() < 0.05)]

    def rmdir(self):
        return [self.old(lambda i: i.is_dir() and (not i.entries or self.rng.random() < 0.2))]

    def rename(self):
        rng = self.rng
        flags = rng.choices((0, NOREPLACE, EXCHANGE), (6, 1, 2))[0]
        there = rng.random() < (0.85 if flags == EXCHANGE else 0.4)
        return [self.old(), self.old() if there else self.fresh(), flags]

    def readlink(self):
        return [self.old(lambda i: i.is_link())]

    def stat(self):
        return [self.old()]

    lstat = listxattr = stat

    def access(self):
        return [self.old(), self.rng.choice((os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK))]

    def chmod(self):
        path = self.old(lambda i: not i.is_link())
        is_dir = any(p == path and i.is_dir() for p, i in self.paths())
        return [path, self.rng.choice(DIR_MODES if is_dir else MODES)]

    def fchmod(self):
        return [self.file_slot(), self.rng.choice(MODES)]

    def lchown(self):
        rng = self.rng
        return [self.old(), rng.choice((0, 1001, 1002, -1)), rng.choice((0, 1001, 7))]

    def utimens(self):
        rng = self.rng
        if rng.random() < 0.3:
            return [self.old(), None]
        return [self.old(), [rng.randrange(1 << 60), rng.randrange(1 << 60)]]

    def setxattr(self):
        return [self.old(), self.rng.choice(XATTRS), self.noise(self.rng.choice((0, 1, 30, 500))),
                self.rng.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))]

    def getxattr(self):
        want = self.rng.random() < 0.7
        path = self.old(lambda i: bool(i.xattrs) or not want)
        return [path, self.rng.choice(XATTRS)]

    removexattr = getxattr

    def readdir(self):
        if self.rng.random() < 0.3:
            return ["."]
        return [self.old(lambda i: i.is_dir())]

    def readdirfd(self):
        return [self.slot(lambda f: self.model.inodes[f.ino].is_dir())]
