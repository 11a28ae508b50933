"""The shortest way: psptrackerd && mount.pspfs /mnt/shared, then cp and cat.

In mount and network namespaces of its own, so that the default paths and
ports are free.
"""
import os
import shutil

from swarm import BUILD, run

SCRIPT = r"""
set -eu
ip link set lo up
mount --make-rprivate /
for d in /etc/pspfs /var/lib/pspfs /mnt/shared; do mkdir -p $d; done
mount -t tmpfs none /var/lib/pspfs
mount -t tmpfs none /etc/pspfs
psptrackerd --pid /var/lib/pspfs/tracker.pid && mount.pspfs /mnt/shared
grep -q 'fuse.pspfs' /proc/self/mounts
cp /etc/passwd /mnt/shared/
cat /mnt/shared/passwd | cmp - /etc/passwd
test "$(stat -c %a /etc/pspfs/swarm.key)" = 600
pspfs status
grep -q 'mounted' /var/lib/pspfs/peer/mount.pspfs.log
umount /mnt/shared
n=0
while pgrep -P 1 -x mount.pspfs >/dev/null && [ $n -lt 200 ]; do n=$((n + 1)); sleep 0.05; done
# a second time, by mount(8), as fstab does it
mount -t pspfs none /mnt/shared -o _netdev,nofail,tracker=127.0.0.1
cmp /mnt/shared/passwd /etc/passwd
umount /mnt/shared
sleep 0.5
kill $(cat /var/lib/pspfs/tracker.pid)
n=0
while [ -e /proc/$(cat /var/lib/pspfs/tracker.pid 2>/dev/null || echo none) ] && [ $n -lt 200 ]; do n=$((n + 1)); sleep 0.05; done
echo all well
"""


def test_two_commands(tmp_path):
    sbin = "/sbin/mount.pspfs"
    before = {d: os.path.isdir(d) for d in ("/etc/pspfs", "/var/lib/pspfs", "/mnt/shared")}
    put = not os.path.exists(sbin)
    if put:
        os.symlink(os.path.join(BUILD, "mount.pspfs"), sbin)
    try:
        env = dict(os.environ, PATH=f"{BUILD}:{os.environ['PATH']}")
        done = run("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c",
                   SCRIPT, check=False, env=env, timeout=60)
        assert done.returncode == 0 and "all well" in done.stdout, done.stdout + done.stderr
    finally:
        if put:
            os.unlink(sbin)
        for d, was in before.items():
            if not was:
                shutil.rmtree(d, ignore_errors=True)


def test_install_and_uninstall(tmp_path):
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    args = ["make", "-o", "all", "-C", top, f"BUILD={BUILD}", f"DESTDIR={tmp_path}", "PREFIX=/usr"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "SAN"}
    run(*args, "install", env=env)
    for f in ("usr/bin/pspfs", "usr/sbin/psptrackerd", "usr/sbin/psppeerd", "usr/sbin/mount.pspfs"):
        assert os.access(tmp_path / f, os.X_OK), f
    for f in ("man1/pspfs.1", "man8/psptrackerd.8", "man8/psppeerd.8", "man8/mount.pspfs.8"):
        assert os.path.isfile(tmp_path / "usr/share/man" / f), f
    assert os.path.lexists(tmp_path / "sbin/mount.pspfs")
    run(*args, "uninstall", env=env)
    assert [f for _, _, fs in os.walk(tmp_path) for f in fs] == []
