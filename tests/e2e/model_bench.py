"""Runs of random operations, and what is done where one differs: it is shrunk
to few operations that still differ, and printed as a script.

A run is made of episodes, each in a fresh directory and with a seed of its
own, so that one that differs is soon played again.
"""
import faulthandler
import itertools
import json
import os
import random
import re
import shutil
import threading
import time

from model_ops import Generator
from model_real import features
from model_run import Mismatch, Run

HANG_S = 60             # no call takes longer
SHRINK_S = 120          # so long may shrinking take


class Watchdog(threading.Thread):
    """Ends the process when a call hangs, after @clear_away()."""

    def __init__(self, clear_away=lambda: None):
        super().__init__(daemon=True)
        self.clear_away = clear_away
        self.run_now, self.seen, self.since = None, None, 0
        self.start()

    def run(self):
        while True:
            time.sleep(1)
            op = self.run_now and self.run_now.now
            if op is None or op is not self.seen:
                self.seen, self.since = op, time.monotonic()
            elif time.monotonic() - self.since > HANG_S:
                print(f"HANG: for {HANG_S} s in {op}", flush=True)
                faulthandler.dump_traceback()
                self.clear_away()
                os._exit(3)


class Bench:
    """A place to run in: fresh directories, seen through every mount."""

    EPISODE, CHECK_EVERY = 6000, 3000           # operations
    count = itertools.count()

    def __init__(self, tops, local, slot_bytes=65536, clear_away=lambda: None):
        self.tops, self.local, self.slot_bytes = tops, local, slot_bytes
        self.watchdog = Watchdog(clear_away)

    def generator(self, seed):
        return Generator(seed, len(self.tops), self.slot_bytes, features(self.tops[0]))

    def make_run(self, tops):
        return Run(tops, self.local)

    def fresh(self):
        name = f"model-{os.getpid()}-{next(self.count)}"
        os.mkdir(os.path.join(self.tops[0], name))
        run = self.make_run([os.path.join(t, name) for t in self.tops])
        self.watchdog.run_now = run
        return run

    def clear(self, run):
        run.real.end()
        shutil.rmtree(run.real.tops[0])

    def attempt(self, ops):
        """Where these operations differ, as (how many ran, what); or None."""
        run = self.fresh()
        n = 0
        try:
            for n, op in enumerate(ops, 1):
                run.step(op)
            run.check_all()
            return None
        except Mismatch as e:
            return n, f"{run.done[-1]}: {e}"
        finally:
            self.clear(run)

    def episode(self, seed, n_ops):
        """(operations, calls, what differs after them or None)."""
        generator, run, ops = self.generator(seed), self.fresh(), []
        try:
            for n in range(1, n_ops + 1):
                ops.append(generator.next(run.model))
                run.step(ops[-1])
                if n % self.CHECK_EVERY == 0 or n == n_ops:
                    ops.append(["check", 0, 0])
                    run.step(ops[-1])
        except Mismatch as e:
            return ops, len(run.done), f"{run.done[-1]}: {e}"
        finally:
            self.clear(run)
        return ops, len(run.done), None

    def summary(self):
        return ""


# ----------------------------------------------------------------- shrinking

def kind(why):
    """What remains of a difference without its numbers and names."""
    op, _, what = why.partition("]: ")
    return op.split(",")[0], re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "N", re.sub(r"'[^']*'", "X", what))


def shrink(bench, ops, why):
    """The fewest operations found that still differ so, and how they do."""
    wanted = kind(why)
    end = time.monotonic() + SHRINK_S

    def tried(fewer):
        nonlocal ops, why
        got = bench.attempt(fewer)
        if not got or kind(got[1]) != wanted:
            return False
        ops, why = fewer[:got[0]], got[1]
        return True

    if any(op[0] == "fault" for op in ops):
        tried([op for op in ops if op[0] != "fault"])
    step = max(1, len(ops) // 2)
    while step and time.monotonic() < end:
        at = 0
        while at < len(ops) and time.monotonic() < end:
            if not tried(ops[:at] + ops[at + step:]):
                at += step
        step = min(step // 2, len(ops) // 2) if step > 1 else 0
    return ops, why


def script(ops, n_mounts, why):
    if any(op[0] == "fault" for op in ops):
        return f"# {why}\n# for model.py --faults --mounts {n_mounts} --replay FILE\n" + json.dumps(ops)
    lines = ",\n".join("    " + json.dumps(op).replace("null", "None") for op in ops)
    return ("#!/usr/bin/python3\n"
            f"# {why}\n"
            "# Run it in tests/e2e, with directories as arguments: one as each mount shows it.\n"
            "import sys\nimport model_bench\n"
            f"model_bench.replay(sys.argv[1:] or ['/tmp'] * {n_mounts}, [\n{lines},\n])\n")


def report(bench, ops, why):
    again = bench.attempt(ops) or bench.attempt(ops)
    if not again:
        print("it does not happen again in a fresh directory: no shrinking; the last operations were",
              *ops[-40:], sep="\n    ", flush=True)
        return 1
    ops, why = shrink(bench, ops[:again[0]], again[1])
    print(f"shrunk to {len(ops)} operations: {why}\n", flush=True)
    print(script(ops, len(bench.tops), why), flush=True)
    return 1


def replay(tops, ops):
    """For the scripts: run, and say what differs."""
    got = Bench(tops, False).attempt(ops)
    print(f"DIFFERENT at {got[1]}" if got else "no difference")
    return 1 if got else 0


# ---------------------------------------------------------------------- runs

def seeds(seed):
    """Of the episodes; each can be repeated as the first of a run."""
    while True:
        yield seed
        seed = random.Random(seed).randrange(1 << 30)


def run_random(bench, first, n_ops):
    """The whole of one seed; an exit code."""
    start, calls, left = time.monotonic(), 0, n_ops
    for seed in seeds(first):
        if not left:
            break
        n = min(left, bench.EPISODE)
        ops, made, why = bench.episode(seed, n)
        if why:
            print(f"seed {seed}: DIFFERENT after {len(ops)} operations: {why}", flush=True)
            return report(bench, ops, why)
        left -= n
        calls += made
    print(f"seed {first}: {n_ops} operations ({calls} calls{bench.summary()}) on {len(bench.tops)} mounts "
          f"in {time.monotonic() - start:.1f} s: no difference", flush=True)
    return 0


def run_file(bench, path):
    with open(path) as f:
        ops = json.load(f)
    got = bench.attempt(ops)
    if not got:
        print("no difference")
        return 0
    print(f"DIFFERENT after {got[0]} operations: {got[1]}", flush=True)
    return report(bench, ops, got[1])


def run_either(bench, args):
    return run_file(bench, args.replay) if args.replay else run_random(bench, args.seed, args.ops)
