"""Calls that wait for the network let go who is interrupted, and end by themselves;
unmounting and dying daemons leave nobody in D state, and no mount behind."""
import contextlib
import glob
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

from swarm import SLOWER, Swarm, alive_mount, end, mounted, program, run, wait_for

MIB = 1 << 20
WAITS = ("request_wait_answer", "folio_wait_bit_common")    # for an answer; for a page that is being read
SECOND = 3.0 * SLOWER                   # "within a second", on a busy machine; else it would be a minute


@contextlib.contextmanager
def frozen(*procs):
    """SIGSTOP meanwhile."""
    for p in procs:
        p.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for p in procs:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)


class Caller:
    """A process that says "go", then runs @code on @path, with these signals caught."""

    PRELUDE = textwrap.dedent("""
        import errno, os, signal, sys, time
        class Caught(Exception): pass
        def caught(n, frame): raise Caught
        for n in (1, 2, 3, 15): signal.signal(n, signal.SIG_DFL)
        path = sys.argv[1]
        def call(fn, *args):
            try:
                return fn(*args)
            except Caught:
                print("EINTR", flush=True)
            except OSError as e:
                print(errno.errorcode[e.errno], flush=True)
        def go(): print("go", flush=True)
        """)

    def __init__(self, code, path, catch=(), ignore=()):
        text = self.PRELUDE
        text += "".join(f"signal.signal({int(s)}, caught)\n" for s in catch)
        text += "".join(f"signal.signal({int(s)}, signal.SIG_IGN)\n" for s in ignore)
        self.path = path
        if "go()" not in code:
            text += "go()\n"
        self.proc = subprocess.Popen([sys.executable, "-c", text + textwrap.dedent(code), path], text=True,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def gone(self):
        """It has said that it goes on."""
        assert self.proc.stdout.readline() == "go\n", self.proc.stderr.read()
        return self

    def waiting(self, name="call"):
        """It is in a call that waits for FUSE."""
        wait_for(lambda: wchan(self.proc.pid) in WAITS, f"the {name} to wait", 10)
        return self

    def signal(self, sig):
        self.sent = time.monotonic()
        self.proc.send_signal(sig)

    def over(self, secs):
        """Its exit code and what it said, within @secs of the signal."""
        left = max(0.01, secs - (time.monotonic() - self.sent))
        out, err = self.proc.communicate(timeout=left)
        return self.proc.returncode, out.split()

    def says(self, secs):
        """Its next word, within @secs of the signal."""
        left = max(0.01, secs - (time.monotonic() - self.sent))
        assert select.select([self.proc.stdout], [], [], left)[0], "it says nothing"
        return self.proc.stdout.readline().strip()

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.communicate(timeout=10)


def proc_file(pid, name):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/{name}").read()
    return ""


def wchan(pid):
    return proc_file(pid, "wchan")


def state(pid):
    text = proc_file(pid, "stat")
    return text.rsplit(")", 1)[1].split()[0] if text else ""


def on_fuse_in_d(pid):
    """In uninterruptible sleep, waiting for FUSE's answer."""
    return state(pid) == "D" and wchan(pid) in WAITS


@pytest.fixture
def callers():
    """callers(code, path): a Caller that is ended."""
    made = []

    def make(*args, **kw):
        made.append(Caller(*args, **kw))
        return made[-1]
    yield make
    for c in made:
        c.close()


@pytest.fixture(scope="module")
def two():
    """A swarm whose calls wait long."""
    with Swarm(peers=2, peer_options=dict(timeout=60)) as s:
        yield s


def fresh(s, name, data=b"x" * 100):
    """A directory with a file in it that the first mount has not seen: it must ask."""
    a, b = s.peers[0], s.peers[1]
    os.mkdir(b.path(name))
    with open(b.path(name, "f"), "wb") as f:
        f.write(data)
    os.symlink("f", b.path(name, "link"))
    return a.path(name)


# Each a call that cannot be answered without the tracker.  Before CHANGES the mount knows the directory: so they
# do not wait to look up a name.
CALLS = {
    "stat": "call(os.stat, path + '/f')",
    "stat_absent": "call(os.stat, path + '/absent')",
    "open": "call(os.open, path + '/f', os.O_RDONLY)",
    "create": "call(os.open, path + '/new', os.O_CREAT | os.O_WRONLY)",
    "mkdir": "call(os.mkdir, path + '/dir')",
    "unlink": "call(os.unlink, path + '/f')",
    "rename": "call(os.rename, path + '/f', path + '/g')",
    "link": "call(os.link, path + '/f', path + '/g')",
    "symlink": "call(os.symlink, 'x', path + '/s')",
    "readlink": "call(os.readlink, path + '/link')",
    "readdir": "call(os.listdir, path)",
    "chmod": "call(os.chmod, path + '/f', 0o600)",
    "truncate": "call(os.truncate, path + '/f', 10)",
    "setxattr": "call(os.setxattr, path + '/f', 'user.a', b'x')",
    "getxattr": "call(os.getxattr, path + '/f', 'user.a')",
    "read_status": "call(os.open, os.path.dirname(path) + '/.pspfs/status', os.O_RDONLY)",
}
# These first need something, before the tracker is frozen.
OPENED = {
    "statfs": ("time.sleep(1.2)", "call(os.statvfs, path)"),    # an answer is used for a second
    "read": ("fd = os.open(path + '/f', os.O_RDONLY)", "call(os.pread, fd, 10, 0)"),
    "fsync": ("fd = os.open(path + '/f', os.O_WRONLY)", "os.write(fd, b'y'); call(os.fsync, fd)"),
    "close": ("fd = os.open(path + '/f', os.O_WRONLY)", "os.write(fd, b'y'); call(os.close, fd)"),
    "mtime": ("fd = os.open(path + '/f', os.O_WRONLY)", "os.write(fd, b'y'); call(os.utime, fd)"),
    "fsyncdir": ("fd = os.open(path, os.O_RDONLY)", "call(os.fsync, fd)"),
}
ALL = [*CALLS, *OPENED]


CHANGES = ("create", "mkdir", "symlink", "unlink", "rename", "link", "chmod", "truncate", "setxattr")


def start_all(s, callers, names, tag, **kw):
    """A process for each call, those of OPENED with what they need open; then the
    tracker is to be frozen, and resume() lets those go on."""
    made = {}
    for name in names:
        path = fresh(s, f"{tag}_{name}")
        before, code = OPENED.get(name, ("", CALLS.get(name)))
        made[name] = callers(f"{before}\nprint('ready', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)\n"
                             f"go()\n{code}\n", path, **kw)
    for c in made.values():
        assert c.proc.stdout.readline() == "ready\n", c.proc.stderr.read()
        wait_for(lambda c=c: state(c.proc.pid) == "T", "it to stop itself", 10)
    for name, c in made.items():
        os.stat(c.path)
        if name in CHANGES:
            os.listdir(c.path)
            os.stat(f"{c.path}/f")
    return made


def resume(made):
    for c in made.values():
        c.proc.send_signal(signal.SIGCONT)
    for name, c in made.items():
        c.gone().waiting(name)


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
            assert 50 <= written <= 90
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


# ------------------------------------------------------ unmounting and dying

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


def works_alone(p):
    with open(p.path("alone"), "w") as f:
        f.write("x")
    assert open(p.path("alone")).read() == "x"


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


def works(s):
    """Both mounts answer, also for what was asked while the tracker was away."""
    a, b = s.peers[:2]
    name = f"works{time.monotonic_ns()}"
    with open(a.path(name), "w") as f:
        f.write(name)
    with open(b.path(name)) as f:
        assert f.read() == name
    assert sorted(os.listdir(a.mnt)) == sorted(os.listdir(b.mnt))
