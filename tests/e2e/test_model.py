"""All calls at random on several mounts against a model of POSIX: model.py."""
import os
import subprocess
import sys

import pytest

from swarm import SLOWER

HERE = os.path.dirname(os.path.abspath(__file__))
OPS = int(os.environ.get("PSPFS_MODEL_OPS", "15000")) // SLOWER
LIMIT_S = 600           # some 150 where nothing else runs

pytestmark = pytest.mark.timeout((LIMIT_S + 60) * SLOWER)


def model(*argv):
    """Run model.py; its seed and whatever differs are in the failure."""
    seed = os.environ.get("PSPFS_SEED") or "1"     # others: make check-model
    done = subprocess.run([sys.executable, os.path.join(HERE, "model.py"), "--seed", str(seed), *argv],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=LIMIT_S * SLOWER)
    assert done.returncode == 0, done.stdout[-20000:]
    assert "no difference" in done.stdout
    print(done.stdout)
    return done.stdout


def test_the_model_is_right(tmp_path):
    """An ordinary directory does what the model says."""
    for up in [tmp_path, *list(tmp_path.parents)[:3]]:
        if up.owner() == "root" and up != up.parent and str(up) != "/tmp":
            os.chmod(up, 0o755)         # other users act in there
    model("--local", str(tmp_path), "--ops", str(min(OPS, 15000)))


def test_the_model_finds_what_is_wrong(tmp_path):
    """Operations that cannot go well on two different directories."""
    dirs = [tmp_path / "x", tmp_path / "y"]
    for d in dirs:
        d.mkdir()
    done = subprocess.run([sys.executable, os.path.join(HERE, "model.py"), "--tops", ",".join(map(str, dirs)),
                           "--seed", "1", "--ops", "300"], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S * SLOWER)
    assert done.returncode != 0, done.stdout


@pytest.mark.parametrize("mounts", [3])
def test_mounts_agree_with_the_model(mounts):
    model("--mounts", str(mounts), "--jobs", "2", "--ops", str(OPS))


def test_mounts_agree_with_the_model_while_they_are_hurt():
    """Trackers and peers killed, connections cut, mounts frozen and killed."""
    model("--faults", "--ops", str(OPS // 10))
