"""The checker of mounts, with fewer rounds than `make check-mounts`; and that it can find fault."""
import os
import random

import pytest

import check_engine
import check_mounts
from check_engine import Kind, Mount, Tally

ROUNDS = 60             # of each kind
RUSH = 2000             # where only chance brings it about


def args(*more):
    return check_mounts.arguments(["--rounds", str(ROUNDS), *more])


@pytest.mark.timeout(900)       # 40 s on two cores that do nothing else
def test_mounts_agree(capfd):
    """No stale answer of any kind; the seed is printed."""
    a = args()
    print(f"seed {a.seed}")
    result = check_mounts.check(a)
    print(check_mounts.table(result["rows"]))
    assert not result["failures"]
    assert not any(r["stale"] for r in result["rows"].values()), "\n".join(result["reports"])
    assert all(r["rounds"] and r["answers"] for r in result["rows"].values())


@pytest.mark.timeout(900)       # 25 s on two cores that do nothing else
def test_changes_back_to_back():
    """Also a look that meets a second change sees the first: one that the kernel answers with a size of its own."""
    result = check_mounts.check(check_mounts.arguments(
        ["--rush", "--rounds", str(RUSH), "--kind", "truncate/race"]))
    assert not result["failures"]
    assert not any(r["stale"] for r in result["rows"].values()), "\n".join(result["reports"])


class Twice(Kind):
    """A number in a file, of which one mount's looks are stale."""
    name = "twice"
    agree = ()
    looks = {"read": lambda k, m: int(open(m.at("f")).read()) - k.stale * (m.letter == "B")}
    stale = 0

    def prepare(self, m):
        self.change(m, 0)

    def want(self, look, v):
        return v

    def change(self, m, v):
        with open(m.at("new"), "w") as f:
            f.write(str(v))
        os.rename(m.at("new"), m.at("f"))


@pytest.mark.parametrize("run", [check_engine.in_turn, check_engine.in_races])
@pytest.mark.parametrize("stale", [0, 1])
def test_the_checker_finds_fault(tmp_path, monkeypatch, run, stale):
    """Two "mounts" that are one local directory: right; one a version behind: told."""
    monkeypatch.setattr(check_engine, "RIGHT_S", 0.01)
    kind, told = Twice(), []
    kind.stale = stale
    tally = Tally(kind, 1, told.append)
    mounts = [Mount(letter, str(tmp_path)) for letter in "AB"]
    run(kind, tally, mounts, 20, random.Random(1), lambda v: None)
    for m in mounts:
        m.close()
    counted = sum(r["stale"] for r in tally.rows.values())
    assert sum(r["rounds"] for r in tally.rows.values()) == 20
    assert counted >= 20 if stale else counted == 0, tally.reports
    assert bool(tally.reports) == bool(stale)
    assert all("on B saw" in text for text in tally.reports)


def test_unknown_kind():
    with pytest.raises(SystemExit) as e:
        check_mounts.check(args("--kind", "nonsense"))
    assert "nonsense" in str(e.value) and "--list" in str(e.value)
