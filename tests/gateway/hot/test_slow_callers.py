"""A caller who takes nothing is let go after 30 s; one who waits hears a sign of life every 15 s; virtual time."""

import asyncio

import pytest
from asgi import Asked, Heard, chat

import spillway
from spillway.gateway.app import Gateway
from spillway.testing import Reply, ScriptedRunner, run_virtual

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


def play(test, *script, **options):
    """Run `test(gateway, runner)` in virtual time."""
    runner = ScriptedRunner(script)

    async def run():
        deployment = spillway.Deployment(name="gpt-4o-mini", pricing=PRICE, **options)
        async with spillway.Cluster([deployment], runners={"gpt-4o-mini": lambda _: runner}) as cluster:
            heard = Heard()
            gateway = Gateway(cluster, listeners=[heard])
            gateway.heard = heard
            await test(gateway, runner)

    run_virtual(run())


def now():
    return asyncio.get_running_loop().time()


def test_a_silent_stream_is_kept_alive_by_comments():
    async def test(gateway, runner):
        del runner
        asked = Asked(gateway, chat(stream=True))
        await asked.until(lambda told: told.pieces)
        began, seen = now(), []
        while not asked.over:
            asked.news.clear()
            await asked.news.wait()
            seen.append(round(now() - began))
        await asked.task
        comments = [at for at, piece in enumerate(asked.pieces) if piece == b": keep-alive\n\n"]
        assert len(comments) == 2
        assert [event for event in asked.events if isinstance(event, dict)][0]["choices"]
        assert asked.events[-1] == b"[DONE]"
        assert asked.pieces[-1] != b": keep-alive\n\n"

    play(test, Reply(text="ab", chunks=2, chunk_delay_s=40.0))


def test_nothing_is_sent_before_the_first_content_however_long_it_takes():
    async def test(gateway, runner):
        del runner
        asked = Asked(gateway, chat(stream=True))
        await asyncio.sleep(100.0)
        assert asked.status == 0
        await asyncio.sleep(30.0)
        await asked.task
        assert b"keep-alive" not in asked.bytes

    play(test, Reply(delay_s=120.0))


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_takes_nothing_for_30_s_is_let_go(stream):
    async def test(gateway, runner):
        asked = Asked(gateway, chat(stream=stream))
        asked.taking.clear()
        began = now()
        while not asked.task.done():
            await asyncio.sleep(0.5)
        assert 30.0 <= now() - began <= 31.0
        assert runner.open == 0
        assert gateway.heard[0].outcome == "cancelled"
        assert gateway.in_flight == 0

    play(test, Reply(text="a" * 50, chunks=50, chunk_delay_s=0.01))


def test_a_caller_who_takes_a_little_now_and_then_is_served():
    async def test(gateway, runner):
        del runner
        asked = Asked(gateway, chat(stream=True))
        while not asked.task.done():
            asked.taking.clear()
            await asyncio.sleep(25.0)
            asked.taking.set()
            await asyncio.sleep(0.1)
        assert asked.over
        assert gateway.heard[0].outcome == "ok"

    play(test, Reply(text="a" * 10, chunks=10, chunk_delay_s=0.5), Reply())


def test_a_refusal_that_nobody_takes_is_given_up_too():
    async def test(gateway, runner):
        del runner
        asked = Asked(gateway, b"{", headers=())
        asked.taking.clear()
        began = now()
        while not asked.task.done():
            await asyncio.sleep(0.5)
        assert 30.0 <= now() - began <= 31.0

    play(test, Reply())


def test_a_large_answer_leaves_in_pieces():
    async def test(gateway, runner):
        del runner
        asked = Asked(gateway, chat())
        await asked.task
        assert len(asked.bytes) == int(asked.headers["content-length"]) > 300_000
        assert max(len(piece) for piece in asked.pieces) <= 65_536
        assert asked.over
        assert asked.json["choices"][0]["message"]["content"] == "é" * 200_000

    play(test, Reply(text="é" * 200_000))
