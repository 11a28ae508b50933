"""The tracker's disk is full: changes fail at once, reads go on, nothing that was answered is lost, and it passes."""
import concurrent.futures
import errno
import fcntl
import os
import threading
import time

import pytest

from small_disks import Disk, said
from swarm import SLOWER, program, put, run, text, wait_for
from test_errors import fails

PROMPT = 2 * SLOWER


@pytest.fixture
def tight(make_swarm, tmp_path):
    """make(n): a swarm of n peers whose tracker's database lies on a small disk, and that disk."""
    made = []

    def make(n, size="12m"):
        disk = Disk(str(tmp_path / "tracker"), size)
        made.append(disk)
        return make_swarm(peers=n, tracker_args=["--data", disk.path, "--garbage-grace", "1"]), disk
    yield make
    for d in made:
        d.gone()


def log_of(s):
    with open(f"{s.dir}/tracker.log") as f:
        return f.read()


def error_of(fn, *args):
    """0 or errno, and it came at once."""
    t = time.monotonic()
    try:
        fn(*args)
        err = 0
    except OSError as e:
        err = e.errno
    assert time.monotonic() - t < PROMPT
    return err


def fill(s, disk, top):
    """Until a change is refused; the directories that were made."""
    disk.fill()
    made = []
    for k in range(5000):
        err = error_of(os.mkdir, f"{top}/d{k}")
        if err:
            assert err == errno.ENOSPC
            break
        made.append(f"d{k}")
    assert error_of(os.mkdir, f"{top}/more") == errno.ENOSPC
    return made


def test_full_and_room_again(tight):
    s, disk = tight(2)
    a, b = s.peers
    os.mkdir(a.path("t"))
    names = [f"f{k}" for k in range(300)]
    for n in names:
        put(a.path("t", n), n)
    made = fill(s, disk, a.mnt)
    # every kind of change, each refused at once, half done in nothing
    with open(b.path("t", "f0"), "r+") as f:
        f.write("F")
        assert error_of(f.flush) or error_of(os.fsync, f.fileno()) == errno.ENOSPC
    for call, *args in ((os.unlink, a.path("t", "f1")), (os.rename, a.path("t", "f1"), a.path("f1")),
                        (os.chmod, b.path("t", "f1"), 0o600), (os.setxattr, b.path("t", "f1"), "user.a", b"1"),
                        (os.truncate, a.path("t", "f1"), 1), (os.symlink, "x", b.path("l")),
                        (os.link, b.path("t", "f1"), b.path("f1")), (put, a.path("new"), "new")):
        assert error_of(call, *args) == errno.ENOSPC, call
    # who reads, also what nobody has read yet, hears nothing of it
    over = threading.Event()
    refused = []

    def change(k):
        while not over.is_set():
            refused.append(error_of(os.mkdir, s.peers[k % 2].path(f"never{k}")))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(change, k) for k in range(4)]
        try:
            for n in names:
                assert os.stat(b.path("t", n)).st_size == len(n)
                assert text(b.path("t", n)) == n
            assert sorted(os.listdir(b.path("t"))) == sorted(names)
            with open(a.path("t", "f2")) as f, open(b.path("t", "f2")) as g:
                fcntl.flock(f, fcntl.LOCK_EX)
                with pytest.raises(BlockingIOError):
                    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
            c = s.add_peer()            # somebody comes
            assert text(c.path("t", "f3")) == "f3"
        finally:
            over.set()
        for done in busy:
            done.result()
    assert set(refused) == {errno.ENOSPC} and len(refused) > 20
    assert [p["state"] for p in s.status()["peers"]] == ["active"] * 3
    assert sorted(os.listdir(b.mnt)) == sorted(["t", *made])
    assert len(said(log_of(s), "disk is full", "free some space")) == 1
    assert len(log_of(s).splitlines()) < 12, log_of(s)
    for p in s.peers:
        assert len(p.read_log().splitlines()) < 8, p.read_log()
    disk.make_room()
    wait_for(lambda: not error_of(put, a.path("new"), "new"), "room", 5)
    assert text(c.path("new")) == "new"
    os.unlink(a.path("t", "f1"))
    wait_for(lambda: said(log_of(s), "changes are taken again", "were refused"), "the end of it in the log", 5)
    assert sorted(os.listdir(b.path("t"))) == sorted(set(names) - {"f1"})


def test_killed_while_full(tight):
    """What was answered is there; it serves with the room that it had kept."""
    s, disk = tight(2)
    a, b = s.peers
    put(a.path("f"), "before")
    made = fill(s, disk, a.mnt)
    for _ in range(2):
        s.kill_tracker()
        s.start_tracker()
        assert sorted(os.listdir(b.mnt)) == sorted(["f", *made])
        assert text(b.path("f")) == "before"
        made += [n for n in ("x", "y") if n not in made and not error_of(os.mkdir, a.path(n))]
    disk.make_room()
    wait_for(lambda: not error_of(put, b.path("f"), "after"), "room", 5)
    assert text(a.path("f")) == "after"
    assert sorted(os.listdir(b.mnt)) == sorted(["f", *made])


def test_start_without_room(tight):
    """It says what is the matter, and where; nothing is lost by that."""
    s, disk = tight(1)
    a = s.peers[0]
    put(a.path("f"), "before")
    s.stop_tracker()                    # its log is empty now, and gone
    disk.fill()
    argv = [program("psptrackerd"), "--foreground", "--listen", s.tracker_addr, "--key", s.key, "--data", disk.path]
    fails(argv, 2, "disk", "full", "free some space")
    empty = Disk(str(disk.path) + "-new", "64k")
    try:
        empty.fill()
        fails([*argv[:-1], empty.path], 2, empty.path, "full", "free some space")
    finally:
        empty.gone()
    disk.make_room()
    s.start_tracker()
    wait_for(lambda: not error_of(put, a.path("g"), "after"), "the mount to be back", 10)
    assert text(a.path("f")) == "before"


def test_read_only_database(tight):
    """Said at the start."""
    s, disk = tight(0)
    s.stop_tracker()
    run("mount", "-o", "remount,ro", disk.path)
    argv = [program("psptrackerd"), "--foreground", "--listen", s.tracker_addr, "--key", s.key, "--data", disk.path]
    fails(argv, 2, disk.path, "read-only", "--data")
    run("mount", "-o", "remount,rw", disk.path)
    s.start_tracker()
