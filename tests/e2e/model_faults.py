"""The random operations of model.py while the swarm is hurt.

Between operations and in the middle of them the tracker is killed and
restarted, a peer is, connections are cut, a mount is frozen for less and for
more than its lease, or killed and mounted again.  A call may then take long
or fail with EIO and the like: it was done or not, and the next look tells
which.  Bytes not yet committed may be lost, one by one; nothing else may.
"""
import errno
import os
import shutil
import subprocess

from model_bench import Bench, run_either
from model_fs import Err, Skip
from model_ops import Generator
from model_real import features
from model_run import Mismatch, Run, loaded
from swarm import Swarm, run as command, wait_for

UNSURE = {errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ESTALE}
LOOKS = {"stat", "lstat", "fstat", "access", "readlink", "getxattr", "listxattr", "readdir", "readdirfd",
         "read", "pread", "preadv", "readv", "mmapread", "lseek"}
BYTES = {"write", "pwrite", "writev", "pwritev", "mmapwrite", "fsync", "fdatasync", "close", "ftruncate",
         "fallocate", "copy_range"}
EVERY = 350             # operations from one fault to the next
LONG_AT = 7             # fault of an episode
HEALTHY_S = 60
LEASE_S = 10


class Unsure(Exception):
    """A call failed as it may while the swarm is hurt."""


class HurtRun(Run):
    def __init__(self, tops, swarm):
        super().__init__(tops)
        self.faults = Faults(swarm, self)
        self.unsure = 0                 # calls that failed

    def check_all(self, mounts=None):
        self.faults.finish()
        self.healthy()
        super().check_all(mounts)

    def step(self, op):
        if op[0] == "fault":
            self.faults.do(*op[3:])
            return 1
        if op[0] == "check":
            return super().step(op)
        self.settle_for(op)
        before, inos = self.model.twin(), dict(self.inos)
        args = loaded(op[3:])
        code, want = 0, None
        try:
            want = self.expect(op, args)
        except Skip:
            return 0
        except Err as e:
            code = e.code
        self.done.append(op)
        if self.loses_to_the_freeze():
            self.faults.finish()
            self.healthy()
        try:
            got = self.act(op, args, code, want)
        except Unsure:
            self.unsure += 1
            self.resolve(op, before, inos)
            return 1
        self.compare(op, got, want)
        return 1

    def call(self, op, args):
        try:
            return super().call(op, args)
        except Err as e:
            if e.code in UNSURE:
                raise Unsure from e
            raise

    def loses_to_the_freeze(self):
        """Does a file lose its name while a mount that has it open is not heard of for longer than a lease?"""
        return self.faults.silent is not None and any(
            f.mount == self.faults.silent and not self.model.inodes[f.ino].nlink for f in self.model.slots.values())

    # ------------------------------------------------ what has become of it

    def healthy(self):
        """Wait until every mount answers."""
        def answers():
            try:
                return all(os.listdir(t) is not None and os.stat(t) for t in self.real.tops)
            except OSError:
                return False
        wait_for(answers, "the mounts to answer", HEALTHY_S)

    def resolve(self, op, before, inos):
        after, self.times = self.model, {}
        if op[0] in LOOKS:
            self.model = before
            return
        self.healthy()
        if op[0] in BYTES:
            self.adopt_slots(op, before)
            return
        if op[0] == "open":
            after.slots.pop(op[3], None)        # no descriptor came
        try:
            self.look()
        except Mismatch:
            self.model, self.inos = before, inos
            self.look()

    def adopt_slots(self, op, before):
        slots = [op[3]] + ([op[5]] if op[0] == "copy_range" else [])
        if op[0] == "close":
            self.real.fds.pop(op[3], None)      # close(2) frees it, whatever it says
        inodes = [before.slots[s].ino for s in slots if s in before.slots]
        if op[3] in self.model.slots and op[0] in ("write", "writev"):
            self.model.slots[op[3]].pos = None
        for ino in inodes:
            was = before.inodes[ino]
            now = self.model.inodes.get(ino)
            if now:
                now.clean = was.data if was.clean is None else was.clean
                now.past = [*was.past, was.data]
        self.adopt([self.model.inodes[i] for i in inodes if i in self.model.inodes])

    def adopt(self, inodes):
        """What of the bytes on their way is there?  Each may be."""
        for inode in inodes:
            path = next((p for p, i in self.paths() if i is inode), None)
            old = inode.data if inode.clean is None else inode.clean
            if path is None:
                self.abandon(inode)
                continue
            fd = os.open(os.path.join(self.real.tops[0], path), os.O_RDONLY | os.O_NOATIME)     # the model has not read
            try:
                got = os.pread(fd, max(len(old), inode.size) + 1, 0)
            finally:
                os.close(fd)
            self.between(path, got, [old, *inode.past, inode.data])
            inode.data, inode.dirty, inode.clean, inode.past, inode.seen = got, {}, None, [], set()

    @staticmethod
    def between(path, got, versions):
        """Each byte as one of the versions has it, from the last that was surely committed on."""
        sizes = [len(v) for v in versions]
        if not min(sizes) <= len(got) <= max(sizes):
            raise Mismatch(f"{path} has {len(got)} bytes, not one of {sizes}")
        versions = [v.ljust(len(got), b"\0") for v in versions]
        if got in versions:
            return
        for at, (x, *known) in enumerate(zip(got, *versions)):
            if x not in known:
                raise Mismatch(f"{path}: byte {at} is {x}, not one of {known}")

    def abandon(self, inode):
        """It has no name: close it everywhere."""
        mine = [s for s, f in self.model.slots.items() if f.ino == inode.ino]
        self.real.forget([s for s in mine if s in self.real.fds])
        for s in mine:
            del self.model.slots[s]
        self.model.drop(inode)

    def paths(self):
        found, todo = [], [("", self.model.inodes[self.model.root])]
        while todo:
            top, inode = todo.pop()
            for name, ino in inode.entries.items():
                child = self.model.inodes[ino]
                found.append((top + name, child))
                todo.append((f"{top}{name}/", child))
        return found

    def look(self):
        """Names and attributes, but of bytes on their way."""
        for path, inode in [(".", self.model.inodes[self.model.root]), *self.paths()]:
            if inode.is_dir():
                Run.step(self, ["readdir", 0, 0, path])
            if not inode.dirty:
                Run.step(self, ["lstat", 0, 0, path])

    # ------------------------------------------------------ a mount that dies

    def lose(self, mount, restart):
        """Its descriptors are gone; what it had not committed may be."""
        slots = [s for s, f in self.model.slots.items() if f.mount == mount]
        restart()
        self.real.forget([s for s in slots if s in self.real.fds])
        gone = {self.model.slots.pop(s).ino for s in slots}
        self.healthy()
        self.times = {}
        self.adopt([i for i in list(self.model.inodes.values()) if mount in i.dirty and i.nlink])
        for ino in gone:
            if ino in self.model.inodes:
                self.model.inodes[ino].dirty.pop(mount, None)
                self.model.drop(self.model.inodes[ino])

    def close_removed(self, mount):
        """Files without a name, which end with the session."""
        for slot, f in list(self.model.slots.items()):
            if f.mount == mount and self.model.inodes[f.ino].nlink == 0:
                self.step(["close", mount, 0, slot])


class Faults:
    """What is done to the swarm.

    What is to happen in the middle of calls is done by processes: this one
    may be waiting in a page fault, and acts as several users.  They are there
    before it happens: a fork closes files of ours, which has to be answered.
    """

    def __init__(self, swarm, run):
        self.swarm, self.run = swarm, run
        self.process, self.done = None, 0
        self.silent = None      # a mount that is frozen for longer than a lease

    def do(self, name, *args):
        """It, once the last one is over."""
        self.finish()
        self.run.healthy()
        self.done += 1
        getattr(self, name)(*args)

    def later(self, text, *argv):
        self.process = subprocess.Popen(["sh", "-c", text, "sh", *argv], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self):
        """Wait until the last fault is over."""
        p, self.process, self.silent = self.process, None, None
        if p and p is self.swarm.tracker:
            wait_for(lambda: self.swarm.pspfs("status", check=False).returncode == 0, "the tracker", 30)
        elif p:
            p.wait(60)

    def tracker_killed(self, before_s, down_s):
        old = self.swarm.tracker
        self.later(f"sleep {before_s}; kill -9 {old.pid}; sleep {down_s}; exec \"$@\"", *old.args)
        self.swarm.tracker = self.process
        return old

    def tracker_killed_between(self):
        self.tracker_killed(0, 0).wait(10)
        self.finish()

    def tracker_killed_meanwhile(self, before_s):
        self.tracker_killed(before_s, 0.3)

    def lender_killed(self):
        self.swarm.lenders.pop().kill()
        self.swarm.add_lenders(1)

    def connections_cut(self):
        for port in (self.swarm.port, self.swarm.port + 1):
            subprocess.run(["ss", "-K", "-t", "dport", "=", f":{port}"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)

    def frozen(self, mount, secs):
        if secs > LEASE_S:
            for each in range(len(self.swarm.peers)):
                self.run.close_removed(each)
        pid = self.swarm.peers[mount].proc.pid
        self.silent = mount if secs > LEASE_S else None
        self.later(f"kill -STOP {pid}; sleep {secs}; kill -CONT {pid}")

    def mount_killed(self, mount):
        def restart():
            self.swarm.peers[mount].kill()
            self.swarm.peers[mount].start()
        self.run.lose(mount, restart)


class HurtGenerator(Generator):
    """Operations, and now and then a fault."""

    USUAL = ("tracker_killed_between", "tracker_killed_meanwhile", "tracker_killed_meanwhile", "lender_killed",
             "connections_cut", "frozen", "mount_killed")
    n = 0

    def next(self, model):
        self.n += 1
        return self.fault(self.n // EVERY) if self.n % EVERY == 0 else super().next(model)

    def fault(self, n):
        """One of each episode lasts longer than a lease."""
        rng = self.rng
        name = "frozen" if n == LONG_AT else rng.choice(self.USUAL)
        mount = rng.randrange(self.mounts)
        args = {"frozen": [mount, LEASE_S + 2 if n == LONG_AT else 1 + 2 * rng.random()],
                "mount_killed": [mount], "tracker_killed_meanwhile": [rng.random() / 20]}
        return ["fault", mount, 0, name, *args.get(name, [])]


class HurtBench(Bench):
    EPISODE, CHECK_EVERY = 3500, 1400

    def __init__(self, swarm, slot_bytes):
        self.swarm, self.faults, self.unsure = swarm, 0, 0
        super().__init__([p.mnt for p in swarm.peers], False, slot_bytes, lambda: clear_away(swarm))

    def generator(self, seed):
        return HurtGenerator(seed, len(self.tops), self.slot_bytes, features(self.tops[0]))

    def make_run(self, tops):
        return HurtRun(tops, self.swarm)

    def clear(self, run):
        self.faults += run.faults.done
        self.unsure += run.unsure
        run.faults.finish()
        run.real.end()
        shutil.rmtree(run.real.tops[0], ignore_errors=True)

    def summary(self):
        return f", {self.faults} faults, {self.unsure} calls failed"


def clear_away(swarm):
    """A call hangs: end all, so that it does not."""
    for p in [*swarm.peers, *swarm.lenders]:
        if p.proc and p.proc.poll() is None:
            p.proc.kill()
    for p in swarm.peers:
        command("umount", "-l", p.mnt, check=False, timeout=10)
    if swarm.tracker and swarm.tracker.poll() is None:
        swarm.tracker.kill()


def main(args):
    with Swarm(peers=args.mounts, tracker_args=["--chunk-size", str(args.slot)]) as s:
        s.add_lenders(1)
        code = run_either(HurtBench(s, args.slot), args)
        if code:
            print(s.logs())
        return code
