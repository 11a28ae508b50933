"""Somebody between the peers: in the way of whoever connects to the second of them."""
import contextlib
import os
import subprocess

import pytest

from swarm import BUILD, Swarm, run


@contextlib.contextmanager
def between(peers, argv, tracker_args=()):
    """A swarm in a network namespace; whoever connects to the second peer from
    now on meets the program argv(swarm), which says "ready" first.  Gives
    (swarm, cut), where cut() ends it and returns what else it said."""
    ns = f"pspfs-between-{os.getpid()}"
    if run("ip", "netns", "add", ns, check=False).returncode:
        pytest.skip("cannot make a network namespace here")
    proc = None
    try:
        run("ip", "-n", ns, "link", "set", "lo", "up")
        prefix = ["nsenter", f"--net=/run/netns/{ns}"]
        with Swarm(peers=peers, prefix=prefix, tracker_args=tracker_args) as s:
            rules = (f"add table ip t; add chain ip t o {{ type nat hook output priority -100; }}; "
                     f"add rule ip t o ip saddr != 127.0.0.99 ip daddr 127.0.0.12 tcp dport {s.port + 1} "
                     f"redirect to :{s.port + 1000}")
            done = run(*prefix, "nft", rules, check=False)
            if done.returncode:
                pytest.skip("nft does not work here: " + done.stderr)
            proc = subprocess.Popen([*prefix, *argv(s)], stdout=subprocess.PIPE, text=True)
            assert proc.stdout.readline() == "ready\n"

            def cut():
                proc.terminate()
                return proc.communicate(timeout=10)[0]
            yield s, cut
    finally:
        if proc and proc.poll() is None:
            proc.kill()
            proc.wait(10)
        run("ip", "netns", "del", ns, check=False)


@contextlib.contextmanager
def lied_to(kind, place, n, peers=2, tracker_args=()):
    """Somebody who knows the key: tests/lie_proxy.c.  Gives (swarm, cut), where
    cut() says what lies were told."""
    if not os.path.exists(f"{BUILD}/tests/lie_proxy"):
        pytest.skip("no build/tests/lie_proxy: make check-e2e builds it")

    def argv(s):
        b = f"{s.peers[1].addr}:{s.port + 1}"
        real = next(p["id"] for p in s.status()["peers"] if p["address"] == b)
        return [f"{BUILD}/tests/lie_proxy", s.key, str(s.port + 1000), b, real, kind, place, str(n)]
    with between(peers, argv, tracker_args) as (s, cut):
        yield s, lambda: cut().split("\n")[:-1]
