"""A real swarm on this machine: a tracker, peers with mounts, all on loopback.

Every process started here is ended here, by pid; every mount is unmounted;
every wait has a limit.  Addresses are 127.0.0.11, .12, ... with ports of the
swarm's own, so that swarms do not meet.
"""
import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests"))
import sanitize  # noqa: E402

BUILD = os.environ.get("PSPFS_BUILD") or os.path.join(TOP, "build")
SLOWER = sanitize.slower(BUILD)         # times as long may a wait take
REPORTS = os.path.join(tempfile.mkdtemp(prefix="pspfs-reports-"), "report")
sanitize.ask(REPORTS)
atexit.register(shutil.rmtree, os.path.dirname(REPORTS), ignore_errors=True)


def program(name):
    return os.path.join(BUILD, name)


def free_port():
    """(P, a claim on it): P and P + 1 are free, for the tracker and its peers, and
    no other swarm takes them while the claim is open, also when nobody listens
    there.  Below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(27000, 31000, 2)
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError), socket.socket() as a, socket.socket() as b:
            claim.bind(f"\0pspfs-test-port-{port}")     # a name without a file, gone with us
            a.bind(("", port))
            b.bind(("", port + 1))
            return port, claim
        claim.close()


def wait_for(cond, what, secs=20):
    end = time.monotonic() + secs * SLOWER
    while True:
        got = cond()
        if got:
            return got
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.02)


def mounted(path):
    with open("/proc/self/mounts") as f:
        return any(line.split()[1] == path for line in f)


def no_reports():
    """No program that ended so far was found fault with by a sanitizer."""
    texts = sanitize.reports(REPORTS)
    assert not texts, "\n".join(texts)[:20000]


def alive_mount(path):
    """Mounted, and somebody answers there."""
    try:
        return mounted(path) and os.listdir(path) is not None
    except OSError:
        return False


def run(*argv, check=True, timeout=120, **kw):
    """A command's CompletedProcess, output and errors as text."""
    done = subprocess.run([str(a) for a in argv], text=True, timeout=timeout * SLOWER,
                          stdin=kw.pop("stdin", subprocess.DEVNULL),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    if check:
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def end(proc, secs=20, sig=signal.SIGTERM):
    """End a process that we started; its exit code."""
    if proc.poll() is None:
        proc.send_signal(sig)
        try:
            proc.wait(secs * SLOWER)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait(10)
            raise AssertionError(f"pid {proc.pid} did not end within {secs} s of {sig!r}")
    return proc.returncode


class Peer:
    """One mount.pspfs: its mount point, store and process."""

    def __init__(self, swarm, k, options):
        self.swarm, self.k, self.options = swarm, k, options
        self.addr = f"127.0.0.{10 + k}"
        self.mnt = f"{swarm.dir}/mnt{k}"
        self.store = f"{swarm.dir}/store{k}"
        self.log = f"{swarm.dir}/peer{k}.log"
        self.proc = None
        os.makedirs(self.mnt, exist_ok=True)

    def argv(self):
        opts = dict(key=self.swarm.key, addr=self.addr, port=self.swarm.port + 1,
                    store=self.store, capacity="4G")
        opts.update(self.options)
        text = ",".join(f"{k}={v}" for k, v in opts.items())
        return [*self.swarm.prefix, program("mount.pspfs"), self.swarm.tracker_addr, self.mnt,
                "--foreground", "--log", self.log, "-o", text]

    def start(self, secs=20):
        self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"))
        wait_for(lambda: alive_mount(self.mnt) or self.proc.poll() is not None, f"mount {self.mnt}", secs)
        assert self.proc.poll() is None, self.read_log()
        return self

    def stop(self):
        """Unmount; the process ends by itself, with 0."""
        if self.proc is None:
            return
        proc, self.proc = self.proc, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            run("umount", self.mnt, check=False, timeout=30)
        try:
            code = proc.wait(20 * SLOWER)
        except subprocess.TimeoutExpired:
            code = end(proc)
        run("umount", "-l", self.mnt, check=False)
        assert code == 0, f"peer {self.k} ended with {code}:\n{self.read_log()}"

    def kill(self):
        """kill -9, and clear away the dead mount."""
        proc, self.proc = self.proc, None
        assert proc.poll() is None, f"peer {self.k} had ended with {proc.returncode}:\n{self.read_log()}"
        proc.kill()
        proc.wait(10)
        run("umount", "-l", self.mnt, check=False)

    def read_log(self):
        with contextlib.suppress(OSError):
            return open(self.log, errors="replace").read()
        return ""

    def path(self, *parts):
        return os.path.join(self.mnt, *parts)

    def chunk_file(self, chunk):
        """The stored file of a chunk (hex id), or None."""
        for kind in ("chunk", "cached"):
            p = f"{self.store}/chunks/{chunk[12:14]}/{chunk}.{kind}"
            if os.path.exists(p):
                return p
        return None


class Lender:
    """One psppeerd: a peer without a folder."""

    def __init__(self, swarm, k, options):
        self.swarm = swarm
        self.addr = options.get("addr", f"127.0.0.{100 + k}")
        self.store = options.get("store", f"{swarm.dir}/lent{k}")
        self.log = f"{swarm.dir}/lender{k}.log"
        opts = dict(tracker=swarm.tracker_addr, key=swarm.key, addr=self.addr, port=swarm.port + 1,
                    store=self.store, capacity="4G", log=self.log)
        opts.update(options)
        argv = [a for k, v in opts.items() for a in (f"--{k}", str(v))]
        self.proc = subprocess.Popen([*swarm.prefix, program("psppeerd"), "--foreground", *argv],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=open(self.log, "ab"))

    read_log = Peer.read_log
    chunk_file = Peer.chunk_file

    def kill(self):
        assert self.proc.poll() is None, self.read_log()
        self.proc.kill()
        self.proc.wait(10)

    def stop(self):
        if self.proc.poll() != -signal.SIGKILL:
            code = end(self.proc)
            assert code == 0, f"psppeerd at {self.addr} ended with {code}:\n{self.read_log()}"


class Swarm:
    up = []             # those that now are

    def __init__(self, peers=2, tracker_args=(), peer_options=None, prefix=()):
        self.dir = tempfile.mkdtemp(prefix="pspfs-e2e-")
        os.chmod(self.dir, 0o755)       # tests also act as other users
        self.port, self.claim = free_port()
        self.tracker_addr = f"127.0.0.1:{self.port}"
        self.key = f"{self.dir}/swarm.key"
        self.tracker_args = list(tracker_args)
        self.prefix = list(prefix)      # e.g. to run inside a network namespace
        self.tracker = self.prepared = None
        self.peers = []
        self.lenders = []
        self.lent = 0                   # lenders ever added
        Swarm.up.append(self)
        try:
            self.start_tracker()
            for _ in range(peers):
                self.add_peer(**(peer_options or {}))
        except BaseException:
            self.close(check=False)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    def tracker_argv(self):
        return [*self.prefix, program("psptrackerd"), "--foreground", "--listen", self.tracker_addr,
                "--data", f"{self.dir}/tracker", "--key", self.key,
                "--log", f"{self.dir}/tracker.log", *self.tracker_args]

    def prepare_tracker(self):
        """A process that becomes the tracker at the next start_tracker().  For when a thread of ours may have a file
        of a mount open then: a child would close it first, and wait for the tracker that it is to be."""
        self.prepared = subprocess.Popen(["sh", "-c", 'read -r _ && exec "$@" < /dev/null', "sh", *self.tracker_argv()],
                                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                         stderr=open(f"{self.dir}/tracker.log", "ab"))

    def start_tracker(self):
        if self.prepared:
            self.tracker, self.prepared = self.prepared, None
            with self.tracker.stdin as go:
                go.write(b"\n")
        else:
            self.tracker = subprocess.Popen(self.tracker_argv(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=open(f"{self.dir}/tracker.log", "ab"))

        def answers():
            assert self.tracker.poll() is None, open(f"{self.dir}/tracker.log").read()
            return os.path.exists(self.key) and self.pspfs("status", check=False).returncode == 0
        wait_for(answers, "the tracker")

    def stop_tracker(self):
        code = end(self.tracker)
        assert code == 0, f"the tracker ended with {code}:\n" + open(f"{self.dir}/tracker.log").read()

    def kill_tracker(self):
        assert self.tracker.poll() is None, f"the tracker had ended with {self.tracker.returncode}"
        self.tracker.kill()
        self.tracker.wait(10)

    def add_peer(self, **options):
        peer = Peer(self, len(self.peers) + 1, options)
        self.peers.append(peer)
        return peer.start()

    def add_lenders(self, n, **options):
        """So many peers without a folder, registered."""
        first = len(self.lenders)
        for _ in range(n):
            self.lenders.append(Lender(self, self.lent, options))
            self.lent += 1
        wanted = {p.addr for p in self.lenders if p.proc.poll() is None}

        def there():
            active = {p["address"].split(":")[0] for p in self.status()["peers"] if p["state"] == "active"}
            return wanted <= active
        wait_for(there, f"{n} lenders", 60)
        return self.lenders[first:]

    def pspfs(self, *argv, check=True, timeout=120):
        return run(*self.prefix, program("pspfs"), "--tracker", self.tracker_addr, "--key", self.key,
                   *argv, check=check, timeout=timeout)

    def status(self):
        return json.loads(self.pspfs("--json", "status").stdout)

    def info(self, path):
        return json.loads(self.pspfs("--json", "info", path).stdout)

    def counter(self, name):
        """A counter, summed over the peers."""
        return sum(p["counters"].get(name, 0) for p in self.status()["peers"])

    def logs(self):
        """The ends of all logs."""
        texts = [f"--- {p.addr}\n{p.read_log()[-4000:]}" for p in self.peers + self.lenders]
        with contextlib.suppress(OSError):
            texts.append("--- tracker\n" + open(f"{self.dir}/tracker.log", errors="replace").read()[-4000:])
        return "\n".join(texts)

    def close(self, check=True):
        Swarm.up.remove(self)
        faults = []
        for p in self.peers + self.lenders:
            try:
                p.stop()
            except (AssertionError, subprocess.SubprocessError) as e:
                faults.append(e)
        if self.tracker and self.tracker.poll() is None:
            try:
                self.stop_tracker()
            except AssertionError as e:
                faults.append(e)
        elif self.tracker and self.tracker.returncode not in (0, -signal.SIGKILL):
            faults.append(AssertionError(f"the tracker had ended with {self.tracker.returncode}"))
        if self.prepared:
            self.prepared.stdin.close()
            self.prepared.wait(10)
        for p in self.peers:
            if mounted(p.mnt):
                run("umount", "-l", p.mnt, check=False)
        if not check or faults:
            print(self.logs())
        assert not any(mounted(p.mnt) for p in self.peers), "a mount is left behind"
        try:
            no_reports()
        except AssertionError as e:
            print(e)
            faults.insert(0, e)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.claim.close()
        if check and faults:
            raise faults[0]


def put(path, text):
    with open(path, "w") as f:
        f.write(text)


def text(path):
    with open(path) as f:
        return f.read()


def same_trees(a, b):
    done = run("diff", "-r", "--no-dereference", a, b, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[:2000] + done.stderr[:2000]


def tree_facts(top):
    """{relative path: (mode, size, mtime_ns, link target)} of a tree."""
    facts = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            p = os.path.join(where, name)
            st = os.lstat(p)
            is_link = os.path.islink(p)
            is_dir = os.path.isdir(p) and not is_link
            facts[os.path.relpath(p, top)] = (
                st.st_mode, 0 if is_dir else st.st_size, st.st_mtime_ns, st.st_uid, st.st_gid,
                os.readlink(p) if is_link else None)
    return facts
