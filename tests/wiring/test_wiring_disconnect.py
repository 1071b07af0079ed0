"""What becomes of a stream at the provider when its reader leaves."""

import asyncio

import pytest
from stage import Reply, gathered, now

LONG = Reply(text="a" * 50, chunks=50, chunk_delay_s=1.0)


def rows(world):
    return [(a.outcome, a.usage, a.estimated) for a in world.seen.attempts]


@pytest.mark.option("on_disconnect")
@pytest.mark.parametrize(("policy", "seconds", "usage"), [("cancel", 0.0, None), ("drain", 48.0, (10, 5))])
def test_what_a_reader_who_leaves_does_to_the_provider(play, policy, seconds, usage):
    async def test(world):
        stream = world.stream()
        await anext(stream)
        await anext(stream)
        began = now()
        await stream.aclose()
        await stream.aclose()
        while world["m"].open:
            await asyncio.sleep(0.5)
        await asyncio.sleep(0)
        assert now() - began == pytest.approx(seconds, abs=0.6)
        ((_, row, estimated),) = rows(world)
        assert estimated == (policy == "cancel")
        if usage:
            assert (row.input_tokens, row.output_tokens) == usage

    play(test, (LONG,), on_disconnect=policy)


def test_at_most_sixteen_streams_are_read_on_for_nobody(play):
    """All that were left in the same instant were drained, however many."""

    async def test(world):
        streams = [world.stream() for _ in range(40)]
        await gathered(*(anext(s) for s in streams))
        await gathered(*(s.aclose() for s in streams))
        await asyncio.sleep(0.1)
        assert world["m"].open == 16
        await asyncio.sleep(60.0)
        assert world["m"].open == 0
        assert len(rows(world)) == 40
        assert sum(not estimated for _, _, estimated in rows(world)) == 16

    play(test, (LONG,), on_disconnect="drain")


def test_closing_the_cluster_ends_drains(play):
    async def test(world):
        stream = world.stream()
        await anext(stream)
        await stream.aclose()
        await world.cluster.aclose()
        assert world["m"].open == 0
        assert len(rows(world)) == 1

    play(test, (LONG,), on_disconnect="drain")
