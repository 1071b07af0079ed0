"""The link between a node and the store."""

import asyncio

import pytest

from spillway.drill.proxy import HOST, Link


@pytest.fixture
async def link(tmp_path):
    async def echo(reader, writer):
        while piece := await reader.read(1024):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(echo, str(tmp_path / "s"))
    link = Link(tmp_path / "s")
    await link.start()
    yield link
    await link.aclose()
    server.close()
    await server.wait_closed()


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, text, within_s=1.0):
        self.writer.write(text)
        return await self.hear(len(text), within_s)

    async def hear(self, size=1, within_s=1.0):
        async with asyncio.timeout(within_s):
            return await self.reader.read(size)

    def close(self):
        self.writer.transport.abort()


@pytest.fixture
async def connect(link):
    clients = []

    async def one():
        clients.append(Client(*await asyncio.open_connection(HOST, link.port)))
        return clients[-1]

    yield one
    for client in clients:
        client.close()


async def test_it_passes_everything_on(link, connect):
    client = await connect()
    assert await client.ask(b"hello") == b"hello"
    assert repr(link) == "<Link flowing, 1 connections>"


async def test_cut_resets_what_there_is_and_what_comes_until_it_heals(link, connect):
    client = await connect()
    await client.ask(b"a")
    link.cut()
    with pytest.raises(ConnectionError):
        await client.ask(b"b")
        await client.ask(b"b")
    with pytest.raises(ConnectionError):
        late = await connect()
        assert await late.ask(b"c") == b""
        raise ConnectionResetError
    link.heal()
    assert await (await connect()).ask(b"d") == b"d"


async def test_a_black_hole_takes_all_and_gives_it_when_it_heals(link, connect):
    client = await connect()
    await client.ask(b"a")
    link.swallow()
    with pytest.raises(TimeoutError):
        await client.ask(b"b", 0.1)
    late = await connect()
    with pytest.raises(TimeoutError):
        await late.ask(b"c", 0.1)
    assert link.state == "black hole"
    link.heal()
    assert await client.hear() == b"b"
    assert await late.hear() == b"c"


async def test_a_slow_link_is_slow_both_ways(link, connect):
    client = await connect()
    await client.ask(b"a")
    link.slow(0.05)
    began = asyncio.get_running_loop().time()
    assert await client.ask(b"b") == b"b"
    assert asyncio.get_running_loop().time() - began >= 0.1
    link.heal()
    began = asyncio.get_running_loop().time()
    assert await client.ask(b"c") == b"c"
    assert asyncio.get_running_loop().time() - began < 0.1


async def test_nobody_behind_it_is_a_reset(tmp_path):
    link = Link(tmp_path / "nobody")
    await link.start()
    client = Client(*await asyncio.open_connection(HOST, link.port))
    with pytest.raises(ConnectionError):
        assert await client.ask(b"a") == b""
        raise ConnectionResetError
    client.close()
    await link.aclose()


async def test_it_closes_in_every_state(link, connect):
    await (await connect()).ask(b"a")
    link.swallow()
    await connect()
    await asyncio.sleep(0.02)
    await link.aclose()
    await link.aclose()
    assert repr(link) == "<Link black hole, 0 connections>"
