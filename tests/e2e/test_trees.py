"""Ordinary programs copy trees in through one mount; another shows the same."""
import os
import subprocess

import pytest

from swarm import run, same_trees, tree_facts


def test_cp_usr_include(pair):
    a, b = pair
    run("cp", "-a", "/usr/include", f"{a}/include", timeout=240)
    same_trees("/usr/include", f"{b}/include")
    assert tree_facts("/usr/include") == tree_facts(f"{b}/include")
    du = run("du", "-s", "--apparent-size", f"{b}/include").stdout.split()[0]
    assert int(du) > 1000
    found = run("find", f"{b}/include", "-type", "f", timeout=120).stdout.count("\n")
    assert found == run("find", "/usr/include", "-type", "f").stdout.count("\n")
    run("rm", "-r", f"{b}/include", timeout=240)
    assert os.listdir(a) == []


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tree with all that tar and rsync keep: modes, times, links, holes."""
    top = tmp_path_factory.mktemp("source") / "tree"
    for d in range(12):
        sub = top / f"d{d}" / "deep" / "er"
        sub.mkdir(parents=True)
        for f in range(12):
            (sub / f"f{f}").write_bytes(os.urandom(f * 997 + d))
    (top / "big").write_bytes(os.urandom(3 << 20))
    os.truncate(top / "big", 5 << 20)
    os.symlink("d0/deep", top / "link")
    os.symlink("/nowhere", top / "dangling")
    os.link(top / "big", top / "hard")
    os.chmod(top / "d3", 0o2750)
    os.utime(top / "d4" / "deep" / "er" / "f4", ns=(1, 1500000000123456789))
    (top / "empty").mkdir()
    return str(top)


def test_tar(pair, source):
    a, b = pair
    subprocess.run(f"tar -C {source} --format=posix -cf - . | tar -C {a} -xpf -", shell=True, check=True, timeout=120)
    same_trees(source, b)
    assert tree_facts(source) == tree_facts(b)
    subprocess.run(f"tar -C {b} --format=posix -cf - . | tar -C {source} -df -", shell=True, check=True, timeout=120)


def test_rsync(pair, source):
    a, b = pair
    run("rsync", "-aH", f"{source}/", f"{a}/t/", timeout=120)
    same_trees(source, f"{b}/t")
    again = run("rsync", "-aH", "--itemize-changes", f"{source}/", f"{b}/t/", timeout=120)
    assert again.stdout == ""
    run("rsync", "-aH", "--checksum", "--itemize-changes", "--delete", f"{a}/t/", f"{source}/", timeout=120)
    assert os.stat(f"{b}/t/big").st_ino == os.stat(f"{b}/t/hard").st_ino
    run("mv", f"{a}/t", f"{a}/moved")
    same_trees(source, f"{b}/moved")


def test_git(pair, tmp_path):
    a, b = pair
    env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null",
               GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example.org",
               GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@example.org")
    safe = ["-c", "safe.directory=*"]

    def git(*argv, cwd):
        return run("git", *safe, *argv, cwd=cwd, env=env, timeout=120)
    origin = tmp_path / "origin"
    origin.mkdir()
    git("init", "-q", cwd=origin)
    for i in range(60):
        (origin / f"file{i}").write_text(f"line {i}\n" * (i * 20))
    git("add", ".", cwd=origin)
    git("commit", "-qm", "one", cwd=origin)
    git("clone", "-q", "--no-local", str(origin), f"{a}/clone", cwd="/")
    git("fsck", "--strict", cwd=f"{b}/clone")
    assert git("status", "--porcelain", cwd=f"{b}/clone").stdout == ""
    with open(f"{b}/clone/file1", "a") as f:
        f.write("more\n")
    git("commit", "-qam", "two", cwd=f"{b}/clone")
    assert git("log", "--format=%s", cwd=f"{a}/clone").stdout == "two\none\n"
    git("gc", "-q", cwd=f"{a}/clone")
    git("fsck", "--strict", cwd=f"{b}/clone")


def test_df(swarm):
    out = run("df", "-h", swarm.peers[1].mnt).stdout
    assert swarm.peers[1].mnt in out and "pspfs" in out


def test_a_tree_that_others_have_seen_goes_in_few_messages(swarm):
    """One removal after the other does not wait each time for who has looked at all of it."""
    a, b = swarm.peers[:2]
    os.makedirs(a.path("seen", "empty"))
    for k in range(600):
        with open(a.path("seen", str(k)), "wb") as f:
            f.write(b"x")
    kept = os.open(b.path("seen", "7"), os.O_RDONLY)
    assert len([os.stat(e.path) for e in os.scandir(b.path("seen"))]) == 601
    before = swarm.status()["tracker_counters"]["leases_revoked"]
    for k in range(600):
        os.unlink(a.path("seen", str(k)))
        assert k % 50 or not os.path.lexists(b.path("seen", str(k)))
    assert swarm.status()["tracker_counters"]["leases_revoked"] - before < 120
    assert os.fstat(kept).st_nlink == 0 and os.read(kept, 2) == b"x"
    os.close(kept)
    assert os.listdir(b.path("seen")) == ["empty"] and os.stat(b.path("seen", "empty")).st_ino
