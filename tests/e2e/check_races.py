"""Races of the checker of mounts: a process a mount, all at once, judged when all are done.

Each is a function of (tally, mounts, rounds, rng, progress), as check_engine's
in_turn() and in_races() are once a kind is given.
"""
import fcntl
import os
import random
import time

from check_engine import forked, joined, shared_numbers, whole_stat
from check_kinds import RENAME_NOREPLACE, SLOT, get, put, rename2

BATCH = 50              # rounds between two judgements
CELLS = 20              # so many writes, about, make one of disjoint writes
STATFS_FILES = 300
TRY_S = 60              # so long a lock may be waited for


def crowd(mounts, work):
    """What work(n, m, rng) returned in a process of its own for each mount, begun together."""
    ready = shared_numbers(1 + len(mounts))

    def one(n, m):
        ready[1 + n] = 1
        end = time.monotonic() + TRY_S
        while not ready[0] and time.monotonic() < end:
            time.sleep(0.0001)
        return work(n, m)
    children = [forked(lambda n=n, m=m: one(n, m)) for n, m in enumerate(mounts)]
    end = time.monotonic() + TRY_S
    while sum(ready[1:]) < len(mounts) and time.monotonic() < end:
        time.sleep(0.0001)
    ready[0] = 1
    results, fault = [], None
    for n, c in enumerate(children):
        try:
            results.append(joined(c, f"the process at {mounts[n].letter}"))
        except RuntimeError as e:
            fault = e
    if fault:
        raise fault
    return results


def batches(tally, row, rounds, progress, one, batch=BATCH):
    """Rounds of @row by one(first, n), which returns faults: (round, look, saw, wanted, mount's letter)."""
    r, done = tally.row(row), 0
    while done < rounds:
        n = min(batch, rounds - done)
        start = time.monotonic()
        faults = one(done, n)
        r["s"] += time.monotonic() - start
        r["rounds"] += n
        r["answers"] += n
        for number, look, saw, wanted, letter in faults:
            tally.stale(row, number, letter, look, saw, wanted, 0)
        done += n
        progress(done)


# ---------------------------------------------------------------- appending

def line_of(n, k, rng):
    """Line k of writer n: its length and its letters tell whether it is whole."""
    body = f"{n} {k} " + "abcdefgh"[n] * rng.choice((1, 10, 100, 1000, 5000))
    return f"{len(body)} {body}\n".encode()


def append_lines(n, m, first, count, seed):
    """Lines first to first + count, some with an open each, some several to an open, some fsynced."""
    rng, k = random.Random(seed), first
    while k < first + count:
        fd = os.open(m.at("f"), os.O_WRONLY | os.O_APPEND)
        try:
            for _ in range(min(rng.choice((1, 1, 3)), first + count - k)):
                os.write(fd, line_of(n, k, rng))
                k += 1
                if rng.randrange(4) == 0:
                    os.fsync(fd)
        finally:
            os.close(fd)


def line_faults(data, writers, last):
    """What is wrong with a file of such lines: a list of texts."""
    at, faults = [0] * writers, []
    for text in data.split(b"\n")[:-1]:
        size, _, body = text.partition(b" ")
        parts = body.split(b" ")
        if len(parts) != 3 or str(len(body)).encode() != size or len(set(parts[2])) != 1:
            faults.append(f"torn: {text[:60]!r}")
            continue
        n, k = int(parts[0]), int(parts[1])
        if k != at[n]:
            faults.append(f"line {k} of {n} where {at[n]} was due")
        at[n] = k + 1
    faults += [f"{a} lines of {n}, not {last}" for n, a in enumerate(at) if a != last]
    return faults


def append_both(tally, mounts, rounds, rng, progress):
    """O_APPEND from all mounts at once: no line lost, doubled or torn, and each writer's in order."""
    count = 0

    def one(first, n):
        nonlocal count
        if count == 0 or count >= 400:          # a new file now and then
            put(mounts[0].at("f"), b"")
            count = 0
        each = max(n // len(mounts), 1)
        seeds = [rng.random() for _ in mounts]
        crowd(mounts, lambda w, m: append_lines(w, m, count, each, seeds[w]))
        count += each
        faults = []
        for m in mounts:
            faults += [(first, "lines", text, "all lines, whole, in order", m.letter)
                       for text in line_faults(get(m.at("f"), size=1 << 26), len(mounts), count)[:3]]
        if faults:
            count = 0
        return faults
    batches(tally, "append from all", rounds, progress, one)


# ---------------------------------------------------------- disjoint writes

def write_cells(m, cells, mark, seed):
    """Write these cells in random order, with closes and fsyncs between them."""
    rng = random.Random(seed)
    rng.shuffle(cells)
    fd = os.open(m.at("f"), os.O_RDWR)
    for off, size in cells:
        os.pwrite(fd, bytes([mark]) * size, off)
        how = rng.randrange(8)
        if how == 0:
            os.fsync(fd)
        elif how == 1:
            os.close(fd)
            fd = os.open(m.at("f"), os.O_RDWR)
    os.close(fd)


def grid(rng):
    """A slot cut into cells, of a few bytes to several pages, that share pages."""
    off, cells = 0, []
    while off < SLOT:
        size = min(rng.choice((3, 100, 1000, 4096, 5000, 30000, 60000)), SLOT - off)
        cells.append((off, size))
        off += size
    return cells


def disjoint(tally, mounts, rounds, rng, progress):
    """Writes of disjoint bytes of one chunk from all mounts at once: no byte lost."""
    data = bytearray(SLOT)
    put(mounts[0].at("f"), data)

    def one(first, n):
        cells = grid(rng)
        owner = [rng.randrange(len(mounts)) for _ in cells]
        marks = [rng.randrange(1, 256) for _ in mounts]
        mine = [[c for c, o in zip(cells, owner) if o == w] for w in range(len(mounts))]
        seeds = [rng.random() for _ in mounts]
        crowd(mounts, lambda w, m: write_cells(m, mine[w], marks[w], seeds[w]))
        for (off, size), o in zip(cells, owner):
            data[off:off + size] = bytes([marks[o]]) * size
        faults = []
        for m in mounts:
            got = get(m.at("f"))
            if got != data:
                at = next((i for i in range(min(len(got), SLOT)) if got[i] != data[i]), len(got))
                faults.append((first, "read", f"{len(got)} bytes, byte {at} wrong",
                               f"{SLOT} bytes, that one by {mounts[0].letter}...", m.letter))
        return faults
    batches(tally, "disjoint writes", rounds, progress, one, CELLS)


# ------------------------------------------------- exactly one may be first

def take_excl(m, name, mine):
    os.close(os.open(m.at(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def take_mkdir(m, name, mine):
    os.mkdir(m.at(name))


def take_symlink(m, name, mine):
    os.symlink(mine, m.at(name))


def take_link(m, name, mine):
    os.link(m.at(mine), m.at(name))


def take_rename(m, name, mine):
    put(m.at(mine), mine.encode())
    rename2(m.at(mine), m.at(name), RENAME_NOREPLACE)


TAKES = {"O_EXCL": take_excl, "mkdir as lock": take_mkdir, "symlink as lock": take_symlink,
         "link as lock": take_link, "rename noreplace": take_rename}


def contend(m, n, names, take):
    """Which of the names this process was first to take; others must have been taken."""
    mine, won = f"mine{n}", []
    put(m.at(mine), b"")
    for name in names:
        try:
            take(m, name, mine)
            won.append(name)
        except FileExistsError:
            pass
    return won


def clear(m, names):
    for name in names:
        try:
            os.rmdir(m.at(name)) if os.path.isdir(m.at(name)) else os.unlink(m.at(name))
        except FileNotFoundError:
            pass


def first_race(how):
    """A race in which of all mounts exactly one wins each name."""
    def run(tally, mounts, rounds, rng, progress):
        def one(first, n):
            names = [f"l{k}" for k in range(first, first + n)]
            won = crowd(mounts, lambda w, m: contend(m, w, names, TAKES[how]))
            faults = []
            for k, name in enumerate(names):
                winners = [mounts[w].letter for w in range(len(mounts)) if name in won[w]]
                if len(winners) != 1:
                    faults.append((first + k, how, f"won by {winners}", "exactly one", "all"))
                stats = {whole_stat(m, name) for m in mounts}
                if len(stats) != 1 or isinstance(stats.copy().pop(), str):
                    faults.append((first + k, f"{how}: stat", sorted(map(str, stats)), "one answer", "all"))
            clear(rng.choice(mounts), names + [f"mine{w}" for w in range(len(mounts))])
            return faults
        batches(tally, how, rounds, progress, one)
    return run


# -------------------------------------------------------- a counter, locked

def by_lock_file(m):
    """Take the lock; returns what gives it back."""
    end = time.monotonic() + TRY_S
    while True:
        try:
            os.close(os.open(m.at("lock"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return lambda: os.unlink(m.at("lock"))
        except FileExistsError:
            if time.monotonic() > end:
                raise
            time.sleep(0.0002)


def by_call(call):
    def take(m):
        fd = os.open(m.at("lock"), os.O_RDWR | os.O_CREAT, 0o644)
        call(fd, fcntl.LOCK_EX)
        return lambda: os.close(fd)
    return take


def count_up(m, n, take):
    """n times: lock, read, add one, write, unlock."""
    for _ in range(n):
        give = take(m)
        try:
            put(m.at("count"), b"%d" % (int(get(m.at("count"))) + 1))
        finally:
            give()


def counter_race(row, take):
    """Increments under a lock, from all mounts at once: none is lost."""
    def run(tally, mounts, rounds, rng, progress):
        put(mounts[0].at("count"), b"0")
        total = 0

        def one(first, n):
            nonlocal total
            each = max(n // len(mounts), 1)
            crowd(mounts, lambda w, m: count_up(m, each, take))
            total += each * len(mounts)
            saw = {m.letter: int(get(m.at("count"))) for m in mounts}
            faults = [(first, "count", s, total, letter) for letter, s in saw.items() if s != total]
            total = saw[mounts[0].letter]
            return faults
        batches(tally, row, rounds, progress, one)
    return run


# ------------------------------------------------------------------ listing

STAY, LIVE = 1100, 20     # names that stay; how many come and go


def list_often(m, shared, seed):
    """List in a loop while names come and go; [number of listings, faults]."""
    rng, faults, count = random.Random(seed), [], 0
    while not shared[2]:
        lo = shared[1]
        names = os.listdir(m.path) if rng.randrange(2) else [e.name for e in os.scandir(m.path)]
        hi = shared[0]
        count += 1
        have = set(names)
        if len(have) != len(names):
            faults.append([lo, "a name twice", sorted(n for n in have if names.count(n) > 1)[:3], "once"])
        stay = sum(n[0] == "s" for n in have)
        if stay != STAY:
            faults.append([lo, "names that stay", stay, STAY])
        moving = {int(n[1:]) for n in have if n[0] == "t"}
        missing = [v for v in range(max(hi - LIVE + 1, 1), lo + 1) if v not in moving]
        wrong = [v for v in moving if v > hi or v <= lo - LIVE]
        if missing or wrong:
            faults.append([lo, "names that move", f"missing {missing}, wrong {wrong}", f"of {lo} to {hi}"])
    return [count, faults[:20]]


def come_and_go(m, shared, first, n):
    for v in range(first + 1, first + n + 1):
        shared[0] = v
        put(m.at(f"t{v}"), b"")
        if v > LIVE:
            os.unlink(m.at(f"t{v - LIVE}"))
        shared[1] = v
    shared[2] = 1
    return [0, []]


def listing(tally, mounts, rounds, rng, progress):
    """readdir while others add and remove: what is there throughout is listed exactly once."""
    for k in range(STAY):
        put(mounts[0].at(f"s{k}" + "x" * (k % 200)), b"")
    shared = shared_numbers(3)

    def one(first, n):
        shared[0] = shared[1] = first
        shared[2] = 0
        seeds = [rng.random() for _ in mounts]
        results = crowd(mounts, lambda w, m: list_often(m, shared, seeds[w]) if w
                        else come_and_go(m, shared, first, n))
        tally.row("readdir")["answers"] += sum(c for c, _ in results)
        return [(*f, mounts[w].letter) for w, (_, faults) in enumerate(results) for f in faults]
    batches(tally, "readdir", rounds, progress, one)


# ------------------------------------------------------------------- statfs

def statfs(tally, mounts, rounds, rng, progress):
    """The number of files, which mounts may remember for a second; other kinds remove a few meanwhile."""
    def files(m):
        st = os.statvfs(m.path)
        return st.f_files - st.f_ffree

    def one(first, n):
        before = files(rng.choice(mounts))
        for k in range(STATFS_FILES):
            put(mounts[0].at(f"{first}-{k}"), b"")
        end = time.monotonic() + 1.5
        least = before + STATFS_FILES // 2
        while time.monotonic() < end and any(files(m) < least for m in mounts):
            time.sleep(0.1)
        return [(first, "f_files", files(m), f"at least {least}", m.letter)
                for m in mounts if files(m) < least]
    batches(tally, "statfs", min(rounds, 5), progress, one, 1)


RACES = {
    "append from all": append_both, "disjoint writes": disjoint, "readdir": listing, "statfs": statfs,
    **{how: first_race(how) for how in TAKES},
    "lock file": counter_race("lock file", by_lock_file),
}
LOCKS = {
    "flock": counter_race("flock", by_call(fcntl.flock)),
    "fcntl": counter_race("fcntl", by_call(fcntl.lockf)),
}
