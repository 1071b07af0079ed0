"""Two keys' streams in one another's midst: nothing of one is ever told to the other, or written down."""

import asyncio
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "safety"))

from echo_provider import EchoProvider
from safety_rig import CHAT, KEY, OTHER_KEY, Served

MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "house")
CLIENTS = 64
CALM = "\n[defaults.circuit_breaker]\nfailure_threshold = 1000000\nminimum_calls = 1000000\n"


class Client:
    """One connection that is used for request after request, of one key after the other."""

    def __init__(self, port):
        self._port, self._streams = port, None

    async def ask(self, key, body, mark):
        """Send one request; return its status and everything that came until its end."""
        data = json.dumps(body).encode()
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nx-request-id: {mark}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(head.encode() + data)
        came = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in came:
            while True:
                size = await reader.readline()
                came += await reader.readexactly(int(size, 16) + 2)
                if int(size, 16) == 0:
                    break
        else:
            length = next(line for line in came.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            came += await reader.readexactly(int(length.partition(b":")[2]))
        if b"connection: close" in came:
            await self.aclose()
        return int(came.split(b" ")[1]), came.decode()

    async def aclose(self):
        if self._streams is not None:
            self._streams[1].close()
            await asyncio.gather(self._streams[1].wait_closed(), return_exceptions=True)
            self._streams = None


async def interleaved(served, count, dice):
    """Ask for so many answers of two keys; return `(canary, whether it is a stream, status, what came)` of each."""
    numbers, told = iter(range(count)), []

    async def client():
        one = Client(served.port)
        try:
            for number in numbers:
                tenant, key = (("a", KEY), ("b", OTHER_KEY))[dice.getrandbits(1)]
                mark = f"CANARY-{tenant}-{number}-{dice.getrandbits(64):x}"
                model = f"no-{mark}" if number % 31 == 0 else dice.choice(MODELS)
                stream = number % 10 != 0
                body = {"model": model, "messages": [{"role": "user", "content": f"say {mark}"}], "stream": stream}
                if number % 37 == 0:
                    body["temperature"] = mark
                told.append((mark, stream, *await one.ask(key, body, mark)))
        finally:
            await one.aclose()

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return told


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_no_canary_crosses(tmp_path, count):
    dice = random.Random(count)
    async with EchoProvider(count) as provider:
        served = Served(tmp_path, provider.url, more=CALM)
        await asyncio.to_thread(served.__enter__)
        try:
            told = await interleaved(served, count, dice)
        finally:
            await asyncio.to_thread(served.__exit__)
    assert len(told) == count
    streamed = 0
    for mark, stream, status, text in told:
        assert text.count("CANARY-") == text.count(mark) >= 1, (mark, text)
        if status == 200 and stream and "error" not in text:
            assert text.count(mark) == 3, "its own name in the head, and twice in the answer"
            streamed += 1
    assert streamed > count / 2
    print(Counter(status for _, _, status, _ in told), streamed)
    log = served.log.read_text()
    # A request's id is the caller's own, and stands in its line.
    assert "CANARY-" not in re.sub(r'"request_id":"[^"]*"', "", log)
    assert "Traceback" not in log
