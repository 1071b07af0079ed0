"""Where many requests are under way their records wait a little for each other; none is lost, none out of order."""

import asyncio
import gc

from asgi import Asked, Heard, chat

import spillway
from spillway.gateway import collecting
from spillway.gateway.app import TOLD_TOGETHER_S, Gateway
from spillway.testing import Reply, ScriptedRunner, run_virtual


def play(test):
    runner = ScriptedRunner(lambda batch: Reply(delay_s=float(batch.request.messages[0]["content"])))

    async def run():
        deployment = spillway.Deployment(name="gpt-4o-mini")
        async with spillway.Cluster([deployment], runners={"gpt-4o-mini": lambda _: runner}) as cluster:
            heard = Heard()
            await test(Gateway(cluster, listeners=[heard]), heard)

    run_virtual(run())


def waiting(gateway, seconds):
    return Asked(gateway, chat(messages=[{"role": "user", "content": str(seconds)}]))


def test_many_are_told_at_once_and_in_order():
    async def test(gateway, heard):
        asked = [waiting(gateway, 1 + at / 1000) for at in range(30)]
        await asyncio.sleep(1.0105)
        ended = [each for each in asked if each.over]
        assert len(ended) == 11
        assert len(heard) == 0
        await asyncio.sleep(TOLD_TOGETHER_S)
        assert len(heard) >= 11
        for each in asked:
            await each.task
        await asyncio.sleep(TOLD_TOGETHER_S)
        assert len(heard) == 30
        assert [record.at for record in heard] == sorted(record.at for record in heard)
        assert all(abs(record.elapsed_s - 1 - at / 1000) < 1e-6 for at, record in enumerate(heard))

    play(test)


def test_few_are_told_at_once():
    async def test(gateway, heard):
        slow = waiting(gateway, 5)
        await waiting(gateway, 1).task
        assert len(heard) == 1
        await slow.task
        assert len(heard) == 2

    play(test)


def test_an_app_that_ends_has_told_of_all():
    async def test(gateway, heard):
        asked = [waiting(gateway, 1) for _ in range(20)]
        await asyncio.sleep(1.0)
        for each in asked:
            await each.task
        said = iter([{"type": "lifespan.shutdown"}])

        async def receive():
            return next(said)

        async def send(message):
            assert message["type"] == "lifespan.shutdown.complete"

        await gateway({"type": "lifespan"}, receive, send)
        assert len(heard) == 20

    play(test)


def test_the_collector_leaves_what_was_built_alone():
    before = gc.get_threshold()
    try:
        collecting.settle_down()
        assert gc.get_threshold()[0] == collecting.FIRST
        assert gc.get_freeze_count() > 0
        ring = []
        ring.append(ring)
        del ring
        collecting.settle_down()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_neither_requests_nor_streams_leave_cycles_behind():
    async def test(gateway, heard):
        del heard
        for _ in range(3):
            await waiting(gateway, 0).task
            await Asked(gateway, chat(messages=[{"role": "user", "content": "0"}], stream=True)).task
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await waiting(gateway, 0).task
                await Asked(gateway, chat(messages=[{"role": "user", "content": "0"}], stream=True)).task
            assert gc.collect() < 20
        finally:
            gc.enable()

    play(test)
