"""A shared circuit over a real Redis and processes that ask a simulator, are killed, and lose the Redis."""

import asyncio
import json
import pathlib
import sys

import pytest

from spillway.sim import SimConfig, Simulator

# Several processes that are judged by the clock: not two such tests at once.
pytestmark = pytest.mark.xdist_group("processes")

SYNC_S, LATE_S = 0.25, 0.3


class Node:
    def __init__(self, process):
        self.process = process

    @classmethod
    async def start(cls, server, name, sim, probes=1):
        script = pathlib.Path(__file__).with_name("circuit_node.py")
        words = [str(script), server.url, name, sim.url, str(probes)]
        pipe = asyncio.subprocess.PIPE
        node = cls(await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe))
        assert await node.answer() == "ready"
        return node

    def order(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def answer(self):
        async with asyncio.timeout(30.0):
            return json.loads(await self.process.stdout.readline())

    async def do(self, **order):
        self.order(**order)
        return await self.answer()

    async def until(self, state, within_s=5.0):
        async with asyncio.timeout(within_s):
            while (await self.do())["state"] != state:
                await asyncio.sleep(0.02)

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.process._transport.close()


@pytest.fixture
async def nodes():
    started = []

    async def start(count, *args, **options):
        name = args[0].name()
        here = await asyncio.gather(*(Node.start(args[0], name, *args[1:], **options) for _ in range(count)))
        started.extend(here)
        return here

    yield start
    for node in started:
        await node.kill()


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=1)) as sim:
        yield sim


@pytest.fixture
async def slow_sim():
    async with Simulator(SimConfig(seed=1, latency_s=1.5)) as sim:
        yield sim


async def test_what_one_process_opens_the_other_does_not_send(nodes, shared_redis, sim):
    one, other = await nodes(2, shared_redis, sim)
    for _ in range(8):
        assert (await other.do(ask=1))["told"] == ["ok"]
        await asyncio.sleep(0.1)
    assert (await one.do(ask=2, fault="503"))["state"] == "open"
    await asyncio.sleep(SYNC_S + LATE_S)
    asked = sim.stats()["asked"]
    said = await other.do(ask=5)
    assert said["told"] == ["circuit_open"] * 5
    assert said["shared"] is True
    assert sim.stats()["asked"] == asked


@pytest.mark.parametrize("probes", [1, 3])
async def test_exactly_so_many_probes_reach_the_provider(nodes, shared_redis, slow_sim, probes):
    sim = slow_sim
    three = await nodes(3, shared_redis, sim, probes=probes)
    await three[0].do(ask=2, fault="503")
    for node in three:
        await node.until("open")
    await asyncio.sleep(1.1)
    asked = sim.stats()["asked"]
    for node in three:
        node.order(ask=20)
    said = [await node.answer() for node in three]
    told = [code for each in said for code in each["told"]]
    assert sim.stats()["asked"] - asked == probes
    assert len(told) - told.count("circuit_open") == probes


async def test_the_probe_of_a_process_that_was_killed_is_made_by_another(nodes, shared_redis, sim):
    one, other = await nodes(2, shared_redis, sim)
    await one.do(ask=2, fault="503")
    await other.until("open")
    await asyncio.sleep(1.1)
    asked = sim.stats()["asked"]
    one.order(ask=1, fault="stall-before-headers")
    async with asyncio.timeout(5.0):
        while sim.stats()["asked"] == asked:
            await asyncio.sleep(0.02)
    await other.until("half_open")
    assert (await other.do(ask=1))["told"] == ["circuit_open"]
    await one.kill()
    async with asyncio.timeout(6.0):
        while (await other.do(ask=1))["told"] != ["ok"]:
            await asyncio.sleep(0.1)
    assert (await other.do())["state"] == "closed"


async def test_processes_are_on_their_own_without_redis_and_tell_an_empty_one_what_is_open(nodes, redis_server, sim):
    one, other = await nodes(2, redis_server, sim)
    for fault in ("503", "503"):
        await one.do(ask=2, fault=fault)
    await other.until("open")
    redis_server.kill()
    async with asyncio.timeout(5.0):
        while (await one.do())["shared"] or (await other.do())["shared"]:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    assert (await one.do(ask=1, fault="503"))["told"] == ["server_error"]
    assert (await one.do())["state"] == "open"
    assert (await other.do(ask=1))["told"] == ["ok"]
    redis_server.start()
    async with asyncio.timeout(5.0):
        while not ((await one.do())["shared"] and (await other.do())["shared"]):
            await asyncio.sleep(0.02)
    await other.until("open", within_s=2.0)
