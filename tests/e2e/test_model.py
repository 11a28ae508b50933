"""All calls at random on several mounts against a model of POSIX: model.py."""
import os
import random
import subprocess
import sys
import tempfile

import pytest

import model_bench
from swarm import SLOWER

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = int(os.environ.get("PSPFS_MODEL_OPS", "100000"))
OPS = ALL // SLOWER
LIMIT_S = 600 * max(1, ALL // 100000)   # a test; some 50 where nothing else runs

pytestmark = pytest.mark.timeout((LIMIT_S + 60) * SLOWER)


def call(*argv, seed):
    """model.py's exit code and what it said; its swarm is gone then."""
    p = subprocess.Popen([sys.executable, os.path.join(HERE, "model.py"), "--seed", str(seed), *argv],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = p.communicate(timeout=LIMIT_S * SLOWER)[0]
    except subprocess.TimeoutExpired:
        p.terminate()
        said = p.communicate(timeout=60 * SLOWER)[0] + f"no end after {LIMIT_S * SLOWER} s"
    return p.returncode, said


def model(*argv):
    """Run model.py; its seed and whatever differs are in the failure."""
    seed = os.environ.get("PSPFS_SEED") or random.randrange(1 << 30)
    print(f"PSPFS_SEED={seed}", flush=True)
    code, said = call(*argv, seed=seed)
    print(said)
    assert code == 0, f"seed {seed}:\n{said[-20000:]}"
    assert "no difference" in said


def test_the_model_is_right():
    """An ordinary directory does what the model says."""
    with tempfile.TemporaryDirectory(prefix="pspfs-e2e-") as d:
        os.chmod(d, 0o755)              # other users act in there
        model("--local", d, "--ops", str(min(OPS, 15000)))


def test_the_model_finds_what_is_wrong(tmp_path):
    """Operations that cannot go well on two different directories."""
    dirs = [tmp_path / "x", tmp_path / "y"]
    for d in dirs:
        d.mkdir()
    code, said = call("--tops", ",".join(map(str, dirs)), "--ops", "300", seed=1)
    assert code == 1, said
    assert "shrunk to 1 operations" in said, said


def test_shrinking_keeps_what_is_needed():
    """Of many operations the two that differ together, whichever they are."""
    class Broken:
        def attempt(self, ops):
            kinds = [op[0] for op in ops]
            if "mkdir" in kinds and "fault" in kinds[kinds.index("mkdir"):]:
                return len(ops), "['fault', 0]: wrong 1"
            return None

    many = [["stat", n] for n in range(1000)]
    many[437], many[801] = ["mkdir", 437], ["fault", 801]
    assert model_bench.shrink(Broken(), many, "['fault', 7]: wrong 22") == (
        [["mkdir", 437], ["fault", 801]], "['fault', 0]: wrong 1")


@pytest.mark.parametrize("mounts, tenths", [(3, 7), (2, 1), (4, 1)])
def test_mounts_agree_with_the_model(mounts, tenths):
    model("--mounts", str(mounts), "--jobs", "2", "--ops", str(OPS * tenths // 10))


def test_mounts_agree_with_the_model_while_they_are_hurt():
    """Trackers and peers killed, connections cut, mounts frozen and killed."""
    model("--faults", "--ops", str(OPS // 10))
