"""A mount whose daemon is frozen (SIGSTOP) for longer than its lease, and then thaws.

The kernel of a frozen mount goes on answering from what it has cached.  So
others' changes wait, once, until its lease has ended; what is asked of the
frozen mount after they have returned may be answered late, but not with the
old state; and what it had not sent when it froze must not silently replace
what others wrote meanwhile.
"""
import errno
import os
import select
import signal
import time

from check_engine import forked, joined, seen
from check_kinds import get, opened, put

LEASE_S = 10
SLACK_S = 8             # how much longer than a lease a change may take
HUNG_S = 1.5            # what has no answer by then waits for the frozen daemon
THAWED_S = 60           # all that waited is answered within
LOOKS = {
    "stat": lambda k, m: os.stat(m.at("mode")).st_mode & 0o777,
    "fstat": lambda k, m: os.fstat(m.held["mode"]).st_mode & 0o777,
    "name gone": lambda k, m: os.path.lexists(m.at("gone")),
    "name new": lambda k, m: os.path.lexists(m.at("new")),
    "walk": lambda k, m: os.path.lexists(m.at("old-parent/f")),
    "openat new": lambda k, m: bool(opened("new", dir_fd=m.fd)),
    "readlink": lambda k, m: os.readlink(m.at("link")),
    "readdir": lambda k, m: "new" in os.listdir(m.path),
    "content": lambda k, m: get(m.at("content")).decode(),
    "held content": lambda k, m: os.pread(m.held["content"], 100, 0).decode(),
    "xattr": lambda k, m: os.getxattr(m.at("mode"), "user.k").decode(),
}
OLD = {"stat": 0o600, "fstat": 0o600, "name gone": True, "name new": False, "walk": True,
       "openat new": "ENOENT", "readlink": "before", "readdir": False, "content": "old content",
       "held content": "old content", "xattr": "old"}
NEW = {"stat": 0o640, "fstat": 0o640, "name gone": False, "name new": True, "walk": False,
       "openat new": True, "readlink": "after", "readdir": True, "content": "new content",
       "held content": "new content", "xattr": "new"}


class Frozen:
    """What seen() asks of a kind."""
    looks = LOOKS


def before(m):
    put(m.at("mode"), b"x")
    os.chmod(m.at("mode"), 0o600)
    os.setxattr(m.at("mode"), "user.k", b"old")
    put(m.at("gone"), b"x")
    os.mkdir(m.at("old-parent"))
    put(m.at("old-parent/f"), b"x")
    os.symlink("before", m.at("link"))
    put(m.at("content"), b"old content")
    put(m.at("fought"), b"old")
    put(m.at("alone"), b"old")


def after(m):
    os.chmod(m.at("mode"), 0o640)
    os.setxattr(m.at("mode"), "user.k", b"new")
    os.unlink(m.at("gone"))
    put(m.at("new"), b"x")
    os.rename(m.at("old-parent"), m.at("new-parent"))
    os.symlink("after", m.at("link2"))
    os.rename(m.at("link2"), m.at("link"))
    put(m.at("content"), b"new content")
    put(m.at("fought"), b"newer", 0)


def undo(m):
    for name in os.listdir(m.path):
        if os.path.isdir(m.at(name)):
            os.unlink(m.at(f"{name}/f"))
            os.rmdir(m.at(name))
        else:
            os.unlink(m.at(name))


def asked(m):
    """A process for each look: {look: (pid, pipe)}; one may wait for the frozen daemon."""
    return {look: forked(lambda look=look: seen(Frozen, look, m)) for look in LOOKS}


def answers(children, limit_s):
    """Take those that have come within the limit off @children: {look: what it saw}."""
    got, end = {}, time.monotonic() + limit_s
    while children and time.monotonic() < end:
        ready, _, _ = select.select([c[1] for c in children.values()], [], [], 0.2)
        for look in [n for n, c in children.items() if c[1] in ready]:
            got[look] = joined(children.pop(look), look)
    return got


class Dirty:
    """A process that has written, and closes when it is told: nobody else has its descriptor,
    whose closing would take the error."""

    def __init__(self, m, name, text):
        ready, written = os.pipe()
        wait, self.go = os.pipe()
        self.child = forked(lambda: self.work(m.at(name), text, written, wait))
        os.close(written)
        os.close(wait)
        os.read(ready, 1)
        os.close(ready)

    def work(self, path, text, written, wait):
        os.close(self.go)
        fd = os.open(path, os.O_RDWR)
        os.write(fd, text)
        os.close(written)
        os.read(wait, 1)
        try:
            os.close(fd)
            return ""
        except OSError as e:
            return errno.errorcode[e.errno]

    def close(self):
        """How closing went: "" or its error."""
        os.close(self.go)
        return joined(self.child, "a writer")


class Round:
    """One freezing: @b's daemon stops, @a changes everything, it thaws."""

    def __init__(self, tally, number, a, b):
        self.tally, self.number, self.a, self.b = tally, number, a, b
        self.row = tally.row("frozen mount")

    def judge(self, look, saw, wanted, when):
        self.row["answers"] += 1
        if saw != wanted:
            us = (time.monotonic() - self.returned) * 1e6
            self.tally.stale("frozen mount", self.number, self.b.letter, f"{look}, {when}", saw, wanted, us)

    def prepare(self):
        undo(self.a)
        before(self.a)
        for name in ("mode", "content"):
            self.b.held[name] = os.open(self.b.at(name), os.O_RDONLY)
        for _ in range(3):
            for look in LOOKS:
                saw = seen(Frozen, look, self.b)
                if saw != OLD[look]:
                    raise RuntimeError(f"{look} is {saw!r} before anything was frozen")

    def frozen(self):
        """While it is: the change, then what the frozen mount's kernel says."""
        start = time.monotonic()
        after(self.a)
        self.returned = time.monotonic()
        took = self.returned - start
        if took > LEASE_S + SLACK_S:
            self.judge("change beside a frozen mount", f"{took:.1f} s", f"{LEASE_S} s and a little", "frozen")
        waiting = asked(self.b)
        for look, saw in answers(waiting, HUNG_S).items():
            self.judge(look, saw, NEW[look], "frozen")
        return waiting

    def thawed(self, waiting, fought, alone):
        waited = answers(waiting, THAWED_S)
        for look in waiting:
            self.judge(look, "no answer", NEW[look], f"{THAWED_S} s after the thaw")
        for look, saw in waited.items():
            self.judge(look, saw, NEW[look], "asked while frozen")
        for look in LOOKS:
            self.judge(look, seen(Frozen, look, self.b), NEW[look], "thawed")
        self.judge("close of what another wrote meanwhile", fought.close(), "EIO", "thawed")
        for m in (self.a, self.b):
            self.judge(f"its content on {m.letter}", get(m.at("fought")), b"newer", "thawed")
        wanted = b"old" if alone.close() else b"own"
        for m in (self.a, self.b):
            self.judge(f"what nobody else wrote on {m.letter}", get(m.at("alone")), wanted, "thawed")

    def run(self):
        self.prepare()
        alone, fought = Dirty(self.b, "alone", b"own"), Dirty(self.b, "fought", b"stale")
        pid = self.b.peer.proc.pid
        os.kill(pid, signal.SIGSTOP)
        waiting = {}
        try:
            waiting = self.frozen()
        finally:
            os.kill(pid, signal.SIGCONT)
        self.thawed(waiting, fought, alone)
        for name in ("mode", "content"):
            os.close(self.b.held.pop(name))


def frozen(tally, mounts, rounds, rng, progress):
    """A few rounds: each takes a lease's time."""
    row = tally.row("frozen mount")
    for number in range(1, min(rounds, 1 + rounds // 2000) + 1):
        a, b = rng.sample(mounts, 2)
        start = time.monotonic()
        Round(tally, number, a, b).run()
        row["rounds"] += 1
        row["s"] += time.monotonic() - start
        progress(number)
