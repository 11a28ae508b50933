"""Peers and the tracker die in the middle of work; bytes flip."""
import concurrent.futures
import os
import random
import subprocess
import threading
import time

import pytest

from liar import between
from swarm import SLOWER, same_trees, wait_for

SLOT = 512 * 1024


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    top = tmp_path_factory.mktemp("tree")
    rng = random.Random(42)
    for d in range(10):
        (top / f"d{d}").mkdir()
        for f in range(30):
            (top / f"d{d}" / f"f{f}").write_bytes(rng.randbytes(rng.choice((10, 3000, 40000, 700000))))
    return str(top)


class Copy(threading.Thread):
    """cp -a in the background."""

    def __init__(self, src, dst):
        super().__init__()
        self.argv = ["cp", "-a", src, dst]
        self.done = None
        self.start()

    def run(self):
        self.done = subprocess.run(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, timeout=180)

    def finish(self):
        self.join(180)
        assert self.done is not None, "cp hangs"
        assert self.done.returncode == 0, self.done.stdout[-2000:]


def test_tracker_stopped_cleanly_and_restarted(make_swarm):
    s = make_swarm(peers=2)
    a, b = s.peers
    open(a.path("f"), "w").write("before")
    s.stop_tracker()
    s.start_tracker()
    assert open(b.path("f")).read() == "before"
    open(b.path("f"), "w").write("after")
    assert open(a.path("f")).read() == "after"


def test_peer_killed_during_a_copy(make_swarm, tree):
    s = make_swarm(peers=3)
    a, b, c = s.peers
    cp = Copy(tree, a.path("copy"))
    time.sleep(0.5)
    c.kill()
    cp.finish()
    same_trees(tree, b.path("copy"))
    c.start()
    same_trees(tree, c.path("copy"))


def test_write_with_too_few_peers_then_repair(make_swarm):
    s = make_swarm(peers=1)
    a = s.peers[0]
    data = os.urandom(3 * SLOT)
    open(a.path("f"), "wb").write(data)
    assert s.status()["under_replicated_chunks"] == 3
    b = s.add_peer()
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "repair", 40)
    a.kill()
    assert open(b.path("f"), "rb").read() == data


def test_flipped_byte_on_disk(make_swarm):
    s = make_swarm(peers=3)
    a, b, _ = s.peers
    data = os.urandom(5 * SLOT)
    open(a.path("f"), "wb").write(data)
    info = s.info(a.path("f"))
    assert len(info["chunks"]) == 5
    for p in s.peers[:2]:
        p.stop()
        flipped = 0
        for chunk in info["chunks"]:
            path = p.chunk_file(chunk["id"])
            if path:
                with open(path, "r+b") as f:
                    f.seek(1000)
                    byte = f.read(1)[0]
                    f.seek(1000)
                    f.write(bytes([byte ^ 1]))
                flipped += 1
        p.start()
        assert flipped
        assert open(p.path("f"), "rb").read() == data
        assert "corrupt" in p.read_log().lower()
        wait_for(lambda: s.counter("chunks_corrupt") >= 1, "the counter")
        # let repair bring every chunk back to two copies before more is damaged
        wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "repair", 60)
        info = s.info(a.path("f")) if a.proc else s.info(b.path("f"))


BEAT = 2.5 * SLOWER                     # seconds: then the counters have come


def test_flipped_byte_where_blocks_are_read(make_swarm):
    """A chunk that was checked once is read by blocks: damage since then is noticed all the same."""
    s = make_swarm(peers=2, peer_options=dict(memory="16M"))
    _, b = s.peers
    n = 64                              # twice what stays in memory
    data = os.urandom(n * SLOT)
    open(b.path("f"), "wb").write(data)

    def block(fd, slot, k):
        at = slot * 13 % n * SLOT + k * 4096        # not in sequence
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 4096, at) == data[at:at + 4096]
    fd = os.open(b.path("f"), os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for k in range(2):              # all checked; then some by blocks
            for slot in range(n):
                block(fd, slot, k)
        time.sleep(BEAT)
        checked = s.counter("md5_checked")
        for slot in range(n // 2):
            block(fd, slot, 2)
        time.sleep(BEAT)
        assert s.counter("md5_checked") == checked
        chunk = s.info(b.path("f"))["chunks"][0]["id"]
        with open(b.chunk_file(chunk), "r+b") as f:
            f.seek(5 * 4096 + 1)
            f.write(bytes([data[5 * 4096 + 1] ^ 1]))
        for slot in range(n // 2, n):   # out of memory with the first
            block(fd, slot, 3)
        block(fd, 0, 4)
        assert "corrupt" not in b.read_log()
        block(fd, 0, 5)
    finally:
        os.close(fd)
    assert f"{chunk} here is corrupt: quarantined" in b.read_log()


def test_truncated_chunk_file(make_swarm):
    s = make_swarm(peers=2)
    a, b = s.peers
    data = os.urandom(2 * SLOT)
    open(a.path("f"), "wb").write(data)
    info = s.info(a.path("f"))
    b.stop()
    path = b.chunk_file(info["chunks"][0]["id"])
    assert path
    os.truncate(path, 777)
    b.start()
    assert open(b.path("f"), "rb").read() == data


def test_peer_is_named_only_while_active(make_swarm):
    s = make_swarm(peers=3)

    def active():
        return sum(p["state"] == "active" for p in s.status()["peers"])
    assert active() == 3
    s.peers[2].kill()
    wait_for(lambda: active() == 2, "the dead peer to leave the list", 10)
    s.peers[2].start()
    wait_for(lambda: active() == 3, "the peer to come back", 10)
    assert len(s.status()["peers"]) == 3
    s.peers[1].stop()
    assert active() == 2


def test_deleted_chunks_leave_the_disks(make_swarm):
    s = make_swarm(peers=2, tracker_args=["--garbage-grace", "1"])
    a, b = s.peers
    open(a.path("f"), "wb").write(os.urandom(4 * SLOT))
    ids = [c["id"] for c in s.info(a.path("f"))["chunks"]]
    assert all(p.chunk_file(i) for p in s.peers for i in ids)
    os.unlink(b.path("f"))
    wait_for(lambda: not any(p.chunk_file(i) for p in s.peers for i in ids), "garbage to go", 30)
    wait_for(lambda: s.status()["chunks"] == 0, "no chunks", 10)


def test_compaction_of_small_writes(make_swarm):
    s = make_swarm(peers=2)
    a, b = s.peers
    data = bytearray(SLOT)
    fd = os.open(a.path("f"), os.O_RDWR | os.O_CREAT)
    rng = random.Random(5)
    for _ in range(60):
        off, piece = rng.randrange(SLOT - 4096), rng.randbytes(4096)
        os.pwrite(fd, piece, off)
        os.fsync(fd)
        data[off:off + 4096] = piece
    os.close(fd)
    size = os.stat(b.path("f")).st_size
    assert open(b.path("f"), "rb").read() == data[:size]

    def depth():
        return max(len(x["slices"]) for x in s.info(b.path("f"))["slots"])
    wait_for(lambda: depth() <= 8, "compaction", 20)
    assert open(b.path("f"), "rb").read() == data[:size]
    wait_for(lambda: s.counter("compactions") >= 1, "the counter", 10)


def test_a_slot_too_full_for_all_writers(make_swarm):
    """More pieces than a slot's stack takes (2048), from three mounts at once: none is lost."""
    slot, pieces = 16 << 20, 3000       # of one mount too few to compact the slot by itself
    s = make_swarm(peers=3, tracker_args=["--chunk-size", "16M"])
    step, rng = slot // pieces, random.Random(7)
    data = bytearray(slot)
    fds = [os.open(p.path("f"), os.O_RDWR | os.O_CREAT) for p in s.peers]
    for n in rng.sample(range(pieces), pieces):
        data[n * step:n * step + 100] = piece = rng.randbytes(100)
        os.pwrite(fds[n % 3], piece, n * step)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(os.fsync, fds))
    for fd in fds:
        os.close(fd)
    size = (pieces - 1) * step + 100
    for p in s.peers:
        assert open(p.path("f"), "rb").read() == data[:size]


def test_flipped_byte_in_transit():
    """A byte flipped between two peers: TLS drops the connection, the chunk is
    sent again, and both ends have the right bytes."""
    here = os.path.dirname(os.path.abspath(__file__))

    def argv(s):
        return ["/usr/bin/python3", f"{here}/flip_proxy.py", str(s.port + 1000), "127.0.0.12", str(s.port + 1), "300000"]
    with between(1, argv) as (s, cut):
        s.add_peer()
        a, b = s.peers
        data = os.urandom(8 * SLOT)
        open(a.path("f"), "wb").write(data)
        assert open(b.path("f"), "rb").read() == data
        assert "flipped" in cut(), "the proxy saw no traffic"
        wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "both copies", 30)
        wait_for(lambda: s.counter("chunks_resent") >= 1, "the counter", 10)
        assert "asking for another peer" not in a.read_log()
