"""A budget over a real Redis and four processes at full speed: killed, and without their store for a while."""

import asyncio
import pathlib
import time

import pytest
from node_processes import Nodes

import spillway
from spillway.core.clock import monotonic
from spillway.stores.redis import RedisStore
from spillway.testing import Reply, ScriptedRunner

# Several processes that are judged by the clock: not two such tests at once.
pytestmark = pytest.mark.xdist_group("processes")

SILENT_S = 1.5
CAP_USD = 100_000.0


class Spenders(Nodes):
    """Four processes that spend from one cap."""

    def __init__(self, server, directory):
        words = server.url, server.name(), SILENT_S, CAP_USD
        super().__init__("budget_node.py", *words, log=pathlib.Path(directory, "spent"))

    @property
    def used(self):
        """The part of the cap that was spent."""
        return sum(map(int, self.logged())) / (CAP_USD * 10**12)

    def wait_for(self, part, within_s=30.0):
        deadline = time.monotonic() + within_s
        while (used := self.used) < part:
            assert time.monotonic() < deadline, f"{used:.4f} used of {part}"
            time.sleep(0.05)


@pytest.fixture
def nodes(redis_server, tmp_path):
    found = Spenders(redis_server, tmp_path)
    yield found
    time.sleep(1.0)
    found.end()
    assert 0.97 <= found.used <= 1.0


def test_all_of_the_cap_is_spent_and_no_more_when_processes_are_killed(nodes):
    for count in range(4):
        nodes.wait_for(0.15 * (count + 1))
        nodes.replace(count)
    nodes.wait_for(0.97)


def test_all_of_the_cap_is_spent_and_no_more_when_the_store_is_paused_killed_and_emptied(nodes, redis_server):
    nodes.wait_for(0.2)
    redis_server.pause()
    time.sleep(1.0)
    redis_server.go_on()
    nodes.wait_for(0.5)
    redis_server.kill()
    redis_server.start()
    nodes.wait_for(0.97)


def cluster(url, name, reply):
    deployment = spillway.Deployment(
        name="m",
        budget=spillway.Budget(max_spend_per_day_usd=100.0),
        pricing=spillway.Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=10_000.0),
    )
    runners = {"m": lambda _: ScriptedRunner([reply])}
    return spillway.Cluster([deployment], runners=runners, environ={}, store=RedisStore(url, name=name))


async def test_a_store_that_does_not_answer_closes_the_budget_within_a_moment(redis_server):
    reply = Reply(usage=spillway.Usage(input_tokens=0, output_tokens=10))
    async with cluster(redis_server.url, redis_server.name(), reply) as asked:
        await asked.generate("m", "Say hello", max_tokens=10)
        await asyncio.sleep(0.3)
        redis_server.pause()
        try:
            began = monotonic()
            with pytest.raises(spillway.BudgetExceeded, match="the store that keeps the budget") as caught:
                await asked.generate("m", "Say hello", max_tokens=1_000)
            assert monotonic() - began < 1.0
            assert caught.value.reason == "store_lost"
            began = monotonic()
            with pytest.raises(spillway.BudgetExceeded, match="is not reached"):
                await asked.generate("m", "Say hello", max_tokens=1_000)
            assert monotonic() - began < 0.1
        finally:
            redis_server.go_on()
        deadline = monotonic() + 5.0
        while monotonic() < deadline:
            try:
                await asked.generate("m", "Say hello", max_tokens=1_000)
                break
            except spillway.BudgetExceeded:
                await asyncio.sleep(0.1)
        else:
            pytest.fail("the budget stays closed")
