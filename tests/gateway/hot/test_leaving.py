"""A caller who leaves takes the request at the provider along, within 100 ms, wherever it stands."""

import asyncio

import pytest
from asgi import Asked, chat, delta, gateway_before, openai, sse

import spillway
from spillway.testing.byte_server import ByteServer, Do, chunk

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = EVENTS + chunk(sse(delta(), delta("hello")))


async def left(asked, gateway, conversation, *, within=0.1):
    asked.leave()
    assert await conversation.gone_within(within)
    await asked.end()
    record = gateway.heard[0]
    assert record.outcome == "cancelled"
    assert gateway.in_flight == 0
    assert not gateway.cluster.deployment("gpt-4o-mini").workers()[0].busy
    return record


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("waited", [0.0, 0.06])
async def test_before_any_answer(stream, waited):
    async with ByteServer([Do.READ, Do.STALL]) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat(stream=stream))
        conversation = await server.conversation()
        while not conversation.requests:
            await asyncio.sleep(0.001)
        await asyncio.sleep(waited)
        record = await left(asked, gateway, conversation)
    assert (record.status, record.attempts) == (499, 1)
    assert asked.status == 0


async def test_in_the_middle_of_a_stream():
    async with ByteServer([Do.READ, BEGUN, Do.STALL]) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat(stream=True))
        await asked.until(lambda told: told.pieces)
        record = await left(asked, gateway, server.conversations[0])
    assert record.status == 200
    assert not asked.over


async def test_while_nothing_is_taken():
    """The caller leaves while a piece is on its way to it."""
    async with ByteServer([Do.READ, BEGUN, Do.STALL]) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat(stream=True))
        asked.taking.clear()
        await asyncio.sleep(0.1)
        await left(asked, gateway, server.conversations[0])


async def test_while_the_request_waits_for_a_slot():
    serving = spillway.Serving(max_concurrent=1)
    async with ByteServer([Do.READ, Do.STALL]) as server, gateway_before(openai(server, serving=serving)) as gateway:
        first, second = Asked(gateway, chat()), Asked(gateway, chat())
        conversation = await server.conversation()
        await asyncio.sleep(0.05)
        second.leave()
        await second.end()
        assert gateway.heard[0].attempts == 0
        assert not conversation.gone.is_set()
        first.leave()
        await first.end()
    assert len(server.conversations) == 1


async def test_a_deployment_that_drains_is_read_to_its_end():
    """Mid-stream and with the server's next piece awaited: the read goes on, and what it came to is recorded."""
    on = asyncio.Event()
    usage = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    rest = chunk(sse(delta(" world"), delta(finish="stop"), usage, b"[DONE]")) + b"0\r\n\r\n"
    script = [Do.READ, BEGUN, on, rest, Do.STALL]
    seen = []

    class Watcher:
        def on_attempt(self, record):
            seen.append(record)

        def on_request(self, record):
            del record

    async with ByteServer(script) as server:
        deployment = openai(server, on_disconnect="drain")
        async with gateway_before(deployment, observers=[Watcher()]) as gateway:
            asked = Asked(gateway, chat(stream=True))
            await asked.until(lambda told: told.pieces)
            asked.leave()
            await asked.end()
            assert gateway.heard[0].outcome == "cancelled"
            assert not server.conversations[0].gone.is_set()
            on.set()
            async with asyncio.timeout(5):
                while not seen:
                    await asyncio.sleep(0.01)
    assert seen[0].outcome == "ok"
    assert seen[0].usage.output_tokens == 3


async def test_a_cancellation_from_elsewhere_stays_one():
    async with ByteServer([Do.READ, Do.STALL]) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat())
        conversation = await server.conversation()
        await asyncio.sleep(0.05)
        asked.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked.task
        assert await conversation.gone_within(0.1)
    assert gateway.heard[0].outcome == "cancelled"


async def test_both_at_once_stay_a_cancellation():
    async with ByteServer([Do.READ, Do.STALL]) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat())
        await server.conversation()
        await asyncio.sleep(0.05)
        asked.leave()
        asked.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked.task
