"""Fixtures: swarms that are always taken down; skipped aloud without FUSE."""
import contextlib
import os
import time

import pytest

from callers import Caller
from swarm import Swarm, no_reports


# The files that take longest, from half a minute down: they are begun first, so
# that those who run files side by side end at about the same time.
LONGEST = ("model", "programs_io", "seed_004", "posix_names", "posix_perms", "endings", "locks", "posix_limits",
           "interrupt", "seed_000", "check_mounts", "trees", "posix_times", "programs_git", "listing", "get",
           "hard_times", "vanish", "replicate", "hard_clocks", "virtual", "faults", "kill")

# A run that has only so long, and begins with other files each time.
UNTIL = os.environ.get("PSPFS_UNTIL")
TURN = int(os.environ.get("PSPFS_TURN", "0"))
STRIDE = 11             # files from one turn to the next


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: it measures times, or takes the whole machine: nothing runs beside it")


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}.py": k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    if UNTIL:
        files = list(dict.fromkeys(item.path.name for item in items))
        rank = {name: (k - TURN * STRIDE) % len(files) for k, name in enumerate(files)}
        items.sort(key=lambda item: rank[item.path.name])
    if os.path.exists("/dev/fuse") and os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root and /dev/fuse to mount")
    for item in items:
        if str(item.fspath).startswith(os.path.dirname(__file__)):
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    if UNTIL and time.time() > float(UNTIL):
        pytest.skip("no time was left for it (PSPFS_UNTIL)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the logs of the swarms that are up."""
    report = (yield).get_result()
    if report.failed:
        report.sections += [(s.dir, s.logs()) for s in Swarm.up]


@pytest.fixture(autouse=True)
def no_sanitizer_reports():
    """Of what a test started without a swarm of its own."""
    yield
    no_reports()


@pytest.fixture(scope="module")
def swarm():
    """Three peers, two copies: shared by the tests of a file."""
    with Swarm(peers=3) as s:
        yield s


@pytest.fixture
def pair(swarm, request):
    """A fresh directory of the shared swarm, as two mounts see it."""
    name = request.node.name.replace("/", "_").replace("[", "_").replace("]", "_")
    a, b = swarm.peers[0], swarm.peers[1]
    os.mkdir(a.path(name))
    yield a.path(name), b.path(name)


@pytest.fixture
def make_swarm():
    """Swarms of a test's own: make_swarm(peers=2, ...)."""
    with contextlib.ExitStack() as made:
        yield lambda *args, **kw: made.enter_context(Swarm(*args, **kw))


@pytest.fixture
def callers():
    """callers(code, path): a Caller that is ended."""
    made = []

    def make(*args, **kw):
        made.append(Caller(*args, **kw))
        return made[-1]
    yield make
    for c in made:
        c.close()
