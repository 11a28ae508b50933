"""A peer that never answers, or late, or by a slow line: who reads and writes goes on with the others."""
import concurrent.futures
import os
import time

import pytest

from callers import frozen
from small_disks import RealDisk
from swarm import SLOWER, run, wait_for
from test_get import slow_swarm

pytestmark = pytest.mark.alone   # how long a call takes

MIB = 1 << 20
READ_S, WRITE_S = 2 * SLOWER, 4 * SLOWER


def put(path, data):
    began = time.monotonic()
    with open(path, "wb") as f:
        f.write(data)
    return time.monotonic() - began


def put_durably(path, data):
    began = time.monotonic()
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    return time.monotonic() - began


def read(path):
    began = time.monotonic()
    with open(path, "rb") as f:
        data = f.read()
    return data, time.monotonic() - began


def held_by(s, path, addr):
    """How many of its chunks have a copy there."""
    return sum(addr in str(c["holders"]) for c in s.info(path)["chunks"])


def state_of(s, addr):
    return next(p["state"] for p in s.status()["peers"] if p["address"].startswith(addr + ":"))


def test_a_peer_that_never_answers(make_swarm):
    """Its kernel takes what is sent to it, and it says nothing."""
    s = make_swarm(peers=2)
    silent, other = s.add_lenders(2)
    a, b = s.peers
    data = os.urandom(24 * MIB)
    put(a.path("f"), data)
    put(a.path("g"), data[::-1])
    assert held_by(s, a.path("f"), silent.addr) > 4 and held_by(s, a.path("g"), silent.addr) > 4
    took = {}
    with frozen(silent.proc):
        got, took["read"] = read(b.path("f"))
        assert got == data
        took["write"] = put(a.path("w"), data)
        took["sync"] = put_durably(b.path("v"), data[:MIB])
        took["small"] = put_durably(a.path("u"), b"small")
        got, took["read again"] = read(b.path("g"))
        assert got == data[::-1] and read(b.path("w"))[0] == data
        print({k: round(v, 2) for k, v in took.items()})
        assert took["read"] < READ_S and took["read again"] < READ_S, took
        assert max(took["write"], took["sync"], took["small"]) < WRITE_S, took
        assert held_by(s, a.path("w"), silent.addr) == 0
        wait_for(lambda: state_of(s, silent.addr) != "active", "the tracker to notice", 15)
    wait_for(lambda: state_of(s, silent.addr) == "active", "it to be back", 15)

    def used():
        put(a.path("x"), data)
        return held_by(s, a.path("x"), silent.addr)
    wait_for(used, "it to be asked again", 15)
    assert read(b.path("x"))[0] == data
    for n in "fgwvu":
        assert read(a.path(n))[0] == read(b.path(n))[0]
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "every chunk's copies", 30)


def test_what_a_silent_peer_was_given_is_given_to_another(make_swarm):
    """Each close and fsync ends long before its lease does, with all copies; those that it stores in the end do no harm."""
    s = make_swarm(peers=1)
    silent, other = s.add_lenders(2)
    a = s.peers[0]
    put(a.path("before"), os.urandom(8 * MIB))
    assert held_by(s, a.path("before"), silent.addr)
    with frozen(silent.proc), concurrent.futures.ThreadPoolExecutor(16) as pool:
        took = list(pool.map(lambda n: (put_durably if n % 2 else put)(a.path(f"f{n}"), b"%d" % n), range(16)))
        assert max(took) < WRITE_S, took
        assert max(took) > 1.9, "none of them was given to it"
        at_once = [put_durably(a.path(f"g{n}"), b"%d" % n) for n in range(8)]
        assert max(at_once) < 1 * SLOWER, at_once
        assert state_of(s, silent.addr) != "gone"
        for n in range(16):
            for c in s.info(a.path(f"f{n}"))["chunks"]:
                assert a.addr in str(c["holders"]) and other.addr in str(c["holders"]), c
    assert a.read_log().count("has said nothing") == 1
    assert a.read_log().count("asking for another") == 1, a.read_log()
    wait_for(lambda: state_of(s, silent.addr) == "active", "it to be back", 15)
    wait_for(lambda: s.status()["under_replicated_chunks"] == 0, "every chunk's copies", 30)
    for n in range(16):
        assert read(a.path(f"f{n}"))[0] == b"%d" % n


def test_with_nobody_else_to_store_it(make_swarm):
    """Then the silent one is waited for: there are never fewer copies than its lease allows."""
    s = make_swarm(peers=1)
    silent, = s.add_lenders(1)
    a = s.peers[0]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with frozen(silent.proc):
            began = [pool.submit(put_durably, a.path("f"), b"f")]
            time.sleep(3.5)
            began.append(pool.submit(put, a.path("g"), b"g"))
            time.sleep(0.5)
            assert not any(b.done() for b in began)
        for b in began:
            b.result(3 * SLOWER)
    for n in "fg":
        assert held_by(s, a.path(n), silent.addr) == 1


def test_a_disk_that_stalls(make_swarm, tmp_path):
    """Who has one is slow, not mute: it is waited for, however much waits there, unread."""
    s = make_swarm(peers=1)
    disk = RealDisk(str(tmp_path / "disk"), "512M")
    try:
        slow, = s.add_lenders(1, store=f"{disk.path}/store")
        s.add_lenders(1)
        a = s.peers[0]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            with disk.stalled():
                began = [pool.submit(put_durably, a.path("f"), b"f" * 100),
                         pool.submit(put, a.path("g"), os.urandom(96 * MIB))]
                time.sleep(4)
                assert not all(b.done() for b in began), "nothing was given to it"
            for b in began:
                b.result(20 * SLOWER)
        assert "asking for another" not in a.read_log(), a.read_log()
        assert held_by(s, a.path("g"), slow.addr) > 16
        slow.stop()
    finally:
        disk.gone()


def slow_down(s, addr, rate="1mbit"):
    """What comes from this address goes by a slow line."""
    tc = ["tc", "class", "add", "dev", "lo", "parent", "1:", "classid"]
    for argv in (["tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb", "default", "10"],
                 [*tc, "1:10", "htb", "rate", "10gbit", "burst", "8m"],
                 [*tc, "1:20", "htb", "rate", rate, "burst", "64k"],
                 ["nft", "add table ip t; add chain ip t o { type route hook output priority 0; }; "
                         f"add rule ip t o ip saddr {addr} meta priority set 1:20"]):
        done = run(*s.prefix, *argv, check=False)
        if done.returncode:
            pytest.skip("tc or nft does not work here: " + done.stderr)


def test_a_peer_by_a_slow_line():
    """A chunk takes it four seconds: the other copy is asked, and soon at once."""
    with slow_swarm(peers=2) as s:
        slow, _ = s.add_lenders(2)
        a, b = s.peers
        data = os.urandom(24 * MIB)
        for n in "fg":
            put(a.path(n), data)
            assert held_by(s, a.path(n), slow.addr) > 4
        slow_down(s, slow.addr)
        fd = os.open(b.path("g"), os.O_RDONLY)
        worst = 0
        for at in range(0, len(data), 2 * MIB):     # blocks here and there
            began = time.monotonic()
            assert os.pread(fd, 4096, at) == data[at:at + 4096]
            worst = max(worst, time.monotonic() - began)
        os.close(fd)
        got, took = read(b.path("f"))
        print(f"{took:.2f} s for all of it, {worst:.2f} s at most for a block")
        assert got == data
        assert worst < READ_S and took < 4 * READ_S
        assert state_of(s, slow.addr) == "active"
