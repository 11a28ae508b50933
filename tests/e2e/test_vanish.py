"""Peers that are gone, and a tracker that is away: what goes on, what waits, and that nothing is done twice.

A holder that was killed (its machine answers: connection refused) delays nobody, the other copy is there.  While the
tracker is away a call that needs it waits up to timeout= and then fails with EIO.  While it is only silent, what is
leased and cached is still answered, by name and by an open file, until the lease (10 s) ends; an open is not, the
tracker counts those; and with a connection that broke the leases end at once.  When it is back in time the call goes on, as if nothing had been; it was done
once, however often it was sent.
"""
import concurrent.futures
import contextlib
import errno
import os
import random
import time

import pytest

from callers import frozen
from swarm import SLOWER, wait_for

MIB = 1 << 20
AT_ONCE = 0.5 * SLOWER
TIMEOUT = 3
LEASE = 10


# -------------------------------------------------------------------- peers

@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_read_goes_on_when_a_holder_is_killed(make_swarm, when):
    s = make_swarm(peers=2)
    a, b = s.peers
    data = os.urandom(48 * MIB)
    with open(a.path("f"), "wb") as f:
        f.write(data)
    c = s.add_peer()                    # has nothing of it
    longest = 0
    with open(c.path("f"), "rb", buffering=0) as f:
        if when == "before":
            f.read(4096)
            b.kill()
        for n in range(48):
            if n == 5 and when == "meanwhile":
                b.kill()
            start = time.monotonic()
            assert os.pread(f.fileno(), MIB, n * MIB) == data[n * MIB:(n + 1) * MIB]
            longest = max(longest, time.monotonic() - start)
    assert longest < AT_ONCE


# --------------------------------------------------------------- the tracker

@contextlib.contextmanager
def away(s, how):
    """The tracker, meanwhile; afterwards it is back."""
    if how == "stopped":
        with frozen(s.tracker):
            yield
    else:
        s.kill_tracker()
        try:
            yield
        finally:
            s.start_tracker()


def append(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


CHANGES = {                             # in a directory each, which the kernel locks; done twice they would be seen to be
    "create": lambda top: os.close(os.open(f"{top}/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    "mkdir": lambda top: os.mkdir(f"{top}/dir"),
    "rename": lambda top: os.rename(f"{top}/old", f"{top}/moved"),
    "over": lambda top: os.rename(f"{top}/from", f"{top}/onto"),
    "link": lambda top: os.link(f"{top}/log", f"{top}/linked"),
    "unlink": lambda top: os.unlink(f"{top}/gone"),
    "append": lambda top: append(f"{top}/log", b"line\n"),
}
DONE = {
    "create": lambda top: os.path.exists(f"{top}/new"),
    "mkdir": lambda top: os.path.isdir(f"{top}/dir"),
    "rename": lambda top: (os.path.exists(f"{top}/moved"), os.path.exists(f"{top}/old")) == (True, False),
    "over": lambda top: (os.path.exists(f"{top}/from"), open(f"{top}/onto").read()) == (False, "from"),
    "link": lambda top: os.path.exists(f"{top}/linked") and os.stat(f"{top}/log").st_nlink == 2,
    "unlink": lambda top: not os.path.exists(f"{top}/gone"),
    "append": lambda top: open(f"{top}/log").read() == "line\n",
}


def directory(top):
    os.mkdir(top)
    for change in CHANGES:
        os.mkdir(f"{top}/{change}")
        for name in ("old", "from", "onto", "gone", "log"):
            with open(f"{top}/{change}/{name}", "w") as f:
                f.write("" if name == "log" else name)
    return top


def done(top):
    return {change: fn(f"{top}/{change}") for change, fn in DONE.items()}


ALL_DONE = dict.fromkeys(DONE, True)


@pytest.fixture(scope="module")
def pool():
    with concurrent.futures.ThreadPoolExecutor(len(CHANGES)) as p:
        yield p


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_changes_wait_for_the_tracker_and_are_done_once(make_swarm, pool, how):
    s = make_swarm(peers=2)
    a, b = s.peers
    top = directory(a.path("d"))
    with away(s, how):
        calls = {name: pool.submit(fn, f"{top}/{name}") for name, fn in CHANGES.items()}
        time.sleep(1.5)
        assert not any(c.done() for c in calls.values())
    for name, c in calls.items():
        assert c.result(15 * SLOWER) is None, name
    for p in a, b:
        assert done(p.path("d")) == ALL_DONE


def test_changes_under_way_when_the_tracker_is_killed(make_swarm, pool):
    """Their answers are lost now and then: the one that is sent again is not done again."""
    s = make_swarm(peers=2)
    a, b = s.peers
    rng = random.Random(int(os.environ.get("PSPFS_SEED", "7")))
    for n in range(12):
        top = directory(a.path(f"d{n}"))
        s.prepare_tracker()
        calls = {name: pool.submit(fn, f"{top}/{name}") for name, fn in CHANGES.items()}
        time.sleep(rng.random() * 0.004)
        s.kill_tracker()
        s.start_tracker()
        for name, c in calls.items():
            assert c.result(15 * SLOWER) is None, name
        for p in a, b:
            assert done(p.path(f"d{n}")) == ALL_DONE


def code_of(fn, *args):
    """(errno, seconds) of a call."""
    start = time.monotonic()
    try:
        fn(*args)
        code = 0
    except OSError as e:
        code = e.errno
    return code, time.monotonic() - start


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_changes_that_wait_too_long(make_swarm, pool, how):
    """EIO after the timeout; each was done once or not at all, and all goes on."""
    s = make_swarm(peers=2, peer_options=dict(timeout=TIMEOUT))
    a, b = s.peers
    top = directory(a.path("d"))
    with away(s, how):
        calls = {name: pool.submit(code_of, fn, f"{top}/{name}") for name, fn in CHANGES.items()}
        for name, c in calls.items():
            code, secs = c.result((TIMEOUT + 10) * SLOWER)
            assert (name, code) == (name, errno.EIO)
            assert TIMEOUT * 0.8 < secs < (TIMEOUT + 2) * SLOWER, name
    wait_for(lambda: code_of(os.listdir, a.mnt)[0] == code_of(os.listdir, b.mnt)[0] == 0, "the mounts", 15)

    def settled():
        """What was given up may still be done: until nothing comes any more."""
        before = [done(p.path("d")) for p in (a, b)]
        time.sleep(0.5)
        after = [done(p.path("d")) for p in (a, b)]
        return before[0] == before[1] == after[0] == after[1]
    wait_for(settled, "both mounts to agree", 15)
    assert open(b.path("d/append/log")).read() in ("", "line\n")
    assert os.path.exists(b.path("d/rename/old")) != os.path.exists(b.path("d/rename/moved"))
    assert open(b.path("d/over/onto")).read() == ("onto" if os.path.exists(b.path("d/over/from")) else "from")
    directory(a.path("again"))
    for name, fn in CHANGES.items():
        fn(a.path("again", name))
    assert done(b.path("again")) == ALL_DONE


def test_what_is_leased_is_answered_without_the_tracker(make_swarm):
    s = make_swarm(peers=2, peer_options=dict(timeout=TIMEOUT))
    a, b = s.peers
    data = os.urandom(3 * MIB)
    with open(b.path("f"), "wb") as f:
        f.write(data)

    fd = os.open(a.path("f"), os.O_RDONLY)

    def look():
        assert os.stat(a.path("f")).st_size == os.fstat(fd).st_size == len(data)
        assert os.pread(fd, len(data), 0) == data
    look()
    with frozen(s.tracker):
        gone = time.monotonic()
        looks = 0
        while time.monotonic() - gone < LEASE / 2:
            assert code_of(look)[0] == 0
            looks += 1
            time.sleep(0.1)
        assert looks > 5
        time.sleep(max(0, gone + LEASE + 1 - time.monotonic()))
        code, secs = code_of(os.stat, a.path("f"))
        assert code == errno.EIO and secs < (TIMEOUT + 2) * SLOWER
    wait_for(lambda: code_of(look)[0] == 0, "the tracker to be back", 15)
    os.close(fd)
