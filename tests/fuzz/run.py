#!/usr/bin/python3
"""Runs fuzz targets, one on each processor, and ends with the counts.

  run.py --build DIR [--seconds N] NAME...

Each NAME is a program DIR/fuzz/NAME, which starts from tests/fuzz/corpus/NAME
and what earlier runs found, in DIR/corpus/NAME.  An input that fails is left
in DIR as NAME-crash-..., -leak-..., -timeout-... or -oom-....
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import sanitize  # noqa: E402

INPUT_LIMIT_S = 10      # an input
MEMORY_MB = 2048
LENGTH_MAX = 65536
GRACE_S = 120           # for a target to end after its time


def run(build, name, seconds):
    """What to print of @name, and whether it passed; its output only when it did not."""
    program = os.path.join(build, "fuzz", name)
    found = os.path.join(build, "corpus", name)
    os.makedirs(found, exist_ok=True)
    argv = [program, f"-max_total_time={seconds}", f"-timeout={INPUT_LIMIT_S}",
            f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LENGTH_MAX}",
            f"-artifact_prefix={build}/{name}-", "-print_final_stats=1",
            found, os.path.join(HERE, "corpus", name)]
    tmp = tempfile.mkdtemp(
        prefix="pspfs-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, errors="replace",
                              stdin=subprocess.DEVNULL,
                              env=dict(os.environ, TMPDIR=tmp),
                              timeout=seconds + GRACE_S)
        out, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as e:
        out, code = (e.stdout or b"").decode(errors="replace"), "no end"
    except OSError as e:
        out, code = str(e), "cannot run"
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    runs = re.search(r"number_of_executed_units: (\d+)", out)
    word = "ok" if code == 0 else f"FAILED ({code})"
    text = f"{name:12} {int(runs.group(1)) if runs else 0:9} inputs  {word}"
    if code != 0:
        text += "\n" + out[-20000:]
        for bad in re.findall(r"Test unit written to (\S+)", out):
            text += f"\nagain: {program} {bad}"
    return text, code == 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", required=True)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("names", nargs="+")
    args = p.parse_args()
    sanitize.ask()
    os.environ["ASAN_OPTIONS"] += ":quarantine_size_mb=64"
    good = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for text, ok in pool.map(lambda name: run(args.build, name, args.seconds), args.names):
            print(text, flush=True)
            good += ok
    print(f"fuzz: {good} targets passed, {len(args.names) - good} failed")
    return 0 if good == len(args.names) else 1


if __name__ == "__main__":
    sys.exit(main())
