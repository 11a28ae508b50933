"""Unmounting, and daemons that end or die, while calls wait: nobody stays in D state, and no dead mount in the way."""
import os
import signal
import subprocess
import time

import pytest

from callers import ALL, SECOND, frozen, on_fuse_in_d, resume, start_all, state, wchan, works, works_alone
from swarm import SLOWER, alive_mount, end, mounted, run, wait_for


@pytest.mark.parametrize("how", ["term", "int", "kill", "umount -f", "umount -l", "fusermount3 -uz"])
def test_end_while_calls_wait(make_swarm, callers, how):
    s = make_swarm(peers=2, peer_options=dict(timeout=60))
    a = s.peers[0]
    made = start_all(s, callers, ALL, "end")
    with frozen(s.tracker, s.peers[1].proc):
        resume(made)
        lazy = how in ("umount -l", "fusermount3 -uz")
        if how in ("term", "int", "kill"):
            a.proc.send_signal(getattr(signal, "SIG" + how.upper()))
        else:
            run(*how.split(), a.mnt, check=lazy, timeout=10)
        if lazy:
            # it serves those that it has, and they can be killed
            for c in made.values():
                c.signal(signal.SIGKILL)
            for c in made.values():
                c.over(2 * SECOND)
        else:
            wait_for(lambda: not any(on_fuse_in_d(c.proc.pid) for c in made.values()), "nobody in D state", SECOND)
            for c in made.values():
                c.sent = time.monotonic()
            ends = {name: c.says(5) for name, c in made.items()}
            assert set(ends.values()) <= {"ENOTCONN", "ECONNABORTED", "EIO", "EINTR"}, ends
            for c in made.values():
                c.over(5)
        code = a.proc.wait(30 * SLOWER)
        assert code in (0, 2) or how == "kill"
    a.proc = None
    if how != "kill":
        assert not mounted(a.mnt)
    a.start()
    works(s)


def tasks_in(pid, where):
    return any(wchan(f"{pid}/task/{t}") == where for t in os.listdir(f"/proc/{pid}/task"))


def test_killed_while_it_tells_the_kernel(make_swarm, callers):
    """That thread waits for a lock in there, whose holder waits for the daemon: kill -9 ends both all the same."""
    s = make_swarm(peers=3, peer_options=dict(timeout=60))
    _, b, c = s.peers
    os.mkdir(b.path("d"))
    open(b.path("d/f"), "w").close()
    os.stat(b.path("d/f"))
    creator = callers("os.kill(os.getpid(), signal.SIGSTOP)\ngo()\n"
                      "call(os.open, path + '/new', os.O_CREAT | os.O_WRONLY)", b.path("d"))
    wait_for(lambda: state(creator.proc.pid) == "T", "it to stop itself", 10)
    with frozen(c.proc):                # so that after a restart nothing changes before its leases have ended
        s.kill_tracker()
        resume({"create": creator})
        s.start_tracker()
        wait_for(lambda: tasks_in(b.proc.pid, "fuse_reverse_inval_entry"), "the kernel to be told", 8)
        b.proc.kill()
        try:
            creator.sent = time.monotonic()
            assert creator.says(SECOND) in ("ENOTCONN", "ECONNABORTED")
            b.proc.wait(SECOND)
        finally:
            run("umount", "-f", b.mnt, check=False)     # else nothing would end them
    run("umount", "-l", b.mnt, check=False)
    b.start()
    works(s)


def children(pid):
    return [int(c) for t in os.listdir(f"/proc/{pid}/task")
            for c in open(f"/proc/{pid}/task/{t}/children").read().split()]


@pytest.mark.parametrize("how", ["kill", "umount"])
def test_no_process_is_left(make_swarm, how):
    """The daemon's child ends with it, though it may be asking it something just then."""
    s = make_swarm(peers=2)
    a, b = s.peers
    with open(a.path("f"), "wb"), open(b.path("f")) as f:
        left = children(b.proc.pid)
        assert left
        for n in range(20):         # so that it has to ask
            os.truncate(a.path("f"), n)
            assert os.lseek(f.fileno(), 0, os.SEEK_END) == n
        if how == "kill":
            with frozen(s.tracker):
                b.proc.kill()
                b.proc.wait(5)
    if how == "umount":
        run("umount", b.mnt)
        assert b.proc.wait(10 * SLOWER) == 0
    wait_for(lambda: not any(os.path.exists(f"/proc/{c}") for c in left), "its child to end", 5)
    b.proc = None
    b.start()
    works(s)


def test_end_without_the_tracker(make_swarm, callers):
    """It ends within a bounded time, and says what was not saved."""
    s = make_swarm(peers=1, peer_options=dict(timeout=60))
    a = s.peers[0]
    c = callers("fd = os.open(path, os.O_CREAT | os.O_WRONLY)\nos.kill(os.getpid(), signal.SIGSTOP)\n"
                "os.write(fd, b'x' * 3000000)\ngo()\ntime.sleep(600)", a.path("f"))
    wait_for(lambda: state(c.proc.pid) == "T", "it to stop itself", 10)
    ino = os.stat(a.path("f")).st_ino
    with frozen(s.tracker):
        c.proc.send_signal(signal.SIGCONT)
        c.gone()
        assert end(a.proc, 25) == 2
    a.proc = None
    log = a.read_log()
    assert f"inode {ino}: 2.8 MiB were not saved" in log and "in all 1 file" in log, log
    a.start()
    works_alone(a)


@pytest.mark.parametrize("how", ["stopped", "killed", "stopped for long"])
def test_end_at_once_without_the_tracker(make_swarm, how):
    """When nothing is unsaved, by whichever way, and however long it has been away."""
    s = make_swarm(peers=4, peer_options=dict(timeout=30))
    for n, p in enumerate(s.peers):
        with open(p.path(f"f{n}"), "w") as f:
            f.write("x" * 100000)
        assert set(os.listdir(p.mnt)) >= {f"f{n}"} and os.statvfs(p.mnt).f_bsize
    a, b, c, d = s.peers

    def all_end():
        time.sleep(12 if "long" in how else 1.2)
        for p, argv in (a, ["umount"]), (b, ["fusermount3", "-u"]), (c, None), (d, ["umount", "-l"]):
            began = time.monotonic()
            if argv:
                run(*argv, p.mnt, timeout=25)
            else:
                p.proc.send_signal(signal.SIGTERM)
            assert p.proc.wait(25) == 0
            assert time.monotonic() - began < 2 * SLOWER, argv
            assert "not saved" not in p.read_log()
            p.proc = None
    if how == "killed":
        s.kill_tracker()
        all_end()
        s.start_tracker()
    else:
        with frozen(s.tracker):
            all_end()


# --------------------------------------------------------------- dead mounts

def test_dead_mounts_on_top_of_each_other(make_swarm):
    s = make_swarm(peers=3)
    a, b, c = s.peers
    for p in b, c:                      # their mounts go on top of a's
        p.stop()
        p.mnt = a.mnt
    dead = []
    for p in a, b, c:
        if p.proc is None:
            # mount(8)'s view of the place is what mount.pspfs refuses: a mount that was made elsewhere is moved here
            elsewhere = f"{s.dir}/else{p.k}"
            os.mkdir(elsewhere)
            p.mnt = elsewhere
            p.start()
            run("mount", "--make-private", "/", check=False)
            run("mount", "--bind", elsewhere, a.mnt)
            p.mnt = a.mnt
        dead.append(p)
    for p in dead:
        p.proc.kill()
        p.proc.wait(10)
    assert count_mounts(a.mnt) == 3
    with pytest.raises(OSError):
        os.listdir(a.mnt)
    a.start()
    works_alone(a)
    assert count_mounts(a.mnt) == 1
    for p in b, c:
        run("umount", "-l", f"{s.dir}/else{p.k}", check=False)
        p.proc = None
        p.mnt = f"{s.dir}/mnt{p.k}"


def count_mounts(path):
    with open("/proc/self/mounts") as f:
        return sum(line.split()[1] == path for line in f)


def other(s, mnt):
    """The command line of another peer at @mnt."""
    argv = s.peers[0].argv()
    argv[argv.index(s.peers[0].mnt)] = mnt
    return [w.replace("127.0.0.11,", "127.0.0.19,").replace("store1", "store9") for w in argv]


def test_live_mounts_are_left_alone(make_swarm):
    """Also one that does not answer, or whose tracker does not."""
    s = make_swarm(peers=1, peer_options=dict(timeout=60))
    a = s.peers[0]
    link = f"{s.dir}/link"
    os.symlink(a.mnt, link)
    for where in a.mnt, a.mnt + "/", link:
        done = run(*other(s, where), check=False, timeout=20)
        assert done.returncode == 32 and f"{a.mnt} is already mounted: umount" in done.stderr, done.stderr
    time.sleep(1.2)
    with frozen(s.tracker):
        done = run(*other(s, a.mnt), check=False, timeout=20)
        assert done.returncode == 32 and "already mounted" in done.stderr, done.stderr
    with frozen(a.proc):
        done = run(*other(s, a.mnt), check=False, timeout=20)
        assert done.returncode == 32 and "does not answer" in done.stderr and "umount -f" in done.stderr, done.stderr
    assert alive_mount(a.mnt)
    works_alone(a)


def test_dead_mount_by_another_name(make_swarm):
    s = make_swarm(peers=1)
    a = s.peers[0]
    os.symlink(a.mnt, f"{s.dir}/link")
    a.proc.kill()
    a.proc.wait(10)
    real, a.mnt = a.mnt, f"{s.dir}/link/"
    argv = a.argv()
    a.mnt = real
    a.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=open(a.log, "ab"))
    wait_for(lambda: alive_mount(real), "the mount", 20)
    works_alone(a)
