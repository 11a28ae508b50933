"""The kinds of the checker of mounts that are about files' bytes; see check_engine.py."""
import mmap
import os
import re

from check_engine import Kind
from check_kinds import PAGE, SLOT, get, put


class Truncate(Kind):
    """A file written anew, cut, grown with zeros, in the pages that others have cached."""
    name = "truncate"
    looks = {
        "stat": lambda k, m: os.stat(m.at("f")).st_size,
        "fstat": lambda k, m: os.fstat(m.held["f"]).st_size,
        "seek end": lambda k, m: os.lseek(m.held["f"], 0, os.SEEK_END),
        "read": lambda k, m: k.told(get(m.at("f"))),
        "held read": lambda k, m: k.told(os.pread(m.held["f"], 1 << 20, 0)),
    }
    agree = (".", "f")
    sizes = (0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7, 9000)
    full = 5 * PAGE

    def told(self, data):
        """Content as [size, bytes of the letter, the letter]: it is letters, then zeros.
        Anything else is told by its runs: "a0b" is some a, then zeros, then some b."""
        letters = data.rstrip(b"\0")
        runs = letters[:1]
        if letters.count(runs) < len(letters):
            runs = re.sub(rb"(.)\1+", rb"\1", letters, flags=re.DOTALL).replace(b"\0", b"0")
        return [len(data), len(letters), runs.decode()]

    def row(self, v):
        return ("write anew", "truncate shrink", "truncate grow")[v % 3]

    def prepare(self, m):
        put(m.at("f"), b"a" * self.full)

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDWR, dir_fd=m.fd)

    def facts(self, v):
        """(size, letters) of version v."""
        cut = self.sizes[v // 3 * 7 % len(self.sizes)]
        grown = cut + self.sizes[v // 3 * 5 % len(self.sizes)] + 1
        return ((self.full, self.full), (cut, cut), (grown, cut))[v % 3]

    def letter(self, v):
        return "abcdefghijklmnopqrstuvwxyz"[v // 3 % 26]

    def want(self, look, v):
        size, letters = self.facts(v)
        if "read" in look:
            return [size, letters, self.letter(v) if letters else ""]
        return size

    def between(self, look, v, saw):
        """An open with O_TRUNC is a change, the write another; and a read that
        meets a change may get the size of the one and the bytes of the other,
        or zeros at the end of the last page that stays and whole ones after
        it (ext4 shows that, too)."""
        size, letters = [max(x) for x in zip(self.facts(v - 1), self.facts(v))]
        if "read" not in look:
            return v % 3 == 0 and saw in (0, self.full)
        runs = ["", self.letter(v - 1), self.letter(v)]
        if v % 3 == 1:
            runs.append(f"{self.letter(v)}0{self.letter(v)}")
        return (isinstance(saw, list) and saw[0] <= size and saw[1] <= letters and saw[2] in runs)

    def change(self, m, v):
        if v % 3 == 0:
            put(m.at("f"), self.letter(v).encode() * self.full)
        elif v % 2:
            os.truncate(m.at("f"), self.facts(v)[0])
        else:
            os.ftruncate(m.held["f"], self.facts(v)[0])


class Content(Kind):
    """A number written in place; seen by whom opens after the writer's close."""
    name = "content after close"
    looks = {
        "read": lambda k, m: k.number(get(m.at("f"), size=SLOT)),
        "openat read": lambda k, m: k.number(get("f", dir_fd=m.fd, size=SLOT)),
        "new mapping": lambda k, m: k.mapped(m),
    }
    agree = (".", "f")

    def number(self, data):
        return int.from_bytes(data[:8], "big")

    def mapped(self, m):
        fd = os.open(m.at("f"), os.O_RDONLY)
        try:
            with mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as pages:
                return self.number(pages[:8])
        finally:
            os.close(fd)

    def prepare(self, m):
        put(m.at("f"), bytes(SLOT))

    def want(self, look, v):
        return v

    def write(self, fd, v):
        os.pwrite(fd, v.to_bytes(8, "big"), 0)

    def change(self, m, v):
        fd = os.open(m.at("f"), os.O_WRONLY)
        try:
            self.write(fd, v)
        finally:
            os.close(fd)


class ContentFsync(Content):
    """A number written and fsynced by one who keeps it open, seen at the next read of others who do."""
    name = "content after fsync"
    looks = {
        "pread": lambda k, m: k.number(os.pread(m.held["f"], PAGE, 0)),
        "small pread": lambda k, m: k.number(os.pread(m.held["f"], 8, 0)),
        "open read": lambda k, m: k.number(get(m.at("f"), size=PAGE)),
    }
    agree = ("f",)

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDWR, dir_fd=m.fd)

    def change(self, m, v):
        self.write(m.held["f"], v)
        os.fsync(m.held["f"])


class Msync(ContentFsync):
    """Written through a shared mapping and msynced: seen at the next read, in others' mappings in a second."""
    name = "mmap after msync"
    looks = {**ContentFsync.looks, "mapping": lambda k, m: k.number(m.held["map"][:8])}
    late_s = {"mapping": 1.0}

    def hold(self, m):
        super().hold(m)
        m.held["map"] = mmap.mmap(m.held["f"], SLOT)

    def change(self, m, v):
        m.held["map"][:8] = v.to_bytes(8, "big")
        m.held["map"].flush(0, PAGE)


class Append(Kind):
    """A line appended and closed: size and last line."""
    name = "append"
    line = 40
    looks = {
        "size": lambda k, m: os.stat(m.at("f")).st_size,
        "fstat": lambda k, m: os.fstat(m.held["f"]).st_size,
        "tail": lambda k, m: k.tail(m.held["f"]),
        "open tail": lambda k, m: k.opened_tail(m),
    }
    agree = ("f",)

    def tail(self, fd):
        size = os.lseek(fd, 0, os.SEEK_END)
        return os.pread(fd, 1000, max(size - self.line, 0)).decode(errors="replace")[:self.line]

    def opened_tail(self, m):
        fd = os.open(m.at("f"), os.O_RDONLY)
        try:
            return self.tail(fd)
        finally:
            os.close(fd)

    def text(self, v):
        return f"{v:0{self.line - 1}}\n"

    def prepare(self, m):
        put(m.at("f"), self.text(0).encode())

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDONLY, dir_fd=m.fd)

    def want(self, look, v):
        return self.text(v) if "tail" in look else (v + 1) * self.line

    def between(self, look, v, saw):
        """The kernel writes page by page: a look that meets the write of a line
        across two pages may see its first part (on ext4 it does, too)."""
        start = v * self.line
        page = (start // PAGE + 1) * PAGE
        if page >= start + self.line:
            return False
        if "tail" in look:
            return saw == (self.text(v - 1) + self.text(v))[page - start:][:self.line]
        return saw == page

    def change(self, m, v):
        put(m.at("f"), self.text(v).encode(), os.O_APPEND)


class Unlinked(Kind):
    """Removed or replaced on one mount while open on all: it stays readable, writable, nameless."""
    name = "open unlinked"
    looks = {
        "read": lambda k, m: os.pread(m.held["f"], 100, 0),
        "nlink": lambda k, m: os.fstat(m.held["f"]).st_nlink,
        "name": lambda k, m: os.path.exists(m.at("f")),
    }
    agree = (".",)
    races = False

    def row(self, v):
        return "open unlinked" if v % 2 else "open again"

    def prepare(self, m):
        put(m.at("f"), b"0")
        self.others = []

    def hold(self, m):
        m.held["f"] = os.open("f", os.O_RDWR, dir_fd=m.fd)
        self.others.append(m)

    def want(self, look, v):
        if look == "read":
            return b"%d" % (v - v % 2)
        return 1 - v % 2 if look == "nlink" else v % 2 == 0

    def change(self, m, v):
        if v % 2:
            if v % 4 == 1:
                os.unlink(m.at("f"))
            else:
                put(m.at("g"), b"other")
                os.rename(m.at("g"), m.at("f"))
                os.unlink(m.at("f"))
            return
        put(m.at("f"), b"%d" % v)
        for other in self.others:
            os.close(other.held["f"])
            other.held["f"] = os.open("f", os.O_RDWR, dir_fd=other.fd)


CONTENT = [Truncate, Content, ContentFsync, Msync, Append, Unlinked]
