"""A caller of Anthropic's door who waits hears its API's own sign of life; virtual time."""

import asyncio

from anthropic_bodies import added_up, user
from asgi import Asked

import spillway
from spillway.gateway.app import Gateway
from spillway.testing import Reply, ScriptedRunner, run_virtual

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def play(test, *script):
    """Run `test(asked)` in virtual time, on a stream that the script answers."""
    runner = ScriptedRunner(script)

    async def run():
        async with spillway.Cluster([spillway.Deployment(name="m")], runners={"m": lambda _: runner}) as cluster:
            body = {"model": "m", "max_tokens": 9, "messages": [user("hi")], "stream": True}
            await test(Asked(Gateway(cluster), body, path="/v1/messages"))

    run_virtual(run())


def test_a_silent_stream_is_kept_alive_by_pings():
    async def test(asked):
        await asked.task
        assert asked.pieces.count(PING) == 2
        assert asked.pieces[0].startswith(b"event: message_start\n")
        assert asked.pieces[-1].endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        assert added_up(asked.bytes)["content"] == [{"type": "text", "text": "ab"}]

    play(test, Reply(text="ab", chunks=2, chunk_delay_s=40.0))


def test_no_ping_goes_out_before_the_first_content():
    async def test(asked):
        await asyncio.sleep(100.0)
        assert asked.status == 0 and asked.pieces == []
        await asked.task
        assert PING not in asked.pieces

    play(test, Reply(delay_s=120.0))
