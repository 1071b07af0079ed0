"""One circuit of several nodes under chance: partitions, kills, lost answers, an emptied store, an operator."""

import os

import pytest
from circuits import World
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.testing import run_virtual

LONG = bool(os.environ.get("SPILLWAY_LONG"))

KINDS = [
    *("call", "probe", "probe", "settle", "settle", "fail", "break", "sync", "sync", "sync all", "sync all"),
    *("wait", "wait", "answer lost", "cut", "heal", "kill", "forget", "operator"),
]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 11)), min_size=5, max_size=80)


def play(nodes, probes, steps, *, opened, emptied=True, server=None):
    async def main():
        world = World(nodes, probes, server)
        if opened:
            world.open(world.nodes[0])
            world.clock.advance(1.0)
        for kind, which, how in steps:
            if kind != "forget" or emptied:
                world.step(kind, which, how)
        world.quiet()
        world.agree()
        world.heal()
        if server is not None:
            world.store.redis.close()

    run_virtual(main())


@pytest.mark.parametrize("emptied", [False, True])
@settings(max_examples=3000 if LONG else 150, deadline=None)
@given(nodes=st.integers(1, 4), probes=st.integers(1, 3), opened=st.booleans(), steps=STEPS)
def test_never_more_probes_than_there_may_be_and_all_agree_after_quiet(emptied, nodes, probes, opened, steps):
    play(nodes, probes, steps, opened=opened, emptied=emptied)


@settings(max_examples=1000 if LONG else 40, deadline=None)
@given(nodes=st.integers(1, 4), probes=st.integers(1, 3), opened=st.booleans(), steps=STEPS)
def test_the_script_in_lua_does_the_same(shared_redis, nodes, probes, opened, steps):
    play(nodes, probes, steps, opened=opened, server=shared_redis)
