"""How much memory programs take: make bench-memory, or

    measure_memory.py peer [--size 4G] [--dir DIR] [-o OPTIONS]
    measure_memory.py tracker [--files 1000000] [--dir DIR]

peer:    on one of three mounts a file of that size is copied in, and another one, which another mount wrote, is read
         out; what the most was that each process had resident (VmHWM).  A peer is to stay under 256 MiB.
tracker: a tracker on a database of so many files of one chunk each, whose chunks two peers say that they hold; all
         of it is listed and looked at through a mount.  It is to stay under 512 MiB.

The exit code is 1 where it does not.
"""
import argparse
import concurrent.futures
import hashlib
import os
import sys
import tempfile
import time

from callers import frozen
from swarm import Swarm, program, run, wait_for

MIB = 1 << 20
TRAILER = 128           # bytes of it behind a stored chunk
PEER_MAX, TRACKER_MAX = 256 * MIB, 512 * MIB


def memory(pid):
    """{VmHWM, VmRSS, RssAnon, ...} in bytes."""
    with open(f"/proc/{pid}/status") as f:
        words = [line.split() for line in f]
    return {w[0].rstrip(":"): int(w[1]) * 1024 for w in words if len(w) == 3 and w[2] == "kB"}


def said(text):
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * unit[text[-1]] if text[-1] in unit else int(text)


def write(path, size, seed):
    """Blocks that differ, by large writes, as cp does; their MD5."""
    block, total = bytearray(os.urandom(MIB)), hashlib.md5()
    with open(path, "wb", buffering=0) as f:
        for n in range(size // MIB):
            block[:16] = seed.to_bytes(8, "big") + n.to_bytes(8, "big")
            f.write(block)
            total.update(block)
    return total.hexdigest()


def read(path):
    total = hashlib.md5()
    with open(path, "rb", buffering=0) as f:
        while piece := f.read(MIB):
            total.update(piece)
    return total.hexdigest()


def copy_in_and_out(s, size):
    """What each of three mounts of @s took at most: the one that does both, who wrote the other file, who kept them."""
    a, b, c = s.peers

    def timed(what, fn, *args):
        start = time.monotonic()
        got = fn(*args)
        print(f"{what}: {size / MIB / (time.monotonic() - start):.0f} MiB/s; resident "
              + text_of(s), flush=True)
        return got
    other = timed("written on another mount", write, c.path("other"), size, 1)
    for p in a, b:
        with open(f"/proc/{p.proc.pid}/clear_refs", "w") as f:
            f.write("5")                # the most begins anew
    timed("copied in", write, a.path("mine"), size, 2)
    assert timed("read out", read, a.path("other")) == other
    return [memory(p.proc.pid)["VmHWM"] for p in s.peers]


def all_at_once(s, size):
    """Every mount copies in while it keeps what the others do, and they all are frozen now and then, as slow disks and
    networks are; then every one reads what another wrote."""
    with concurrent.futures.ThreadPoolExecutor(2 * len(s.peers)) as pool:
        def each(fn, step):
            return [pool.submit(fn, p, f"{s.peers[(k + step) % len(s.peers)].k}{half}")
                    for k, p in enumerate(s.peers) for half in "ab"]

        jobs = each(lambda p, name: write(p.path(name), size // 2, int(name, 16)), 0)
        while any(not j.done() for j in jobs):
            for p in s.peers:
                time.sleep(0.5)
                with frozen(p.proc):
                    time.sleep(1)
        sums = [j.result() for j in jobs]
        print("written at once: " + text_of(s), flush=True)
        got = [j.result() for j in each(lambda p, name: read(p.path(name)), 1)]
        assert got == sums[2:] + sums[:2]
        print("read at once: " + text_of(s), flush=True)
    return [memory(p.proc.pid)["VmHWM"] for p in s.peers]


def text_of(s):
    return ", ".join(f"{memory(p.proc.pid)['VmHWM'] / MIB:.0f}" for p in s.peers) + " MiB at most"


def peer(args):
    options = dict(o.split("=") for o in args.options.split(",") if o)
    with Swarm(peers=3, peer_options={"capacity": "64G", **options}, prefix=args.prefix.split()) as s:
        most = (all_at_once if args.busy else copy_in_and_out)(s, said(args.size))
    return max(most) < PEER_MAX


def fill(s, files):
    """So many files into the tracker's database; whose chunks two peers have, as far as names and sizes tell."""
    for p in s.peers:
        p.stop()
    s.stop_tracker()
    done = run(program("tests/bench_ns"), "--fill", files, f"{s.dir}/tracker/tracker.db", timeout=600)
    first = int(done.stdout.split()[-1])
    for p in s.peers:
        for top in range(256):
            os.makedirs(f"{p.store}/chunks/{top:02x}", exist_ok=True)
        for n in range(first, first + files):
            name = f"{n:016x}"
            fd = os.open(f"{p.store}/chunks/{name[12:14]}/{name}.chunk", os.O_CREAT | os.O_WRONLY, 0o600)
            os.ftruncate(fd, 4096 + TRAILER)
            os.close(fd)
    s.start_tracker()
    for p in s.peers:
        p.start(secs=120)       # it reads the directories of its store first


def tracker(args):
    with Swarm(peers=2) as s:
        fill(s, args.files)
        wait_for(lambda: s.status()["missing_chunks"] == s.status()["under_replicated_chunks"] == 0, "the inventories",
                 300)
        print(f"{args.files} files, all their copies told: {memory(s.tracker.pid)['VmHWM'] / MIB:.0f} MiB at most",
              flush=True)
        seen, start = 0, time.monotonic()
        for where, _, names in os.walk(s.peers[0].mnt):
            for name in names:
                assert os.stat(os.path.join(where, name)).st_size == 4096
                seen += 1
        most = memory(s.tracker.pid)["VmHWM"]
        print(f"{seen} listed and looked at in {time.monotonic() - start:.0f} s: {most / MIB:.0f} MiB at most; "
              f"the mounts {text_of(s)}", flush=True)
        assert seen == args.files
        assert s.status()["chunks"] == args.files
        for p in s.peers:               # what is in there is not worth looking at
            p.kill()
    return most < TRACKER_MAX


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["peer", "tracker"])
    p.add_argument("--size", default="4G")
    p.add_argument("--busy", action="store_true", help="all mounts write and read at once, and are frozen meanwhile")
    p.add_argument("--files", type=int, default=1000000)
    p.add_argument("--dir", help="where stores and database are")
    p.add_argument("--prefix", default="", help="a command that runs every program, as env LD_PRELOAD=...")
    p.add_argument("-o", dest="options", default="", help="of mount.pspfs")
    args = p.parse_args()
    if args.dir:
        tempfile.tempdir = args.dir
    return 0 if globals()[args.what](args) else 1


if __name__ == "__main__":
    sys.exit(main())
