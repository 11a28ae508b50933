"""Ordinary programs on two mounts at once: archives, copies, text tools,
mail, packages, editors.  What they print and leave is compared with ext4's."""
import mmap
import os
import pathlib
import shutil
import socket
import sys
import tempfile

import pytest

from programs import Program, call, need, sh, together
from swarm import same_trees, tree_facts, wait_for

SLOT = 512 << 10


def links_of(top):
    """Which names are one file, and what xattrs there are."""
    names, xattrs = {}, {}
    for where, _, files in os.walk(top):
        for name in files:
            p = os.path.join(where, name)
            rel = os.path.relpath(p, top)
            names.setdefault(os.lstat(p).st_ino, []).append(rel)
            xattrs[rel] = {n: os.getxattr(p, n, follow_symlinks=False)
                           for n in os.listxattr(p, follow_symlinks=False)}
    return sorted(map(sorted, names.values())), xattrs


def contents(top):
    return {os.path.relpath(p, top): p.read_bytes() for p in pathlib.Path(top).rglob("*")
            if not p.is_symlink() and p.is_file()}


def same_menagerie(a, b):
    assert contents(a) == contents(b)
    assert tree_facts(a) == tree_facts(b)
    assert links_of(a) == links_of(b)


@pytest.fixture(scope="module")
def menagerie(tmp_path_factory):
    """A tree with one of everything, on the local disk."""
    top = tmp_path_factory.mktemp("menagerie") / "m"
    for d in ("a/b/c/d", "empty", "with space", "\u00e9\u00fc\u4e2d"):
        (top / d).mkdir(parents=True)
    for i, size in enumerate((0, 1, 511, 4095, 4096, 4097, 70000, SLOT - 1, SLOT, SLOT + 1, 2 * SLOT + 333)):
        (top / "a" / f"f{i}").write_bytes(bytes((i + k * 7) % 251 for k in range(251)) * (size // 251 + 1))
        os.truncate(top / "a" / f"f{i}", size)
    for i in range(60):
        (top / "a/b" / f"small-{i}").write_text(f"{i}\n" * i)
    for name in ("new\nline", "-dash", "tab\t", "x" * 255, "'quote\"", "back\\slash"):
        (top / "with space" / name).write_text(name)
    os.link(top / "a/f6", top / "a/b/hard-1")
    os.link(top / "a/f6", top / "empty-hard-2")
    for link, target in (("s1", "a/f1"), ("a/up", "../a/b"), ("dangling", "no/such"), ("abs", "/etc/hostname"),
                         ("long", "y/" * 500)):
        os.symlink(target, top / link)
    os.mkfifo(top / "fifo")
    with open(top / "sparse", "wb") as f:
        f.seek(5 << 20)
        f.write(b"end")
    os.setxattr(top / "a/f1", "user.note", b"\0binary\xff")
    os.setxattr(top / "a/b/c", "user.dir", b"yes")
    os.chown(top / "a/f2", 1234, 4321)
    os.lchown(top / "s1", 12, 34)
    for name, mode in (("a/f2", 0o4755), ("a/f3", 0o000), ("a/f4", 0o2711), ("a/b/c/d", 0o1777)):
        os.chmod(top / name, mode)
    os.utime(top / "a/f5", ns=(10**18 + 1, 10**18 + 123456789))
    os.utime(top / "dangling", ns=(10**17, 10**17 + 7), follow_symlinks=False)
    os.utime(top / "empty", ns=(1, 999999999))
    return str(top)


# ------------------------------------------------------ archives and copies

def test_tar(pair, menagerie):
    a, b = pair
    flags = "--numeric-owner --xattrs --xattrs-include=* --sparse --format=posix".split()
    call("tar", *flags, "-C", menagerie, "-cf", f"{a}/local.tar", ".")
    os.mkdir(f"{b}/m")
    call("tar", *flags, "-C", f"{b}/m", "-xpf", f"{b}/local.tar")
    same_menagerie(menagerie, f"{a}/m")
    assert call("tar", "--numeric-owner", "--compare", "-C", f"{a}/m", "-f", f"{a}/local.tar") == ""
    # From one mount into the other's, and compressed.
    together(lambda: call("tar", *flags, "-C", f"{a}/m", "-czf", f"{a}/x.tar.gz", "."),
             lambda: call("tar", *flags, "-C", f"{b}/m", "-cJf", f"{b}/x.tar.xz", "."))
    for name, top in (("x.tar.gz", b), ("x.tar.xz", a)):
        assert call("tar", "--numeric-owner", "--compare", "-C", menagerie, "-f", f"{top}/{name}") == ""


def test_tar_of_what_was_just_written(pair):
    """Nothing "changed as we read it", and nothing has for the next, incremental, one."""
    a, b = pair
    os.mkdir(f"{a}/d")
    for i in range(100):
        pathlib.Path(f"{a}/d/{i}").write_text("x" * i * 40)
    assert call("tar", "-C", a, "-g", f"{a}/snapshot", "-cf", f"{a}/0.tar", "d") == ""
    pathlib.Path(f"{b}/d/new").write_text("new")
    assert call("tar", "-C", a, "-g", f"{a}/snapshot", "-cvf", f"{a}/1.tar", "d") == "d/\nd/new\n"


def test_rsync(pair, menagerie):
    need("rsync")
    a, b = pair
    flags = "-aHXS --numeric-ids --checksum".split()
    call("rsync", *flags, f"{menagerie}/", f"{a}/m")
    same_menagerie(menagerie, f"{b}/m")
    assert call("rsync", *flags, "-ni", "--delete", f"{menagerie}/", f"{b}/m") == ""
    # By times and sizes alone, too.
    assert call("rsync", "-aHXni", "--numeric-ids", f"{a}/m/", f"{menagerie}") == ""
    # Out again, and after a change on B only what changed.
    with tempfile.TemporaryDirectory() as out:
        call("rsync", *flags, f"{b}/m/", f"{out}/m")
        same_menagerie(menagerie, f"{out}/m")
        with open(f"{b}/m/a/f8", "r+b") as f:
            f.seek(1000)
            f.write(b"changed on B")
        changed = call("rsync", *flags, "-i", f"{a}/m/", f"{out}/m")
        assert [line.split()[1] for line in changed.splitlines()] == ["a/f8"], changed
    # Within the folder, updating blocks in place.
    call("rsync", "-a", "--inplace", "--no-whole-file", f"{a}/m/a/f10", f"{a}/m/a/f9")
    call("cmp", f"{b}/m/a/f10", f"{b}/m/a/f9")


def test_cp_within_the_folder(pair, menagerie):
    a, b = pair
    call("cp", "-a", menagerie, f"{a}/m")
    together(lambda: call("cp", "-a", f"{a}/m", f"{a}/from-a"), lambda: call("cp", "-a", f"{b}/m", f"{b}/from-b"))
    same_menagerie(menagerie, f"{b}/from-a")
    same_menagerie(menagerie, f"{a}/from-b")
    for flag in ("--sparse=always", "--sparse=never", "--reflink=auto"):
        call("cp", flag, f"{a}/m/sparse", f"{a}/copy")
        call("cmp", f"{menagerie}/sparse", f"{b}/copy")
    call("cp", "-al", f"{b}/m", f"{b}/linked")
    assert os.stat(f"{a}/m/a/f1").st_ino == os.stat(f"{a}/linked/a/f1").st_ino
    call("mv", f"{b}/from-a", f"{b}/moved")
    same_menagerie(menagerie, f"{a}/moved")
    call("rm", "-r", f"{a}/moved", f"{a}/from-b", f"{a}/linked")
    assert sorted(os.listdir(b)) == ["copy", "m"]


def test_zip(pair, menagerie):
    need("zip", "unzip")
    a, b = pair
    call("cp", "-a", f"{menagerie}/a", f"{a}/a")
    sh("zip -qry z.zip a; mkdir out; cd out; unzip -q ../z.zip", cwd=a)
    same_trees(f"{menagerie}/a", f"{b}/out/a")
    assert "No errors" in call("unzip", "-t", f"{b}/z.zip")
    sh("echo more >a/more; zip -qu z.zip a/more; zip -qd z.zip a/f10", cwd=b)
    listed = call("unzip", "-Z1", f"{a}/z.zip").split("\n")
    assert "a/more" in listed and "a/f10" not in listed


# ------------------------------------------------------------- small tools

# Each prints the same, and leaves the same, as on a local disk.
SCRIPTS = {
    "dd": """
        for bs in 1 7 511 4097 65537 600001; do
            dd if=/dev/zero bs=$bs count=3 2>/dev/null | tr '\\0' x | dd of=f$bs bs=$bs conv=fsync 2>/dev/null
        done
        dd if=f600001 of=part bs=1000 skip=3 seek=5 count=77 2>/dev/null
        dd if=f4097 of=f65537 bs=100 seek=11 conv=notrunc,fdatasync 2>/dev/null
        dd if=f600001 of=direct bs=4096 count=20 oflag=direct 2>/dev/null || true
        dd if=f600001 of=appended bs=1000 count=3 oflag=append conv=notrunc 2>/dev/null
        dd if=f600001 of=appended bs=1000 count=3 oflag=append conv=notrunc 2>/dev/null
        md5sum *; wc -c *""",
    "sort": """
        seq 120000 | awk '{print ($1 * 7919) % 65536, $1 % 10}' >big
        sort -u -S 1M -T . big -o sorted; sort -n -k2 -k1 big | md5sum
        sort -u -o big big; cmp big sorted; wc -l sorted; uniq -c big | sort -rn | sed -n 1,3p
        split -l 9000 -d sorted piece.; cat piece.* | cmp - sorted; comm -12 sorted big | wc -l; ls""",
    "sed": """
        seq 5000 >f; sed -i 's/99/ninety-nine/;3d' f; sed -i.bak -e '1i first' -e '$a last' f
        awk 'NR % 2' f >g; perl -pi -e 's/1/one/g' g 2>/dev/null || true; tac f | sed -n 1,2p; cut -c1-3 f | md5sum
        grep -c nine f; ed -s f <<<$'1,10d\\nw\\nq' 2>/dev/null || sed -i 1,10d f; head -1 f; ls""",
    "patch": """
        mkdir old; for i in $(seq 20); do seq $i $((i * 40)) >old/$i; done; cp -r old new
        sed -i s/7/seven/ new/*; rm new/3; echo new >new/added
        find old new -exec touch -d 2020-01-01 {} +; diff -ruN old new >p || true
        patch -s -p1 -d old <p; diff -r old new && echo same; patch -s -R -p1 -d old <p; ls old | wc -l
        echo junk >old/5; patch -p1 -d old <p >out || echo refused; ls old | grep -c -E 'rej|orig'""",
    "sums": """
        mkdir d; for i in $(seq 50); do seq $((i * 30)) >d/$i; done
        md5sum d/* >MD5; sha256sum d/* >SHA; md5sum -c --quiet MD5; sha256sum -c --quiet SHA
        gzip -nk d/50; xz -k d/50; bzip2 -k d/50 2>/dev/null || true; gunzip -t d/50.gz; xz -t d/50.xz
        xz -dc d/50.xz | cmp - d/50; zcat d/50.gz | cmp - d/50; rm -f d/50.bz2; gzip -n d/4?; ls d | wc -l
        echo broken >>d/7; md5sum -c --quiet MD5 2>/dev/null || echo found""",
    "find": """
        mkdir -p x/y/z; touch -d 2020-01-01 x/old; touch -d 2021-01-01 x/mid; touch x/y/new; mkfifo x/pipe
        ln -s ../x x/loop; ln x/old x/y/again; chmod 600 x/mid; chmod 1777 x/y
        find x -newer x/mid -type f; find x -samefile x/old | sort; find x -perm 600; find -L x/y | sort
        find x -links +1 -type f | sort; find x -empty -type f | sort; find x -type p -printf '%p %m %y\\n'
        find x -depth -name 'z' -delete; find x -newermt 2020-06-01 ! -newermt 2021-06-01; stat -c '%A %h %F' x/*
        find x -type d -exec rmdir --ignore-fail-on-non-empty {} +; [ x/mid -nt x/old ] && echo newer; rm x/pipe""",
    "install": """
        echo data >f; install -D -m 751 f usr/lib/x/f; install -d -m 2775 -g 4321 shared; install -C f usr/lib/x/f
        mktemp -u XXXXXX >/dev/null; t=$(mktemp ./tmp.XXXXXX); stat -c '%a %s' $t; rm $t
        d=$(mktemp -d ./dir.XXXXXX); stat -c %a $d; mv f $d/g; mv $d/g .; rmdir $d; ln -sfn usr l; ln -sfn shared l
        readlink -f l | xargs basename; install -b -m 600 g usr/lib/x/f; truncate -s 100K usr/lib/x/f; shred -n1 -u g
        cp -b usr/lib/x/f usr/lib/x/g; mv -n usr/lib/x/g usr/lib/x/f; ls -lR --time-style=+ | awk '!/^total/ { $1 = $1; if (/^d/) $5 = ""; print }'""",
    "shell": """
        umask 027; echo 1 >a; (umask 0; echo 2 >b; mkdir c); set -C; echo 3 >a 2>/dev/null || echo noclobber; set +C
        exec 5<>a; echo 22 >&5; cat <&5; exec 5>&-; cat a; for i in $(seq 50); do echo $i >>log; done; wc -l log
        rm a; echo x | tee p q >r; cat p q r; test -w p && echo writable; printf 'exit 7' >s.sh; chmod +x s.sh
        sh ./s.sh || echo $?; cat <<'EOF' >run
#!/bin/sh
echo "run: $0 $#"
EOF
        chmod 755 run; ./run 1 2; (flock -n 9 && flock -n p echo locked) 9>lk; ls -l --time-style=+ | awk '!/^total/ { $1 = $1; if (/^d/) $5 = ""; print }'
        mkdir -p deep/$(seq -s/ 60); rm -r deep; touch "$(printf 'y%.0s' {1..255})"; rename_me=1; mv c e; rmdir e""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_tools_as_on_a_local_disk(pair, name):
    a, b = pair
    with tempfile.TemporaryDirectory() as local:
        want = sh(SCRIPTS[name], cwd=local)
        os.mkdir(f"{a}/x")
        os.mkdir(f"{b}/y")
        got = together(lambda: sh(SCRIPTS[name], cwd=f"{a}/x"), lambda: sh(SCRIPTS[name], cwd=f"{b}/y"))
        assert got == [want, want]
        for there in (f"{b}/x", f"{a}/y"):
            same_trees(local, there)


def test_du_and_df(pair):
    """What `du` counts is what was written, not the holes."""
    a, b = pair
    sh("head -c 3000000 /dev/urandom >f; truncate -s 1G hole; cp f g; ln f h; sync", cwd=a)
    assert 5800 < int(call("du", "-sk", b).split()[0]) < 6200
    assert int(call("du", "-sk", "--apparent-size", b).split()[0]) > 1 << 20
    assert "fuse" in call("df", "-T", b)
    for where in (a, b):
        assert call("stat", "-c", "%s %h", f"{where}/h") == "3000000 2\n"


def test_tail_follows_what_the_other_mount_appends(pair):
    a, b = pair
    pathlib.Path(f"{a}/log").write_text("line 0\n")
    tail = Program("tail", "-n", "+1", "-s", "0.05", "-f", f"{b}/log")
    for i in range(1, 30):
        with open(f"{a}/log", "a") as f:
            f.write(f"line {i}\n")
    got = []
    reader = lambda: got.append(tail.proc.stdout.readline()) or got[-1] == "line 29\n"      # noqa: E731
    try:
        wait_for(reader, "the last line")
    finally:
        tail.end()
    assert got == [f"line {i}\n" for i in range(30)]


def test_python_libraries(pair):
    a, b = pair
    with tempfile.TemporaryDirectory(dir=a) as d, tempfile.NamedTemporaryFile(dir=b) as named, \
            tempfile.TemporaryFile(dir=a) as anonymous, tempfile.SpooledTemporaryFile(dir=b, max_size=10) as spooled:
        for f in (named, anonymous, spooled):
            f.write(b"x" * 100000)
            f.flush()
            f.seek(99990)
            assert f.read() == b"x" * 10
        os.fsync(named.fileno())
        assert os.path.getsize(f"{a}/{os.path.basename(named.name)}") == 100000
        p = pathlib.Path(d, "sub")
        p.mkdir()
        (p / "f").write_text("text")
        (p / "f").rename(p / "g").replace(p / "h")
        (p / "l").symlink_to("h")
        (p / "k").hardlink_to(p / "h")
        there = pathlib.Path(b, os.path.basename(d), "sub")
        assert sorted(q.name for q in there.iterdir()) == ["h", "k", "l"]
        assert (there / "l").read_text() == "text" and (there / "k").stat().st_ino == (p / "h").stat().st_ino
        shutil.copytree(p, there.parent / "copy", symlinks=True)
        shutil.make_archive(f"{b}/archive", "gztar", root_dir=p)
        shutil.unpack_archive(f"{a}/archive.tar.gz", f"{a}/unpacked")
        same_trees(p, f"{b}/unpacked")
        shutil.move(f"{a}/unpacked", f"{a}/moved")
        shutil.rmtree(f"{b}/moved")
    os.unlink(f"{b}/archive.tar.gz")
    assert os.listdir(a) == []


def test_mmap_and_sockets(pair):
    a, b = pair
    with open(f"{a}/f", "w+b") as f:
        f.truncate(SLOT + 5000)
        with mmap.mmap(f.fileno(), 0) as m:
            for off in (0, 4095, SLOT - 3, SLOT + 4990):
                m[off:off + 6] = b"mapped"
            assert f.read(6) == b"mapped"
            m.flush()
            with open(f"{b}/f", "rb") as g, mmap.mmap(g.fileno(), 0, prot=mmap.PROT_READ) as n:
                assert n.find(b"mapped", 5000) == SLOT - 3 and n[SLOT + 4990:SLOT + 4996] == b"mapped"
                assert n.size() == SLOT + 5000
    with socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX) as c:
        s.bind(f"{a}/socket")
        s.listen()
        c.connect(f"{a}/socket")
        assert call("stat", "-c", "%F", f"{b}/socket") == "socket\n"


# -------------------------------------------------------------------- mail

DELIVER = """
import os, sys
top, who, how = sys.argv[1:4]
for i in range(40):
    name = f"{i}.{who}"
    with open(f"{top}/tmp/{name}", "x") as f:
        f.write(f"From {who}\\n" * (i + 1))
        f.flush()
        os.fsync(f.fileno())
    if how == "link":
        os.link(f"{top}/tmp/{name}", f"{top}/new/{name}")
        os.unlink(f"{top}/tmp/{name}")
    else:
        os.rename(f"{top}/tmp/{name}", f"{top}/new/{name}")
"""

TAKE = """
import os, sys, time
top, me, end = sys.argv[1], sys.argv[2], time.monotonic() + 60
while time.monotonic() < end:
    last = os.path.exists(f"{top}/done")
    for name in os.listdir(f"{top}/new"):
        try:
            os.rename(f"{top}/new/{name}", f"{top}/cur/{name}:2,{me}")
        except FileNotFoundError:
            continue                    # another reader was first
        i, who = name.split(".")
        with open(f"{top}/cur/{name}:2,{me}") as f:
            assert f.read() == f"From {who}\\n" * (int(i) + 1), name
        print(name)
    if last:
        break
    time.sleep(0.01)
"""


@pytest.mark.parametrize("how", ["link", "rename"])
def test_maildir(pair, how):
    """Deliveries and readers on both mounts: every message comes whole, to one.

    Each reader has a flag of its own: rename(2) of a name to one that by then is
    the same file's is "done" already in the kernel, as POSIX wants it, and that
    is what the second finds who gives a message the same new name."""
    a, b = pair
    for d in ("tmp", "new", "cur"):
        os.mkdir(f"{a}/{d}")
    readers = [Program(sys.executable, "-c", TAKE, top, me) for top, me in ((a, "S"), (b, "RS"))]
    try:
        together(*[lambda top=top, who=who: call(sys.executable, "-c", DELIVER, top, who, how)
                   for top, who in ((a, "anna"), (b, "bert"), (a, "carl"), (b, "dora"))])
    finally:
        pathlib.Path(f"{b}/done").touch()
        done = [r.done(check=False) for r in readers]
    assert all(d.returncode == 0 for d in done), [d.stdout for d in done]
    taken = "".join(d.stdout for d in done).split()
    assert sorted(taken) == sorted(f"{i}.{who}" for who in ("anna", "bert", "carl", "dora") for i in range(40))
    assert os.listdir(f"{a}/new") == os.listdir(f"{b}/tmp") == [] and len(os.listdir(f"{b}/cur")) == 160


LINK_LOCK = """
import os, sys, time
top, who = sys.argv[1:3]
mine = f"{top}/lock.{who}"
os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
for i in range(25):
    end = time.monotonic() + 60
    while True:
        try:
            os.link(mine, f"{top}/lock")
            break
        except FileExistsError:
            assert os.stat(mine).st_nlink == 1 and time.monotonic() < end
            time.sleep(0.002)
    assert os.stat(mine).st_nlink == 2
    n = int(open(f"{top}/n").read())
    with open(f"{top}/n", "w") as f:
        f.write(str(n + 1))
    os.unlink(f"{top}/lock")
"""


def test_a_lock_file_made_by_link(pair):
    a, b = pair
    pathlib.Path(f"{a}/n").write_text("0")
    together(*[lambda top=top, i=i: call(sys.executable, "-c", LINK_LOCK, top, i) for i, top in enumerate((a, b, a, b))])
    assert pathlib.Path(f"{a}/n").read_text() == pathlib.Path(f"{b}/n").read_text() == "100"


# ---------------------------------------------------------------- packages

CONTROL = """Package: pspfs-probe
Version: {version}
Architecture: all
Maintainer: A <a@example.org>
Description: a package that the test makes
"""


def test_dpkg(pair):
    """Built on A, installed by B into a root of its own, upgraded on A, removed by B."""
    need("dpkg", "dpkg-deb")
    a, b = pair
    for version in ("1", "2"):
        pkg = pathlib.Path(a, f"pkg{version}")
        (pkg / "DEBIAN").mkdir(parents=True)
        (pkg / "DEBIAN/control").write_text(CONTROL.format(version=version))
        (pkg / "DEBIAN/conffiles").write_text("/etc/probe.conf\n")
        (pkg / "etc").mkdir()
        (pkg / "etc/probe.conf").write_text("setting\n")
        (pkg / "usr/bin").mkdir(parents=True)
        (pkg / "usr/bin/probe").write_text(f"#!/bin/sh\necho version {version}\n")
        (pkg / "usr/bin/probe").chmod(0o755)
        (pkg / "usr/share/doc").mkdir(parents=True)
        for i in range(20):
            (pkg / f"usr/share/doc/{version}-{i}").write_text("doc\n" * i * 50)
        os.symlink("probe", pkg / "usr/bin/alias")
    together(lambda: call("dpkg-deb", "--root-owner-group", "-b", f"{a}/pkg1", f"{a}/1.deb"),
             lambda: call("dpkg-deb", "--root-owner-group", "-b", f"{b}/pkg2", f"{b}/2.deb"))
    call("dpkg-deb", "-x", f"{b}/1.deb", f"{b}/out")
    same_trees(f"{a}/pkg1/usr", f"{a}/out/usr")
    for d in ("root", "db/updates", "db/info", "db/triggers"):
        os.makedirs(f"{a}/{d}")
    for f in ("status", "available"):
        pathlib.Path(f"{a}/db/{f}").touch()

    def dpkg(top, *argv):
        return call("dpkg", f"--admindir={top}/db", f"--instdir={top}/root", f"--log={top}/log",
                    "--force-not-root,script-chrootless", *argv)
    dpkg(b, "-i", f"{b}/1.deb")
    assert call("sh", f"{a}/root/usr/bin/alias") == "version 1\n"
    dpkg(a, "-i", f"{a}/2.deb")
    assert call("sh", f"{b}/root/usr/bin/alias") == "version 2\n"
    assert "ok installed" in dpkg(b, "-s", "pspfs-probe") and "/usr/bin/probe" in dpkg(b, "-L", "pspfs-probe")
    assert dpkg(b, "--verify", "pspfs-probe") == ""
    assert sorted(os.listdir(f"{b}/root/usr/share/doc")) == sorted(f"2-{i}" for i in range(20))
    dpkg(b, "--purge", "pspfs-probe")
    assert os.listdir(f"{a}/root") == []


# ----------------------------------------------------------------- editors

def vim(path, *commands, **kw):
    words = [w for c in commands for w in ("-c", c)]
    return call("vim.tiny", "-N", "-u", "NONE", "-i", "NONE", "-n" if kw.pop("noswap", 0) else "--noplugin",
                "-es", *words, path, **kw)


@pytest.mark.parametrize("copy", ["yes", "no", "auto"])
@pytest.mark.parametrize("backup", ["writebackup", "backup", "nowritebackup"])
def test_vim_saves(pair, copy, backup):
    need("vim.tiny")
    a, b = pair
    pathlib.Path(f"{a}/doc").write_text("version 0\n" * 3000)
    os.chmod(f"{a}/doc", 0o640)
    os.chown(f"{a}/doc", 1234, 4321)
    for i in range(1, 5):
        top, other = ((a, b), (b, a))[i % 2]
        vim(f"{top}/doc", f"set backupcopy={copy} {backup} backupskip= fsync swapsync=fsync", f"%s/version.*/version {i}/",
            f"silent !ls -A {other} >{top}/seen", "wq", cwd=top)
        for where in (other, top):
            assert pathlib.Path(f"{where}/doc").read_text() == f"version {i}\n" * 3000
            st = os.stat(f"{where}/doc")
            assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o640, 1234, 4321)
        assert ".doc.swp" in pathlib.Path(f"{other}/seen").read_text().split()
        kept = ["doc~"] if backup == "backup" else []
        assert sorted(os.listdir(other)) == sorted(["doc", "seen"] + kept)
        if kept:
            assert pathlib.Path(f"{other}/doc~").read_text() == f"version {i - 1}\n" * 3000


EMACS = """(progn (find-file "doc") (erase-buffer) (dotimes (k 3000) (insert "version %d\\n"))
    (call-process "ls" nil '(:file "seen") nil "-A" "%s") (setq backup-enable-predicate #'always backup-inhibited nil) (save-buffer))"""


@pytest.mark.parametrize("how", ["backup-by-copying t", "backup-by-copying nil", "file-precious-flag t",
                                 "make-backup-files nil"])
def test_emacs_saves(pair, how):
    need("emacs")
    a, b = pair
    pathlib.Path(f"{a}/doc").write_text("version 0\n" * 3000)
    for i in range(1, 3):
        top, other = ((a, b), (b, a))[i % 2]
        call("emacs", "--batch", "-Q", "--eval", f"(setq {how})", "--eval", EMACS % (i, other), cwd=top)
        for where in (other, top):
            assert pathlib.Path(f"{where}/doc").read_text() == f"version {i}\n" * 3000
        # The lock that emacs takes is a symlink that leads nowhere.
        assert ".#doc" in pathlib.Path(f"{other}/seen").read_text().split()
        kept = [] if "make-backup-files" in how else ["doc~"]
        assert sorted(os.listdir(other)) == sorted(["doc", "seen"] + kept)
        if kept:
            assert pathlib.Path(f"{other}/doc~").read_text() == f"version {i - 1}\n" * 3000


SAVE = """
import os, sys
top, who, how = sys.argv[1:4]
for i in range(30):
    text = f"{who} {i:04}\\n" * 7000            # more than a write(2) of it
    name = f"{top}/.doc.{who}"
    with open(name, "w") as f:
        f.write(text)
        if "fsync" in how:
            f.flush()
            os.fsync(f.fileno())
    if "backup" in how:
        try:
            os.unlink(f"{top}/doc.{who}~")
        except FileNotFoundError:
            pass
        while True:     # ENOENT, as locally, if it is replaced between look-up and link
            try:
                os.link(f"{top}/doc", f"{top}/doc.{who}~")
                break
            except FileNotFoundError:
                assert os.path.exists(f"{top}/doc")
    os.rename(name, f"{top}/doc")
    if "directory" in how:
        d = os.open(top, os.O_RDONLY)
        os.fsync(d)
        os.close(d)
"""

WATCH = """
import os, sys
top, seen = sys.argv[1], set()
while not os.path.exists(f"{top}/done"):
    with open(f"{top}/doc") as f:
        text = f.read()
    assert len(text) % 7000 == 0 and text == text[:len(text) // 7000] * 7000, (len(text), text[:50], text[-50:])
    seen.add(text[:10])
print(len(seen))
"""


@pytest.mark.parametrize("how", ["plain", "fsync", "fsync directory", "backup fsync"])
def test_atomic_saves_are_seen_whole(pair, how):
    """Writers on both mounts; who reads finds the old or the new, never a part."""
    a, b = pair
    pathlib.Path(f"{a}/doc").write_text("none 0000\n" * 7000)
    watchers = [Program(sys.executable, "-c", WATCH, top) for top in (a, b)]
    try:
        together(*[lambda top=top, who=who: call(sys.executable, "-c", SAVE, top, who, how)
                   for top, who in ((a, "anna"), (b, "bert"))])
    finally:
        pathlib.Path(f"{a}/done").touch()
        done = [w.done(check=False) for w in watchers]
    assert all(d.returncode == 0 for d in done), [d.stdout for d in done]
    print("versions seen:", [d.stdout.strip() for d in done])
    assert pathlib.Path(f"{b}/doc").read_text()[5:9] == "0029"
