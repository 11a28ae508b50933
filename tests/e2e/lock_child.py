"""A process that does as it is told, for tests of locks: a line of JSON in, [function, arguments...]; a line
out, the result or {"errno": N}.  And Child, the other end of it.
"""
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time

KINDS = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "u": fcntl.F_UNLCK}
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
LIBC = ctypes.CDLL(None, use_errno=True)
FLOCK = "hhqqi4x"                       # struct flock on 64-bit Linux


def packed(kind, start, length):
    return struct.pack(FLOCK, KINDS[kind], os.SEEK_SET, start, length, 0)


def libc(name, *args):
    """Python's own would try again after EINTR, or raise after success."""
    if getattr(LIBC, name)(*args):
        raise OSError(ctypes.get_errno(), name)


def set_lock(fd, cmd, kind, start=0, length=0):
    libc("fcntl", fd, cmd, packed(kind, start, length))


def get_lock(fd, cmd, kind, start=0, length=0):
    """Who is in the way: [kind, start, length, pid]."""
    kind, _, start, length, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, cmd, packed(kind, start, length)))
    return ["rwu"[kind], start, length, pid]


DO = {
    "open": lambda path, flags="rw": os.open(path, {"r": os.O_RDONLY, "w": os.O_WRONLY,
                                                    "rw": os.O_RDWR | os.O_CREAT}[flags], 0o644),
    "close": os.close,
    "try": lambda fd, *a: set_lock(fd, fcntl.F_SETLK, *a),
    "wait": lambda fd, *a: set_lock(fd, fcntl.F_SETLKW, *a),
    "get": lambda fd, *a: get_lock(fd, fcntl.F_GETLK, *a),
    "ofd_try": lambda fd, *a: set_lock(fd, F_OFD_SETLK, *a),
    "ofd_wait": lambda fd, *a: set_lock(fd, F_OFD_SETLKW, *a),
    "flock": lambda fd, op: libc("flock", fd, {"s": fcntl.LOCK_SH, "x": fcntl.LOCK_EX, "u": fcntl.LOCK_UN,
                                                  "S": fcntl.LOCK_SH | fcntl.LOCK_NB,
                                                  "X": fcntl.LOCK_EX | fcntl.LOCK_NB}[op]),
    "read": lambda fd, n, off: os.pread(fd, n, off).decode("latin-1"),
    "write": lambda fd, text, off: os.pwrite(fd, text.encode("latin-1"), off),
    "fsync": os.fsync,
    "pid": os.getpid,
}


def main():
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.siginterrupt(signal.SIGINT, True)
    for line in sys.stdin:
        do, *args = json.loads(line)
        try:
            out = DO[do](*args)
        except OSError as e:
            out = {"errno": e.errno}
        print(json.dumps(out), flush=True)


class Child:
    def __init__(self):
        self.proc = subprocess.Popen([sys.executable, "-u", os.path.abspath(__file__)], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        self.pid = self.proc.pid

    def tell(self, *what):
        """Begin; answer() later."""
        self.proc.stdin.write(json.dumps(what) + "\n")
        self.proc.stdin.flush()

    def answered(self, secs=0):
        return bool(select.select([self.proc.stdout], [], [], secs)[0])

    def answer(self, secs=20):
        assert self.answered(secs), f"no answer within {secs} s"
        return json.loads(self.proc.stdout.readline())

    def __call__(self, *what, secs=20):
        self.tell(*what)
        return self.answer(secs)

    def fails(self, code, *what, secs=20):
        assert self(*what, secs=secs) == {"errno": code}, what

    def ok(self, *what, secs=20):
        got = self(*what, secs=secs)
        assert not isinstance(got, dict), (what, errno.errorcode.get(got["errno"]))
        return got

    def ok_soon(self, *what, secs=5):
        """Like ok, for what a close elsewhere frees a moment later."""
        end = time.monotonic() + secs
        while isinstance(self(*what), dict):
            assert time.monotonic() < end, what
            time.sleep(0.01)

    def interrupt(self):
        self.proc.send_signal(signal.SIGINT)

    def kill(self):
        self.proc.kill()
        self.proc.wait(20)

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait(20)
        self.proc.stdin.close()
        self.proc.stdout.close()


if __name__ == "__main__":
    main()
