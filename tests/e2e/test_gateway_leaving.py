"""`spillway serve` as a process: a connection that closes takes the request at the provider along within 100 ms."""

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "running"))

from running_rig import Serving, project

from spillway.testing.byte_server import ByteServer, Do, chunk

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = EVENTS + chunk(b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n')
WHOLE = b'{"id":"c1","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE


def request(*, stream):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}\r\n"
    return f"{head}content-type: application/json\r\nauthorization: Bearer key-a\r\n\r\n".encode() + data


async def answered(conversation, times=1):
    while len(conversation.requests) < times:
        await asyncio.sleep(0.001)


@pytest.fixture
async def running(tmp_path):
    """Gives a way to start a gateway before a provider that plays a script."""
    began = []

    async def start(server):
        url = server.url.removesuffix("/v1")
        serving = Serving(tmp_path, project(url), "-c", str(tmp_path / "spillway.toml"))
        began.append(serving)
        return await serving.up()

    yield start
    for serving in began:
        serving.close()


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("where", ["at once", "before the answer", "in the answer"])
async def test_a_connection_that_closes_takes_the_upstream_one_along(running, where, how):
    stream = where == "in the answer"
    script = [Do.READ, BEGUN, Do.STALL] if stream else [Do.READ, Do.STALL]
    async with ByteServer(script) as server, asyncio.timeout(60):
        serving = await running(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(request(stream=stream))
        # The reach for the provider at the start was a connection too.
        at = len(server.conversations)
        conversation = await server.conversation(at)
        await answered(conversation)
        told = b""
        while stream and b"hello" not in told:
            told += await reader.read(4096)
        if where != "at once":
            await asyncio.sleep(0.2)
        if how == "reset":
            linger = b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()
        assert await conversation.gone_within(0.1)
        await serving.says('"outcome":"cancelled"')


async def test_a_connection_goes_on_after_an_answer_that_was_long_in_coming(running):
    """The wait for the first caller's leaving ends with the first answer."""
    script = [Do.READ, 0.2, ANSWER, Do.READ, 0.2, ANSWER, Do.STALL]
    async with ByteServer(script) as server, asyncio.timeout(60):
        serving = await running(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        for _ in range(2):
            writer.write(request(stream=False))
            told = b""
            while b"hi" not in told:
                told += await reader.read(4096)
        writer.close()
        await serving.says('"outcome":"ok"', times=2)
