"""Real file systems that are small, for stores and databases: full, read-only, gone."""
import contextlib
import fcntl
import os
import struct

import pytest

from swarm import Peer, run

MIB = 1 << 20


class Disk:
    """A tmpfs at @path."""

    def __init__(self, path, size):
        self.path = path
        os.makedirs(path, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)

    @classmethod
    def bound(cls, there, path):
        """What is at @there, also at @path."""
        disk = cls.__new__(cls)
        disk.path = path
        os.makedirs(path)
        run("mount", "--bind", there, path)
        return disk

    def read_only(self, yes=True):
        run("mount", "-o", "remount,ro" if yes else "remount,rw", self.path)

    def fill(self):
        """By a file of somebody else, to the last byte."""
        fd = os.open(f"{self.path}/somebody-else", os.O_WRONLY | os.O_CREAT)
        try:
            for block in (MIB, 4096, 1):
                with contextlib.suppress(OSError):
                    while os.write(fd, b"x" * block):
                        pass
        finally:
            os.close(fd)

    def make_room(self):
        os.unlink(f"{self.path}/somebody-else")

    def gone(self):
        run("umount", "-l", self.path, check=False)


class RealDisk(Disk):
    """An ext4 in a file, which can break while it is used."""
    SHUTDOWN, NOTHING_MORE = 0x8004587d, 2      # FS_IOC_SHUTDOWN
    FREEZE, THAW = 0xc0045877, 0xc0045878       # FIFREEZE, FITHAW

    def __init__(self, path, size):
        self.path, self.image = path, path + ".ext4"
        os.makedirs(path, exist_ok=True)
        run("truncate", "-s", size, self.image)
        if run("mkfs.ext4", "-q", "-F", self.image, check=False).returncode:
            pytest.skip("cannot make an ext4 here")
        self.mount()

    def mount(self):
        done = run("mount", "-o", "loop", self.image, self.path, check=False)
        if done.returncode:
            pytest.skip("cannot mount a file here: " + done.stderr)

    def unmount(self):
        run("umount", self.path)

    def read_only(self, yes=True):
        """As the kernel does it when it finds a fault."""
        run("mount", "-o", "remount,abort", self.path)

    @contextlib.contextmanager
    def stalled(self):
        """Meanwhile whoever writes waits."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self.FREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(fd, self.THAW, 0)
        finally:
            os.close(fd)

    def dies(self):
        """Every read and write fails from now on."""
        fd = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(fd, self.SHUTDOWN, struct.pack("I", self.NOTHING_MORE))
        os.close(fd)


def peer_on(swarm, disks, size, kind=Disk, **options):
    """One more peer of the swarm, its store on a disk of its own."""
    disks.append(kind(f"{swarm.dir}/store{len(swarm.peers) + 1}", size))
    return swarm.add_peer(**options)


def peer_not_up(swarm, **options):
    """The command line of one more peer, and itself, not added."""
    p = Peer(swarm, len(swarm.peers) + 1, options)
    return p.argv(), p


def said(log, *words):
    """The lines of a log that have all these words."""
    return [line for line in log.splitlines() if all(w.lower() in line.lower() for w in words)]
