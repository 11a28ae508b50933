"""What a person sees when it goes wrong: cause, mend, exit code."""
import os
import signal
import subprocess
import time

import pytest

from swarm import Peer, end, mounted, program, run, wait_for

USAGE, SYSTEM, FAILED = 1, 2, 32


def fails(argv, code, *words, timeout=40):
    """Run it; it must end with @code and say all of @words."""
    done = run(*argv, check=False, timeout=timeout)
    said = done.stderr + done.stdout
    assert done.returncode == code, f"{argv}: {done.returncode}\n{said}"
    for w in words:
        assert w.lower() in said.lower(), f"{argv} did not say {w!r}:\n{said}"
    return said


def mount_argv(s, k=1, **changes):
    """The command line of a peer that is not up, with some options changed."""
    p = Peer(s, k, changes)
    return p.argv(), p


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """A tracker with one peer, for those who come to it wrongly."""
    from swarm import Swarm
    with Swarm(peers=1) as s:
        yield s


def test_no_key(lone, tmp_path):
    argv, p = mount_argv(lone, 5, key=str(tmp_path / "none"))
    fails(argv, FAILED, str(tmp_path / "none"), "no such file", "copy")
    assert not mounted(p.mnt)


def test_wrong_key(lone, tmp_path):
    key = tmp_path / "key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    argv, p = mount_argv(lone, 5, key=str(key))
    fails(argv, FAILED, "key", "tracker", str(key))
    assert not mounted(p.mnt)
    fails([program("pspfs"), "--tracker", lone.tracker_addr, "--key", key, "status"], 2, "key")


def test_key_that_is_none(lone, tmp_path):
    key = tmp_path / "key"
    key.write_text("hello\n")
    key.chmod(0o600)
    fails(mount_argv(lone, 5, key=str(key))[0], FAILED, str(key), "hexadecimal")


def test_world_readable_key(lone, tmp_path):
    key = tmp_path / "key"
    key.write_text(open(lone.key).read())
    key.chmod(0o644)
    fails(mount_argv(lone, 5, key=str(key))[0], FAILED, str(key), "chmod")
    fails([program("psptrackerd"), "--foreground", "--listen", "127.0.0.1:1", "--data", tmp_path / "t",
           "--key", key], 2, "chmod")


def test_no_tracker(lone):
    argv, p = mount_argv(lone, 5)
    argv[argv.index(lone.tracker_addr)] = "127.0.0.1:9"
    said = fails(argv, FAILED, "no tracker answers at 127.0.0.1:9", "refused", "psptrackerd")
    assert said.startswith("mount.pspfs: ")
    assert not mounted(p.mnt)
    fails([program("pspfs"), "--tracker", "127.0.0.1:9", "--key", lone.key, "status"], 2,
          "no tracker answers at 127.0.0.1:9")


def test_tracker_port_taken(lone, tmp_path):
    fails([program("psptrackerd"), "--listen", lone.tracker_addr, "--data", tmp_path / "t", "--key", lone.key], 2,
          lone.tracker_addr, "in use", "--listen")


def test_tracker_data_in_use(lone):
    fails([program("psptrackerd"), "--foreground", "--listen", "127.0.0.1:1", "--data", f"{lone.dir}/tracker",
           "--key", lone.key], 2, f"{lone.dir}/tracker", "use")


def test_mount_point_missing(lone):
    argv, p = mount_argv(lone, 5)
    os.rmdir(p.mnt)
    fails(argv, FAILED, p.mnt, "does not exist", "mkdir")


def test_mount_point_is_a_file(lone):
    argv, p = mount_argv(lone, 5)
    os.rmdir(p.mnt)
    open(p.mnt, "w").close()
    fails(argv, FAILED, p.mnt, "not a directory")
    os.unlink(p.mnt)


def test_mount_point_busy(lone):
    argv, _ = mount_argv(lone, 5)
    argv[argv.index(f"{lone.dir}/mnt5")] = lone.peers[0].mnt
    fails(argv, FAILED, lone.peers[0].mnt, "already mounted")


def test_stale_mount_point_is_cleaned(make_swarm):
    s = make_swarm(peers=1)
    p = s.peers[0]
    open(p.path("f"), "w").write("x")
    p.proc.kill()
    p.proc.wait(10)
    with pytest.raises(OSError):
        os.listdir(p.mnt)
    p.start()
    assert open(p.path("f")).read() == "x"


def test_no_dev_fuse(lone):
    """In a mount namespace whose /dev is empty."""
    argv, p = mount_argv(lone, 5)
    script = 'mount -t tmpfs none /dev && exec "$@"'
    fails(["unshare", "--mount", "sh", "-c", script, "sh", *argv], FAILED, "/dev/fuse", "modprobe")


@pytest.mark.parametrize("option,words", [
    ("wibble", ["unknown option", "wibble"]),
    ("wibble=3", ["unknown option", "wibble"]),
    ("capacity=10Q", ["10Q", "size", "20G"]),
    ("memory=-1", ["-1", "size"]),
    ("port=99999", ["99999", "port"]),
    ("addr=here", ["here", "addr"]),
    ("timeout=soon", ["soon", "timeout"]),
    ("copies=0", ["copies"]),
    ("via=pigeon", ["pigeon", "via"]),
])
def test_bad_option(lone, option, words):
    argv, _ = mount_argv(lone, 5)
    fails([*argv, "-o", option], USAGE, *words)


def test_bad_command_lines(lone):
    fails([program("mount.pspfs")], USAGE, "--help")
    fails([program("mount.pspfs"), "--wibble", "/mnt"], USAGE, "wibble")
    fails([program("mount.pspfs"), "a", "b", "c"], USAGE)
    fails([program("psptrackerd"), "--wibble"], USAGE, "wibble")
    fails([program("psptrackerd"), "--chunk-size", "10Q"], USAGE, "10Q", "size")
    fails([program("psptrackerd"), "--copies", "0"], USAGE, "copies")
    fails([program("psptrackerd"), "--repair-after", "0"], USAGE, "repair-after", "from 1")
    fails([program("psppeerd"), "--capacity", "10Q"], USAGE, "10Q", "size")
    fails([program("pspfs")], USAGE, "usage")
    fails([program("pspfs"), "wibble"], USAGE, "wibble", "--help")
    fails([program("pspfs"), "info"], USAGE)
    for name in ("mount.pspfs", "psptrackerd", "psppeerd", "pspfs"):
        assert "usage" in run(program(name), "--help").stdout.lower()
        assert run(program(name), "--version").stdout.startswith(name + " ")


def test_store_of_another_swarm(lone, make_swarm):
    other = make_swarm(peers=1)
    other.peers[0].stop()
    argv, _ = mount_argv(lone, 5, store=other.peers[0].store)
    fails(argv, FAILED, "another swarm", "store")


def test_store_that_is_none(lone, tmp_path):
    (tmp_path / "photos").write_text("x")
    argv, _ = mount_argv(lone, 5, store=str(tmp_path))
    fails(argv, FAILED, str(tmp_path), "not empty", "store")
    assert (tmp_path / "photos").exists()


def test_two_peers_with_one_address(lone):
    argv, _ = mount_argv(lone, 5, addr=lone.peers[0].addr)
    fails(argv, FAILED, lone.peers[0].addr, "in use")


def test_two_peers_with_one_store(lone):
    argv, _ = mount_argv(lone, 5, store=lone.peers[0].store)
    fails(argv, FAILED, lone.peers[0].store, "in use")


def test_a_copied_store(lone, tmp_path):
    """The same peer id twice, in two places."""
    run("cp", "-a", lone.peers[0].store, tmp_path / "copy")
    argv, _ = mount_argv(lone, 5, store=str(tmp_path / "copy"))
    fails(argv, FAILED, "another process", lone.peers[0].addr)


def test_address_of_another_machine(lone):
    argv, _ = mount_argv(lone, 5, addr="192.0.2.1")
    fails(argv, FAILED, "192.0.2.1", "addr=")


def test_full_swarm_says_enospc(make_swarm):
    s = make_swarm(peers=2, peer_options=dict(capacity="8M"))
    a, b = s.peers
    with pytest.raises(OSError) as e:
        with open(a.path("big"), "wb") as f:
            for _ in range(64):
                f.write(os.urandom(1 << 20))
    assert e.value.errno == 28
    os.unlink(a.path("big"))
    assert os.listdir(b.mnt) == []


def test_tracker_gone_then_back(make_swarm):
    """Calls wait for it; after `timeout` they fail with EIO; then all is well."""
    s = make_swarm(peers=1, peer_options=dict(timeout=3))
    p = s.peers[0]
    open(p.path("f"), "w").write("x")
    s.kill_tracker()
    t = time.monotonic()
    with pytest.raises(OSError) as e:
        open(p.path("new"), "w").close()
    assert e.value.errno == 5 and 2 < time.monotonic() - t < 10
    s.start_tracker()
    wait_for(lambda: try_write(p.path("g")), "writing again", 15)
    assert open(p.path("f")).read() == "x"


def try_write(path):
    try:
        with open(path, "w") as f:
            f.write("y")
        return True
    except OSError:
        return False


def test_signals(make_swarm):
    """SIGTERM ends all of them cleanly; SIGHUP opens the log again."""
    s = make_swarm(peers=1)
    p = s.peers[0]
    for proc, log in ((s.tracker, f"{s.dir}/tracker.log"), (p.proc, p.log)):
        os.rename(log, log + ".1")
        proc.send_signal(signal.SIGHUP)
        wait_for(lambda log=log: os.path.exists(log), f"a new {log}", 5)
    open(p.path("f"), "w").write("x")
    proc, p.proc = p.proc, None
    assert end(proc, sig=signal.SIGTERM) == 0
    assert not mounted(p.mnt)
    p.start()
    assert open(p.path("f")).read() == "x"


def test_psppeerd_lends_its_disk(make_swarm):
    """A machine without a mount holds copies, and serves them."""
    s = make_swarm(peers=1)
    a = s.peers[0]
    log = open(f"{s.dir}/peerd.log", "wb")
    proc = subprocess.Popen([program("psppeerd"), "--foreground", "--tracker", s.tracker_addr, "--key", s.key,
                             "--addr", "127.0.0.77", "--port", str(s.port + 1), "--store", f"{s.dir}/lent",
                             "--capacity", "1G"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: sum(p["state"] == "active" for p in s.status()["peers"]) == 2, "psppeerd")
        data = os.urandom(3 << 20)
        open(a.path("f"), "wb").write(data)
        holders = [c["holders"] for c in s.info(a.path("f"))["chunks"]]
        assert all(f"127.0.0.77:{s.port + 1}" in h for h in holders)
        b = s.add_peer()
        a.stop()
        assert open(b.path("f"), "rb").read() == data
        a.start()
    finally:
        assert end(proc) == 0
