"""Where a request's time went: waiting for the provider, in queues, or with its reader."""

import pytest
from stage import Reply, broken, now, retry

from spillway.core.clock import sleep
from spillway.core.request import GenerateRequest, as_messages


async def errand(world, *, stream):
    request = GenerateRequest(messages=as_messages("hi"), idempotency_id="e")
    return await world.cluster.errand("m", request, stream=stream)


def test_a_reader_who_takes_his_time_is_not_waited_for_upstream(play):
    async def test(world):
        one = await errand(world, stream=True)
        began = now()
        live = await one.run()
        assert one.upstream_s == pytest.approx(1.5)
        while await live.next_chunks() is not None:
            await sleep(10.0)
        assert one.upstream_s == pytest.approx(2.5)
        assert now() - began == pytest.approx(32.5)
        assert one.queued_s == 0

    play(test, (Reply(text="abcdef", chunks=3, delay_s=1.5, chunk_delay_s=0.5),))


def test_a_stream_that_is_read_at_once_is_waited_for(play):
    async def test(world):
        one = await errand(world, stream=True)
        live = await one.run()
        while await live.next_chunks() is not None:
            pass
        assert one.upstream_s == pytest.approx(2.5)

    play(test, (Reply(text="abcdef", chunks=3, delay_s=1.5, chunk_delay_s=0.5),))


def test_a_stream_that_is_left_and_drained(play):
    """What its caller waited for is known while the rest is still read."""

    async def test(world):
        one = await errand(world, stream=True)
        live = await one.run()
        await live.next_chunks()
        await live.next_chunks()
        await live.aclose()
        assert world.metrics().busy == 1
        assert one.upstream_s == pytest.approx(2.0)
        await sleep(5.0)
        assert world.metrics().busy == 0

    play(test, (Reply(text="abcdef", chunks=3, delay_s=1.5, chunk_delay_s=0.5),), on_disconnect="drain")


def test_attempts_and_the_wait_between_them(play):
    async def test(world):
        one = await errand(world, stream=False)
        await one.run()
        assert one.upstream_s == pytest.approx(3.0)
        assert one.queued_s == pytest.approx(1.0)

    play(test, (Reply(delay_s=1.0, error=broken()), Reply(delay_s=2.0)), retry=retry())
