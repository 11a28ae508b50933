#!/usr/bin/python3
"""Do mounts ever disagree?  A checker of what README's "What is promised" says.

A tracker and two to four mounts on this machine.  In each round everybody has
just looked at the old state through every call there is (stat, openat, access,
open, fstat, readdir, read, a mapping ...), so that all that may be cached is;
then one mount changes it, its call returns, and what anybody asks from then
on must be answered with the new state.  Half of the rounds are races ("/race"):
a process a mount looks in a tight loop meanwhile, and every look that starts
after the change has returned must see it.

  check_mounts.py                             all kinds, 1000 rounds each
  check_mounts.py --rounds 10000              as `make check-mounts`
  check_mounts.py --kind rename --kind chmod  only these (also "chmod/race")
  check_mounts.py --list                      what kinds there are

Each stale answer is told with its kind, round and seed, what was seen where,
what was expected, how long after the return, and how long it stayed wrong.
A table ends it: rounds, answers, stale ones, changes per second, and the
longest time after a return at which an answer was stale.
Exit code: 0 no stale answer, 1 some, 2 the checker itself failed.
"""
import argparse
import contextlib
import json
import os
import random
import select
import sys
import time

import check_content
import check_engine
import check_frozen
import check_kinds
import check_races
from check_engine import Mount, Tally, forked
from swarm import Swarm

STUCK_S = 180           # a job that makes no progress for so long has failed
TOLD_S = 0.2            # how often a terminal is told
FROZEN = "frozen mount"  # has a swarm of its own, or all others would wait
IN_TURN = check_kinds.NAMES + check_kinds.ATTRIBUTES + check_content.CONTENT


def jobs_there_are():
    """{name: function(tally, mounts, rounds, rng, progress)}, and how many times fewer rounds."""
    jobs = {}
    for cls in IN_TURN:
        jobs[cls.name] = (lambda *a, cls=cls: check_engine.in_turn(cls(), *a), cls.slower)
        if cls.races:
            jobs[cls.name + "/race"] = (lambda *a, cls=cls: check_engine.in_races(cls(), *a), cls.slower)
    for name, run in {**check_races.RACES, **check_races.LOCKS}.items():
        jobs[name] = (run, 1)
    jobs[FROZEN] = (check_frozen.frozen, 1)
    return jobs


def places(swarm, job, letters="ABCD"):
    """A directory of the job's own, two levels down, as every mount shows it."""
    name = job.replace("/", "-").replace(" ", "-")
    os.makedirs(swarm.peers[0].path(name, "deep"))
    return [Mount(letters[n], p.path(name, "deep"), p) for n, p in enumerate(swarm.peers)]


class Progress:
    """How far the jobs are, in shared memory; a line of it on a terminal."""

    def __init__(self, names, quiet):
        self.names = names
        self.at = check_engine.shared_numbers(len(names))
        self.quiet = quiet or not sys.stderr.isatty()
        self.drawn = self.moved = time.monotonic()
        self.last = []

    def step(self, n):
        def to(v):
            self.at[n] = v
        return to

    def look(self, running):
        """Draw; RuntimeError if nothing moves any more."""
        now = time.monotonic()
        current = list(self.at)
        if current != self.last:
            self.last, self.moved = current, now
        if now - self.moved > STUCK_S:
            raise RuntimeError(f"no round ended for {STUCK_S} s in {[self.names[n] for n in running]}")
        if not self.quiet and now - self.drawn > TOLD_S:
            self.drawn = now
            text = ", ".join(f"{self.names[n]} {self.at[n]}" for n in running)
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def clear(self):
        if not self.quiet:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def share(name, rounds):
    """A job's part of the rounds of its kind: half in turn, half in races."""
    half = rounds // 2 if name + "/race" in jobs_there_are() or name.endswith("/race") else 0
    return half if name.endswith("/race") else rounds - half


def run_job(name, job, swarm, args, progress, told):
    """One job's tally, as a dict."""
    work, slower = job
    check_engine.Kind.rush = args.rush
    tally = Tally(name, args.seed, told)
    mounts = places(swarm, name)
    rng = random.Random(f"{args.seed} {name}")
    work(tally, mounts, max(share(name, args.rounds) // slower, 1), rng, progress)
    for m in mounts:
        m.close()
    return dict(rows=tally.rows, reports=tally.reports)


def run_all(jobs, swarms, args, told):
    """All jobs, a few at a time: (rows, reports, failures)."""
    total, failures = Tally("all", args.seed), []
    waiting, running = list(enumerate(jobs.items())), {}
    progress = Progress(list(jobs), args.json)
    try:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                n, (name, job) = waiting.pop(0)
                child = forked(lambda: run_job(name, job, swarms[name == FROZEN], args, progress.step(n), told))
                running[n] = (name, child)
            ready, _, _ = select.select([c[1] for _, c in running.values()], [], [], TOLD_S)
            progress.look(running)
            for n in [n for n, (_, c) in running.items() if c[1] in ready]:
                name, child = running.pop(n)
                try:
                    total.take(check_engine.joined(child, name))
                except RuntimeError as e:
                    failures.append(str(e))
    finally:
        progress.clear()
        for _, (pid, _) in running.values():
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    return total.rows, total.reports, failures


def table(rows):
    """The table at the end, as text."""
    line = "{:28} {:>8} {:>9} {:>6} {:>10} {:>12}"
    out = [line.format("kind", "rounds", "answers", "stale", "rounds/s", "worst (us)")]
    for name, r in rows.items():
        rate = f"{r['rounds'] / r['s']:.0f}" if r["s"] else "-"
        out.append(line.format(name, r["rounds"], r["answers"], r["stale"], rate,
                               r["worst_us"] if r["stale"] else "-"))
    total = {k: sum(r[k] for r in rows.values()) for k in ("rounds", "answers", "stale")}
    out.append(line.format("all", total["rounds"], total["answers"], total["stale"], "", ""))
    return "\n".join(out)


def chosen(jobs, kinds):
    """The jobs that --kind names; all without."""
    if not kinds:
        return jobs
    picked = {n: j for n, j in jobs.items() if n in kinds or n.split("/")[0] in kinds}
    known = set(jobs) | {n.split("/")[0] for n in jobs}
    for k in kinds:
        if k not in known:
            sys.exit(f"check_mounts.py: there is no kind {k!r}: see --list")
    return picked


def arguments(argv):
    p = argparse.ArgumentParser(prog="check_mounts.py", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=1000, metavar="N", help="rounds of each kind (1000)")
    p.add_argument("--kind", action="append", metavar="K", help="only this kind; may be given again")
    p.add_argument("--mounts", type=int, default=3, choices=(2, 3, 4), help="mounts (3)")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 31), metavar="N", help="of all that is drawn")
    p.add_argument("--jobs", type=int, default=2, metavar="N", help="kinds at a time (2)")
    p.add_argument("--json", action="store_true", help="the result for programs, and nothing else, on stdout")
    p.add_argument("--rush", action="store_true",
                   help="in races, changes also come back to back: then a second change may meet "
                   "a look that began after the first")
    p.add_argument("--list", action="store_true", help="list the kinds")
    return p.parse_args(argv)


def check(args, told=print):
    """Run what @args say: dict(seed, rows, reports, failures)."""
    jobs = chosen(jobs_there_are(), args.kind)
    with contextlib.ExitStack() as stack:
        swarms = {kind == FROZEN: None for kind in jobs}
        for own in swarms:
            swarms[own] = stack.enter_context(Swarm(peers=args.mounts))
        rows, reports, failures = run_all(jobs, swarms, args, told)
    return dict(seed=args.seed, mounts=args.mounts, rows=rows, reports=reports, failures=failures)


def main(argv=None):
    args = arguments(argv)
    if args.list:
        print("\n".join(jobs_there_are()))
        return 0

    def told(text):
        print(text, file=sys.stderr, flush=True)
    result = check(args, told)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"seed {args.seed}, {args.mounts} mounts")
        print(table(result["rows"]))
    for text in result["failures"]:
        print(f"check_mounts.py: {text}", file=sys.stderr)
    if result["failures"]:
        return 2
    return int(any(r["stale"] for r in result["rows"].values()))


if __name__ == "__main__":
    sys.exit(main())
