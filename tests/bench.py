#!/usr/bin/python3
"""Runs the benchmarks and prints one table: what, how much, of which ceiling.

  bench.py --build DIR [GROUP...]

Groups: md5 tls codec store ns meta copy; all of them take about a minute.
copy needs root and /dev/fuse.  Each measures this machine alone, so numbers
of two machines, or of a busy one, compare badly: the ratios say more.
"""
import argparse
import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.abspath(__file__))
LIMIT_S = 120       # a group

GROUPS = {
    "md5": ["bench_md5"],
    "tls": ["bench_rpc"],
    "codec": ["bench_codec"],
    "store": ["bench_store"],
    "ns": ["bench_ns"],
    "meta": ["bench_meta"],
    "copy": None,
}


def argv_of(group, build):
    programs = GROUPS[group]
    if programs is None:
        return [sys.executable, os.path.join(TESTS, "bench_copy.py")]
    return [os.path.join(build, "tests", programs[0])]


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", required=True)
    p.add_argument("groups", nargs="*", metavar="GROUP")
    args = p.parse_args()
    build = os.path.abspath(args.build)
    for g in args.groups:
        if g not in GROUPS:
            p.error(f"no group {g!r}: there are {', '.join(GROUPS)}")
    print(f"{'what':46} {'value':>12} {'unit':8} {'ratio':>5}   of its ceiling", flush=True)
    failed = []
    for group in args.groups or GROUPS:
        try:
            code = subprocess.run(argv_of(group, build), stdin=subprocess.DEVNULL, timeout=LIMIT_S,
                                  env=dict(os.environ, PSPFS_BUILD=build)).returncode
        except subprocess.TimeoutExpired:
            code = f"no end after {LIMIT_S} s"
        if code:
            failed.append(f"{group} ({code})")
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
