"""Many read the same file at once over a line that is short.

All of the swarm is in a network namespace whose loopback is shaped, so what
is sent costs time whoever sends it.
"""
import concurrent.futures
import os
import subprocess
import time

import pytest

from swarm import SLOWER, Swarm, run, wait_for

pytestmark = pytest.mark.alone   # how long many wait for one

SLOT = 512 * 1024
CHUNKS = 32
READERS = 5


@pytest.fixture(scope="module")
def crowd():
    """One who has a file, and those who have nothing yet."""
    ns = f"pspfs-crowd-{os.getpid()}"
    if run("ip", "netns", "add", ns, check=False).returncode:
        pytest.skip("cannot make a network namespace here")
    try:
        run("ip", "-n", ns, "link", "set", "lo", "up")
        prefix = ["nsenter", f"--net=/run/netns/{ns}"]
        with Swarm(peers=1 + READERS, prefix=prefix, tracker_args=["--copies", "1"]) as s:
            done = run(*prefix, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "400mbit",
                       "burst", "128k", "latency", "50ms", check=False)
            if done.returncode:
                pytest.skip("tc does not work here: " + done.stderr)
            yield s
    finally:
        run("ip", "netns", "del", ns, check=False)


def sent_by(s, peer):
    for p in s.status()["peers"]:
        if p["address"].startswith(peer.addr + ":"):
            return p["counters"].get("chunks_sent", 0)
    raise AssertionError(f"{peer.addr} is not in the status")


def test_those_who_have_it_pass_it_on(crowd):
    """Each chunk leaves the writer about once, not once for each reader."""
    writer, readers = crowd.peers[0], crowd.peers[1:]
    data = os.urandom(CHUNKS * SLOT)
    open(writer.path("f"), "wb").write(data)
    before = sent_by(crowd, writer)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        came = list(pool.map(lambda p: open(p.path("f"), "rb").read(), readers))
    assert all(c == data for c in came)
    # counters come every two seconds
    total = CHUNKS * READERS
    wait_for(lambda: crowd.counter("chunks_received") >= total, "the counters", 20)
    time.sleep(2.5 * SLOWER)
    assert sent_by(crowd, writer) - before <= 2 * CHUNKS
    assert crowd.counter("chunks_received") <= total * 1.2


def test_one_that_takes_nothing_keeps_nobody_up(crowd):
    """A reader that was stopped in the middle of it holds a share of the line."""
    writer, readers = crowd.peers[0], crowd.peers[1:]
    data = os.urandom(CHUNKS * SLOT)
    open(writer.path("g"), "wb").write(data)
    cat = subprocess.Popen(["cat", readers[0].path("g")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.1)
        readers[0].proc.send_signal(subprocess.signal.SIGSTOP)
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            came = list(pool.map(lambda p: open(p.path("g"), "rb").read(), readers[1:]))
        took = time.monotonic() - began
    finally:
        readers[0].proc.send_signal(subprocess.signal.SIGCONT)
        cat.wait(60 * SLOWER)
    assert all(c == data for c in came)
    assert took < 6 * SLOWER, f"{took:.1f} s"
