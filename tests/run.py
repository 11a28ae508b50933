#!/usr/bin/python3
"""Runs unit tests, simulations and pytest, and ends with the counts.

  run.py --build DIR [--pytest PATH] NAME...

Each NAME is a program DIR/tests/NAME that prints cmocka's lines; each has a
time limit.  The last line is "N passed, N failed, N skipped"; the exit code
is 1 when anything failed or nothing ran.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time

import sanitize

LIMIT_S = 300           # a unit test program
PYTEST_LIMIT_S = 1800   # all of pytest


def run_unit(build, name):
    """What to print, passed, failed of one program; its output only when it failed."""
    path = os.path.join(build, "tests", name)
    limit = LIMIT_S * sanitize.slower(build)
    start = time.time()
    try:
        done = subprocess.run([path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit,
                              stdin=subprocess.DEVNULL)
        out, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as e:
        out = (e.stdout or b"").decode(errors="replace")
        code = f"no end after {limit} s"
    except OSError as e:
        out, code = str(e), "cannot run"
    passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", out)))
    failed = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", out)))
    if code != 0 and failed == 0:
        failed = 1
    word = "ok" if code == 0 and failed == 0 else f"FAILED ({code})"
    text = f"{name:24} {passed:4} passed {time.time() - start:7.1f} s  {word}"
    if word != "ok":
        text += "\n" + out[-20000:]
    return text, passed, failed


def run_pytest(path, build):
    """(passed, failed, skipped) of pytest over @path."""
    env = dict(os.environ, PSPFS_BUILD=os.path.abspath(build))
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-rfEs",
            f"--timeout={300 * sanitize.slower(build)}", "--durations=8", "-p", "no:cacheprovider", path]
    counts = {"passed": 0, "failed": 0, "error": 0, "errors": 0, "skipped": 0}
    proc = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, text=True,
                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    limit = PYTEST_LIMIT_S * sanitize.slower(build)
    deadline = time.time() + limit
    last = ""
    for line in proc.stdout:
        print(line, end="", flush=True)
        if re.search(r"\d+ (passed|failed|errors?|skipped)", line):
            last = line
        if time.time() > deadline:
            proc.kill()
            print(f"pytest: no end after {limit} s")
            counts["failed"] += 1
    code = proc.wait()
    for n, what in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last):
        counts[what] += int(n)
    failed = counts["failed"] + counts["error"] + counts["errors"]
    if code not in (0, 1, 5) and not failed:
        failed = 1
    return counts["passed"], failed, counts["skipped"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", required=True)
    p.add_argument("--pytest")
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    sanitize.ask()
    passed = failed = skipped = 0
    # Each has ports of its own, and most of them wait more than they work.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for text, ok, bad in pool.map(lambda name: run_unit(args.build, name), args.names):
            print(text, flush=True)
            passed, failed = passed + ok, failed + bad
    if args.pytest:
        ok, bad, skip = run_pytest(args.pytest, args.build)
        passed, failed, skipped = passed + ok, failed + bad, skipped + skip
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
