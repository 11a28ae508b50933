"""The manual pages name what the programs' --help names."""
import os
import re
import shutil
import subprocess

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("PSPFS_BUILD") or os.path.join(TOP, "build")
PAGES = {"psptrackerd": "tracker/psptrackerd.8", "mount.pspfs": "fs/mount.pspfs.8",
         "psppeerd": "fs/psppeerd.8", "pspfs": "fs/pspfs.1"}


def read(program):
    """(what --help says, the page's source)"""
    done = subprocess.run([os.path.join(BUILD, program), "--help"], text=True, timeout=60,
                          stdout=subprocess.PIPE, check=True)
    with open(os.path.join(TOP, PAGES[program])) as f:
        return done.stdout, f.read()


def flags(page):
    """The options that have an entry: "listen", "f"."""
    return {w for line in re.findall(r"^\.It (Fl .*)$", page, re.M)
            for w in re.findall(r"Fl -?([\w-]+)|, (?=Fl)", line) if w}


@pytest.mark.parametrize("program", PAGES)
def test_every_option(program):
    said, page = read(program)
    long = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", said))
    short = set(re.findall(r"(?:^  |, )-([a-zA-Z])\b", said, re.M))
    assert long and not (long | short) - flags(page), said
    if not short:
        return
    # ... and the page promises none that is not there.
    assert {f for f in flags(page) if len(f) == 1} <= short | {"o"}


def test_every_mount_option():
    said, page = read("mount.pspfs")
    words = set(re.findall(r"^  (\w+)=", said, re.M))
    words |= {w for line in re.findall(r"^  (\w+(?:, \w+)+)$", said, re.M) for w in line.split(", ")}
    assert {"tracker", "timeout", "via", "ro", "dirsync"} <= words
    named = set(re.findall(r"\w+", " ".join(re.findall(r"^\.It Cm (.*)$", page, re.M))))
    assert not words - named


@pytest.mark.parametrize("program", PAGES)
def test_every_default(program):
    """A default in parentheses is the page's, too."""
    said, page = read(program)
    for word in re.findall(r"\((/[\w/.-]+|\d[\w.:]*)\)", said):
        assert word in page, word


@pytest.mark.parametrize("program", PAGES)
def test_groff_has_no_complaint(program):
    if not shutil.which("groff") or not os.path.isdir("/usr/share/groff"):
        pytest.skip("no groff with its macros here (Debian: groff)")
    done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", os.path.join(TOP, PAGES[program])],
                          text=True, timeout=60, stderr=subprocess.PIPE)
    assert done.returncode == 0 and not done.stderr, done.stderr
