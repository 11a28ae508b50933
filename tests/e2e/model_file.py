"""The part of the model that is about open files and their bytes."""
import errno
import os
import stat

from model_fs import (EXEC, FOLLOW, KEEP_SIZE, NOFOLLOW, PUNCH, READ, WRITE, ZERO,
                      Err, Model, Opened, Skip)

O_TMPFILE = os.O_TMPFILE


class Files(Model):
    def of(self, slot):
        f, inode = super().of(slot)
        if self.fuse and inode.is_dir() and inode.nlink == 0:
            raise Skip                  # a removed directory does not live on for who has it open
        return f, inode

    # -------------------------------------------------------------- opening

    def open(self, uid, slot, mount, path, flags, mode):
        if slot in self.slots:
            raise Skip
        if flags & O_TMPFILE == O_TMPFILE:
            return self.open_tmpfile(uid, slot, mount, path, flags, mode)
        creat, excl = flags & os.O_CREAT, flags & os.O_EXCL
        follow = NOFOLLOW if flags & os.O_NOFOLLOW or (creat and excl) else FOLLOW
        parent, name, inode = self.walk(uid, path, follow)
        if creat and name in (".", ".."):
            raise Err(errno.EISDIR)
        if inode is None:
            if not creat:
                raise Err(errno.ENOENT)
            self.need(uid, parent, WRITE | EXEC)
            inode = self.new(uid, parent, name, stat.S_IFREG | mode)
        else:
            self.open_check(uid, parent, inode, flags)
            if stat.S_ISFIFO(inode.mode):
                raise Skip
            if flags & os.O_TRUNC:
                self.cut(uid, inode, mount, 0)
        return self.opens(slot, inode, flags, mount)

    def opens(self, slot, inode, flags, mount):
        self.slots[slot] = Opened(inode, flags, mount)

    def somebody_elses(self, uid, parent, inode):
        """O_CREAT finds what another put into a sticky directory: a regular
        file or a fifo is opened, if fs.protected_* do not say otherwise."""
        level = {stat.S_IFREG: self.regular_protected, stat.S_IFIFO: self.fifos_protected}.get(
            stat.S_IFMT(inode.mode), 1)
        writers = {0: 0, 1: 0o002}.get(level, 0o022)
        return parent.mode & stat.S_ISVTX and inode.uid not in (uid, parent.uid) and parent.mode & writers

    def open_check(self, uid, parent, inode, flags):
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise Err(errno.EEXIST)
        if flags & os.O_CREAT and inode.is_dir():
            raise Err(errno.EISDIR)
        if flags & os.O_CREAT and self.somebody_elses(uid, parent, inode):
            raise Err(errno.EACCES)
        if flags & os.O_DIRECTORY and not inode.is_dir():
            raise Err(errno.ENOTDIR)
        if inode.is_link():
            raise Err(errno.ELOOP)
        mask = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE}[flags & os.O_ACCMODE]
        if flags & os.O_TRUNC and not stat.S_ISFIFO(inode.mode):
            mask |= WRITE
        if inode.is_dir() and mask & WRITE:
            raise Err(errno.EISDIR)
        self.need(uid, inode, mask)

    def open_tmpfile(self, uid, slot, mount, path, flags, mode):
        parent = self.find(uid, path)
        if not parent.is_dir():
            raise Err(errno.ENOTDIR)
        self.need(uid, parent, WRITE | EXEC)
        inode = self.new(uid, parent, None, stat.S_IFREG | mode)
        inode.linkable = not flags & os.O_EXCL
        self.opens(slot, inode, flags, mount)

    def dup(self, uid, slot, other):
        if other in self.slots:
            raise Skip
        self.slots[other] = self.opened(slot)

    def close(self, uid, slot):
        f, inode = super().of(slot)
        del self.slots[slot]
        if f.writable:
            self.committed(inode, f.mount)
        self.drop(inode)

    def fsync(self, uid, slot):
        f, inode = self.of(slot)
        self.committed(inode, f.mount)

    fdatasync = fsync

    # ------------------------------------------------ what others do not see

    def soil(self, inode, mount, first, end):
        """Bytes [first, end) are @mount's alone until it commits them."""
        if not inode.dirty:
            inode.clean = inode.data
        else:
            inode.past.append(inode.data)       # any of it may be committed, and what follows lost
        inode.dirty.setdefault(mount, []).append((first, end))

    def committed(self, inode, mount):
        inode.dirty.pop(mount, None)
        if not inode.dirty:
            inode.clean, inode.past = None, []

    @staticmethod
    def resized(inode, mount):
        """@mount has done that; its kernel knows the size if it did before."""
        inode.seen &= {mount}

    def writer(self, inode, mount):
        """A slot of @mount through which it can commit what it wrote."""
        return min((s for s, f in self.slots.items()
                    if f.ino == inode.ino and f.mount == mount and f.writable), default=None)

    # -------------------------------------------------------------- reading

    def readable(self, slot):
        f, inode = self.of(slot)
        if not f.readable:
            raise Err(errno.EBADF)
        if inode.is_dir():
            raise Err(errno.EISDIR)
        return f, inode

    def pread(self, uid, slot, n, off):
        _, inode = self.readable(slot)
        inode.atime = self.tick()
        return inode.data[off:off + n]

    def read(self, uid, slot, n):
        f, _ = self.readable(slot)
        if f.pos is None:
            raise Skip
        data = self.pread(uid, slot, n, f.pos)
        f.pos += len(data)
        return data

    def nothing(self, slot, sizes):
        """Vectors without room are not read, not even from a directory."""
        f, inode = self.of(slot)
        return f.readable and inode.is_dir() and not any(sizes)

    def preadv(self, uid, slot, sizes, off):
        return b"" if self.nothing(slot, sizes) else self.pread(uid, slot, sum(sizes), off)

    def readv(self, uid, slot, sizes):
        return b"" if self.nothing(slot, sizes) else self.read(uid, slot, sum(sizes))

    def mmapread(self, uid, slot, off, n):
        f, inode = self.of(slot)
        if not f.readable or inode.is_dir() or off + n > inode.size or not n:
            raise Skip
        return self.pread(uid, slot, n, off)

    # -------------------------------------------------------------- writing

    def store(self, uid, inode, mount, off, data):
        old = inode.data
        self.soil(inode, mount, min(off, len(old)), off + len(data))
        if off > len(old):
            old += bytes(off - len(old))
        inode.data = old[:off] + data + old[off + len(data):]
        if len(inode.data) > len(old):
            self.resized(inode, mount)
        self.kill_suid(uid, inode)
        self.changed(inode, True)

    def pwrite(self, uid, slot, data, off):
        f, inode = self.of(slot)
        if not f.writable:
            raise Err(errno.EBADF)
        if data:
            self.store(uid, inode, f.mount, inode.size if f.append else off, data)
        return len(data)

    def write(self, uid, slot, data):
        f, inode = self.of(slot)
        if f.append and f.writable and data:
            f.pos = inode.size
        if f.pos is None:
            raise Skip
        self.pwrite(uid, slot, data, f.pos)
        f.pos += len(data)
        if self.fuse and f.append and data and f.mount not in inode.seen:
            f.pos = None        # the kernel takes the size that it knew
        return len(data)

    def pwritev(self, uid, slot, data, off):
        return self.pwrite(uid, slot, data, off)

    def writev(self, uid, slot, data):
        return self.write(uid, slot, data)

    def mmapwrite(self, uid, slot, off, data):
        """Shared, then msync."""
        f, inode = self.of(slot)
        if not (f.readable and f.writable) or off + len(data) > inode.size or not data:
            raise Skip
        inode.atime = self.tick()
        self.store(0, inode, f.mount, off, data)        # no privilege goes with a mapping
        self.committed(inode, f.mount)

    def lseek(self, uid, slot, off, whence):
        f, inode = self.of(slot)
        if inode.is_dir():
            raise Skip
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            return self.seek_map(f, inode, off, whence)
        if f.pos is None and whence == os.SEEK_CUR:
            raise Skip
        if whence == os.SEEK_END:
            inode.seen.add(f.mount)     # it said what it takes the size for
        f.pos = off + {os.SEEK_SET: 0, os.SEEK_CUR: f.pos, os.SEEK_END: inode.size}[whence]
        return f.pos

    @staticmethod
    def seek_map(f, inode, off, whence):
        """The bounds of the answer: any hole may be data."""
        if off >= inode.size:
            raise Err(errno.ENXIO)
        rest = inode.data[off:].lstrip(b"\0")
        first = inode.size - len(rest)          # of what is surely data
        if whence == os.SEEK_DATA:
            return ("within", off, first, bool(not rest))
        return ("hole", off, inode.data)

    # --------------------------------------------------------------- shaping

    def cut(self, uid, inode, mount, size):
        self.kill_suid(uid, inode)
        if inode.clean is not None:
            inode.clean = inode.clean[:size].ljust(size, b"\0")
            inode.past = [p[:size].ljust(size, b"\0") for p in inode.past]
        inode.data = inode.data[:size].ljust(size, b"\0")
        inode.seen = {mount}            # an answer tells its kernel
        inode.dirty = {m: [(a, min(b, size)) for a, b in r if a < size] for m, r in inode.dirty.items()}
        self.changed(inode, True)

    def truncate(self, uid, mount, path, size):
        inode = self.find(uid, path)
        if inode.is_dir():
            raise Err(errno.EISDIR)
        if not inode.is_file():
            raise Err(errno.EINVAL)
        self.need(uid, inode, WRITE)
        same = inode.size == size and (inode.mtime, inode.ctime)
        self.cut(uid, inode, mount, size)
        if same:
            inode.mtime, inode.ctime = ("either", *same), ("either", *same)

    def ftruncate(self, uid, slot, size):
        f, inode = self.of(slot)
        if not f.writable:
            raise Err(errno.EINVAL)
        self.cut(uid, inode, f.mount, size)

    def fallocate(self, uid, slot, mode, off, n):
        f, inode = self.of(slot)
        if not f.writable:
            raise Err(errno.EBADF)
        end = off + n
        size = inode.size if mode & KEEP_SIZE else max(inode.size, end)
        data = inode.data.ljust(size, b"\0")
        if mode & (PUNCH | ZERO) and off < size:
            data = data[:off] + bytes(min(end, size) - off) + data[min(end, size):]
        self.kill_suid(uid, inode)
        if data != inode.data:
            self.soil(inode, f.mount, min(off, inode.size), size)
            inode.data = data
            self.resized(inode, f.mount)
        times = ("either", inode.mtime, inode.ctime)
        inode.mtime = inode.ctime = times

    def copy_range(self, uid, src, src_off, dst, dst_off, n):
        f, a = self.of(src)
        g, b = self.of(dst)
        if f.mount != g.mount:
            raise Skip
        if a.is_dir() or b.is_dir():
            raise Err(errno.EISDIR)
        if not f.readable or not g.writable or g.append:
            raise Err(errno.EBADF)
        if src_off >= a.size:
            n = 0
        n = min(n, a.size - src_off) if n else 0
        if a is b and src_off < dst_off + n and dst_off < src_off + n:
            raise Err(errno.EINVAL)
        if n:
            a.atime = self.tick()
            self.store(uid, b, g.mount, dst_off, a.data[src_off:src_off + n])
        return n

    # ----------------------------------------------------------- directories

    def readdirfd(self, uid, slot):
        _, inode = self.of(slot)
        if not inode.is_dir():
            raise Skip
        return self.list(inode)
