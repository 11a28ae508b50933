"""/mnt/shared/.pspfs: the swarm's own knowledge as files to read."""
import errno
import os
import shutil
import signal
import stat
import subprocess
import threading
import time

import pytest

from swarm import SLOWER, Swarm, mounted, run, tree_facts, wait_for

SLOT = 512 * 1024
NOBODY = 65534


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as f:
        return f.read()


def refused(call, *args, why=errno.EROFS):
    with pytest.raises(OSError) as e:
        call(*args)
    assert e.value.errno == why, e.value


def as_nobody(*argv):
    return run("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv, check=False)


@pytest.fixture(scope="module")
def folder(swarm):
    """A small tree, made at the first peer."""
    a = swarm.peers[0]
    os.makedirs(a.path("docs", "deep", "er"))
    for name in ("top.bin", "docs/one", "docs/deep/two.track", "docs/deep/er/ünï cödé"):
        with open(a.path(name), "wb") as f:
            f.write(os.urandom(3 * SLOT + 100))
    os.mkdir(a.path("docs", "dir.track"))
    with open(a.path("docs", "dir.track", "in"), "w") as f:
        f.write("inside")
    os.symlink("one", a.path("docs", "link"))
    with open(a.path("empty"), "wb"):
        pass
    return swarm


def test_status_is_what_the_command_prints(folder):
    for p in folder.peers:
        text = read(p.mnt, ".pspfs", "status")
        assert "3 active peers" in text and "every chunk has its copies" in text
        for head in ("COMMUNICATION", "COMPUTATION", "STORAGE"):
            assert f"{head} OVERHEAD" in text
        command = folder.pspfs("status").stdout

        def names(s):
            return [line[:42].rstrip() for line in s.splitlines() if line.startswith("  ")]
        assert set(names(text)) <= set(names(command))
        assert text.splitlines()[0] == command.splitlines()[0]


def test_peers_a_line_each(folder):
    lines = read(folder.peers[1].mnt, ".pspfs", "peers").splitlines()
    assert lines[0].split()[:2] == ["PEER", "STATE"]
    assert sorted(x.split()[0] for x in lines[1:]) == [f"{p.addr}:{folder.port + 1}" for p in folder.peers]
    assert all("active" in x and "mounted" in x for x in lines[1:])


def test_status_is_fresh_at_each_open(folder):
    a, b = folder.peers[0], folder.peers[1]

    def files():
        return int(read(b.mnt, ".pspfs", "status").split(": ")[1].split(" files")[0])
    before = files()
    open(a.path("one-more"), "w").close()
    assert files() == before + 1
    os.unlink(a.path("one-more"))
    wait_for(lambda: files() == before, "the file to be gone", 10)


def test_not_listed_but_there(folder):
    a = folder.peers[0]
    assert ".pspfs" not in os.listdir(a.mnt)
    assert not any(e.name == ".pspfs" for e in os.scandir(a.mnt))
    assert os.path.isdir(a.path(".pspfs"))
    assert sorted(os.listdir(a.path(".pspfs"))) == ["peers", "status", "trackers"]
    found = run("find", a.mnt).stdout
    assert ".pspfs" not in found and "top.bin" in found
    # it exists at the top alone
    assert not os.path.exists(a.path("docs", ".pspfs"))
    assert not os.path.exists(a.path(".pspfs", ".pspfs"))
    assert not os.path.exists(a.path(".pspfs", "trackers", ".pspfs"))


def test_trackers_mirror_the_folder(folder):
    b = folder.peers[1]
    top = b.path(".pspfs", "trackers")
    assert sorted(os.listdir(top)) == ["docs", "empty.track", "top.bin.track"]
    assert sorted(os.listdir(top + "/docs")) == ["deep", "dir.track", "one.track"]
    assert sorted(os.listdir(top + "/docs/deep")) == ["er", "two.track.track"]
    assert os.listdir(top + "/docs/deep/er") == ["ünï cödé.track"]
    assert os.listdir(top + "/docs/dir.track") == ["in.track"]
    found = run("find", top, "-type", "f").stdout.split("\n")
    assert len([x for x in found if x]) == 6
    for name in ("docs/link.track", "docs/link", "nothing.track", "top.bin", "docs/deep/two.track", ".track"):
        assert not os.path.lexists(f"{top}/{name}"), name


def test_a_tracker_file(folder):
    a = folder.peers[0]
    for name in ("top.bin", "docs/deep/er/ünï cödé", "empty"):
        text = read(a.path(".pspfs", "trackers", name + ".track"))
        info = folder.info(a.path(name))
        assert "/" + name.replace(" ", "%20") in text and str(info["size"]) in text
        for chunk in info["chunks"]:
            assert chunk["md5"] in text and chunk["id"] in text
            assert all(h in text for h in chunk["holders"])


def test_two_names_one_inode(folder):
    a = folder.peers[0]
    os.link(a.path("top.bin"), a.path("hard"))
    try:
        assert "/hard" in read(a.path(".pspfs/trackers/hard.track"))
        assert "/top.bin" in read(a.path(".pspfs/trackers/top.bin.track"))
    finally:
        os.unlink(a.path("hard"))
    assert not os.path.exists(a.path(".pspfs/trackers/hard.track"))


def test_follows_the_folder(folder):
    """What another mount makes, renames and removes."""
    a, b = folder.peers[0], folder.peers[1]
    os.makedirs(a.path("moving"))
    with open(a.path("moving", "f"), "w") as f:
        f.write("x")
    track = b.path(".pspfs/trackers/moving/f.track")
    assert "/moving/f" in read(track)
    os.rename(a.path("moving"), a.path("moved"))
    assert not os.path.exists(track)
    assert "/moved/f" in read(b.path(".pspfs/trackers/moved/f.track"))
    os.unlink(a.path("moved", "f"))
    assert os.listdir(b.path(".pspfs/trackers/moved")) == []
    os.rmdir(a.path("moved"))
    assert not os.path.exists(b.path(".pspfs/trackers/moved"))


def test_nothing_there_can_be_changed(folder):
    a = folder.peers[0]
    v = a.path(".pspfs")
    real = a.path("docs", "one")
    for path in (v + "/status", v + "/peers", v + "/trackers/top.bin.track"):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT):
            refused(os.open, path, flags)
        refused(os.truncate, path, 0)
        refused(os.unlink, path)
        refused(os.rename, path, a.path("stolen"), why=errno.EROFS)
        refused(os.rename, real, path)
        refused(os.link, path, a.path("stolen"))
        refused(os.chmod, path, 0o777)
        refused(os.chown, path, 1, 1)
        refused(os.utime, path)
        refused(os.setxattr, path, "user.x", b"1")
        assert os.listxattr(path) == []
    for where in (v, v + "/trackers", v + "/trackers/docs"):
        refused(os.open, where + "/new", os.O_WRONLY | os.O_CREAT)
        refused(os.mkdir, where + "/newdir")
        refused(os.symlink, "x", where + "/newlink")
        refused(os.link, real, where + "/newhard")
        refused(os.rename, real, where + "/newname")
        refused(os.mknod, where + "/pipe", stat.S_IFIFO | 0o600)
        refused(os.chmod, where, 0o777)
    refused(os.rmdir, v)
    refused(os.rmdir, v + "/trackers/docs")
    refused(os.rename, v, a.path("stolen"))
    refused(os.rename, a.path("docs"), v)
    refused(os.rename, real, v, why=errno.EISDIR)
    refused(os.mkdir, v, why=errno.EEXIST)
    refused(os.symlink, "x", v, why=errno.EEXIST)
    refused(os.link, real, v, why=errno.EEXIST)
    refused(os.open, v, os.O_WRONLY | os.O_CREAT | os.O_EXCL, why=errno.EEXIST)
    assert not os.path.exists(a.path("stolen"))
    assert "docs" in os.listdir(a.mnt) and os.path.isfile(real)


def test_tools_do_not_meet_it(folder, tmp_path):
    """cp -a, diff -r, du, tar and rm -rf of everything."""
    a, b = folder.peers[0], folder.peers[1]
    run("cp", "-a", a.mnt, tmp_path / "copy")
    assert not (tmp_path / "copy" / ".pspfs").exists()
    run("diff", "-r", "--no-dereference", a.mnt, tmp_path / "copy")
    facts = tree_facts(a.mnt)
    assert tree_facts(tmp_path / "copy").keys() == facts.keys()
    assert not any(".pspfs" in name for name in facts)
    names = run("tar", "-C", a.mnt, "-cf", "-", ".", encoding="latin-1").stdout
    assert ".pspfs" not in names
    run("cp", "-r", a.path(".pspfs", "trackers"), tmp_path / "tracks")
    assert "/docs/one" in (tmp_path / "tracks" / "docs" / "one.track").read_text()
    os.mkdir(a.path("junk"))
    run("cp", "-a", f"{tmp_path}/copy/.", a.path("junk"))
    run("bash", "-c", 'rm -rf "$1"/*', "rm", a.path("junk"))
    assert os.listdir(b.path("junk")) == []
    os.rmdir(a.path("junk"))
    assert os.path.exists(b.path(".pspfs", "status"))


def test_permissions_are_the_folders(folder):
    a = folder.peers[0]
    os.chmod(a.mnt, 0o755)
    os.makedirs(a.path("private"), mode=0o700)
    with open(a.path("private", "secret"), "w") as f:
        f.write("s")
    os.makedirs(a.path("blind"), mode=0o711)
    os.chmod(a.path("blind"), 0o711)
    with open(a.path("blind", "known"), "w") as f:
        f.write("k")
    top = a.path(".pspfs", "trackers")
    try:
        assert as_nobody("cat", a.path(".pspfs", "status")).returncode == 0
        assert as_nobody("cat", top + "/top.bin.track").returncode == 0
        for argv in (("cat", top + "/private/secret.track"), ("ls", top + "/private"),
                     ("stat", top + "/private/secret.track"), ("ls", top + "/blind")):
            done = as_nobody(*argv)
            assert done.returncode and "Permission denied" in done.stderr, argv
        # who may enter, but not list, has to know the name
        assert as_nobody("cat", top + "/blind/known.track").returncode == 0
        assert "secret" in read(top + "/private/secret.track")
        st = os.stat(top + "/private")
        assert (stat.S_IMODE(st.st_mode), st.st_uid) == (0o500, 0)
        os.chown(a.path("private"), NOBODY, NOBODY)
        assert as_nobody("cat", top + "/private/secret.track").returncode == 0
    finally:
        shutil.rmtree(a.path("private"))
        shutil.rmtree(a.path("blind"))


def test_reading_at_any_place(folder):
    path = folder.peers[2].path(".pspfs", "trackers", "top.bin.track")
    fd = os.open(path, os.O_RDONLY)
    try:
        whole = b""
        while True:
            piece = os.read(fd, 97)
            if not piece:
                break
            whole += piece
        assert len(whole) > 200
        assert os.pread(fd, 50, 100) == whole[100:150]
        assert os.pread(fd, 50, 1 << 40) == b""
        assert os.pread(fd, 1 << 20, len(whole) - 3) == whole[-3:]
        os.fsync(fd)
        assert os.fstat(fd).st_size == 0
    finally:
        os.close(fd)


def test_many_at_once(folder):
    """More openers than threads that make texts; every node is forgotten."""
    p = folder.peers[0]
    os.mkdir(p.path("many"))
    for i in range(200):
        open(p.path("many", str(i)), "w").close()
    wrong = []

    def work(k):
        for i in range(k, 200, 10):
            text = read(p.path(".pspfs/trackers/many", f"{i}.track"))
            if f"/many/{i}" not in text:
                wrong.append(i)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not wrong and not any(t.is_alive() for t in threads)
    assert len(os.listdir(p.path(".pspfs/trackers/many"))) == 200
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")
    assert "/many/7" in read(p.path(".pspfs/trackers/many/7.track"))
    shutil.rmtree(p.path("many"))


def test_a_directory_of_what_has_no_tracker_file(folder):
    """Whole pages of a directory show nothing: what follows is listed all the same."""
    p = folder.peers[0]
    os.mkdir(p.path("links"))
    for i in range(2500):
        os.symlink("x", p.path("links", f"l{i}"))
    open(p.path("links", "last"), "w").close()
    assert os.listdir(p.path(".pspfs/trackers/links")) == ["last.track"]
    assert os.listdir(folder.peers[1].path(".pspfs/trackers/links")) == ["last.track"]
    shutil.rmtree(p.path("links"))


def test_of_a_subdirectory(make_swarm):
    """SOURCE:/SUBDIR: the top is that directory; names are the swarm's."""
    s = make_swarm(peers=1)
    a = s.peers[0]
    os.makedirs(a.path("sub", "in"))
    with open(a.path("sub", "in", "f"), "w") as f:
        f.write("x" * 1000)
    # nobody forbids this name below the top of this mount
    os.mkdir(a.path("sub", ".pspfs"))
    with open(a.path("sub", ".pspfs", "real"), "w") as f:
        f.write("r")
    tracker, s.tracker_addr = s.tracker_addr, s.tracker_addr + ":/sub"
    try:
        b = s.add_peer()
    finally:
        s.tracker_addr = tracker
    assert os.listdir(b.mnt) == ["in"]
    assert "active peers" in read(b.mnt, ".pspfs", "status")
    assert os.listdir(b.path(".pspfs", "trackers")) == ["in"]
    assert "/sub/in/f" in read(b.path(".pspfs/trackers/in/f.track"))
    assert read(a.path("sub", ".pspfs", "real")) == "r"
    assert sorted(os.listdir(a.path(".pspfs/trackers/sub"))) == [".pspfs", "in"]
    assert "/sub/.pspfs/real" in read(a.path(".pspfs/trackers/sub/.pspfs/real.track"))


def test_no_tracker(make_swarm):
    """Reading waits for the tracker, as all else does; and ends."""
    s = make_swarm(peers=1, peer_options={"timeout": 2 * SLOWER})
    p = s.peers[0]
    assert "active" in read(p.mnt, ".pspfs", "status")
    s.kill_tracker()
    began = time.monotonic()
    refused(open, p.path(".pspfs", "status"), why=errno.EIO)
    assert time.monotonic() - began < 20 * SLOWER
    s.start_tracker()
    wait_for(lambda: "active" in run("cat", p.path(".pspfs", "status"), check=False).stdout, "the tracker", 20)


def test_unmounted_while_somebody_waits():
    """SIGTERM while a text waits for a tracker that does not answer: the
    reader gets an error and the peer ends well, long before the timeout."""
    with Swarm(peers=1, peer_options={"timeout": 300}) as s:
        p = s.peers[0]
        read(p.mnt, ".pspfs", "status")     # the names are leased now
        s.tracker.send_signal(signal.SIGSTOP)
        reader = subprocess.Popen(["cat", p.path(".pspfs", "status")], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)
            assert reader.poll() is None
            p.proc.send_signal(signal.SIGTERM)
            assert p.proc.wait(9) == 0, p.read_log()
            assert "cat:" in reader.communicate(timeout=20)[1]
        finally:
            s.tracker.send_signal(signal.SIGCONT)
            if reader.poll() is None:
                reader.kill()
                reader.wait(10)
        p.proc = None
        run("umount", "-l", p.mnt, check=False)
        assert not mounted(p.mnt)
