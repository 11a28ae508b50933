#!/usr/bin/python3
"""Files in and out of a swarm of three peers on this machine, two copies each,
beside libfuse's own passthrough_ll on the same disk: one copy, no network.

A file is in when cp has closed it.  It is read on another mount that never
saw it, from disks whose pages the kernel was told to forget.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from swarm import Swarm, end, mounted, run, wait_for  # noqa: E402

MIB = 1 << 20
BIG = 512 * MIB
SMALL, SMALL_FILES = 4096, 2000
EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"


def row(what, value, unit, ceiling=None, of="passthrough's"):
    """As tests/bench.h's."""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    line = f"{what:46} {text:>12} {unit:8}"
    if ceiling:
        line += f" {value / ceiling:5.2f} x {of} {ceiling:,.0f}"
    print(line.rstrip(), flush=True)


def forget_pages():
    os.sync()
    with contextlib.suppress(OSError), open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def took(fn, *args):
    start = time.monotonic()
    fn(*args)
    return time.monotonic() - start


def copy_in(source, dest):
    run("cp", source, dest)


def read_out(path):
    with open(path, "rb", buffering=0) as f:
        left = BIG
        while got := len(f.read(MIB)):
            left -= got
    assert left == 0, f"{path}: {left} bytes are missing"


def make_small(top):
    os.mkdir(top)
    data = os.urandom(SMALL)
    for i in range(SMALL_FILES):
        with open(f"{top}/{i}", "wb", buffering=0) as f:
            f.write(data)


def read_small(top):
    names = os.listdir(top)
    assert len(names) == SMALL_FILES
    for name in names:
        with open(f"{top}/{name}", "rb", buffering=0) as f:
            assert len(f.read(SMALL + 1)) == SMALL


def measure(source, into, out, remount):
    """{row: per second}; @into and @out are mounts of the same folder."""
    got = {}
    got["in"] = BIG / 1e6 / took(copy_in, source, f"{into}/big")
    got["made"] = SMALL_FILES / took(make_small, f"{into}/small")
    forget_pages()
    remount()
    got["out"] = BIG / 1e6 / took(read_out, f"{out}/big")
    got["read"] = SMALL_FILES / took(read_small, f"{out}/small")
    got["removed"] = SMALL_FILES / took(shutil.rmtree, f"{into}/small")
    return got


class Passthrough:
    """libfuse's example, built and mounted."""

    def __init__(self, top):
        self.dir, self.mnt, self.proc = top, f"{top}/mnt", None
        os.makedirs(f"{top}/back")
        os.makedirs(self.mnt)
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").stdout.split()
        run(os.environ.get("CC", "cc"), "-O2", EXAMPLE, "-o", f"{top}/passthrough_ll", *flags)
        self.mount()

    def mount(self):
        self.proc = subprocess.Popen([f"{self.dir}/passthrough_ll", "-f", "-o",
                                      f"source={self.dir}/back", self.mnt],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: mounted(self.mnt) or self.proc.poll() is not None, "passthrough_ll")

    def umount(self):
        run("umount", self.mnt, check=False)
        end(self.proc)

    def remount(self):
        self.umount()
        self.mount()


def of_passthrough(top, source):
    if not os.path.exists(EXAMPLE):
        print(f"bench: no passthrough to compare with: {EXAMPLE} is missing (apt-get install libfuse3-dev)")
        return {}
    p = Passthrough(f"{top}/passthrough")
    try:
        return measure(source, p.mnt, p.mnt, p.remount)
    finally:
        p.umount()


def of_swarm(source):
    with Swarm(peers=3) as s:
        return measure(source, s.peers[0].mnt, s.peers[2].mnt, lambda: None)


def main():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("bench: copy needs root and /dev/fuse: left out")
        return
    top = tempfile.mkdtemp(prefix="pspfs-bench-")
    try:
        source = f"{top}/source"
        with open(source, "wb") as f:
            for _ in range(BIG // MIB):
                f.write(os.urandom(MIB))
        most = of_passthrough(top, source)
        shutil.rmtree(f"{top}/passthrough", ignore_errors=True)
        forget_pages()
        read_out(source)
        got = of_swarm(source)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    for key, what, unit in (("in", "cp of 512 MiB in", "MB/s"),
                            ("out", "512 MiB read elsewhere, cold", "MB/s"),
                            ("made", "2,000 files of 4 KiB made", "/s"),
                            ("read", "2,000 files of 4 KiB read elsewhere, cold", "/s"),
                            ("removed", "2,000 files removed", "/s")):
        row(f"copy: {what}", got[key], unit, most.get(key))


if __name__ == "__main__":
    main()
