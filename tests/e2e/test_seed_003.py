"""Tracker, sending clients with a fifth each, receiving clients.

| the document says | shown by |
| --- | --- |
| the tracker keeps which peers share what; peers create and update entries | test_the_document |
| only peers with full files can create | test_only_the_whole_file_creates; test_share.py |
| peers request the tracker files maintained by the server (LIST) | test_the_document: list |
| and a particular one (GET NAME.track) | test_the_document: tracker, and .pspfs/trackers |
| then connects to the selected peers, and the download takes place | test_the_document; test_get.py::test_without_a_tracker |
| localhost, port 3456 | test_start.py (the defaults); here any port, so that tests do not meet |
| 10 threads for 10 clients: many at once | test_get.py::test_fifty_receivers: fifty |
| sending clients have 20% each, send 5% at a time | test_the_document: 20 chunks, 4 at each seeder |
| receiving clients get chunks from the sending ones, check the MD5 | test_the_document |
| five receiving clients at once | test_the_document: started in the same second, they help one another |
| (a sending client that goes meanwhile) | test_one_of_five_killed_while_another_copy_exists, ..._and_none_other_has_its_part |
"""
import json
import os
import time

from test_get import finish, get, md5, only, slow_swarm, start_get
from swarm import wait_for

MIB = 1 << 20
SIZE = 20 * MIB         # of 20 chunks, 5% each
FIFTHS = [f"{k * 20}%-{k * 20 + 20}%" for k in range(5)]


def pspfs_share(s, lender, *argv, check=True):
    return s.pspfs("--json", "share", "--store", lender.store, *map(str, argv), check=check)


def five_fifths(s, dest, copies=1):
    """A creator with the whole file, then @copies peers for each fifth; the creator leaves: (data, seeders)."""
    data = os.urandom(SIZE)
    (dest / "picture").write_bytes(data)
    creator, *seeders = s.add_lenders(1 + 5 * copies)
    done = json.loads(pspfs_share(s, creator, dest / "picture", "/picture", "--chunk-size", "1M").stdout)
    assert done["created"]
    for k, seeder in enumerate(seeders):
        joined = json.loads(pspfs_share(s, seeder, dest / "picture", "/picture", "--range", FIFTHS[k % 5]).stdout)
        assert not joined["created"] and joined["chunks"] == 4 and joined["bytes"] == SIZE // 5
    creator.stop()
    s.lenders.remove(creator)
    wait_for(lambda: sum(p["state"] == "active" for p in s.status()["peers"]) == len(seeders), "the creator to go")
    (dest / "picture").unlink()
    return data, seeders


def ranges(text):
    """{IP: [(first, end)]} as a tracker file says."""
    found = {}
    for line in text.splitlines():
        if line.startswith("holder "):
            _, at, _, _, _, spans = line.split(" ")
            found[at.split(":")[0]] = [tuple(map(int, r.split("-"))) for r in spans.split(",")]
    return found


def there(path, data):
    """The chunks that a part has."""
    if not path.exists():
        return set()
    part = path.read_bytes()
    return {k for k in range(20) if part[k * MIB:(k + 1) * MIB] == data[k * MIB:(k + 1) * MIB]}


def receivers(s, dest, n=5, *argv):
    began = time.monotonic()
    procs = [start_get(s, "/picture", dest / f"client_{6 + k}", *argv) for k in range(n)]
    assert time.monotonic() - began < 1
    return procs


def test_the_document(tmp_path):
    with slow_swarm(rate="400mbit", peers=0, tracker_args=["--copies", "1"]) as s:
        data, seeders = five_fifths(s, tmp_path)
        assert "/picture" in s.pspfs("list").stdout
        text = s.pspfs("tracker", "/picture").stdout
        fifths = {p.addr: [(k * 4 * MIB, (k + 1) * 4 * MIB)] for k, p in enumerate(seeders)}
        assert ranges(text) == fifths
        for word in ("/picture", str(SIZE), str(MIB)):
            assert word in text
        (tmp_path / "whole").write_bytes(data)
        assert md5(tmp_path / "whole") in text
        info = s.info("/picture")
        assert len(info["chunks"]) == 20 and all(len(c["holders"]) == 1 for c in info["chunks"])
        m = s.add_peer()
        with open(m.path(".pspfs/trackers/picture.track")) as f:
            track = f.read()
        assert ranges(track) == fifths and f"md5 {md5(tmp_path / 'whole')}" in track
        m.stop()
        s.slow()
        got = [finish(p) for p in receivers(s, tmp_path)]
        want = md5(tmp_path / "whole")
        assert {md5(tmp_path / f"client_{6 + k}") for k in range(5)} == {want}
        assert all(g["complete"] and g["bytes_fetched"] == SIZE for g in got)
        assert sum(g["bytes_from_receivers"] for g in got) > 0, "nobody helped"
        print("from receivers, MiB:", [g["bytes_from_receivers"] // MIB for g in got])
        for g in got:       # every fifth came from its seeder, or from one who had it from there
            assert len(g["sources"]) >= 2


def test_one_of_five_killed_while_another_copy_exists(tmp_path):
    with slow_swarm(rate="200mbit", peers=0, tracker_args=["--copies", "1"]) as s:
        data, seeders = five_fifths(s, tmp_path, copies=2)
        s.slow()
        procs = receivers(s, tmp_path)
        parts = [tmp_path / f"client_{6 + k}.part" for k in range(5)]
        wait_for(lambda: sum(len(there(p, data)) for p in parts) > 30, "a third of it", 60)
        assert all(p.poll() is None for p in procs)
        seeders[2].kill()
        for p in procs:
            finish(p)
        (tmp_path / "whole").write_bytes(data)
        assert {md5(tmp_path / f"client_{6 + k}") for k in range(5)} == {md5(tmp_path / "whole")}


def test_one_of_five_killed_and_none_other_has_its_part(tmp_path):
    """An honest error that names the missing ranges; then the same command completes."""
    out, part = tmp_path / "out", tmp_path / "out.part"
    with slow_swarm(rate="80mbit", peers=0, tracker_args=["--copies", "1"]) as s:
        data, seeders = five_fifths(s, tmp_path)
        s.slow()
        proc = start_get(s, "/picture", out, "--timeout", "3")
        wait_for(lambda: len(there(part, data)) >= 6, "a third of it", 60)
        had = there(part, data)
        k = min(range(5), key=lambda k: len(had & set(range(4 * k, 4 * k + 4))))
        seeders[k].kill()
        said, err = proc.communicate(timeout=120)
        assert proc.returncode == 2, err
        lacks = set(range(20)) - there(part, data)
        assert lacks and lacks <= set(range(4 * k, 4 * k + 4)), "all else was fetched"
        missing = json.loads(said)["missing"]
        assert {c for first, end in missing for c in range(first // MIB, end // MIB)} == lacks
        assert ", ".join(f"{first}-{end}" for first, end in missing) in err
        only(tmp_path, "out.part")
        s.add_lenders(1, store=seeders[k].store, addr=seeders[k].addr)
        done = get(s, "/picture", out)
        assert done["bytes_fetched"] == len(lacks) * MIB and done["bytes_resumed"] == SIZE - len(lacks) * MIB
        assert out.read_bytes() == data


def test_only_the_whole_file_creates(make_swarm, tmp_path):
    s = make_swarm(peers=0, tracker_args=["--copies", "1"])
    (lender,) = s.add_lenders(1)
    data = bytearray(os.urandom(SIZE))
    (tmp_path / "f").write_bytes(data)
    done = pspfs_share(s, lender, tmp_path / "f", "/f", "--range", "0%-20%", check=False)
    assert done.returncode == 2 and "whole file" in done.stderr
    assert "/f" not in s.pspfs("list").stdout
    pspfs_share(s, lender, tmp_path / "f", "/f", "--chunk-size", "1M")
    data[5 * MIB + 7] ^= 1
    (tmp_path / "other").write_bytes(data)
    (second,) = s.add_lenders(1)
    done = pspfs_share(s, second, tmp_path / "other", "/f", "--range", "20%-60%", check=False)
    assert done.returncode == 2 and f"{5 * MIB}" in done.stderr, done.stderr
    assert all(len(c["holders"]) == 1 for c in s.info("/f")["chunks"]), "nothing of it was kept"
