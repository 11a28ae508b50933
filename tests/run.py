#!/usr/bin/python3
"""Runs unit tests, simulations and pytest, and ends with the counts.

  run.py --build DIR [--pytest PATH] NAME...

Each NAME is a program DIR/tests/NAME that prints cmocka's lines; each has a
time limit.  Files of pytest run side by side, WORKERS at a time; then, one by
one, the tests that are marked `alone`.  The last line is "N passed, N failed,
N skipped"; the exit code is 1 when anything failed or nothing ran.
"""
import argparse
import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import sanitize

LIMIT_S = 300           # a unit test program
PYTEST_LIMIT_S = 1500   # a pass of pytest
END_S = 60              # it may take to clear away when it is interrupted
WORKERS = 3             # most tests wait more than they work


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


def stop(proc, build):
    """As Ctrl-C does: tests end, swarms are taken down; then whatever is left."""
    def send(sig):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, sig)
    send(signal.SIGINT)
    last = threading.Timer(END_S * sanitize.slower(build), send, (signal.SIGKILL,))
    last.daemon = True
    last.start()


def run_pytest(path, build, *options):
    """(passed, failed, skipped) of a pass of pytest over @path."""
    env = dict(os.environ, PSPFS_BUILD=os.path.abspath(build))
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-rfEs",
            f"--timeout={300 * sanitize.slower(build)}", "--durations=8", "-p", "no:cacheprovider", *options, path]
    counts = {"passed": 0, "failed": 0, "error": 0, "errors": 0, "skipped": 0}
    proc = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, text=True, start_new_session=True,
                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    limit = PYTEST_LIMIT_S * sanitize.slower(build)
    late = threading.Timer(limit, stop, (proc, build))
    late.start()
    last = ""
    try:
        for line in proc.stdout:
            print(line, end="", flush=True)
            if re.search(r"\d+ (passed|failed|errors?|skipped)", line):
                last = line
        code = proc.wait()
    except KeyboardInterrupt:
        stop(proc, build)
        proc.communicate()      # until the last of its workers has ended
        raise
    finally:
        in_time = not late.finished.is_set()
        late.cancel()
    for n, what in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last):
        counts[what] += int(n)
    failed = counts["failed"] + counts["error"] + counts["errors"]
    if not in_time:
        print(f"pytest: no end after {limit} s")
        failed += 1
    if code not in (0, 1, 5) and not failed:
        failed = 1
    return counts["passed"], failed, counts["skipped"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", required=True)
    p.add_argument("--pytest")
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    for sig in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:     # also if we were started without SIGINT
        signal.signal(sig, signal.default_int_handler)
    sanitize.ask()
    passed = failed = skipped = 0
    # Each has ports of its own, and most of them wait more than they work.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for text, ok, bad in pool.map(lambda name: run_unit(args.build, name), args.names):
            print(text, flush=True)
            passed, failed = passed + ok, failed + bad
    if args.pytest:
        for options in ("-n", str(WORKERS), "--dist", "loadfile", "-m", "not alone"), ("-m", "alone"):
            ok, bad, skip = run_pytest(args.pytest, args.build, *options)
            passed, failed, skipped = passed + ok, failed + bad, skipped + skip
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
