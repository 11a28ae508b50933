"""A writer of test_kill.py: a plan of operations on files of its own, each call noted (kill_notes.py).

    kill_writer.py NOTES SEED FILES DIRECTORY...    # one directory, as several mounts see it; the first is its own

Started again after it was killed it goes on where it was.  Mounts die under it: an operation that fails is given up,
and the group of names with it; the next one goes to a mount that answers.
"""
import os
import random
import sys
import time

from kill_notes import Notes, Reader, content

WAIT_S = 120            # for any mount to answer
OWN = 0.7               # of the operations go to the writer's own mount
SIZES = ((0, 0.05), (100, 0.25), (4096, 0.2), (40000, 0.3), (300000, 0.12), (1 << 20, 0.08))


def plan(seed, files):
    """Operations [kind, group, ...]; each new file is followed by others, on any file before it."""
    rng, names, ops = random.Random(seed), {}, []

    def data():
        top = rng.choices([s for s, _ in SIZES], [w for _, w in SIZES])[0]
        return [rng.randrange(1 << 30), rng.randint(top // 2, top) if top > 100 else rng.randint(0, top)]

    def write(kind, g, name, *at):
        return [kind, g, name, *at, data(), rng.choice((1 << 20, 65536, 10000)), rng.choice((0, 0, 0, 1, 2))]

    for g in range(files):
        names[g] = f"f{g}"
        ops.append(write("replace" if rng.random() < 0.25 else "copy", g, names[g]))
        while rng.random() < 0.35:
            old = rng.randrange(g + 1)
            name = names[old]
            kind = rng.choice(("copy", "replace", "replace", "append", "patch", "move", "unlink", "read", "read"))
            if name is None:
                kind, name = "copy", f"f{old}"
            if kind == "patch":
                ops.append(write(kind, old, name, rng.randrange(2000)))
            elif kind in ("copy", "replace", "append"):
                ops.append(write(kind, old, name))
            elif kind == "move":
                new = f"f{old}.moved" if name == f"f{old}" else f"f{old}"
                ops.append([kind, old, name, new])
                name = new
            else:
                ops.append([kind, old, name])
            names[old] = None if kind == "unlink" else name
    return ops


class Writer:
    def __init__(self, notes, dirs):
        self.notes, self.dirs = Notes(notes), dirs

    def call(self, fn, *words):
        return self.notes.call(fn, *words)

    def write(self, path, name, how, data, block, syncs, off=0):
        """@syncs: 1 at the end, 2 in the middle, too."""
        flags = {"new": os.O_CREAT | os.O_TRUNC, "append": os.O_APPEND, "patch": 0}[how]
        fd = self.call(lambda: os.open(path, os.O_WRONLY | flags, 0o644), "open", name, how, off)
        try:
            seed, size = data
            blocks = [[seed + k, min(block, size - at)] for k, at in enumerate(range(0, size, block))]
            for k, b in enumerate(blocks):
                piece = content(b)
                self.call(lambda: self.all(fd, piece, None if how == "append" else off), "write", b)
                off += len(piece)
                if syncs == 2 and k == len(blocks) // 2:
                    self.call(lambda: os.fsync(fd), "fsync")
            if syncs:
                self.call(lambda: os.fsync(fd), "fsync")
            closing, fd = fd, -1
            self.call(lambda: os.close(closing), "close")
        finally:
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    pass

    @staticmethod
    def all(fd, data, off):
        done = 0
        while done < len(data):         # less is written if the mount dies meanwhile; then the next one says so
            done += os.write(fd, data[done:]) if off is None else os.pwrite(fd, data[done:], off + done)

    def do(self, top, expected, kind, g, name, *rest):
        path = f"{top}/{name}"
        if kind == "copy":
            self.write(path, name, "new", *rest)
        elif kind == "append":
            self.write(path, name, "append", *rest)
        elif kind == "patch":
            off, *rest = rest
            self.write(path, name, "patch", *rest, off)
        elif kind == "replace":
            self.write(path + ".tmp", name + ".tmp", "new", *rest)
            self.call(lambda: os.rename(path + ".tmp", path), "rename", name + ".tmp", name)
        elif kind == "move":
            self.call(lambda: os.rename(path, f"{top}/{rest[0]}"), "rename", name, rest[0])
        elif kind == "unlink":
            self.call(lambda: os.unlink(path), "unlink", name)
        elif kind == "read":
            got = self.call(lambda: open(path, "rb").read(), "read", name)
            assert got == expected[name], f"{path} has {len(got)} bytes, not the {len(expected[name])} that are right"

    def alive(self, rng):
        """A mount that answers, rather the writer's own."""
        end = time.monotonic() + WAIT_S
        first = 0 if rng.random() < OWN else rng.randrange(len(self.dirs))
        while time.monotonic() < end:
            for k in range(len(self.dirs)):
                k = (first + k) % len(self.dirs)
                try:
                    os.statvfs(self.dirs[k])    # a stat may be answered by the kernel, of a mount that is dead
                    return k
                except OSError:
                    pass
            time.sleep(0.02)
        raise AssertionError("no mount answers")

    def run(self, ops, path, seed):
        past, rng = Reader(path), random.Random(seed)
        for n, (kind, g, *rest) in enumerate(ops):
            if n > past.op and not (g in past.groups and past.groups[g].failed):
                mount = self.alive(rng)
                self.notes.note("op", n, g, mount)
                past.follow()
                try:
                    self.do(self.dirs[mount], past.groups[g].sure, kind, g, *rest)
                except OSError:
                    pass                # noted
                past.follow()
        self.notes.note("done")


def main(notes, seed, files, *dirs):
    Writer(notes, dirs).run(plan(int(seed), int(files)), notes, int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
