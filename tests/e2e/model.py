#!/usr/bin/python3
"""model.py -- all calls at random, on several mounts and on a model of POSIX.

  model.py [--ops N] [--seed N] [--mounts N] [--jobs N]   on a swarm of its own
  model.py --local DIR ...           in an ordinary directory: proves the model
  model.py --tops DIR,DIR,... ...    one directory as several mounts show it
  model.py --faults ...              while tracker and peers are killed
  model.py ... --replay FILE         the operations of FILE, a list in JSON

Where a mount and the model differ, the operations are shrunk to few that
still differ, and printed as a script.  Exit code 0: no difference; 1: one was
found; 2: it could not run; 3: a call hangs; 4: ended by SIGTERM.
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import time

from model_bench import Bench, run_either

HERE = os.path.dirname(os.path.abspath(__file__))
JOB_LIMIT_S = 3000


def in_tops(args, tops, local):
    return run_either(Bench(tops, local, args.slot), args)


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))       # clears away as it ends
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
