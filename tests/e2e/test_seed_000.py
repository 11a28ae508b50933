"""Seed 000, the replicated peer swarm: its statements, on real processes.

| line of the document | test |
| --- | --- |
| **Peers** 1 run on virtual machines | test_each_on_a_machine_of_its_own |
| 2 unique identifier: the IP address | test_peers_are_registered_by_ip, test_an_address_is_one_peer_s |
| 3 storage, a shared folder | test_each_peer_has_a_store_and_the_folder |
| 4 splits into chunks, uploads into all other peers with replication | test_copies_all, test_split_with_sequence_numbers |
| 5 downloads chunks from other peers | test_download_from_several_peers_at_once |
| 6 contacts the server about other peers | test_peers_are_registered_by_ip |
| 7 multi-threading | test_download_from_several_peers_at_once |
| **Server** 1 stores the IP of all peers | test_peers_are_registered_by_ip, test_the_list_survives_the_server |
| 2 tells where to upload; 3 is told where each chunk is stored; 4 tells where chunks are | test_where_each_chunk_is |
| **Interaction** 1 sockets, server-peer and peer-peer; 2 an IP and port each | test_sockets |
| **Splitting** 1-4 file length, chunk size, chunks as files with sequence numbers | test_split_with_sequence_numbers |
| 5 transferred via sockets | test_sockets |
| 6 replication is managed | test_copies_all, test_who_leaves_is_replaced |
| 7 merged while downloading | test_merged_while_downloading |
| **Validation** 1-3 MD5, checked after upload and after download | test_checked_after_upload_and_download |
| 4 the initial checksum is compared with the chunk's | test_lies_in_an_upload, test_lies_in_a_download, test_damage_on_disk |
| 5 corrupt: uploaded / downloaded again | test_lies_in_an_upload, test_lies_in_a_download, test_damage_on_disk |
| **Communication overhead** 1 handshakes | test_overheads_are_counted, test_sockets |
| 2 asking who has a chunk | test_lies_in_a_download, test_overheads_are_counted |
| 3 checksums are sent | test_overheads_are_counted |
| **Computational overhead** 1 validating; 3 peers search their store | test_overheads_are_counted |
| 2 corrupt chunks again | test_lies_in_an_upload, test_lies_in_a_download |
| **Storage overhead** 1 a chunk is stored in several peers; 2 each keeps what it has | test_overheads_are_counted |
| **Challenges** 1 only active peers are named | test_killed_leaves_the_list, test_stopped_leaves_the_list |
| 1 copies in other nodes when a peer leaves | test_retrieved_when_a_peer_left, test_who_leaves_is_replaced |
| 2 MD5 appended, and sent separately; both validated | test_lies_in_an_upload, test_lies_in_a_download |
| 2 mismatch: again; validated while merging too | the same, test_damage_on_disk |
| 2 (a flipped bit on the wire, outside TLS) | test_faults.py: test_flipped_byte_in_transit |
| which chunks are copied first when several are in danger | unit_repair.c |
"""
import contextlib
import glob
import hashlib
import os
import signal
import socket
import struct
import time

import pytest

from liar import lied_to
from swarm import Peer, Swarm, mounted, run, wait_for

SLOT = 512 * 1024
TRAILER = 128


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def active(s):
    return {p["address"] for p in s.status()["peers"] if p["state"] == "active"}


def address(s, p):
    return f"{p.addr}:{s.port + 1}"


def stored(p):
    """{chunk id: path} of what lies in a peer's store."""
    found = {}
    for path in glob.glob(f"{p.store}/chunks/*/*"):
        found[os.path.basename(path).split(".")[0]] = path
    return found


def trailer(raw):
    """What a stored chunk says of itself: net/PROTOCOL.md, "A chunk's trailer on disk"."""
    magic, version, kind, swarm, chunk, ino, slot, pos, length, md5 = struct.unpack(
        ">8sIIQQQQII16s", raw[-TRAILER:-TRAILER + 72])
    assert magic == b"pspfsCHK" and version == 1
    return {"kind": kind, "swarm": swarm, "chunk": f"{chunk:016x}", "ino": ino, "slot": slot,
            "pos": pos, "length": length, "md5": md5.hex()}


def settled(s):
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "all copies", 40)


# ------------------------------------------------------------- peers and server


def test_peers_are_registered_by_ip(make_swarm):
    """The server keeps each peer's IP (and port, for several on a host), and tells."""
    s = make_swarm(peers=3)
    st = s.status()
    assert {p["address"] for p in st["peers"]} == {address(s, p) for p in s.peers}
    assert len({p["id"] for p in st["peers"]}) == 3
    # a fourth and fifth on one address, by their ports
    same = [s.add_peer(addr="127.0.0.40", port=s.port + k) for k in (10, 11)]
    names = active(s)
    assert {f"127.0.0.40:{s.port + 10}", f"127.0.0.40:{s.port + 11}"} <= names and len(names) == 5
    write(same[0].path("f"), b"x" * 1000)
    assert read(same[1].path("f")) == b"x" * 1000
    # a peer asks the server about the others, through its own mount
    text = read(s.peers[0].path(".pspfs", "peers")).decode()
    assert all(name in text for name in names)


def test_an_address_is_one_peer_s(make_swarm):
    s = make_swarm(peers=1)
    twin = Peer(s, 7, {"addr": s.peers[0].addr})
    done = run(*twin.argv(), check=False, timeout=60)
    assert done.returncode == 32 and "in use" in done.stderr + twin.read_log()
    assert len(s.status()["peers"]) == 1


def test_the_list_survives_the_server(make_swarm):
    s = make_swarm(peers=3)
    s.peers[2].stop()
    before = {p["address"]: p["id"] for p in s.status()["peers"]}
    s.stop_tracker()
    s.start_tracker()
    wait_for(lambda: len(active(s)) == 2, "the peers to come back", 15)
    assert {p["address"]: p["id"] for p in s.status()["peers"]} == before


def test_killed_leaves_the_list(make_swarm):
    """Killed: at once."""
    s = make_swarm(peers=3)
    s.peers[2].kill()
    wait_for(lambda: len(active(s)) == 2, "the dead peer to leave the list", 2)
    for p in s.peers[:2]:
        wait_for(lambda p=p: "gone" in read(p.path(".pspfs/peers")).decode(), "its neighbours to see it", 2)
    # nothing is sent there: every chunk gets its copies from those that are left
    write(s.peers[0].path("f"), os.urandom(4 * SLOT))
    info = s.info("/f")
    assert all(sorted(c["holders"]) == sorted(address(s, p) for p in s.peers[:2]) for c in info["chunks"])


@pytest.mark.alone      # seconds are counted
def test_stopped_leaves_the_list(make_swarm):
    """Stopped (SIGSTOP: it says nothing any more, its sockets stay open): within 10 s."""
    s = make_swarm(peers=3)
    p = s.peers[2]
    try:
        p.proc.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: address(s, p) not in active(s), "it to be suspected", 8)
        wait_for(lambda: {q["address"]: q["state"] for q in s.status()["peers"]}[address(s, p)] == "gone",
                 "the stopped peer to leave the list", 10.5 - (time.monotonic() - began))
        write(s.peers[0].path("f"), os.urandom(2 * SLOT))
        assert all(address(s, p) not in c["holders"] for c in s.info("/f")["chunks"])
    finally:
        p.proc.send_signal(signal.SIGCONT)
    wait_for(lambda: len(active(s)) == 3, "it to come back", 15)
    assert read(p.path("f")) == read(s.peers[0].path("f"))


def test_each_peer_has_a_store_and_the_folder(make_swarm):
    s = make_swarm(peers=3)
    write(s.peers[0].path("f"), os.urandom(3 * SLOT))
    for p in s.peers:
        assert mounted(p.mnt) and os.listdir(p.mnt) == ["f"]
        assert os.path.isdir(f"{p.store}/chunks")
    assert sum(len(stored(p)) for p in s.peers) == 2 * 3


class Machine(Peer):
    """A peer in a network of its own."""

    def __init__(self, swarm, k, prefix, addr):
        super().__init__(swarm, k, {"addr": addr})
        self.prefix, self.addr = prefix, addr

    def argv(self):
        return [*self.prefix, *super().argv()[len(self.swarm.prefix):]]


def test_each_on_a_machine_of_its_own():
    """Two peers whose only way to each other is a cable: each has its own
    network, IP address and loopback (as a virtual machine has)."""
    names = [f"pspfs-vm{k}-{os.getpid()}" for k in (1, 2)]
    prefixes = [["nsenter", f"--net=/run/netns/{n}"] for n in names]
    try:
        for n in names:
            if run("ip", "netns", "add", n, check=False).returncode:
                pytest.skip("cannot make a network namespace here")
            run("ip", "-n", n, "link", "set", "lo", "up")
        run("ip", "-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for k, n in enumerate(names, 1):
            run("ip", "-n", n, "addr", "add", f"10.77.0.{k}/24", "dev", "eth0")
            run("ip", "-n", n, "link", "set", "eth0", "up")
        with Swarm(peers=0, prefix=prefixes[0]) as s:
            s.stop_tracker()
            s.tracker_addr = f"10.77.0.1:{s.port}"
            s.start_tracker()
            for k in (1, 2):
                s.peers.append(Machine(s, k, prefixes[k - 1], f"10.77.0.{k}"))
                s.peers[-1].start()
            a, b = s.peers
            assert active(s) == {f"10.77.0.{k}:{s.port + 1}" for k in (1, 2)}
            data = os.urandom(5 * SLOT + 7)
            write(b.path("f"), data)
            assert read(a.path("f")) == data
            assert len(stored(a)) == len(stored(b)) == 6
    finally:
        for n in names:
            run("ip", "netns", "del", n, check=False)


# --------------------------------------------------------- chunks and their ways


def test_split_with_sequence_numbers(make_swarm):
    """A chunk is a file with its sequence number, position and MD5; put in
    order they are the file."""
    for size in (4096, SLOT):
        s = make_swarm(peers=2, tracker_args=["--chunk-size", str(size)])
        a, b = s.peers
        data = os.urandom(5 * size + 321)
        write(a.path("f"), data)
        info = s.info("/f")
        assert info["size"] == len(data) and info["chunk_size"] == size
        for p in (a, b):
            parts = {}
            for chunk, path in stored(p).items():
                raw = read(path)
                t = trailer(raw)
                body = raw[:-TRAILER]
                assert t["chunk"] == chunk and t["ino"] == info["inode"] and t["length"] == len(body)
                assert f"{t['swarm']:016x}" == s.status()["swarm"]
                assert t["md5"] == hashlib.md5(body).hexdigest()
                parts[t["slot"]] = (t["pos"], body)
            assert sorted(parts) == list(range(6)) and not any(pos for pos, _ in parts.values())
            assert b"".join(parts[k][1] for k in sorted(parts)) == data


def test_where_each_chunk_is(make_swarm):
    """The server told the writer where to store, was told where it is stored, and tells everybody."""
    s = make_swarm(peers=4)
    data = os.urandom(12 * SLOT)
    write(s.peers[0].path("f"), data)
    lying = {p: stored(p) for p in s.peers}
    for chunk in s.info(s.peers[3].path("f"))["chunks"]:
        holders = sorted(address(s, p) for p in s.peers if chunk["id"] in lying[p])
        assert holders == sorted(chunk["holders"]) and len(holders) == 2
    # spread over the peers, not all to one
    assert all(lying[p] for p in s.peers)
    track = read(s.peers[1].path(".pspfs/trackers/f.track")).decode()
    assert all(c["id"] in track for c in s.info("/f")["chunks"])


def test_copies_all(make_swarm):
    """"Into all other peers": every peer has every chunk, also one that comes later."""
    s = make_swarm(peers=4, tracker_args=["--copies", "all"])
    data = os.urandom(3 * SLOT + 5)
    write(s.peers[1].path("f"), data)
    ids = {c["id"] for c in s.info("/f")["chunks"]}
    assert len(ids) == 4
    for p in s.peers:
        assert set(stored(p)) == ids
    late = s.add_peer()
    wait_for(lambda: set(stored(late)) == ids, "the late one to get all", 30)
    for p in s.peers[:4]:
        p.kill()
    assert read(late.path("f")) == data


def connections():
    """(local, remote) of the TCP connections that are up."""
    found = set()
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            local, remote, state = line.split()[1:4]
            if state == "01":
                found.add(tuple((socket.inet_ntoa(struct.pack("<I", int(x.split(":")[0], 16))),
                                 int(x.split(":")[1], 16)) for x in (local, remote)))
    return found


def test_sockets(make_swarm):
    """A TCP connection from each peer to the server, and from peer to peer where chunks go."""
    s = make_swarm(peers=3)
    for k, p in enumerate(s.peers):
        for n in range(20):     # where a chunk goes is chance
            write(p.path(f"f{k}.{n}"), os.urandom(16 * SLOT))
            if len({h for c in s.info(f"/f{k}.{n}")["chunks"] for h in c["holders"]}) == len(s.peers):
                break
    up = connections()
    for p in s.peers:
        assert any(a[0] == p.addr and b == ("127.0.0.1", s.port) for a, b in up), p.addr
        for q in s.peers:
            if p is not q:
                assert any(a[0] == p.addr and b == (q.addr, s.port + 1) for a, b in up), (p.addr, q.addr)


def threads(p):
    """{thread's name: its CPU time in ticks} of a peer."""
    found = {}
    for task in glob.glob(f"/proc/{p.proc.pid}/task/*"):
        with contextlib.suppress(OSError):
            with open(task + "/stat") as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
            key = name if name not in found else f"{name} {os.path.basename(task)}"
            found[key] = sum(map(int, rest.split()[11:13]))
    return found


def sent(s):
    return {p["address"]: p["counters"].get("chunks_sent", 0) for p in s.status()["peers"]}


def test_download_from_several_peers_at_once(make_swarm):
    """Both holders send, several threads of the reader work, and the whole is right."""
    s = make_swarm(peers=2)
    a, b = s.peers
    data = os.urandom(128 * SLOT)
    write(a.path("f"), data)
    c = s.add_peer()
    wait_for(lambda: sent(s).get(address(s, a), 0) >= 128, "the counters", 10)
    before, idle = sent(s), threads(c)
    assert read(c.path("f")) == data
    busy = threads(c)
    wait_for(lambda: sum(sent(s).values()) - sum(before.values()) >= 128, "the counters", 10)
    shares = [sent(s)[address(s, p)] - before[address(s, p)] for p in (a, b)]
    assert min(shares) >= 10 and sum(shares) <= 128 * 1.1, shares
    assert {"bulk-0", "bulk-1", "hasher", "control", "disk"} <= set(busy), busy
    worked = [n for n in busy if busy[n] > idle.get(n, 0)]
    assert len(worked) >= 3, (idle, busy)


def test_merged_while_downloading(make_swarm):
    """The first bytes are given out while most chunks are still elsewhere."""
    s = make_swarm(peers=2)
    data = os.urandom(100 * SLOT)
    write(s.peers[0].path("f"), data)
    c = s.add_peer()
    fd = os.open(c.path("f"), os.O_RDONLY)
    try:
        # from the second half of one chunk into the next: two are merged
        assert os.pread(fd, SLOT, SLOT // 2) == data[SLOT // 2:SLOT // 2 + SLOT]
        here = len(stored(c))
        assert here < 60, here
        whole = b"".join(os.pread(fd, 3 * SLOT + 1, at) for at in range(0, len(data), 3 * SLOT + 1))
        assert whole == data
    finally:
        os.close(fd)
    wait_for(lambda: len(stored(c)) == 100, "the reader to keep what it read", 20)


# ---------------------------------------------------------- checking, and lies


def test_checked_after_upload_and_download(make_swarm):
    s = make_swarm(peers=2)
    write(s.peers[0].path("f"), os.urandom(8 * SLOT))
    wait_for(lambda: s.counter("md5_checked") == 8, "eight checks by who was uploaded to", 10)
    c = s.add_peer()
    assert len(read(c.path("f"))) == 8 * SLOT
    # the reader checks each; a holder that has it no more in memory does so too
    wait_for(lambda: s.counter("md5_checked") >= 16, "eight checks by who downloaded", 10)
    assert s.counter("chunks_corrupt") == 0


PLACES = pytest.mark.parametrize("place", ["payload", "trailer", "header"])


@PLACES
def test_lies_in_an_upload(place):
    """A wrong bit in the chunk, in the MD5 behind it, or in the MD5 sent
    separately: the receiver refuses, the chunk is sent again."""
    with lied_to("put", place, 2) as (s, cut):
        a, b = s.peers
        data = os.urandom(6 * SLOT)
        write(a.path("f"), data)
        settled(s)
        assert len(stored(b)) == 6
        for path in stored(b).values():
            raw = read(path)
            assert hashlib.md5(raw[:-TRAILER]).hexdigest() == trailer(raw)["md5"]
        wait_for(lambda: s.counter("chunks_resent") == 2, "the counter of chunks sent again", 10)
        wait_for(lambda: s.counter("chunks_corrupt") == 2, "the counter of corrupt chunks", 10)
        assert "came corrupt" in b.read_log()
        assert "asking for another peer" not in a.read_log()
        assert len(cut()) == 2
        a.kill()
        assert read(b.path("f")) == data


def test_three_lies_and_another_peer_is_asked():
    """A peer that gets three wrong digests of a chunk in a row is given up for
    that chunk: another one stores it."""
    with lied_to("put", "payload", 0, peers=3) as (s, cut):
        a, b, c = s.peers
        data = os.urandom(8 * SLOT)
        write(a.path("f"), data)
        assert not stored(b)
        assert len(stored(a)) == len(stored(c)) == 8
        assert s.status()["under_replicated_chunks"] == 0
        lies = cut()
        tries = {x: lies.count(x) for x in lies}
        assert tries and set(tries.values()) == {3}
        wait_for(lambda: s.counter("chunks_resent") == 2 * len(tries), "the counter", 10)
        assert "asking for another peer" in a.read_log()
        a.kill()
        assert read(c.path("f")) == data


@PLACES
def test_lies_in_a_download(place):
    """The only holder's answers are damaged: the chunk is fetched again, until it is right."""
    with lied_to("get", place, 3, tracker_args=["--copies", "1"]) as (s, cut):
        a, b = s.peers
        data = os.urandom(4 * SLOT)
        write(b.path("f"), data)
        assert len(stored(b)) == 4 and not stored(a)
        assert read(a.path("f")) == data
        lies = cut()
        assert len(lies) == 3
        wait_for(lambda: s.counter("chunks_refetched") == 3, "the counter of chunks fetched again", 10)
        wait_for(lambda: s.counter("chunks_corrupt") == 3, "the counter of corrupt chunks", 10)
        # nobody else has it: the server was asked each time, who has it or for the chunk itself
        wait_for(lambda: s.counter("lookups") + s.counter("relay_fetches") >= 3, "the server to be asked", 10)
        assert "came corrupt" in a.read_log()
        # its own copy was never bad: it stays, and is known
        assert all(address(s, b) in c["holders"] for c in s.info("/f")["chunks"])
        assert not glob.glob(f"{b.store}/quarantine/*")


def test_who_lies_always_is_avoided():
    """Of two holders one is lied for: all bytes come right, from the other."""
    with lied_to("get", "payload", 0, peers=2) as (s, cut):
        a, _ = s.peers
        data = os.urandom(24 * SLOT)
        write(a.path("f"), data)
        c = s.add_peer()
        assert read(c.path("f")) == data
        assert 1 <= len(cut()) <= 24
        wait_for(lambda: s.counter("chunks_refetched") >= 1, "the counter", 10)
        settled(s)


DAMAGE = {"payload": 1000, "md5 in the trailer": -TRAILER + 60, "sequence number": -TRAILER + 47,
          "magic": -TRAILER, "length": -TRAILER + 55}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_on_disk(make_swarm, what):
    """A byte of a stored chunk, or of what it says of itself: met while merging
    (or by who is to serve it), fetched from elsewhere, copied anew."""
    s = make_swarm(peers=2)
    a, b = s.peers
    data = os.urandom(3 * SLOT)
    write(a.path("f"), data)
    b.stop()
    for path in stored(b).values():
        at = DAMAGE[what] % os.path.getsize(path)
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 4]))
    b.start()
    assert read(b.path("f")) == data
    wait_for(lambda: s.counter("chunks_corrupt") >= 3, "the counter of corrupt chunks", 10)
    wait_for(lambda: s.counter("chunks_refetched") >= 3, "the counter of chunks fetched again", 10)
    settled(s)
    wait_for(lambda: len(stored(b)) == 3, "good copies", 20)
    for path in stored(b).values():
        raw = read(path)
        assert hashlib.md5(raw[:-TRAILER]).hexdigest() == trailer(raw)["md5"]
    assert len(glob.glob(f"{b.store}/quarantine/*")) >= 3


# ------------------------------------------------------------- who leaves


def test_retrieved_when_a_peer_left(make_swarm):
    s = make_swarm(peers=3)
    a, b, c = s.peers
    data = os.urandom(9 * SLOT)
    write(a.path("f"), data)
    a.kill()        # the one that wrote it
    assert read(b.path("f")) == data and read(c.path("f")) == data


def holders(s):
    return [len(c["holders"]) for c in s.info("/f")["chunks"]]


def test_who_leaves_is_replaced(make_swarm):
    """Its chunks are copied again from the others until every file has its
    copies back; so one after the other may leave and nothing is lost."""
    s = make_swarm(peers=4, tracker_args=["--repair-after", "1"])
    data = os.urandom(20 * SLOT)
    write(s.peers[0].path("f"), data)
    for p in s.peers[:2]:
        p.kill()
        assert min(holders(s)) == 1
        settled(s)
        assert min(holders(s)) >= 2
        assert s.status()["missing_chunks"] == 0
    assert read(s.peers[2].path("f")) == data
    assert s.status()["tracker_counters"]["chunks_copied"] >= 20
    # one that says good-bye is replaced as well, when somebody is there for it
    s.add_peer()
    s.peers[2].stop()
    settled(s)
    assert min(holders(s)) >= 2
    assert read(s.peers[3].path("f")) == data


def test_who_is_away_shortly_is_not(make_swarm):
    """Without --repair-after a peer has a minute to come back with its copies."""
    s = make_swarm(peers=3)
    write(s.peers[0].path("f"), os.urandom(9 * SLOT))
    s.peers[1].kill()
    lacking = s.status()["under_replicated_chunks"]
    assert lacking > 0
    time.sleep(4)
    assert s.status()["under_replicated_chunks"] == lacking
    assert s.status()["tracker_counters"]["chunks_copied"] == 0
    s.peers[1].start()
    settled(s)
    assert s.status()["tracker_counters"]["chunks_copied"] == 0


# ------------------------------------------------------------------ overheads


def test_overheads_are_counted(make_swarm):
    """Known traffic, exact numbers: 8 chunks, 2 copies, 2 peers, then a reader."""
    s = make_swarm(peers=2)
    a, b = s.peers

    def of(p, name):
        return next(x["counters"].get(name, 0) for x in s.status()["peers"] if x["address"] == address(s, p))
    n, data = 8, os.urandom(8 * SLOT)
    write(a.path("f"), data)
    wait_for(lambda: of(a, "chunks_sent") == n and of(b, "chunks_received") == n, "the counters", 10)
    # communication
    assert of(a, "chunk_bytes_sent") == of(b, "chunk_bytes_received") == n * SLOT
    assert of(b, "chunks_sent") == of(a, "chunks_received") == 0
    assert of(a, "handshakes") >= 2     # with the server and with the other peer
    assert of(a, "handshake_us") > 0 and of(a, "requests") > 0
    # computation: the writer hashes each byte once, the other peer checks it once
    assert of(a, "md5_bytes") == of(b, "md5_bytes") == n * SLOT
    assert of(b, "md5_checked") == n and of(b, "md5_us") > 0
    # storage
    st = s.status()
    assert st["file_bytes"] == n * SLOT and st["used_bytes"] == 2 * n * (SLOT + TRAILER)
    assert st["stored_bytes_per_file_byte"] == pytest.approx(2 * (SLOT + TRAILER) / SLOT, rel=1e-9)
    assert st["metadata_bytes"] > 4096
    assert st["metadata_bytes_per_chunk"] == pytest.approx(st["metadata_bytes"] / n)
    assert st["relay_cached_bytes"] <= max(st["relay_cache_bytes"], 1)
    # a reader: each chunk comes once (a slow answer may be asked for twice), and is checked
    c = s.add_peer()
    assert read(c.path("f")) == data
    wait_for(lambda: of(c, "peer_fetches") == n, "the reader's counters", 10)
    assert n <= of(c, "chunks_received") <= n + 2
    assert of(c, "md5_checked") >= n and of(c, "md5_bytes") >= n * SLOT
    assert of(c, "lookups") == 0        # the map had named the holders
    # all of it is in the report for people, in its group, with its unit
    text = s.pspfs("status").stdout
    groups = {}
    for line in text.splitlines():
        if line.isupper() or "OVERHEAD" in line or "COUNTERS" in line:
            group = groups.setdefault(line.split()[0], [])
        elif line.startswith("  "):
            group.append(line.split("  ")[1])
    assert {"TLS handshakes", "time in handshakes, us", "time of one handshake (mean), us", "requests to the tracker",
            "bytes of MD5s sent with chunks", "bytes of chunks sent"} <= set(groups["COMMUNICATION"])
    assert {"chunks MD5-checked", "bytes MD5-checked", "time in MD5, us"} <= set(groups["COMPUTATION"])
    assert {"bytes stored per byte of file", "bytes of metadata at the tracker",
            "bytes of metadata per chunk"} <= set(groups["STORAGE"])
