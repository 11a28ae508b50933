"""Real programs, as a test runs them: found or skipped aloud, each with a
limit, none of its processes left behind, none of our settings in its way."""
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from swarm import SLOWER, wait_for

# What a test run may have set, and a program would heed.
OURS = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SAN", "BUILD", "CFLAGS", "TMPDIR", "TAPE")
CALM = dict(LC_ALL="C.UTF-8", TERM="dumb", GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null",
            GIT_AUTHOR_NAME="A", GIT_AUTHOR_EMAIL="a@example.org",
            GIT_COMMITTER_NAME="A", GIT_COMMITTER_EMAIL="a@example.org")


def need(*names):
    """The test is skipped, aloud, where one of the programs is missing."""
    missing = [n for n in names if not shutil.which(n)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)} (`make deps` names the packages)")


def session_pids(sid):
    """The processes of a session that are alive, {pid: name and state}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{pid}/stat") as f:
                name, rest = f.read().rsplit(")", 1)
            fields = rest.split()
            if int(fields[3]) == sid and fields[0] != "Z":
                found[int(pid)] = f"{name.split('(', 1)[1]} in state {fields[0]}"
    return found


def end_session(sid):
    for pid in session_pids(sid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Program:
    """A program in a session of its own; done() is its CompletedProcess."""

    def __init__(self, *argv, cwd=None, env=None, stdin=None):
        self.argv = [os.fspath(a) if not isinstance(a, int) else str(a) for a in argv]
        calm = {k: v for k, v in os.environ.items() if k not in OURS} | CALM | (env or {})
        self.proc = subprocess.Popen(
            self.argv, cwd=cwd, env=calm, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.input = stdin

    def done(self, check=True, timeout=60):
        p = self.proc
        try:
            out, _ = p.communicate(self.input, timeout=timeout * SLOWER)
        except subprocess.TimeoutExpired:
            left = session_pids(p.pid)
            end_session(p.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.communicate(timeout=10)
            raise AssertionError(f"{self.argv}: no end after {timeout * SLOWER} s; there were {left}") from None
        assert not check or p.returncode == 0, f"{self.argv}: {p.returncode}\n{out[-6000:]}"
        try:
            wait_for(lambda: not session_pids(p.pid), "", 5)
        except AssertionError:
            left = session_pids(p.pid)
            end_session(p.pid)
            raise AssertionError(f"{self.argv} left behind {left}") from None
        return subprocess.CompletedProcess(self.argv, p.returncode, out)

    def end(self):
        end_session(self.proc.pid)
        self.proc.communicate(timeout=10)


def call(*argv, check=True, timeout=60, **kw):
    """One program, waited for; its output (both kinds)."""
    done = Program(*argv, **kw).done(check, timeout)
    return done.stdout if check else done


def sh(script, *args, cwd=None, check=True, timeout=60, **kw):
    """A script of bash, which ends at its first error; $1... are @args."""
    return call("bash", "-euo", "pipefail", "-c", script, "bash", *args, cwd=cwd, check=check,
                timeout=timeout, **kw)


def together(*jobs):
    """Call them all at once; their results, or the first one's exception."""
    results, wrong = [None] * len(jobs), []

    def go(i, job):
        try:
            results[i] = job()
        except BaseException as e:      # raised again below
            wrong.append(e)
    threads = [threading.Thread(target=go, args=x) for x in enumerate(jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        raise wrong[0]
    return results


@contextlib.contextmanager
def timed(what):
    start = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - start:.2f} s")
