"""What a writer was told of its files, call by call, and what may be seen of them after kill -9.

A writer notes each call before it begins and after it has returned.  Of a group of names (a file, its temporary
name, the name that it is moved to), which one writer works on, one call after the other:

- a call that has returned has happened: what it promised is there, to the byte;
- of a call that has not (or that failed, since the mount was killed under it) all may be there or nothing: an open
  that creates or truncates, a rename, an unlink; close and fsync, which commit what was written in one transaction;
- a write promises nothing before them.  But two things may put a part of what was written into the file, always from
  its beginning on: who wrote for more than BACKGROUND_S (a mount commits by itself what is older than three
  seconds), and a writer that was killed itself (what it had written by then is a file for the kernel, and is closed).

A group of which that is not known for sure is left alone until everything was restarted and looked at.
"""
import json
import os
import random
import time

BACKGROUND_S = 2.0      # of fs/mount_main.c's 3 s


def content(spec):
    """The bytes that [seed, length] stands for."""
    seed, length = spec
    return random.Random(seed).randbytes(length)


def spliced(base, off, data):
    if not data:
        return base
    return base[:off].ljust(off, b"\0") + data + base[off + len(data):]


class Notes:
    """The writer's side: a line a call, there once note() returns, whoever is killed."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, *words):
        os.write(self.fd, (json.dumps([*words, round(time.monotonic(), 4)]) + "\n").encode())

    def call(self, fn, *words):
        """fn(), noted before as @words and after."""
        self.note("<", *words)
        try:
            got = fn()
        except OSError as e:
            self.note("!", e.errno)
            raise
        self.note(">")
        return got


class Open:
    """The file that is being written: @data from @off on, over @base; committed is what fsync has taken."""

    def __init__(self, name, base, off):
        self.name, self.base, self.off, self.data, self.since = name, base, off, b"", None

    def full(self):
        return spliced(self.base, self.off, self.data)

    def parts(self, got):
        """Is @got a file with a first part of the data?"""
        n = 0
        while n < min(len(self.data), len(got) - self.off) and got[self.off + n] == self.data[n]:
            n += 1
        return any(got == spliced(self.base, self.off, self.data[:k]) for k in {n, max(0, len(got) - self.off)} if k <= n)


class Group:
    """Names that belong together: what is surely there, and what may be instead."""

    def __init__(self):
        self.sure = {}          # name: bytes
        self.maybe = []         # other states, since a call has not returned
        self.file = None
        self.in_parts = False   # the file that is open may be there in parts
        self.failed = None      # errno, or "killed"

    def begin(self, at, call, *args):
        s, f = dict(self.sure), self.file
        if call == "open":
            name, how, _ = args
            if how == "new":
                s[name] = b""
        elif call == "write":
            f.since = f.since or at
            f.data += content(args[0])
        elif call in ("fsync", "close"):
            s[f.name] = f.full()
            self.in_parts = f.since is not None and at - f.since > BACKGROUND_S
        elif call == "rename":
            s[args[1]] = s.pop(args[0])
        elif call == "unlink":
            del s[args[0]]
        self.call, self.args, self.next = call, args, s
        self.maybe = [s]

    def returned(self):
        self.sure, self.maybe = self.next, []
        if self.call == "open":
            name, how, off = self.args
            self.file = Open(name, self.sure[name], len(self.sure[name]) if how == "append" else off)
        elif self.call == "fsync":
            f = self.file
            self.file = Open(f.name, f.full(), f.off + len(f.data))
        elif self.call == "close":
            self.file = None

    def fail(self, at, why):
        """Whether it was done is unknown."""
        self.failed = why
        f = self.file
        if f:
            self.in_parts |= why == "killed" or (f.since is not None and at - f.since > BACKGROUND_S)
        if why == "killed" and f:       # the kernel closes it
            self.maybe.append({**self.sure, f.name: f.full()})

    def allows(self, got):
        """@got: {name: bytes}.  None, or what is wrong with it."""
        if got == self.sure or got in self.maybe:
            return None
        f = self.file
        if f and self.in_parts and f.name in got and {**self.sure, f.name: got[f.name]} == got and f.parts(got[f.name]):
            return None
        return f"{told(got)} is not {told(self.sure)}" + "".join(f" or {told(m)}" for m in self.maybe) + \
            (f"; {f.name} open over {told({f.name: f.base})}, {len(f.data)} bytes from {f.off} on written"
             f"{', in parts' if self.in_parts else ''}" if f else "") + f"; failed: {self.failed}"


def told(state):
    """A state for people: lengths, and where a file begins to be zeros."""
    return "{" + ", ".join(f"{n}: {len(b)} B {b[:4].hex()}" for n, b in sorted(state.items())) + "}"


class Reader:
    """What a writer's notes say: groups, the operation it was at, errors."""

    def __init__(self, path):
        self.groups, self.op, self.finished, self.errors, self.begun = {}, -1, False, [], None
        self.mount = self.opened = None
        self.path, self.at = path, 0
        self.follow()

    def follow(self):
        """What was noted since."""
        with open(self.path, "rb") as f:
            f.seek(self.at)
            for line in f:
                self.line(*json.loads(line))
            self.at = f.tell()
        return self

    def line(self, word, *rest):
        *args, at = rest
        if word == "op":
            self.op, self.group, self.mount = args
            self.groups.setdefault(self.group, Group())
        elif word == "killed":
            g = self.groups.get(getattr(self, "group", None))
            if g and (self.begun or g.file):
                g.fail(at, "killed")
            self.begun = None
        elif word == "done":
            self.finished = True
        elif word == "<":
            self.begun = args
            if args[0] != "read":
                self.groups[self.group].begin(at, *args)
        elif word == ">":
            if self.begun[0] != "read":
                self.groups[self.group].returned()
            self.begun = None
        elif word == "!":
            self.errors.append((self.op, self.mount, self.begun, args[0], at))
            if self.begun[0] != "read":
                self.groups[self.group].fail(at, args[0])
            self.begun = None
        else:
            raise ValueError(word)
