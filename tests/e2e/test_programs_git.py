"""git and make, in one tree on two mounts at once."""
import os
import shutil

import pytest

from programs import Program, call, need, sh, together
from swarm import TOP

pytestmark = pytest.mark.usefixtures("git_there")


@pytest.fixture
def git_there():
    need("git", "make")


def git(where, *argv, **kw):
    return call("git", "-C", where, *argv, **kw)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A local repository of some thousand objects, the history of 40 commits."""
    top = tmp_path_factory.mktemp("origin")
    call("git", "init", "-q", "-b", "main", top)
    lines = []
    for commit in range(40):
        lines += ["commit refs/heads/main", f"committer A <a@example.org> {1600000000 + commit} +0000",
                  "data 1", "m"]
        for k in range(50):
            text = "".join(f"line {commit} {k} {i}\n" for i in range(k * 3))
            lines += [f"M 100644 inline d{k % 7}/s{k % 5}/f{(commit * 13 + k) % 400}", f"data {len(text)}", text]
    lines += ["M 100755 inline tool.sh", "data 10", "#!/bin/sh", "", "M 120000 inline link", "data 7", "tool.sh", ""]
    git(top, "fast-import", "--quiet", stdin="\n".join(lines))
    git(top, "reset", "-q", "--hard")
    assert int(git(top, "rev-list", "--all", "--objects", "--count")) > 2000
    return str(top)


def fsck(*repos):
    for out in together(*[lambda r=r: git(r, "fsck", "--full", "--strict") for r in repos]):
        assert "error" not in out and "missing" not in out and "corrupt" not in out, out


def test_clone_and_work_on_both(pair, origin):
    a, b = pair
    call("git", "clone", "-q", "--no-hardlinks", origin, f"{a}/r")
    assert git(f"{b}/r", "rev-parse", "HEAD") == git(origin, "rev-parse", "HEAD")
    fsck(f"{a}/r", f"{b}/r")
    # The index that A wrote holds inode numbers and times: on B they are the same.
    git(f"{b}/r", "diff-files", "--quiet")
    assert git(f"{b}/r", "status", "--porcelain") == ""
    call("git", "clone", "-q", "--local", f"{b}/r", f"{b}/mine")     # hard links
    for i in range(3):
        sh('echo "$1" >>d1/new; git add -A; git commit -qm "$1"', f"from A {i}", cwd=f"{a}/r")
        git(f"{b}/mine", "pull", "-q", "--ff-only")
        assert f"from A {i}" in git(f"{b}/r", "log", "-1", "--format=%s")
        assert f"from A {i}" in git(f"{a}/mine", "log", "-1", "--format=%s")
        assert git(f"{b}/r", "status", "--porcelain") == ""
        sh('git mv d1/new d1/old; git commit -qm back; git mv d1/old d1/new; git commit -qm again',
           cwd=f"{b}/r" if i % 2 else f"{a}/r")
    git(f"{b}/r", "diff-files", "--quiet")
    fsck(f"{b}/mine", f"{a}/mine")


def test_worktree_of_one_repository_on_the_other_mount(pair, origin):
    """Worktrees record absolute paths: so each mount adds its own."""
    a, b = pair
    call("git", "clone", "-q", "--bare", origin, f"{a}/r.git")
    git(f"{a}/r.git", "worktree", "add", "-q", "-b", "side", f"{a}/wa")
    git(f"{b}/r.git", "worktree", "add", "-q", "-b", "other", f"{b}/wb")
    together(*[lambda w=w: sh('for i in 1 2 3 4; do echo $i >new; git add new; git commit -qm $i; done', cwd=w)
               for w in (f"{a}/wa", f"{b}/wb")])
    for branch in ("side", "other"):
        assert git(f"{b}/r.git", "rev-list", "--count", f"main..{branch}") == "4\n"
    assert git(f"{a}/wa", "status", "--porcelain") == "" == git(f"{b}/wb", "status", "--porcelain")
    fsck(f"{a}/r.git", f"{b}/r.git")


def test_pushes_from_both_mounts(pair, origin):
    """A bare repository; two clones that commit and push at once, each 4 times."""
    a, b = pair
    call("git", "clone", "-q", "--bare", origin, f"{a}/r.git")
    script = """
        git clone -q "$1/r.git" "$1/$2"; cd "$1/$2"
        for i in 1 2 3 4; do
            echo $i >"$2-$i"; git add -A; git commit -qm "$2 $i"
            for try in $(seq 30); do
                git push -q origin HEAD:main 2>"../err-$2" && break
                grep -qE 'rejected|cannot lock|failed to update|incorrect old value' "../err-$2" || { cat "../err-$2"; exit 3; }
                git pull -q --rebase origin main
            done
            [ "$(git rev-parse HEAD)" = "$(git rev-parse origin/main)" ]
        done"""
    before = int(git(origin, "rev-list", "--count", "main"))
    together(*[lambda x=x: sh(script, *x, timeout=120) for x in ((a, "one"), (b, "two"))])
    fsck(f"{a}/r.git", f"{b}/r.git")
    for top in (a, b):
        subjects = git(f"{top}/r.git", "log", "--format=%s", "main").split("\n")
        assert len(subjects) - 1 == before + 8
        for who in ("one", "two"):
            assert [s for s in subjects if s.startswith(who)] == [f"{who} {i}" for i in range(4, 0, -1)]


def test_gc_while_the_other_mount_reads(pair, origin):
    a, b = pair
    call("git", "clone", "-q", "--no-hardlinks", origin, f"{a}/r")
    want = git(origin, "rev-list", "--all", "--objects", "--count")
    sh("git log -p --stat | md5sum >../want", cwd=f"{a}/r")
    reader = Program("bash", "-euo", "pipefail", "-c", """
        rounds=0
        until [ -e ../stop ]; do
            git log -p --stat | md5sum >../sum; cmp ../sum ../want
            git rev-list --all --objects --no-object-names | git cat-file --batch-check >../check
            if grep missing ../check; then exit 3; fi
            rounds=$((rounds + 1))
        done
        echo "rounds $rounds" """, cwd=f"{b}/r")
    try:
        for argv in (("gc", "-q", "--prune=now"), ("repack", "-q", "-a", "-d", "-f")):
            git(f"{a}/r", *argv, timeout=120)
    finally:
        open(f"{a}/stop", "w").close()
        done = reader.done(check=False, timeout=60)
    assert done.returncode == 0, done.stdout
    print(done.stdout)
    assert git(f"{b}/r", "rev-list", "--all", "--objects", "--count") == want
    fsck(f"{a}/r", f"{b}/r")


def test_index_lock_across_mounts(pair):
    a, b = pair
    git(a, "init", "-q", "-b", "main", "r")
    sh('echo 1 >f; git add f; git commit -qm 0', cwd=f"{a}/r")
    os.close(os.open(f"{a}/r/.git/index.lock", os.O_CREAT | os.O_EXCL))
    done = git(f"{b}/r", "commit", "-q", "--allow-empty", "-m", "x", check=False)
    assert done.returncode == 128 and "index.lock': File exists" in done.stdout
    os.unlink(f"{a}/r/.git/index.lock")
    git(f"{b}/r", "commit", "-q", "--allow-empty", "-m", "x")


def test_commits_to_one_worktree_from_both_mounts(pair):
    """Who finds the lock taken is told so; who is told "done" has committed."""
    a, b = pair
    git(a, "init", "-q", "-b", "main", "r")
    sh('echo 1 >f; git add f; git commit -qm 0', cwd=f"{a}/r")
    script = """
        for i in $(seq 8); do
            for try in $(seq 100); do
                echo "$1 $i" >"f-$1"
                if git add "f-$1" 2>"../err-$1" && git commit -qm "$1 $i" "f-$1" >"../err-$1" 2>&1; then continue 2; fi
                grep -qE "File exists|cannot lock ref|Another git process" "../err-$1" || { cat "../err-$1"; exit 3; }
                sleep 0.0$((RANDOM % 90 + 10))
            done
            echo "never got the lock"; exit 4
        done"""
    together(lambda: sh(script, "one", cwd=f"{a}/r", timeout=120), lambda: sh(script, "two", cwd=f"{b}/r", timeout=120))
    for r in (f"{a}/r", f"{b}/r"):
        subjects = git(r, "log", "--format=%s").split()
        assert len(subjects) == 2 * 16 + 1
        assert git(r, "ls-files").split() == ["f", "f-one", "f-two"]
        assert git(r, "diff", "HEAD") == ""
    fsck(f"{a}/r", f"{b}/r")


# ------------------------------------------------------------------- make

def make(top, build, *targets, check=True):
    return call("make", "-j4", f"BUILD={build}", "CFLAGS=-O0", *targets, cwd=top, check=check, timeout=280)


def test_make_of_this_project(pair):
    """Both mounts build at once from one tree; each runs what the other built."""
    a, b = pair
    need("gcc", "pkg-config")
    for name in ("Makefile", "include", "net", "tracker"):
        copy = shutil.copytree if os.path.isdir(f"{TOP}/{name}") else shutil.copy2
        copy(f"{TOP}/{name}", f"{a}/{name}")
    builds = [(build, f"{build}/psptrackerd") for build in ("on-a", "on-b")]
    outs = together(lambda: make(a, *builds[0]), lambda: make(b, *builds[1]))
    assert not any("warning" in out for out in outs), outs
    for top in (a, b):
        for _, target in builds:
            assert "--listen" in call(f"{top}/{target}", "--help")
    # make goes by times: on both mounts nothing is left to do, until a source changes on the other.
    for top in (a, b):
        for build, target in builds:
            assert "CC" not in make(top, build, target), f"{build} on {top}"
    touched = []
    for top, other, source, (build, target) in ((a, b, "tracker/lru.c", builds[0]),
                                                (b, a, "net/text.c", builds[1])):
        touched.append(source)
        os.utime(f"{top}/{source}")
        assert make(other, build, "-q", target, check=False).returncode == 1
        out = make(other, build, target)
        assert sorted(line.split()[1] for line in out.splitlines() if line.split()[0] == "CC") == sorted(touched), out
        make(top, build, "-q", target)
