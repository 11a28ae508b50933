"""A mount's memory is bounded by what it is given: measure_memory.py in small.

With memory=32M: chunks in memory and whatever is under way share these, half of them dirty data at most; 16 MiB of blocks are kept for reuse; 32 MiB are for all else (the programs themselves, threads, the
requests of the kernel, tables).
"""
from measure_memory import MIB, copy_in_and_out
from swarm import BUILD, sanitize

import pytest

MOST = (32 + 16 + 32) * MIB


@pytest.mark.skipif(sanitize.slower(BUILD) > 1, reason="a sanitizer has memory of its own")
def test_memory_of_a_mount(make_swarm):
    s = make_swarm(peers=3, peer_options=dict(memory="32M"))
    most = copy_in_and_out(s, 512 * MIB)
    assert max(most) < MOST, [m // MIB for m in most]
