"""Processes that wait in a call, for tests of what ends that."""
import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

from swarm import SLOWER, wait_for

MIB = 1 << 20
WAITS = ("request_wait_answer", "folio_wait_bit_common")    # for an answer; for a page that is being read
STAYS_S = 0.3                           # the mount itself answers sooner
SECOND = 3.0 * SLOWER                   # "within a second", on a busy machine; else it would be a minute


@contextlib.contextmanager
def frozen(*procs):
    """SIGSTOP meanwhile.  Each thread goes on until it notices."""
    for p in procs:
        p.send_signal(signal.SIGSTOP)
    try:
        for p in procs:
            wait_for(lambda p=p: stopped(p.pid), "all its threads to stop", 10)
        yield
    finally:
        for p in procs:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)


def stopped(pid):
    return all(state(f"{pid}/task/{tid}") in "Tt" for tid in os.listdir(f"/proc/{pid}/task"))


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
        """It is in a call that waits for FUSE, and for more than what this machine itself answers."""
        all_wait({name: self})
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


def all_wait(made, looks=10):
    """Whenever one looks for a while, each of these callers waits for FUSE."""
    def stay():
        for _ in range(looks):
            if any(wchan(c.proc.pid) not in WAITS for c in made.values()):
                return False
            time.sleep(STAYS_S * SLOWER / looks)
        return True
    try:
        wait_for(stay, "calls to wait", 20)
    except AssertionError as e:
        said = [f"{name}: {state(pid)} in {wchan(pid)}, it said {heard}" for name, c in made.items()
                for pid in [c.proc.pid] if wchan(pid) not in WAITS
                for heard in [select.select([c.proc.stdout], [], [], 0)[0] and os.read(c.proc.stdout.fileno(), 1000)]]
        raise AssertionError(f"{e}: {said}") from None


def state(pid):
    text = proc_file(pid, "stat")
    return text.rsplit(")", 1)[1].split()[0] if text else ""


def on_fuse_in_d(pid):
    """In uninterruptible sleep, waiting for FUSE's answer."""
    return state(pid) == "D" and wchan(pid) in WAITS


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
    for c in made.values():
        c.gone()
    all_wait(made)


def works(s):
    """Both mounts answer, also for what was asked while the tracker was away."""
    a, b = s.peers[:2]
    name = f"works{time.monotonic_ns()}"
    with open(a.path(name), "w") as f:
        f.write(name)
    with open(b.path(name)) as f:
        assert f.read() == name
    assert sorted(os.listdir(a.mnt)) == sorted(os.listdir(b.mnt))


def works_alone(p):
    with open(p.path("alone"), "w") as f:
        f.write("x")
    assert open(p.path("alone")).read() == "x"
