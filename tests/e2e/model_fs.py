"""A POSIX filesystem in memory, as Linux understands it: what a call must answer.

Calls are methods of Model: they return what the call returns and raise Err
with the errno.  Inodes' bytes are immutable objects, so a copy of the whole
model is cheap.  Times are counters: which came later is known, not when.
"""
import copy
import errno
import os
import stat

USERS = {0: 0, 1001: 1001, 1002: 1001}      # uid -> gid; no further groups
LINKS_MAX = 40                              # symlinks on a path's way
READ, WRITE, EXEC = 4, 2, 1
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH, ZERO = 1, 2, 16
NOFOLLOW, FOLLOW = False, True


class Err(Exception):
    def __init__(self, code):
        super().__init__(errno.errorcode[code])
        self.code = code


class Skip(Exception):
    """What such a call does is not modelled: leave it out."""


def sysctl(name):
    try:
        with open(f"/proc/sys/fs/{name}") as f:
            return int(f.read())
    except OSError:
        return 0


class Inode:
    def __init__(self, ino, mode, uid, gid, parent=None):
        self.ino, self.mode, self.uid, self.gid = ino, mode, uid, gid
        self.nlink = 2 if stat.S_ISDIR(mode) else 1
        self.parent = parent            # of a directory
        self.entries = {}               # name -> ino
        self.data, self.target, self.xattrs = b"", "", {}
        self.atime = self.mtime = self.ctime = 0    # a counter, or ("ns", exact)
        self.linkable = False           # O_TMPFILE: may get its first name
        self.dirty = {}                 # mount -> [(first, end)], not committed yet
        self.clean = None               # the bytes before they were dirty
        self.past = []                  # and between one write and the next since then
        self.seen = set()               # mounts whose kernel knows its size

    @property
    def size(self):
        return len(self.target if self.is_link() else self.data)

    def is_dir(self):
        return stat.S_ISDIR(self.mode)

    def is_link(self):
        return stat.S_ISLNK(self.mode)

    def is_file(self):
        return stat.S_ISREG(self.mode)

    def twin(self):
        other = copy.copy(self)
        other.entries, other.xattrs = dict(self.entries), dict(self.xattrs)
        other.dirty = {m: list(r) for m, r in self.dirty.items()}
        other.seen, other.past = set(self.seen), list(self.past)
        return other


class Opened:
    """An open file description; several slots may share it."""

    def __init__(self, inode, flags, mount):
        self.ino, self.flags, self.mount, self.pos = inode.ino, flags, mount, 0
        self.append = bool(flags & os.O_APPEND)
        acc = flags & os.O_ACCMODE
        self.readable = acc in (os.O_RDONLY, os.O_RDWR)
        self.writable = acc in (os.O_WRONLY, os.O_RDWR)


class Model:
    """@fuse: the folder, which differs from a local directory here and there."""

    def __init__(self, fuse=False):
        self.fuse = fuse
        self.clock = 1
        self.next_ino = 2
        self.inodes = {1: Inode(1, stat.S_IFDIR | 0o777, 0, 0)}
        self.root = 1
        self.slots = {}                 # number -> Opened
        self.hardlinks_protected = sysctl("protected_hardlinks")
        self.regular_protected, self.fifos_protected = sysctl("protected_regular"), sysctl("protected_fifos")

    def twin(self):
        """A copy that lives its own life."""
        other = copy.copy(self)
        other.inodes = {k: v.twin() for k, v in self.inodes.items()}
        shared = {id(o): copy.copy(o) for o in self.slots.values()}
        other.slots = {k: shared[id(o)] for k, o in self.slots.items()}
        return other

    # ------------------------------------------------------------- helpers

    def tick(self):
        self.clock += 1
        return self.clock

    def changed(self, inode, content=False):
        inode.ctime = self.tick()
        if content:
            inode.mtime = inode.ctime

    def opened(self, slot):
        if slot not in self.slots:
            raise Skip
        return self.slots[slot]

    def of(self, slot):
        f = self.opened(slot)
        return f, self.inodes[f.ino]

    @staticmethod
    def in_group(uid, gid):
        return uid == 0 or USERS[uid] == gid

    @staticmethod
    def owns(uid, inode):
        return uid in (0, inode.uid)

    @staticmethod
    def allowed(uid, inode, mask):
        if uid == 0:
            return not mask & EXEC or inode.is_dir() or bool(inode.mode & 0o111)
        shift = 6 if uid == inode.uid else 3 if USERS[uid] == inode.gid else 0
        return (inode.mode >> shift) & mask == mask

    def need(self, uid, inode, mask):
        if not self.allowed(uid, inode, mask):
            raise Err(errno.EACCES)

    def walk(self, uid, path, follow):
        """(directory, last name, inode or None)."""
        cur, parts, links = self.inodes[self.root], path.split("/"), 0
        where = None
        while parts:
            name = parts.pop(0)
            if not cur.is_dir():
                raise Err(errno.ENOTDIR)
            self.need(uid, cur, EXEC)
            if name in ("", "."):
                where = (cur, ".", cur)
                continue
            if name == "..":
                if cur.ino == self.root or cur.parent is None:
                    raise Skip          # out of what is modelled
                cur = self.inodes[cur.parent]
                where = (cur, "..", cur)
                continue
            if len(os.fsencode(name)) > 255:
                raise Err(errno.ENAMETOOLONG)
            child = self.inodes.get(cur.entries.get(name))
            if child is None:
                if parts:
                    raise Err(errno.ENOENT)
                return cur, name, None
            if child.is_link() and (parts or follow):
                links += 1
                if links > LINKS_MAX:
                    raise Err(errno.ELOOP)
                parts = child.target.split("/") + parts
                continue
            where = (cur, name, child)
            cur = child
        return where

    def find(self, uid, path, follow=FOLLOW):
        inode = self.walk(uid, path, follow)[2]
        if inode is None:
            raise Err(errno.ENOENT)
        return inode

    def named(self, uid, path):
        """As walk(), for calls that make or remove the last name."""
        where = self.walk(uid, path, NOFOLLOW)
        if where[1] in (".", ".."):
            raise Skip
        return where

    def drop(self, inode):
        """Forget an inode that has neither name nor opener."""
        if inode.nlink == 0 and not any(f.ino == inode.ino for f in self.slots.values()):
            self.inodes.pop(inode.ino, None)

    # ------------------------------------------------------- making names

    def new(self, uid, parent, name, mode):
        """An inode; without @name it has none yet."""
        gid = USERS[uid]
        if parent.mode & stat.S_ISGID:
            gid = parent.gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
            elif mode & 0o2010 == 0o2010 and not self.in_group(uid, gid):
                mode &= ~stat.S_ISGID
        inode = Inode(self.next_ino, mode, uid, gid, parent.ino if stat.S_ISDIR(mode) else None)
        self.next_ino += 1
        self.inodes[inode.ino] = inode
        self.changed(inode, True)
        inode.atime = inode.ctime
        if name is None:
            inode.nlink, inode.linkable = 0, True
            return inode
        parent.entries[name] = inode.ino
        parent.nlink += inode.is_dir()
        self.changed(parent, True)
        return inode

    def make(self, uid, path, mode):
        parent, name, there = self.named(uid, path)
        if there:
            raise Err(errno.EEXIST)
        self.need(uid, parent, WRITE | EXEC)
        return self.new(uid, parent, name, mode)

    def mkdir(self, uid, path, mode):
        self.make(uid, path, stat.S_IFDIR | mode & 0o1777)

    def mkfifo(self, uid, path, mode):
        self.make(uid, path, stat.S_IFIFO | mode & 0o7777)

    def symlink(self, uid, target, path):
        self.make(uid, path, stat.S_IFLNK | 0o777).target = target

    def link_to(self, uid, inode, path):
        parent, name, there = self.named(uid, path)
        if there:
            raise Err(errno.EEXIST)
        if self.hardlinks_protected and not self.owns(uid, inode) and not (
                inode.is_file() and not inode.mode & stat.S_ISUID and inode.mode & 0o2010 != 0o2010
                and self.allowed(uid, inode, READ | WRITE)):
            raise Err(errno.EPERM)
        self.need(uid, parent, WRITE | EXEC)
        if inode.is_dir():
            raise Err(errno.EPERM)
        if inode.nlink == 0 and not inode.linkable:
            raise Err(errno.ENOENT)
        inode.nlink += 1
        inode.linkable = False
        parent.entries[name] = inode.ino
        self.changed(inode)
        self.changed(parent, True)

    def link(self, uid, old, new):
        self.link_to(uid, self.find(uid, old, NOFOLLOW), new)

    def linkfd(self, uid, slot, mount, path):
        f, inode = self.of(slot)
        if uid or f.mount != mount:
            raise Skip
        self.link_to(uid, inode, path)

    # ----------------------------------------------------- removing names

    def may_delete(self, uid, parent, victim, is_dir):
        self.need(uid, parent, WRITE | EXEC)
        if parent.mode & stat.S_ISVTX and uid not in (0, victim.uid, parent.uid):
            raise Err(errno.EPERM)
        if is_dir and not victim.is_dir():
            raise Err(errno.ENOTDIR)
        if not is_dir and victim.is_dir():
            raise Err(errno.EISDIR)

    def unnamed(self, inode):
        inode.nlink = 0 if inode.is_dir() else inode.nlink - 1
        self.changed(inode)
        self.drop(inode)

    def remove(self, uid, path, is_dir):
        parent, name, victim = self.named(uid, path)
        if victim is None:
            raise Err(errno.ENOENT)
        self.may_delete(uid, parent, victim, is_dir)
        if is_dir and victim.entries:
            raise Err(errno.ENOTEMPTY)
        del parent.entries[name]
        parent.nlink -= is_dir
        self.changed(parent, True)
        self.unnamed(victim)

    def unlink(self, uid, path):
        self.remove(uid, path, False)

    def rmdir(self, uid, path):
        self.remove(uid, path, True)

    def below(self, inode, top):
        while inode is not None:
            if inode.ino == top.ino:
                return True
            inode = self.inodes.get(inode.parent)
        return False

    def rename_check(self, uid, flags, a, b):
        (old_dir, _, src), (new_dir, _, dst) = a, b
        if flags & NOREPLACE and dst:
            raise Err(errno.EEXIST)
        if flags & EXCHANGE and not dst:
            raise Err(errno.ENOENT)
        if src.is_dir() and self.below(new_dir, src):
            raise Err(errno.EINVAL)
        if dst and dst.is_dir() and old_dir is not new_dir and self.below(old_dir, dst):
            raise Err(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)
        if src is dst:
            return
        self.may_delete(uid, old_dir, src, src.is_dir())
        if dst is None:
            self.need(uid, new_dir, WRITE | EXEC)
        else:
            self.may_delete(uid, new_dir, dst, (dst if flags & EXCHANGE else src).is_dir())
        if old_dir is not new_dir:
            for inode in (src, dst if flags & EXCHANGE else None):
                if inode and inode.is_dir():
                    self.need(uid, inode, WRITE)
        if dst and dst.is_dir() and dst.entries and not flags & EXCHANGE:
            raise Err(errno.ENOTEMPTY)

    def put(self, name, inode, parent, old_parent):
        parent.entries[name] = inode.ino
        if inode.is_dir() and parent is not old_parent:
            inode.parent = parent.ino
            parent.nlink += 1
            old_parent.nlink -= 1
        self.changed(inode)

    def rename(self, uid, old, new, flags):
        for path in (old, new):
            self.walk(uid, path.rpartition("/")[0] + "/.", FOLLOW)      # both directories come first
        a = self.named(uid, old)
        if a[2] is None:
            raise Err(errno.ENOENT)
        b = self.named(uid, new)
        (old_dir, old_name, src), (new_dir, new_name, dst) = a, b
        self.rename_check(uid, flags, a, b)
        if src is dst:
            return
        self.put(new_name, src, new_dir, old_dir)
        if flags & EXCHANGE:
            self.put(old_name, dst, old_dir, new_dir)
        else:
            del old_dir.entries[old_name]
        self.changed(old_dir, True)
        self.changed(new_dir, True)
        if dst and not flags & EXCHANGE:
            new_dir.nlink -= dst.is_dir()
            self.unnamed(dst)

    # ---------------------------------------------------------- attributes

    def stat(self, uid, path):
        return self.find(uid, path)

    def lstat(self, uid, path):
        return self.find(uid, path, NOFOLLOW)

    def fstat(self, uid, slot):
        return self.of(slot)[1]

    def access(self, uid, path, mask):
        return self.allowed(uid, self.find(uid, path), mask)

    def set_mode(self, uid, inode, mode):
        if not self.owns(uid, inode):
            raise Err(errno.EPERM)
        if not self.in_group(uid, inode.gid):
            mode &= ~stat.S_ISGID
        inode.mode = stat.S_IFMT(inode.mode) | mode
        self.changed(inode)

    def chmod(self, uid, path, mode):
        self.set_mode(uid, self.find(uid, path), mode)

    def fchmod(self, uid, slot, mode):
        self.set_mode(uid, self.of(slot)[1], mode)

    def kill_suid(self, uid, inode, always_suid=False):
        """What a write or (always_suid) a chown takes away."""
        if uid == 0 and not always_suid:
            return
        if inode.is_dir() or (not always_suid and not inode.is_file()):
            return
        if inode.mode & stat.S_ISGID and (inode.mode & stat.S_IXGRP or not self.in_group(uid, inode.gid)):
            inode.mode &= ~stat.S_ISGID
        inode.mode &= ~stat.S_ISUID

    def lchown(self, uid, path, owner, group):
        inode = self.find(uid, path, NOFOLLOW)
        if uid and owner != -1 and (uid != inode.uid or owner != inode.uid):
            raise Err(errno.EPERM)
        if uid and group != -1 and (uid != inode.uid or group not in (inode.gid, USERS[uid])):
            raise Err(errno.EPERM)
        self.kill_suid(uid, inode, True)
        inode.uid = inode.uid if owner == -1 else owner
        inode.gid = inode.gid if group == -1 else group
        self.changed(inode)

    def utimens(self, uid, path, times):
        """@times: (atime, mtime) in nanoseconds; None: now."""
        inode = self.find(uid, path)
        if not self.owns(uid, inode):
            if times:
                raise Err(errno.EPERM)
            self.need(uid, inode, WRITE)
        self.changed(inode, True)
        inode.atime = inode.ctime
        if times:
            inode.atime, inode.mtime = ("ns", times[0]), ("ns", times[1])

    # -------------------------------------------------- extended attributes

    def xattr_allowed(self, uid, inode, name, mask):
        no = Err(errno.EPERM if mask == WRITE else errno.ENODATA)
        if name.startswith("trusted."):
            if uid:
                raise no
            return
        if not inode.is_file() and not inode.is_dir():
            raise no
        if inode.is_dir() and inode.mode & stat.S_ISVTX and mask == WRITE and not self.owns(uid, inode):
            raise Err(errno.EPERM)
        self.need(uid, inode, mask)

    def setxattr(self, uid, path, name, value, flags):
        inode = self.find(uid, path)
        self.xattr_allowed(uid, inode, name, WRITE)
        if flags == os.XATTR_CREATE and name in inode.xattrs:
            raise Err(errno.EEXIST)
        if flags == os.XATTR_REPLACE and name not in inode.xattrs:
            raise Err(errno.ENODATA)
        inode.xattrs[name] = value
        self.changed(inode)

    def getxattr(self, uid, path, name):
        inode = self.find(uid, path)
        self.xattr_allowed(uid, inode, name, READ)
        if name not in inode.xattrs:
            raise Err(errno.ENODATA)
        return inode.xattrs[name]

    def listxattr(self, uid, path):
        inode = self.find(uid, path)
        return sorted(n for n in inode.xattrs if uid == 0 or not n.startswith("trusted."))

    def removexattr(self, uid, path, name):
        inode = self.find(uid, path)
        self.xattr_allowed(uid, inode, name, WRITE)
        if name not in inode.xattrs:
            raise Err(errno.ENODATA)
        del inode.xattrs[name]
        self.changed(inode)

    # -------------------------------------------------------------- reading

    def readlink(self, uid, path):
        inode = self.find(uid, path, NOFOLLOW)
        if not inode.is_link():
            raise Err(errno.EINVAL)
        return inode.target

    def list(self, inode):
        inode.atime = self.tick()
        return {n: self.inodes[i] for n, i in inode.entries.items()}

    def readdir(self, uid, path):
        inode = self.find(uid, path)
        if not inode.is_dir():
            raise Err(errno.ENOTDIR)
        self.need(uid, inode, READ)
        return self.list(inode)
