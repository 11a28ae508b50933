#!/usr/bin/python3
"""model.py -- all calls at random, on several mounts and on a model of POSIX.

  model.py [--ops N] [--seed N] [--mounts N] [--jobs N]   on a swarm of its own
  model.py --local DIR ...           in an ordinary directory: proves the model
  model.py --tops DIR,DIR,... ...    one directory as several mounts show it
  model.py --faults ...              while tracker and peers are killed
  model.py ... --replay FILE         the operations of FILE, as --save wrote them

Where a mount and the model differ, the operations are shrunk to few that
still differ, and printed as a script.  Exit code 0: no difference; 1: one was
found; 2: it could not run; 3: a call hangs.
"""
import argparse
import faulthandler
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time

from model_ops import Generator
from model_real import features
from model_run import CHECK_EVERY, Mismatch, Run

HERE = os.path.dirname(os.path.abspath(__file__))
HANG_S = 60             # no call takes longer
SHRINK_S = 120          # so long may shrinking take
JOB_LIMIT_S = 3000


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

    count = itertools.count()

    def __init__(self, tops, local):
        self.tops, self.local = tops, local
        self.watchdog = Watchdog()

    def fresh(self):
        name = f"model-{os.getpid()}-{next(self.count)}"
        os.mkdir(os.path.join(self.tops[0], name))
        run = Run([os.path.join(t, name) for t in self.tops], self.local)
        run.name = name
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


def kind(why):
    """What remains of a difference without its numbers and names."""
    op, _, what = why.partition("]: ")
    return op.split(",")[0], re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "N", re.sub(r"'[^']*'", "X", what))


def shrink(bench, ops, why):
    """The fewest operations found that still differ so, and how they do."""
    wanted = kind(why)
    end = time.monotonic() + SHRINK_S
    step = max(1, len(ops) // 2)
    while step and time.monotonic() < end:
        at = 0
        while at < len(ops) and time.monotonic() < end:
            fewer = ops[:at] + ops[at + step:]
            got = bench.attempt(fewer)
            if got and kind(got[1]) == wanted:
                ops, why = fewer[:got[0]], got[1]
            else:
                at += step
        step = min(step // 2, len(ops) // 2) if step > 1 else 0
    return ops, why


def script(ops, n_mounts, why):
    lines = ",\n".join("    " + json.dumps(op).replace("null", "None") for op in ops)
    return ("#!/usr/bin/python3\n"
            f"# {why}\n"
            "# Run it in tests/e2e, with directories as arguments: one as each mount shows it.\n"
            "import sys\nimport model\n"
            f"model.replay(sys.argv[1:] or ['/tmp'] * {n_mounts}, [\n{lines},\n])\n")


def report(bench, ops, why, seed):
    print(f"seed {seed}: DIFFERENT after {len(ops)} operations: {why}", flush=True)
    again = bench.attempt(ops)
    if not again:
        print("it does not happen again in a fresh directory: no shrinking", flush=True)
        again = bench.attempt(ops)
    if again:
        ops, why = shrink(bench, ops[:again[0]], again[1])
        print(f"shrunk to {len(ops)} operations: {why}\n", flush=True)
        print(script(ops, len(bench.tops), why), flush=True)
    return 1


def replay(tops, ops):
    """For the scripts: run, and say what differs."""
    got = Bench(tops, False).attempt(ops)
    print(f"DIFFERENT at {got[1]}" if got else "no difference")
    return 1 if got else 0


def run_random(bench, seed, n_ops, slot_bytes):
    """The whole of one seed; an exit code."""
    rng_ops = Generator(seed, len(bench.tops), slot_bytes, features(bench.tops[0]))
    run, applied, start = bench.fresh(), 0, time.monotonic()
    ops = []
    try:
        for n in range(n_ops):
            op = rng_ops.next(run.model)
            ops.append(op)
            applied += run.step(op)
            if n % CHECK_EVERY == CHECK_EVERY - 1:
                run.check_all()
        run.check_all()
    except Mismatch as e:
        why = f"{run.done[-1]}: {e}"
        bench.clear(run)
        return report(bench, ops, why, seed)
    bench.clear(run)
    secs = time.monotonic() - start
    print(f"seed {seed}: {n_ops} operations ({applied} applied, {len(run.done)} calls) "
          f"on {len(bench.tops)} mounts in {secs:.1f} s: no difference", flush=True)
    return 0


# ------------------------------------------------------------------ programs

def in_tops(args, tops, local):
    bench = Bench(tops, local)
    if args.replay:
        with open(args.replay) as f:
            ops = json.load(f)
        got = bench.attempt(ops)
        return report(bench, ops, got[1], "of the file") if got else print("no difference") or 0
    return run_random(bench, args.seed, args.ops, args.slot)


def in_swarm(args):
    """A swarm; in each of its jobs a part of the operations."""
    from swarm import SLOWER, Swarm
    with Swarm(peers=args.mounts, tracker_args=["--chunk-size", str(args.slot)]) as s:
        tops = ",".join(p.mnt for p in s.peers)
        jobs = [subprocess.Popen(
            [sys.executable, os.path.join(HERE, "model.py"), "--tops", tops, "--slot", str(args.slot),
             "--seed", str(args.seed + k), "--ops", str(args.ops // args.jobs),
             *(["--replay", args.replay] if args.replay else [])], stdin=subprocess.DEVNULL)
            for k in range(args.jobs)]
        codes = []
        end = time.monotonic() + JOB_LIMIT_S * SLOWER
        try:
            for job in jobs:
                codes.append(job.wait(max(1, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            codes.append(3)
        finally:
            for job in jobs:
                if job.poll() is None:
                    job.kill()
                    job.wait(10)
        if any(codes):
            print(s.logs())
        return max(codes, key=abs)


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ops", type=int, default=100000)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--mounts", type=int, default=3)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--slot", type=int, default=65536, help="bytes of a chunk")
    p.add_argument("--local")
    p.add_argument("--tops")
    p.add_argument("--faults", action="store_true")
    p.add_argument("--replay")
    return p.parse_args()


def main():
    args = options()
    os.umask(0)
    if os.geteuid():
        print("model.py: acts as several users: run it as root", file=sys.stderr)
        return 2
    print(f"seed {args.seed}", flush=True)
    if args.local:
        return in_tops(args, [args.local] * args.mounts, True)
    if args.tops:
        return in_tops(args, args.tops.split(","), False)
    if args.faults:
        import model_faults
        return model_faults.main(args)
    return in_swarm(args)


if __name__ == "__main__":
    sys.exit(main())
