"""A run: the same operation on the model and on real mounts, and whether both
say the same.  Mismatch is raised where they do not.

Coherence is what fs promises: what a mount has written is seen there at once
and elsewhere after close or fsync.  So before a mount looks at an inode that
another has written to, the other commits it (settle): half of the times by a
close of a duplicate, else by fsync.
"""
import errno
import os
import random
import stat

from model_file import Files
from model_fs import Err, Skip
from model_real import Real

SPARE = 1000            # a slot that no generator uses
COMMITS_NS = 1000       # a write's time moves by 1 ns with each commit but the first

#: calls on open files
BY_SLOT = set("""close dup fsync fdatasync read pread preadv readv write pwrite pwritev writev
    mmapread mmapwrite lseek ftruncate fallocate fstat fchmod linkfd copy_range readdirfd""".split())
#: calls on paths that concern what a file holds or its times
BY_PATH = dict(open=True, truncate=True, stat=True, lstat=False, chmod=True, lchown=False, utimens=True,
               setxattr=True, removexattr=True)
WITH_MOUNT = {"open": 1, "truncate": 0, "linkfd": 1}     # where the model wants the mount


class Mismatch(Exception):
    pass


def noise(seed, n):
    return random.Random(seed).randbytes(n)


def loaded(args):
    """Arguments as the calls take them: noise made bytes."""
    return [noise(*a[1:]) if isinstance(a, list) and a[:1] == ["noise"] else a for a in args]


def short(value):
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:24]!r}"
    return repr(value)[:300]


class Run:
    """@tops: the same empty directory as each mount shows it.  @local: they
    are an ordinary directory, whose clock may tick slower than calls return."""

    def __init__(self, tops, local=False):
        self.model, self.real, self.strict = Files(fuse=not local), Real(tops), not local
        self.inos, self.times = {}, {}
        self.done = []
        self.now = None                 # what is under way: for a watchdog
        os.chmod(tops[0], 0o777)

    # ----------------------------------------------------------------- steps

    def step(self, op):
        """Do it; 0: it did not apply."""
        if op[0] == "check":
            self.check_all()
            return 1
        self.settle_for(op)
        args = loaded(op[3:])
        try:
            want, code = self.expect(op, args), 0
        except Skip:
            return 0
        except Err as e:
            want, code = None, e.code
        self.done.append(op)
        got = self.act(op, args, code, want)
        self.compare(op, got, want)
        return 1

    def expect(self, op, args):
        args = list(args)
        if op[0] in WITH_MOUNT:
            args.insert(WITH_MOUNT[op[0]], op[1])
        return getattr(self.model, op[0])(op[2], *args)

    def act(self, op, args, code, want):
        """The real call; its error must be @code."""
        try:
            got = self.call(op, args)
            real = 0
        except Err as e:
            got, real = None, e.code
        if real != code and not (real == errno.ENXIO and isinstance(want, tuple) and want[-1] is True):
            raise Mismatch(f"{errno.errorcode.get(real, 'success')} instead of "
                           f"{errno.errorcode.get(code, 'success')}" + (f": {short(got)}" if not real else ""))
        return got if not real else None

    def call(self, op, args):
        self.now = op
        try:
            return self.real.call(op, args)
        finally:
            self.now = None

    # ---------------------------------------------------------------- settle

    def concerned(self, op):
        """(mount, the inodes whose bytes or times the call is about)."""
        name, mount, uid = op[:3]
        m = self.model
        if name in BY_SLOT:
            slots = [s for s in ([op[3], op[5]] if name == "copy_range" else [op[3]]) if s in m.slots]
            if slots:
                mount = m.slots[slots[0]].mount
            return mount, [m.inodes[m.slots[s].ino] for s in slots]
        if name in BY_PATH and not (name == "open" and not op[5] & os.O_TRUNC):
            try:
                path = op[4] if name == "open" else op[3]
                inode = m.walk(0, path, BY_PATH[name])[2]
                return mount, [inode] if inode else []
            except (Err, Skip):
                pass
        return mount, []

    def settle_for(self, op):
        mount, inodes = self.concerned(op)
        for inode in inodes:
            for other in [x for x in inode.dirty if x != mount]:
                self.settle(inode, other)

    def settle(self, inode, mount):
        slot = self.model.writer(inode, mount)
        if slot is None:
            raise AssertionError(f"nobody of mount {mount} wrote to inode {inode.ino}")
        if self.model.clock % 2:
            self.step(["dup", mount, 0, slot, SPARE])
            self.step(["close", mount, 0, SPARE])
        else:
            self.step(["fsync", mount, 0, slot])

    # --------------------------------------------------------------- compare

    def compare(self, op, got, want):
        name = op[0]
        if name in ("stat", "lstat", "fstat"):
            if want is not None:
                self.compare_stat(want, got)
        elif name in ("readdir", "readdirfd"):
            if want is not None:
                self.compare_names(want, got)
        elif isinstance(want, tuple):
            self.compare_seek(op, got, want)
        elif got != want:
            self.differ(got, want)

    @staticmethod
    def differ(got, want):
        if isinstance(got, bytes) and isinstance(want, bytes):
            at = next((i for i, (x, y) in enumerate(zip(got, want)) if x != y), min(len(got), len(want)))
            end = len(got)
            while end > at and got[end - 1:end] == want[end - 1:end]:
                end -= 1
            raise Mismatch(f"{len(got)} bytes instead of {len(want)}; those at {at} to {end} differ: "
                           f"{got[at:at + 8].hex()} instead of {want[at:at + 8].hex()}")
        raise Mismatch(f"{short(got)} instead of {short(want)}")

    def compare_seek(self, op, got, want):
        f = self.model.slots[op[3]]
        if got is None:
            return                      # ENXIO, allowed
        if want[0] == "within":
            fine = want[1] <= got <= want[2] and got < self.model.inodes[f.ino].size
        else:
            fine = want[1] <= got <= len(want[2]) and want[2][got:got + 1] in (b"", b"\0")
        if not fine:
            raise Mismatch(f"{got} is not right from {want[1]}")
        f.pos = got

    def same_ino(self, inode, got):
        known = self.inos.setdefault(inode.ino, got)
        if known != got:
            raise Mismatch(f"inode number {got}, before it was {known}")

    def compare_names(self, want, got):
        if set(want) != set(got):
            raise Mismatch(f"names {sorted(set(got) - set(want))} too many, "
                           f"{sorted(set(want) - set(got))} missing")
        for name, inode in want.items():
            ino, kind = got[name]
            self.same_ino(inode, ino)
            if kind and kind != stat.S_IFMT(inode.mode):
                raise Mismatch(f"{name} listed as {kind:o}, but it is {inode.mode:o}")

    def compare_stat(self, inode, st):
        self.same_ino(inode, st.st_ino)
        size = st.st_size if inode.is_dir() else inode.size
        got = dict(mode=st.st_mode, nlink=st.st_nlink, uid=st.st_uid, gid=st.st_gid, size=st.st_size)
        want = dict(mode=inode.mode, nlink=inode.nlink, uid=inode.uid, gid=inode.gid, size=size)
        if got != want:
            raise Mismatch(", ".join(f"{k} {got[k]:{'o' if k == 'mode' else 'd'}} instead of "
                                     f"{want[k]:{'o' if k == 'mode' else 'd'}}" for k in got if got[k] != want[k]))
        if inode.is_file() and not inode.dirty and inode.data.strip(b"\0") and not st.st_blocks:
            raise Mismatch("no blocks, but there are bytes")
        for field in ("atime", "mtime", "ctime"):
            self.compare_time(inode, field, getattr(st, f"st_{field}_ns"))

    def compare_time(self, inode, field, got):
        token = getattr(inode, field)
        before = self.times.get((inode.ino, field))
        self.times[inode.ino, field] = (token, got)
        if isinstance(token, tuple):
            if token[0] == "ns" and token[1] != got:
                raise Mismatch(f"{field} {got} instead of {token[1]}")
            return
        if before is None or isinstance(before[0], tuple) or field == "atime":
            return
        if token == before[0] and not 0 <= got - before[1] < COMMITS_NS:
            raise Mismatch(f"{field} changed from {before[1]} to {got} without a cause")
        if token > before[0] and got < before[1] + self.strict:
            raise Mismatch(f"{field} is {got}, though a change was made since it was {before[1]}")

    # ------------------------------------------------------------ everything

    def settle_all(self):
        for inode in list(self.model.inodes.values()):
            for mount in list(inode.dirty):
                self.settle(inode, mount)

    def check_all(self, mounts=None):
        """Every name, attribute and byte, on these mounts."""
        self.settle_all()
        for mount in range(len(self.real.tops)) if mounts is None else mounts:
            self.check_tree(mount, ".", self.model.inodes[self.model.root])

    def check_tree(self, mount, path, inode):
        self.step(["lstat", mount, 0, path])
        if inode.is_dir():
            self.step(["readdir", mount, 0, path])
            for name, ino in list(inode.entries.items()):
                self.check_tree(mount, name if path == "." else f"{path}/{name}", self.model.inodes[ino])
        elif inode.is_file():
            self.step(["open", mount, 0, SPARE, path, os.O_RDONLY, 0])
            self.step(["pread", mount, 0, SPARE, inode.size + 1, 0])
            self.step(["close", mount, 0, SPARE])
        elif inode.is_link():
            self.step(["readlink", mount, 0, path])

