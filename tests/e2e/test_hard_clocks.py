"""Clocks that jump, that are a day apart, of a machine that has just been started: what is promised holds."""
import contextlib
import fcntl
import glob
import os
import signal
import subprocess
import time

import pytest

from callers import frozen
from small_disks import said
from swarm import SLOWER, put, text, wait_for

DAY = 86400
LIB = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


class Clocks:
    """The wall clocks of processes, each moved by a file of its own."""

    def __init__(self, where):
        self.dir = str(where)

    def set(self, who, days):
        path = f"{self.dir}/{who}"
        with open(path + ".new", "w") as f:
            f.write(f"{days:+}d" if days else "+0")
        os.rename(path + ".new", path)

    def prefix(self, who):
        self.set(who, 0)
        return ["env", f"LD_PRELOAD={LIB[0]}", f"FAKETIME_TIMESTAMP_FILE={self.dir}/{who}", "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_FORCE_MONOTONIC_FIX=0"]


@pytest.fixture
def clocks(tmp_path):
    if not LIB:
        pytest.skip("libfaketime is not installed")
    if SLOWER > 1:
        pytest.skip("a sanitizer's library has to be the first one")
    return Clocks(tmp_path)


def swarm_with(make_swarm, prefixes, **kw):
    """The tracker and each peer with a prefix of its own."""
    s = make_swarm(peers=0, prefix=prefixes[0], **kw)
    for p in prefixes[1:]:
        s.prefix = p
        s.add_peer()
    s.prefix = []
    return s


def tracker_log(s):
    with open(f"{s.dir}/tracker.log") as f:
        return f.read()


def states(s):
    return [p["state"] for p in s.status()["peers"]]


def excludes(a, b):
    """A lock on the one is one on the other, while it is held."""
    with open(a, "r+") as f, open(b, "r+") as g:
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(f, fcntl.LOCK_UN)
        fcntl.flock(g, fcntl.LOCK_EX)


JUMPS = [("a", 1), ("a", -1), ("tracker", 1), ("tracker", -1), ("b", 400), ("tracker", -400), ("b", -400), ("a", 0),
         ("tracker", 0), ("b", 0)]


def test_clocks_jump(make_swarm, clocks):
    """By a day and by a year, this way and that: content, mtimes, locks, liveness."""
    s = swarm_with(make_swarm, [clocks.prefix(n) for n in ("tracker", "a", "b")])
    a, b = s.peers
    put(a.path("f"), "start")
    put(a.path("log"), "")
    times, lines = [os.stat(b.path("f")).st_mtime_ns], ""
    for k, (who, days) in enumerate(JUMPS):
        clocks.set(who, days)
        began = time.monotonic()
        for p, other in ((a, b), (b, a)):
            put(p.path("f"), f"{k} {p.k}")
            assert text(other.path("f")) == f"{k} {p.k}"
            times.append(os.stat(other.path("f")).st_mtime_ns)
            assert os.stat(p.path("f")).st_mtime_ns == times[-1]
            with open(p.path("log"), "a") as f:
                f.write(f"{k} {p.k}\n")
            lines += f"{k} {p.k}\n"
            put(p.path(f"new{k}.{p.k}"), "x" * k)
        excludes(a.path("f"), b.path("f"))
        assert time.monotonic() - began < 3 * SLOWER, (who, days)
    assert times == sorted(set(times)), "each change of content is later than the one before"
    assert times[-1] - times[0] > 399 * DAY * 10**9
    assert text(a.path("log")) == text(b.path("log")) == lines
    for k in range(len(JUMPS)):
        for p in s.peers:
            assert text(a.path(f"new{k}.{p.k}")) == text(b.path(f"new{k}.{p.k}")) == "x" * k
    time.sleep(3)                       # beats
    assert states(s) == ["active"] * 2
    for p in s.peers:                   # no session, no lease was lost
        assert len(said(p.read_log(), "registered")) == 1 and "lost" not in p.read_log(), p.read_log()
    assert "no batch for" not in tracker_log(s)
    os.utime(a.path("f"), (100, 200))   # what is set by hand is as set
    assert os.stat(b.path("f")).st_mtime == 200


def test_leases_end_by_the_other_clock(make_swarm, clocks):
    """Who holds a change up does so for a lease's time, though the tracker's clock jumps back by a day meanwhile."""
    s = swarm_with(make_swarm, [clocks.prefix(n) for n in ("tracker", "a", "b")])
    a, b = s.peers
    put(a.path("f"), "old")
    with open(b.path("f")) as f:
        assert f.read() == "old"
        with frozen(b.proc):
            began = time.monotonic()
            proc = subprocess.Popen(["sh", "-c", 'echo new > "$1"', "sh", a.path("f")], stdin=subprocess.DEVNULL)
            try:
                time.sleep(1)
                clocks.set("tracker", -1)
                clocks.set("a", -1)
                assert proc.wait(20 * SLOWER) == 0
            finally:
                if proc.poll() is None:
                    proc.kill()
                    proc.wait()
            took = time.monotonic() - began
            assert 5 < took < 14 * SLOWER, took
            assert text(a.path("f")) == "new\n"
    wait_for(lambda: states(s) == ["active"] * 2, "b to be back", 15)
    assert text(b.path("f")) == "new\n"


@pytest.mark.parametrize("days", [1, -1])
def test_garbage_waits_its_time_and_no_longer(make_swarm, clocks, days):
    grace = 4
    s = swarm_with(make_swarm, [clocks.prefix("tracker"), [], []],
                   tracker_args=["--garbage-grace", str(grace)])
    a = s.peers[0]
    put(a.path("f"), "x" * 3000000)
    ids = [c["id"] for c in s.info(a.path("f"))["chunks"]]

    def there():
        return [i for i in ids for p in s.peers if p.chunk_file(i)]
    assert len(there()) == 12
    os.unlink(a.path("f"))
    began = time.monotonic()
    wait_for(lambda: s.status()["garbage_chunks"] == len(ids), "its chunks to be garbage", 3)
    clocks.set("tracker", days)
    while time.monotonic() - began < grace - 1.5:
        assert len(there()) == 12
        time.sleep(0.1)
    wait_for(lambda: not there(), "garbage to go", 3 * grace)
    assert said(tracker_log(s), "the clock jumped by")


# ------------------------------------------------------------------ time namespaces

@contextlib.contextmanager
def booted(at_s):
    """A prefix for processes whose machine was started @at_s seconds ago."""
    def since_boot(clock):
        return str(int(at_s - time.clock_gettime(clock)))
    holder = subprocess.Popen(["unshare", "--time", "--boottime", since_boot(time.CLOCK_BOOTTIME), "--monotonic",
                               since_boot(time.CLOCK_MONOTONIC), "sleep", "600"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    try:
        there = f"/proc/{holder.pid}/ns/time_for_children"

        def ready():
            if holder.poll() is not None:
                pytest.skip("no time namespaces here: " + holder.stderr.read())
            with contextlib.suppress(OSError):
                return os.readlink(there) != os.readlink("/proc/self/ns/time") and \
                    os.path.basename(os.readlink(f"/proc/{holder.pid}/exe")) == "sleep"
        wait_for(ready, "a time namespace", 5)
        yield ["nsenter", f"--time={there}"]
    finally:
        holder.send_signal(signal.SIGTERM)
        holder.wait(10)


def test_just_booted_and_long_up(make_swarm):
    """The tracker was started a second after its machine, one peer as well; another's is up for a century."""
    with booted(1) as young, booted(100 * 365 * DAY) as old:
        s = swarm_with(make_swarm, [young, young, old], tracker_args=["--repair-after", "2"])
        a, b = s.peers
        put(a.path("f"), "young")
        put(b.path("g"), "old")
        assert text(b.path("f")) == "young" and text(a.path("g")) == "old"
        excludes(a.path("f"), b.path("f"))
        assert states(s) == ["active"] * 2
        up = open(f"/proc/{b.proc.pid}/timens_offsets").read().split()
        assert int(up[1]) > 90 * 365 * DAY
        b.kill()
        wait_for(lambda: "active" not in states(s)[1], "the dead one to be noticed", 15)
        put(a.path("f"), "alone")
        with booted(5) as again:        # its machine was started anew
            s.prefix = again
            b.start()
            s.prefix = []
            assert text(b.path("f")) == "alone"
            wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "repair", 30)
            s.kill_tracker()
            s.prefix = old              # and the tracker's is another machine
            s.start_tracker()
            s.prefix = []
            wait_for(lambda: states(s) == ["active"] * 2, "both to be back", 15)
            put(b.path("f"), "after")
            assert text(a.path("f")) == "after"
