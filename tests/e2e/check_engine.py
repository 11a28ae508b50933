"""The engine of the checker of mounts: what a kind is, and two ways to run it.

A kind is a small machine of versions: change(m, v) brings version v about
through mount m in calls that return, and want(look, v) says what each look
must then see, on any mount.  It is run

  in turn   one process; everybody looks (all that may be cached is), a mount
            drawn at random changes, the call returns, everybody looks again;
  in races  a process a mount looks in a tight loop while another changes.
            Version numbers in shared memory order them: a look that starts
            after version v was done must see v or later, and nothing that
            was not begun when it ended.

A look that raises OSError saw the errno's name.  Times are CLOCK_MONOTONIC.
"""
import errno
import json
import mmap
import os
import random
import stat
import time
import traceback

REPORTS = 8             # stale answers told in full, by kind and process
SAMPLE = 3              # looks of each mount in a round in turn, before and after
AGREE = 4               # every so many rounds mounts are to agree about whole stats
RIGHT_S = 2             # so long a wrong answer is asked for again
PROBE_S = 60            # so long a looker may take over one look
STARTED, DONE, DONE_NS, STOP, LOOKS = range(5)  # LOOKS + n: by looker n


class Mount:
    """A kind's directory as one mount shows it, and what a process holds open there."""

    def __init__(self, letter, path, peer=None):
        self.letter, self.path, self.peer = letter, path, peer
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.held = {}

    def at(self, name):
        return f"{self.path}/{name}"

    def close(self):
        for fd in self.held.values():
            if isinstance(fd, int):
                os.close(fd)
            else:
                fd.close()
        self.held = {}
        os.close(self.fd)


class Kind:
    """A kind of change; see the top of the file."""
    name = ""
    looks = {}          # name: function(kind, mount) -> what it saw
    agree = (".",)      # names whose whole stat is to be the same on every mount
    late_s = {}         # looks that may be late, by so many seconds
    slower = 1          # so many times fewer rounds
    races = True

    def prepare(self, m):
        """Version 0, through mount @m."""

    def hold(self, m):
        """What a looker at @m holds open from the start."""

    def change(self, m, v):
        raise NotImplementedError

    def row(self, v):
        """The line of the table that version v's change counts in."""
        return self.name

    def want(self, look, v):
        raise NotImplementedError

    def between(self, look, v, saw):
        """May a look that meets the change to version v also see this?"""
        return False

    def finish(self, tally, mounts):
        """After the last round."""


class Tally:
    """Rounds and stale answers of one kind, by line of the table."""

    def __init__(self, kind, seed, told=print):
        self.kind, self.seed, self.told = kind, seed, told
        self.rows, self.reports = {}, []

    def row(self, name):
        return self.rows.setdefault(name, dict(rounds=0, answers=0, stale=0, worst_us=0, s=0.0))

    def stale(self, row, number, where, look, saw, wanted, us, right=None, begun=""):
        r = self.row(row)
        r["stale"] += 1
        r["worst_us"] = max(r["worst_us"], int(us))
        if r["stale"] > REPORTS:
            return
        text = (f"STALE {row} round {number} seed {self.seed}: {look} on {where} saw {short(saw)}, "
                f"expected {short(wanted)}, {us:.0f} us after the change returned")
        if right is not None:
            text += f" (right after {right})"
        if begun:
            text += f" ({begun})"
        self.reports.append(text)
        self.told(text)

    def take(self, other):
        """Add what another process counted."""
        for name, r in other["rows"].items():
            mine = self.row(name)
            for k in r:
                mine[k] = max(mine[k], r[k]) if k == "worst_us" else mine[k] + r[k]
        self.reports += other["reports"]


def short(value):
    text = repr(value)
    return text if len(text) < 160 else f"{text[:100]}...{text[-40:]} ({len(text)})"


def seen(kind, look, m):
    """What a look sees: its value, or the name of its error."""
    try:
        return kind.looks[look](kind, m)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def now_us():
    return time.monotonic_ns() / 1000


def whole_stat(m, name):
    """All of stat that mounts must agree about; times of reading are relaxed."""
    try:
        st = os.stat(name, dir_fd=m.fd, follow_symlinks=False)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    return (stat.filemode(st.st_mode), st.st_ino, st.st_nlink, st.st_uid, st.st_gid,
            0 if stat.S_ISDIR(st.st_mode) else st.st_size, st.st_mtime_ns, st.st_ctime_ns)


def right_after(look, wanted, limit_s):
    """How long a wrong answer stayed wrong: ("1234 us" or "never", in time)."""
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        if look() == wanted:
            return f"{(time.monotonic() - start) * 1e6:.0f} us", True
        time.sleep(0.0005)
    return f"no time, within {limit_s} s", False


# ------------------------------------------------------------------ in turn

def look_all(kind, tally, mounts, rng, v, returned_us, todo):
    """What is to do, in random order, judged by version v."""
    rng.shuffle(todo)
    row = tally.row(kind.row(v))
    for m, look in todo:
        at_us = now_us() - returned_us
        saw, wanted = seen(kind, look, m), kind.want(look, v)
        row["answers"] += 1
        if saw == wanted:
            continue
        late = kind.late_s.get(look)
        right, in_time = right_after(lambda: seen(kind, look, m), wanted, late or RIGHT_S)
        if not (late and in_time):
            tally.stale(kind.row(v), v, m.letter, look, saw, wanted, at_us, right)
    for name in kind.agree if v % AGREE == 0 else ():
        stats = [(whole_stat(m, name), now_us(), m) for m in mounts]
        row["answers"] += len(stats)
        for got, at_us, m in stats[1:]:
            if got != stats[0][0]:
                tally.stale(kind.row(v), v, m.letter, f"stat({name})", got, stats[0][0],
                            at_us - returned_us)


def in_turn(kind, tally, mounts, rounds, rng, progress):
    """So many rounds of each of the kind's rows."""
    kind.prepare(mounts[0])
    for m in mounts:
        kind.hold(m)
    v = 0
    while not tally.rows or min(r["rounds"] for r in tally.rows.values()) < rounds:
        v += 1
        todo = [(m, look) for m in mounts
                for look in rng.sample(list(kind.looks), min(SAMPLE, len(kind.looks)))]
        for m, look in todo:
            seen(kind, look, m)
        row = tally.row(kind.row(v))
        start = time.monotonic()
        kind.change(rng.choice(mounts), v)
        look_all(kind, tally, mounts, rng, v, now_us(), todo)
        row["rounds"] += 1
        row["s"] += time.monotonic() - start
        progress(v)
        if v == 1:
            for u in range(2, 9):       # the other rows there are
                tally.row(kind.row(u))
    kind.finish(tally, mounts)


# ----------------------------------------------------------------- in races

def allowed(kind, look, saw, lo, hi):
    """May a look see this from the end of version @lo to the begin of @hi?"""
    return (any(saw == kind.want(look, v) for v in range(lo, hi + 1)) or
            any(kind.between(look, v, saw) for v in range(lo + 1, hi + 1)))


def looker(kind, m, n, shared, tally, rng):
    """A process that looks in a tight loop until it is told to stop."""
    kind.hold(m)
    os.fchdir(m.fd)
    looks = [k for k in kind.looks if k not in kind.late_s]
    while not shared[STOP]:
        look = rng.choice(looks)
        lo, done_ns, at_us = shared[DONE], shared[DONE_NS], now_us()
        saw = seen(kind, look, m)
        hi = shared[STARTED]
        shared[LOOKS + n] += 1
        row = tally.row(kind.row(max(lo, 1)))
        row["answers"] += 1
        if not allowed(kind, look, saw, lo, hi):
            tally.stale(kind.row(max(lo, 1)), lo, m.letter, look, saw, kind.want(look, lo),
                        at_us - done_ns / 1000, begun=f"in a race, changes begun before it ended: {hi - lo}")


def forked(work):
    """(pid, pipe) of a process that runs @work and sends what it returns."""
    r, w = os.pipe()
    pid = os.fork()
    if pid:
        os.close(w)
        return pid, os.fdopen(r)
    try:
        os.close(r)
        text = json.dumps(work())
        code = 0
    except BaseException as e:          # also of a bug in the checker
        text, code = json.dumps({"failed": "".join(traceback.format_exception(e)[-4:])}), 1
    with os.fdopen(w, "w") as f:
        f.write(text)
    os._exit(code)


def joined(child, what):
    """What such a process sent; RuntimeError if it failed."""
    pid, pipe = child
    with pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    got = json.loads(text or '{"failed": "it was killed"}')
    if isinstance(got, dict) and "failed" in got:
        raise RuntimeError(f"{what}: {got['failed']}")
    return got


def wait_lookers(shared, n, counts):
    """Until each looker has looked so often: what it sees may be cached then."""
    end = time.monotonic() + PROBE_S
    while any(shared[LOOKS + k] < counts[k] for k in range(n)):
        if time.monotonic() > end:
            raise RuntimeError(f"a look takes longer than {PROBE_S} s")
        time.sleep(0.00002)


def shared_numbers(n):
    return memoryview(mmap.mmap(-1, 8 * n)).cast("Q")


def race(kind, tally, changer, mounts, first, last, rng, progress):
    """Versions @first to @last by mount @changer, while a process each mount looks."""
    shared = shared_numbers(LOOKS + len(mounts))
    shared[STARTED] = shared[DONE] = first - 1
    shared[DONE_NS] = time.monotonic_ns()
    children = []

    def work(m, n):
        mine = Tally(kind.name, tally.seed, tally.told)
        looker(kind, m, n, shared, mine, random.Random(f"{tally.seed} {first} {n}"))
        return dict(rows=mine.rows, reports=mine.reports)
    try:
        for n, m in enumerate(mounts):
            children.append(forked(lambda m=m, n=n: work(m, n)))
        for v in range(first, last + 1):
            wait_lookers(shared, len(mounts), [shared[LOOKS + n] + rng.randrange(1, 4)
                                               for n in range(len(mounts))])
            row = tally.row(kind.row(v))
            start = time.monotonic()
            shared[STARTED] = v
            kind.change(changer, v)
            shared[DONE_NS] = time.monotonic_ns()
            shared[DONE] = v
            row["rounds"] += 1
            row["s"] += time.monotonic() - start
            progress(v)
        wait_lookers(shared, len(mounts), [shared[LOOKS + n] + 3 for n in range(len(mounts))])
    finally:
        shared[STOP] = 1
        results = [joined(c, f"a looker of {kind.name}") for c in children]
    for got in results:
        tally.take(got)


def in_races(kind, tally, mounts, rounds, rng, progress):
    """So many versions, the mounts changing by turns."""
    kind.prepare(mounts[0])
    rows = len({kind.row(v) for v in range(1, 9)})
    total, v = rounds * rows, 0
    for k, changer in enumerate(mounts):
        last = total * (k + 1) // len(mounts)
        kind.hold(changer)
        race(kind, tally, changer, mounts, v + 1, last, rng, progress)
        v = last
