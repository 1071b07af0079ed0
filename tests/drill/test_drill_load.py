"""Clients of gateways: each request has one answer, whoever gives it."""

import asyncio
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from spillway.drill.load import Load
from spillway.drill.measuring import books
from spillway.drill.scenarios.reading import answered_once, timed


class Gateway:
    """Answers as it is told: a status, or a cut connection."""

    def __init__(self):
        self.status, self.cut, self.delay_s, self.asked = 200, False, 0.0, 0

    async def handle(self, request):
        self.asked += 1
        await request.read()
        if self.cut:
            request.transport.abort()
        await asyncio.sleep(self.delay_s)
        if self.status == 200:
            return web.json_response({"choices": []})
        return web.json_response({"error": {"code": "rate_limited"}}, status=self.status)


@asynccontextmanager
async def serving(gateway):
    server = web.Server(gateway.handle, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield "http://127.0.0.1:{}".format(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await server.shutdown(0.1)
        await listener.wait_closed()


@pytest.fixture
async def stage():
    one, other = Gateway(), Gateway()
    async with serving(one) as first, serving(other) as second, aiohttp.ClientSession() as session:
        urls = [first, second]
        load = Load(session, lambda: urls, model="m", clock=asyncio.get_running_loop().time)
        yield load, urls, (one, other)


async def test_so_many_requests_are_asked_and_answered_once(stage):
    load, _, gateways = stage
    load.begin([1, 2], 3, asks=50)
    await load.ended()
    assert len(load.asked) == len(load.answers) == 50
    assert sum(gateway.asked for gateway in gateways) == 50
    assert all((answer.status, answer.tries) == (200, 1) for answer in load.answers)
    assert answered_once(load).holds
    assert set(timed(load)) == {"longest wait for an answer", "median wait"}


async def test_who_is_gone_is_not_asked_and_who_goes_is_replaced(stage):
    load, urls, gateways = stage
    gateways[0].cut = True
    load.begin([1], 2, asks=4)
    await load.ended()
    assert all((answer.status, answer.node, answer.tries) == (200, 2, 2) for answer in load.answers)
    urls[0] = None
    before = gateways[0].asked
    load.begin([1], 2, asks=4)
    await load.ended()
    assert gateways[0].asked == before
    assert books(load.asked, (answer.name for answer in load.answers)).balanced
    assert timed(load)["asked elsewhere, as their gateway was gone"] == "4"


async def test_a_refusal_is_an_answer_that_has_a_code(stage):
    load, _, gateways = stage
    gateways[0].status = 429
    load.begin([1], 1, asks=2)
    await load.ended()
    assert [(answer.status, answer.code) for answer in load.answers] == [(429, "rate_limited")] * 2
    assert not answered_once(load).holds
    assert "2 rate_limited" in answered_once(load).measured
    assert answered_once(load, also=("rate_limited",)).holds


async def test_paced_clients_ask_at_their_own_instants_and_hurry_when_told(stage):
    load, _, _ = stage
    began = time.monotonic()
    load.begin([1, 2], 5, every_s=0.1)
    try:
        await asyncio.sleep(0.35)
        paced = len(load.asked)
        assert 10 <= paced <= 10 * ((time.monotonic() - began) / 0.1 + 1)
        load.hurry()
        async with asyncio.timeout(20):
            while len(load.asked) < paced + 100:
                await asyncio.sleep(0.01)
    finally:
        await load.end()
    assert len(load.answers) == len(load.asked)


async def test_cancelled_it_leaves_nothing(stage):
    load, _, gateways = stage
    gateways[0].delay_s = 30.0
    load.begin([1], 3, asks=3)
    task = asyncio.create_task(load.ended())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
