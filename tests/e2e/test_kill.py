"""kill -9 of any process at any time while 1,000 files are copied in: what close() has returned for is there, whole.

Four writers (kill_writer.py) on three mounts copy files of 0 bytes to 1 MiB, rename over them, append, overwrite,
fsync, move and remove; each notes every call before and after.  Meanwhile the tracker, mounts, a psppeerd and writers
are killed, one or several at once or one after the other, and started again.  Then, on every mount, each file is
compared with what its writer was told, byte for byte.

What is promised (README, DESIGN 3), and so: a call that returned has happened, on every mount; one that did not has
happened or not, and nothing between.  close and fsync commit all that was written since the last one in one
transaction: so of a file that cp was writing there is nothing, an empty file (cp's open made it), or the whole; of
one that is renamed over another the old or the new, whole.  Only what takes longer to write than a mount keeps data
to itself (three seconds), or what a writer had written when it was killed itself, may be there up to some byte: cp
writes under the final name.  Who wants all or nothing uses rename.

PSPFS_SEED repeats a schedule; PSPFS_KILLS=200 goes on for so many kills, 1,000 files in each round.
"""
import collections
import contextlib
import errno
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from kill_notes import Reader
from swarm import SLOWER, Lender, Swarm, run, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
FILES, WRITERS, MOUNTS, LENDERS = 1000 // SLOWER, 4, 3, 2
STRIKES = 20            # a round: each kills one to three processes, or all
KILLS = int(os.environ.get("PSPFS_KILLS", "30")) // SLOWER
QUIET_S = 60            # that writers may stand still, while all is up again
DIED = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EIO}    # a mount that is killed, or not yet there again

pytestmark = pytest.mark.timeout((300 + 8 * KILLS) * SLOWER)


class Copy:
    """A round: the writers, and how far they are."""

    def __init__(self, swarm, seed, n):
        self.swarm, self.seed, self.n = swarm, seed, n
        self.top = f"round{n}"
        self.procs, self.seen = [None] * WRITERS, [0] * WRITERS
        for w in range(WRITERS):
            os.makedirs(swarm.peers[0].path(self.top, f"w{w}"))
            self.start(w)

    def notes(self, w):
        return f"{self.swarm.dir}/{self.top}-w{w}.notes"

    def start(self, w):
        open(self.notes(w), "a").close()
        first = w % MOUNTS
        dirs = [p.path(self.top, f"w{w}") for p in self.swarm.peers[first:] + self.swarm.peers[:first]]
        self.procs[w] = subprocess.Popen(
            [sys.executable, f"{HERE}/kill_writer.py", self.notes(w), str(self.seed * 100 + w), str(FILES // WRITERS), *dirs],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self, w):
        """If it is not done; whether it was killed."""
        p = self.procs[w]
        p.kill()
        said = p.communicate(timeout=30)[1]
        if p.returncode == 0:
            return False
        assert p.returncode == -signal.SIGKILL, f"writer {w}: {said}"
        with open(self.notes(w), "a") as f:
            f.write(f'["killed", {time.monotonic()}]\n')
        return True

    def progress(self):
        """Operations begun, of all writers."""
        for w, p in enumerate(self.procs):
            if p and p.poll() not in (None, 0, -signal.SIGKILL):
                raise AssertionError(f"writer {w}: {p.communicate()[1]}")
            with open(self.notes(w), "rb") as f:
                self.seen[w] = f.read().count(b'["op"')
        return sum(self.seen)

    def running(self):
        return any(p.poll() is None for p in self.procs)

    def wait(self, n):
        """Until @n operations are begun, or all are done; standing still is an error."""
        last, since = -1, time.monotonic()
        while self.running():
            now = self.progress()
            if now >= n:
                break
            if now != last:
                last, since = now, time.monotonic()
            assert time.monotonic() - since < QUIET_S * SLOWER, f"nobody gets on since operation {now}"
            time.sleep(0.005)
        self.progress()

    def end(self):
        for p in self.procs:
            if p.poll() is None:
                p.kill()
            p.communicate(timeout=30)

    # ------------------------------------------------------------ what is there

    def check(self, killed):
        """Every group of every writer, on every mount."""
        faults, unsure, total, codes = [], 0, 0, collections.Counter()
        for w in range(WRITERS):
            notes = Reader(self.notes(w))
            assert notes.finished, f"writer {w} did not finish"
            dirs = [p.path(self.top, f"w{w}") for p in self.swarm.peers]
            for op, mount, begun, code, _ in notes.errors:
                real = (w + mount) % MOUNTS
                codes[f"{begun[0]} {errno.errorcode[code]}"] += 1
                if code not in DIED or f"mount {real}" not in killed:
                    faults.append(f"writer {w}, operation {op}: {begun} on mount {real}: {errno.errorcode[code]}")
            there = self.seen_on(dirs)
            for g, group in notes.groups.items():
                states = [t.pop(g, {}) for t in there]
                wrong = [f"mount {k}: {group.allows(s)}" for k, s in enumerate(states) if group.allows(s)]
                if not wrong and any(s != states[0] for s in states):
                    wrong = ["mounts differ"]
                faults += [f"writer {w}, file {g}: {x}" for x in wrong]
                unsure += group.failed is not None
                total += 1
            if any(there):
                faults.append(f"writer {w}: names that nobody made: {there}")
        assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)[:8000]
        return total, unsure, dict(codes)

    @staticmethod
    def seen_on(dirs):
        """For each: {group: {name: bytes}}."""
        seen = []
        for d in dirs:
            groups = collections.defaultdict(dict)
            for name in os.listdir(d):
                with open(f"{d}/{name}", "rb") as f:
                    groups[int(name[1:].split(".")[0])][name] = f.read()
            seen.append(groups)
        return seen


class Killer:
    """Who is killed, and brought back."""

    def __init__(self, swarm, rng):
        self.swarm, self.rng, self.copy = swarm, rng, None
        self.kills, self.killed = collections.Counter(), set()

    def victims(self):
        return ["tracker"] + [f"mount {k}" for k in range(MOUNTS)] + [f"lender {k}" for k in range(LENDERS)] + \
               [f"writer {k}" for k in range(WRITERS)]

    def strike(self):
        rng = self.rng
        if rng.random() < 0.1:
            names = [n for n in self.victims() if "writer" not in n]
            rng.shuffle(names)
        else:
            weights = [4 if n == "tracker" else 2 if "mount" in n else 1 for n in self.victims()]
            names = list(dict.fromkeys(rng.choices(self.victims(), weights, k=rng.choice((1, 1, 2, 3)))))
        gap = rng.choice((0, 0, 0.05, 0.3))
        down = rng.choice((0, 0.1, 0.5, 1.5))
        print(f"{time.monotonic():.2f} operation {sum(self.copy.seen)}: {', '.join(names)}, {gap} s apart, {down} s down",
              flush=True)
        back = []
        for name in names:
            kind, _, k = name.partition(" ")
            if self.kill(kind, int(k or 0)):
                self.kills[kind] += 1
                self.killed.add(name)
                back.append((kind, int(k or 0)))
            time.sleep(gap)
        time.sleep(down)
        back.sort(key=lambda b: b[0] != "tracker")      # the others need it
        for kind, k in back:
            if kind != "writer" and rng.random() < 0.15:
                self.start_in_vain(kind, k, rng.random() * 0.15)
            self.start(kind, k)

    def kill(self, kind, k):
        s = self.swarm
        if kind == "tracker":
            s.kill_tracker()
        elif kind == "mount":
            s.peers[k].kill()
        elif kind == "lender":
            s.lenders[k].kill()
        else:
            return self.copy.kill(k)
        return True

    def start_in_vain(self, kind, k, secs):
        """Killed while it starts."""
        s = self.swarm
        argv = s.tracker_argv() if kind == "tracker" else s.peers[k].argv() if kind == "mount" else s.lenders[k].proc.args
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(secs)
        p.kill()
        assert p.wait(10) == -signal.SIGKILL, f"{kind} {k} ended while it started"
        self.kills[kind] += 1
        if kind == "mount":
            run("umount", "-l", s.peers[k].mnt, check=False)

    def start(self, kind, k):
        s = self.swarm
        if kind == "tracker":
            s.start_tracker()
        elif kind == "mount":
            s.peers[k].start()
        elif kind == "lender":
            told = s.lenders[k].read_log().count("lending")
            s.lenders[k] = Lender(s, k, {})
            wait_for(lambda: s.lenders[k].read_log().count("lending") > told, "the psppeerd", 20)
        else:
            self.copy.start(k)


def all_copies(s):
    status = s.status()
    assert status["missing_chunks"] == 0 or status["under_replicated_chunks"], status
    return status["under_replicated_chunks"] == 0 and status["missing_chunks"] == 0 and \
        all(p["state"] == "active" for p in status["peers"])


def play(s, rng, killer, n):
    """A round."""
    copy = killer.copy = Copy(s, rng.randrange(1 << 30), n)
    killer.killed.clear()
    began = time.monotonic()
    try:
        for at in sorted(rng.randrange(FILES * 3 // 2) for _ in range(STRIKES)):
            copy.wait(at)
            time.sleep(rng.random() * 0.05)
            if copy.running():
                killer.strike()
        copy.wait(1 << 30)
        copy.progress()
        wrote = time.monotonic() - began
        wait_for(lambda: all_copies(s), "all copies", 60)
        groups, unsure, codes = copy.check(killer.killed)
    finally:
        copy.end()
    print(f"round {n}: {groups} files, {sum(copy.seen)} operations in {wrote:.0f} s, {unsure} left alone after "
          f"{codes}; killed so far: {dict(killer.kills)}", flush=True)
    shutil.rmtree(s.peers[n % MOUNTS].path(copy.top))


def nothing_left(directory):
    """No process that has to do with @directory but us, and no mount."""
    def left():
        found = []
        for p in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(p, "rb") as f:
                if directory.encode() in f.read():
                    found.append(p)
        return found
    wait_for(lambda: not left(), "its processes to end", 10)
    with open("/proc/self/mounts") as f:
        assert directory not in f.read()


def test_kill_anything_while_1000_files_are_copied():
    seed = int(os.environ.get("PSPFS_SEED") or random.randrange(1 << 30))
    print(f"PSPFS_SEED={seed}", flush=True)
    rng = random.Random(seed)
    args = ["--garbage-grace", "2", "--repair-after", rng.choice(("3", "60"))]
    with Swarm(peers=MOUNTS, tracker_args=args) as s:
        s.add_lenders(LENDERS)
        killer, n = Killer(s, rng), 0
        while n == 0 or sum(killer.kills.values()) < KILLS:
            play(s, rng, killer, n)
            n += 1
        wait_for(lambda: s.status()["chunks"] == 0, "the removed files' chunks to go", 60)
    nothing_left(s.dir)
