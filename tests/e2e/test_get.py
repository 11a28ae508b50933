"""pspfs tracker, list and get: tracker files, and downloads without a mount.

Seed 003, the receiving side: LIST, GET NAME.track, and receivers that take
chunks from many peers at once and from one another.
"""
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from swarm import SLOWER, Swarm, program, run, wait_for

SLOT = 512 * 1024


def pspfs(s, *argv):
    return [*s.prefix, program("pspfs"), "--tracker", s.tracker_addr, "--key", s.key, *map(str, argv)]


def get(s, *argv, code=0):
    """What pspfs --json get says."""
    done = run(*pspfs(s, "--json", "get", *argv), check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def start_get(s, *argv):
    return subprocess.Popen(pspfs(s, "--json", "get", *argv), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(proc, code=0, secs=120):
    try:
        out, err = proc.communicate(timeout=secs * SLOWER)
    except subprocess.TimeoutExpired:
        proc.kill()
        raise
    assert proc.returncode == code, (proc.returncode, out, err)
    return json.loads(out) if out else None


def md5(path):
    return hashlib.md5(open(path, "rb").read()).hexdigest()


def only(tmp_path, *names):
    """Nothing else is left: no part, no store."""
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def guests(s):
    return [p for p in s.status()["peers"] if p["guest"]]


# ------------------------------------------------------------------ the files

def make_empty(path):
    open(path, "wb").close()


def make_byte(path):
    open(path, "wb").write(b"x")


def make_slots(path):
    open(path, "wb").write(os.urandom(5 * SLOT + 1234))


def make_holes(path):
    with open(path, "wb") as f:
        f.seek(SLOT // 2)
        f.write(os.urandom(1000))
        f.seek(7 * SLOT + 17)
        f.write(os.urandom(SLOT))
        f.truncate(12 * SLOT + 5)


def make_patched(path):
    """Several slices a slot: the middle of chunks is hidden, twice."""
    open(path, "wb").write(os.urandom(3 * SLOT))
    for _ in range(3):
        with open(path, "r+b") as f:
            for _ in range(4):
                f.seek(random.randrange(3 * SLOT - 5000))
                f.write(os.urandom(random.randrange(1, 5000)))


@pytest.mark.parametrize("make", [make_empty, make_byte, make_slots, make_holes, make_patched])
def test_shapes(swarm, tmp_path, make):
    a = swarm.peers[0]
    name = make.__name__
    make(a.path(name))
    got = get(swarm, f"/{name}", tmp_path / "out")
    want = open(a.path(name), "rb").read()
    assert open(tmp_path / "out", "rb").read() == want
    assert got["complete"] and got["size"] == len(want) and got["missing"] == []
    assert sum(x["bytes"] for x in got["sources"]) == got["bytes_fetched"]
    only(tmp_path, "out")
    if make is make_holes:
        assert os.stat(tmp_path / "out").st_blocks * 512 < 4 * SLOT
    # and from the tracker file
    (tmp_path / "f.track").write_text(swarm.pspfs("tracker", f"/{name}").stdout)
    get(swarm, "--track", tmp_path / "f.track", tmp_path / "again")
    assert open(tmp_path / "again", "rb").read() == want
