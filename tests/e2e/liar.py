"""Somebody between the peers who knows the key: tests/lie_proxy.c in the way of one of them."""
import contextlib
import os
import subprocess

import pytest

from swarm import BUILD, Swarm, run


@contextlib.contextmanager
def lied_to(kind, place, n, peers=2, tracker_args=()):
    """A swarm in a network namespace; whoever connects to the second peer from
    now on meets a liar in between.  Gives (swarm, liar, cut), where cut() says
    what lies were told."""
    if not os.path.exists(f"{BUILD}/tests/lie_proxy"):
        pytest.skip("no build/tests/lie_proxy: make check-e2e builds it")
    ns = f"pspfs-lie-{os.getpid()}"
    if run("ip", "netns", "add", ns, check=False).returncode:
        pytest.skip("cannot make a network namespace here")
    liar = None
    try:
        run("ip", "-n", ns, "link", "set", "lo", "up")
        prefix = ["nsenter", f"--net=/run/netns/{ns}"]
        with Swarm(peers=peers, prefix=prefix, tracker_args=tracker_args) as s:
            b = f"{s.peers[1].addr}:{s.port + 1}"
            real = next(p["id"] for p in s.status()["peers"] if p["address"] == b)
            rules = (f"add table ip t; add chain ip t o {{ type nat hook output priority -100; }}; "
                     f"add rule ip t o ip saddr != 127.0.0.99 ip daddr 127.0.0.12 tcp dport {s.port + 1} "
                     f"redirect to :{s.port + 1000}")
            done = run(*prefix, "nft", rules, check=False)
            if done.returncode:
                pytest.skip("nft does not work here: " + done.stderr)
            liar = subprocess.Popen([*prefix, f"{BUILD}/tests/lie_proxy", s.key, str(s.port + 1000), b, real,
                                     kind, place, str(n)], stdout=subprocess.PIPE, text=True)
            assert liar.stdout.readline() == "ready\n"

            def cut():
                liar.terminate()
                return liar.communicate(timeout=10)[0].split("\n")[:-1]
            yield s, cut
    finally:
        if liar and liar.poll() is None:
            liar.kill()
            liar.wait(10)
        run("ip", "netns", "del", ns, check=False)
