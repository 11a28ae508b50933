"""pspfs status and info, for people and for programs."""
import hashlib
import json
import os

from swarm import program, run, wait_for

SLOT = 512 * 1024


def test_status(swarm):
    st = swarm.status()
    assert len(st["peers"]) == 3 and st["copies"] == 2 and st["chunk_size"] == SLOT
    assert {p["address"].split(":")[0] for p in st["peers"]} == {p.addr for p in swarm.peers}
    text = swarm.pspfs("status").stdout
    for p in swarm.peers:
        assert p.addr in text
    assert "active" in text and "3 active peers" in text
    assert "behind NAT" not in text and "guest" not in text
    assert all(p["reachable"] in ("yes", "unknown") and p["guest"] is False for p in st["peers"])


def test_overheads(swarm):
    """Three groups, each counter once, with its unit; the same numbers in JSON."""
    a, b = swarm.peers[0], swarm.peers[1]
    open(a.path("costs"), "wb").write(os.urandom(3 * SLOT))
    assert len(open(b.path("costs"), "rb").read()) == 3 * SLOT
    wait_for(lambda: swarm.counter("md5_checked") >= 3 and swarm.status()["stored_bytes_per_file_byte"] > 1,
             "all peers to tell what they did and have", 10)
    st, text = swarm.status(), swarm.pspfs("status").stdout
    heads = [line.split(",")[0] for line in text.splitlines() if line.split(",")[0].isupper() and "PEER" not in line]
    assert heads == ["COMMUNICATION OVERHEAD", "COMPUTATION OVERHEAD", "STORAGE OVERHEAD", "OTHER COUNTERS"]
    lines = [line.split("  ")[1] for line in text.splitlines() if line.startswith("  ")]
    assert len(lines) == len(set(lines)), lines
    assert {"time in MD5, us", "bytes MD5-checked", "bytes of metadata per chunk"} <= set(lines)
    assert not any(line.endswith(" 0") for line in text.splitlines() if line.startswith("  "))
    assert st["metadata_bytes"] % 2048 == 0 and st["metadata_bytes"] > 0
    assert st["metadata_bytes_per_chunk"] * st["chunks"] - st["metadata_bytes"] < 1
    assert 1 < st["stored_bytes_per_file_byte"] < 4
    assert st["relay_cached_bytes"] == 0 or st["relay_cached_bytes"] <= st["relay_cache_bytes"]


def test_counters(swarm):
    a, b = swarm.peers[0], swarm.peers[1]
    before = {n: swarm.counter(n) for n in ("chunks_sent", "chunks_received", "md5_checked", "commits")}
    data = os.urandom(6 * SLOT)
    open(a.path("counted"), "wb").write(data)
    assert open(b.path("counted"), "rb").read() == data
    wait_for(lambda: all(swarm.counter(n) > v for n, v in before.items()), "the counters", 10)
    assert swarm.counter("handshakes") >= 3
    assert swarm.counter("chunk_bytes_received") >= 6 * SLOT
    assert swarm.counter("chunks_corrupt") == 0


def test_info(swarm):
    a = swarm.peers[0]
    data = os.urandom(2 * SLOT + 100)
    os.makedirs(a.path("dir"), exist_ok=True)
    open(a.path("dir", "f"), "wb").write(data)
    info = swarm.info(a.path("dir", "f"))
    assert info["size"] == len(data) and len(info["chunks"]) == 3
    by_id = {c["id"]: c for c in info["chunks"]}
    for slot in info["slots"]:
        (piece,) = slot["slices"]
        at = slot["slot"] * SLOT
        want = hashlib.md5(data[at:at + SLOT]).hexdigest()
        assert by_id[piece["chunk"]]["md5"] == want
        assert len(by_id[piece["chunk"]]["holders"]) == 2
    assert swarm.info("/dir/f")["chunks"] == info["chunks"]
    text = swarm.pspfs("info", a.path("dir", "f")).stdout
    assert all(c["md5"] in text for c in info["chunks"])


def test_a_chunk_on_disk_is_plain(swarm):
    """head -c LENGTH of a chunk's file through md5sum gives the MD5."""
    a = swarm.peers[0]
    open(a.path("plain"), "wb").write(os.urandom(70000))
    (chunk,) = swarm.info(a.path("plain"))["chunks"]
    holders = [p for p in swarm.peers if p.chunk_file(chunk["id"])]
    assert len(holders) == 2
    for p in holders:
        raw = open(p.chunk_file(chunk["id"]), "rb").read()
        assert len(raw) == 70000 + 128
        assert hashlib.md5(raw[:70000]).hexdigest() == chunk["md5"]
        assert raw[70000:70008] == b"pspfsCHK"
        assert raw[70000 + 56:70000 + 72].hex() == chunk["md5"]


def test_options_behind_the_verb(swarm):
    said = run(program("pspfs"), "status", "--json", f"--tracker={swarm.tracker_addr}", "--key", swarm.key).stdout
    assert len(json.loads(said)["peers"]) == 3
    assert "usage:" in swarm.pspfs("status", "--help").stdout
    done = swarm.pspfs("info", "--tracker", check=False)
    assert done.returncode == 1 and "needs a value" in done.stderr


def test_info_of_nothing(swarm):
    done = swarm.pspfs("info", "/no/such/file", check=False)
    assert done.returncode == 2 and "No such file" in done.stderr
