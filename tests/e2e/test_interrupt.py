"""Calls that wait for the network let go who is interrupted, and end by themselves."""
import contextlib
import glob
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import pytest

from callers import ALL, MIB, SECOND, fresh, frozen, proc_file, resume, start_all, state, works
from swarm import Swarm, wait_for


@pytest.fixture(scope="module")
def two():
    """A swarm whose calls wait long."""
    with Swarm(peers=2, peer_options=dict(timeout=60)) as s:
        yield s


# ------------------------------------------------------------------ signals

def test_what_kills_ends_the_call(two, callers):
    """Ctrl-C, as a shell's child feels it."""
    made = start_all(two, callers, ALL, "kill")
    with frozen(two.tracker):
        resume(made)
        for c in made.values():
            c.signal(signal.SIGINT)
        ends = {name: c.over(SECOND) for name, c in made.items()}
        assert ends == {name: (-signal.SIGINT, []) for name in made}
    works(two)


def test_what_is_caught_ends_the_call_with_eintr(two, callers):
    """All but a read that waits for a page: for the kernel that is as with any disk."""
    made = start_all(two, callers, [n for n in ALL if n != "read"], "caught", catch=[signal.SIGINT])
    with frozen(two.tracker):
        resume(made)
        for c in made.values():
            c.signal(signal.SIGINT)
        said = {name: c.says(SECOND) for name, c in made.items()}
        assert said == {name: "EINTR" for name in made}
    for c in made.values():
        assert c.over(20) == (0, [])
    works(two)


@pytest.mark.parametrize("sig", [signal.SIGCHLD, signal.SIGURG, signal.SIGALRM, signal.SIGWINCH, signal.SIGUSR1])
def test_other_signals_do_not(two, callers, sig):
    """The call goes on and succeeds; and still Ctrl-C is heard after them."""
    code = "signal.signal(%d, lambda *a: None)\ngo()\nprint(call(os.stat, path + '/f').st_size)" % sig
    patient = callers(code, fresh(two, f"patient{sig}"))
    hasty = callers(code, fresh(two, f"hasty{sig}"))
    for c in patient, hasty:
        c.proc.send_signal(signal.SIGSTOP)
    with frozen(two.tracker):
        resume({1: patient, 2: hasty})
        for c in patient, hasty:
            c.signal(sig)
        with pytest.raises(subprocess.TimeoutExpired):
            patient.over(1.5)
        hasty.signal(signal.SIGINT)
        assert hasty.over(SECOND)[0] == -signal.SIGINT
    assert patient.over(10) == (0, ["100"])


def test_ignored_and_blocked_signals_do_not(two, callers):
    code = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\ngo()\n" \
           "print(call(os.stat, path + '/f').st_size)\nos._exit(0)"
    c = callers(code, fresh(two, "ignored"), ignore=[signal.SIGINT])
    c.proc.send_signal(signal.SIGSTOP)
    with frozen(two.tracker):
        resume({1: c})
        c.signal(signal.SIGINT)
        c.signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            c.over(1.5)
    assert c.over(10) == (0, ["100"])


# ------------------------------------------------- what was begun is settled

def orphans(s):
    """Inodes without a name that somebody is said to have open."""
    with tempfile.TemporaryDirectory() as d:    # the tracker has its own for itself alone
        for f in glob.glob(f"{s.dir}/tracker/tracker.db*"):
            shutil.copy(f, d)
        with contextlib.closing(sqlite3.connect(f"{d}/tracker.db")) as db:
            return db.execute("SELECT count(*) FROM orphans").fetchone()[0]


def test_create_that_was_interrupted(two, callers):
    """It happens all the same, and nothing stays open."""
    a, b = two.peers
    made = start_all(two, callers, ["create", "mkdir", "rename", "unlink"], "settle")
    with frozen(two.tracker):
        resume(made)
        for c in made.values():
            c.signal(signal.SIGKILL)
        for c in made.values():
            c.over(SECOND)
    for p in a, b:
        top = p.path("settle_")
        wait_for(lambda: os.path.exists(top + "create/new"), "the file", 15)
        wait_for(lambda: os.path.isdir(top + "mkdir/dir"), "the directory", 15)
        wait_for(lambda: sorted(os.listdir(top + "rename")) == ["g", "link"], "the new name", 15)
        wait_for(lambda: os.listdir(top + "unlink") == ["link"], "the name to go", 15)
    assert open(a.path("settle_rename/g")).read() == "x" * 100
    os.unlink(b.path("settle_create/new"))
    wait_for(lambda: orphans(two) == 0, "no orphan", 15)


def test_close_that_was_interrupted_goes_on(two, callers):
    data = os.urandom(3 * MIB)
    with open(f"{two.dir}/data", "wb") as f:
        f.write(data)
    path = fresh(two, "background")
    code = f"data = open('{two.dir}/data', 'rb').read()\nfd = os.open(path + '/f', os.O_WRONLY)\n" \
           "os.kill(os.getpid(), signal.SIGSTOP)\nos.write(fd, data)\ngo()\ncall(os.close, fd)"
    c = callers(code, path, catch=[signal.SIGINT])
    wait_for(lambda: state(c.proc.pid) == "T", "it to stop itself", 10)
    with frozen(two.tracker):
        resume({"close": c})
        c.signal(signal.SIGINT)
        assert c.says(SECOND) == "EINTR"
        assert c.over(10) == (0, [])    # nothing is left to close
    wait_for(lambda: open(two.peers[1].path("background", "f"), "rb").read() == data, "its bytes", 20)


@pytest.mark.parametrize("end_it", ["signal.SIGINT", "signal.SIGKILL"])
def test_killed_with_open_files(two, callers, end_it):
    """The dead close their files, and nobody can interrupt that; their data goes on."""
    tag = f"dead_{end_it[-4:]}"
    path = fresh(two, tag)
    code = "fds = [os.open(f'{path}/{k}', os.O_CREAT | os.O_WRONLY) for k in range(3)]\n" \
           "os.kill(os.getpid(), signal.SIGSTOP)\nfor fd in fds: os.write(fd, b'z' * 5000)\n" \
           f"go()\nos.kill(os.getpid(), {end_it})\ntime.sleep(60)"
    c = callers(code, path)
    wait_for(lambda: state(c.proc.pid) == "T", "it to stop itself", 10)
    with frozen(two.tracker):
        c.proc.send_signal(signal.SIGCONT)
        c.gone()
        c.sent = time.monotonic()
        assert c.over(2 * SECOND)[0] < 0
    for k in range(3):
        wait_for(lambda k=k: os.path.getsize(two.peers[1].path(tag, str(k))) == 5000, "its bytes", 20)


def stuck(c):
    """It waits for one and the same write."""
    before, now = None, ""
    while before != now or not now:
        time.sleep(1)
        before, now = now, proc_file(c.proc.pid, "io")
    c.waiting()


def test_write_that_waits_for_room(make_swarm, callers):
    """More than may be dirty, and nobody takes it; of an append nothing comes twice."""
    s = make_swarm(peers=1, peer_options=dict(timeout=60, memory="64M"))
    a = s.peers[0]
    code = "fd = os.open(path, os.O_CREAT | os.O_WRONLY | flags)\nos.kill(os.getpid(), signal.SIGSTOP)\ngo()\n" \
           "n = 0\nblock = os.urandom(1 << 20)\nstop = []\n" \
           "if flags: signal.signal(2, lambda *a: stop.append(1))\n" \
           "try:\n  while n < 200 and not stop: n += os.write(fd, block) >> 20\nexcept Caught: pass\n" \
           "print(n, flush=True)\nsignal.signal(2, signal.SIG_DFL)"
    for name, flags in ("plain", 0), ("append", os.O_APPEND):
        c = callers(code.replace("flags", str(flags)), a.path(name), catch=[signal.SIGINT])
        wait_for(lambda c=c: state(c.proc.pid) == "T", "it to stop itself", 10)
        with frozen(s.tracker):
            c.proc.send_signal(signal.SIGCONT)
            stuck(c.gone())
            c.signal(signal.SIGINT)
            written = int(c.says(SECOND))
            assert 25 <= written <= 40     # half of the memory
        assert c.over(60) == (0, [])
        size = os.path.getsize(a.path(name))
        # a plain write that was interrupted may be there or not
        assert size == written * MIB or not flags and size == (written + 1) * MIB


def test_read_from_a_frozen_peer(make_swarm, callers):
    """Also one whose handler runs, as far as the kernel hears of it: a killed one does."""
    s = make_swarm(peers=3, tracker_args=["--copies", "1"], peer_options=dict(timeout=60))
    a = s.peers[0]
    data = os.urandom(8 * MIB)
    with open(s.peers[1].path("f"), "wb") as f:
        f.write(data)
    readers = [callers("fd = os.open(path, os.O_RDONLY)\nos.kill(os.getpid(), signal.SIGSTOP)\ngo()\n"
                       "while os.read(fd, 1 << 20): pass", a.path("f")) for _ in range(2)]
    for r in readers:
        wait_for(lambda r=r: state(r.proc.pid) == "T", "it to stop itself", 10)
    with frozen(s.peers[1].proc, s.peers[2].proc):
        for r in readers:
            r.proc.send_signal(signal.SIGCONT)
        for r, sig in zip(readers, (signal.SIGINT, signal.SIGKILL)):
            r.gone().waiting("read")
            r.signal(sig)
            assert r.over(SECOND)[0] == -sig
    assert open(a.path("f"), "rb").read() == data


# ---------------------------------------------------------------- deadlines

def test_every_call_has_a_deadline(make_swarm, callers):
    """After timeout= each call ends with EIO, after that and not after twice that; then all is well again."""
    s = make_swarm(peers=2, peer_options=dict(timeout=8))
    made = start_all(s, callers, ALL, "late")
    with frozen(s.tracker):
        start = time.monotonic()
        resume(made)
        took, said = {}, {}
        for name, c in made.items():
            c.sent = start
            said[name] = c.says(8 + 4 * SECOND)
            took[name] = time.monotonic() - start
        assert said == {name: "EIO" for name in made}
        assert min(took.values()) > 6, took
        assert max(took.values()) < 8 + 2 * SECOND, took
    for c in made.values():
        c.over(30)
    wait_for(lambda: "late_stat" in listed(s.peers[0].mnt), "the tracker to be back", 20)
    works(s)


def test_look_up_of_a_known_name_waits_once(make_swarm, callers):
    """The kernel asks twice for what it knew; the caller waits once."""
    s = make_swarm(peers=1, peer_options=dict(timeout=8))
    a = s.peers[0]
    os.mkdir(a.path("d"))
    open(a.path("d/f"), "w").close()
    c = callers("os.stat(path + '/f')\nos.kill(os.getpid(), signal.SIGSTOP)\ngo()\ncall(os.stat, path + '/f')",
                a.path("d"))
    wait_for(lambda: state(c.proc.pid) == "T", "it to stop itself", 10)
    with frozen(s.tracker):
        time.sleep(11)                  # until the leases are over
        c.sent = time.monotonic()
        c.proc.send_signal(signal.SIGCONT)
        c.gone()
        assert c.says(8 + 2 * SECOND) == "EIO"


def listed(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


