"""Connections that wait for their next request: used again while they are fresh and sound, and closed after that."""

import asyncio

import pytest

from spillway.core.options import Timeouts
from spillway.remote.http import HttpRequest, aiohttp_client, wire
from spillway.remote.http.aiohttp_client import AiohttpClient
from spillway.testing.byte_server import ByteServer, Do, answer


def client_of(limit=0):
    return AiohttpClient(Timeouts(connect_timeout_s=5.0), "idle/1", limit=limit)


async def fetch(client, server, body=b"{}"):
    response = await client.send(HttpRequest("POST", server.url, {}, body))
    return await response.read()


@pytest.mark.parametrize("limit", [0, 1])
def test_one_connection_serves_one_request_after_the_other(run, limit):
    async def work():
        async with ByteServer([Do.READ, answer(b"1"), Do.READ, answer(b"2"), Do.READ, answer(b"3")]) as server:
            client = client_of(limit)
            assert [await fetch(client, server) for _ in range(3)] == [b"1", b"2", b"3"]
            assert len(server.conversations) == 1
            await client.aclose()
            await server.conversations[0].gone.wait()

    run(work)


def test_what_comes_unasked_ends_the_use_of_a_connection(run):
    async def work():
        async with ByteServer([Do.READ, answer(b"1"), answer(b"evil")], [Do.READ, answer(b"2")]) as server:
            client = client_of()
            assert await fetch(client, server) == b"1"
            await asyncio.sleep(0.05)
            assert await fetch(client, server) == b"2"
            assert len(server.conversations) == 2
            await client.aclose()

    run(work)


def test_closed_when_it_has_waited_too_long(run, monkeypatch):
    monkeypatch.setattr(aiohttp_client, "KEEPALIVE_S", 0.2)

    async def work():
        async with ByteServer([Do.READ, answer(b"1"), Do.READ], [Do.READ, answer(b"2"), Do.READ]) as server:
            client = client_of()
            assert await fetch(client, server) == b"1"
            await server.conversations[0].gone.wait()
            assert await fetch(client, server) == b"2"
            await client.aclose()

    run(work)


def test_one_that_is_too_old_is_not_used_even_before_it_is_closed(run, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(wire, "monotonic", lambda: clock[0])

    async def work():
        talks = [[Do.READ, answer(body), Do.READ, answer(b"late"), Do.READ] for body in (b"1", b"2")]
        async with ByteServer(*talks) as server:
            client = client_of()
            assert await fetch(client, server) == b"1"
            clock[0] += aiohttp_client.KEEPALIVE_S + 1.0
            assert await fetch(client, server) == b"2"
            await server.conversations[0].gone.wait()
            await client.aclose()

    run(work)


def test_closing_the_client_closes_those_that_wait(run):
    async def work():
        async with ByteServer([Do.READ, answer(b"1"), Do.READ]) as server:
            client = client_of()
            await asyncio.gather(*(fetch(client, server) for _ in range(3)))
            await client.aclose()
            await asyncio.gather(*(each.gone.wait() for each in server.conversations))
            assert len(server.conversations) == 3

    run(work)
