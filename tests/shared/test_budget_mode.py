"""How a budget is held when the store is there, is lost, comes back and is left, through the public door."""

import asyncio
import logging
import time

import pytest

import spillway
from spillway.stores.commons import Commons
from spillway.stores.commons.commons import CommonsLink
from spillway.stores.redis import RedisStore
from spillway.telemetry.engines import read_engines
from spillway.testing import Reply, ScriptedRunner

CENT = Reply(text="hi", usage=spillway.Usage(input_tokens=0, output_tokens=10))


def cluster(store, **budgets):
    prices = spillway.Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=1_000.0)  # a reply costs a cent
    deployments = [
        spillway.Deployment(name=name, pricing=prices, budget=spillway.Budget(max_spend_per_day_usd=9.0, **budget))
        for name, budget in budgets.items()
    ]
    runners = {each.name: (lambda _: ScriptedRunner([CENT])) for each in deployments}
    return spillway.Cluster(deployments, runners=runners, store=store)


def shown(of, metric, name):
    """Return what a metric tells of a deployment, by its other labels."""
    reading = next(one for one in read_engines(of.engines()) if one.metric.name == f"spillway_{metric}")
    return {labels[1:]: value for labels, value in reading.rows if labels[0] == name}


def mode(of, name):
    (found,) = [labels[0] for labels, value in shown(of, "budget_mode", name).items() if value]
    assert of.deployment(name).budget().snapshot().mode == found
    return found


async def until(holds):
    end = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < end, "it never came to it"
        await asyncio.sleep(0.01)


def said(caplog):
    return [record for record in caplog.records if record.name == "spillway.budget"]


async def test_a_lost_store_closes_budgets_and_one_line_says_so_and_one_that_it_is_back(redis_server, caplog):
    caplog.set_level(logging.INFO, "spillway")
    async with cluster(RedisStore(redis_server.url), m={}, n={}, loose={"on_exceeded": "warn"}) as one:
        for name in ("m", "n", "loose"):
            await one.generate(name, "hello", max_tokens=10)
            assert mode(one, name) == "shared"
        await asyncio.to_thread(redis_server.kill)
        await until(lambda: [mode(one, name) for name in ("m", "n", "loose")] == ["store_lost"] * 3)
        with pytest.raises(spillway.BudgetExceeded, match="the store that keeps the budget") as shut:
            for _ in range(100):
                await one.generate("m", "hello", max_tokens=10)
        assert (shut.value.reason, shut.value.limited_by) == ("store_lost", "budget")
        assert (await one.generate("loose", "hello", max_tokens=10)).text == "hi"
        await asyncio.to_thread(redis_server.start)
        await until(lambda: mode(one, "m") == "shared")
        await one.generate("m", "hello", max_tokens=10, timeout_s=5.0)
    lost, back = said(caplog)
    assert (lost.levelname, back.levelname) == ("WARNING", "INFO")
    assert lost.message == (
        "budgets of deployments:m, deployments:n: the store is lost: what was leased from it is spent, "
        "then nothing until it answers"
    )
    assert back.message == "budgets: shared again"


async def test_what_others_hold_is_shown_and_is_not_left(shared_redis):
    store = RedisStore(shared_redis.url, name=shared_redis.name())
    async with cluster(store, m={}) as one, cluster(store, m={}) as other:
        await one.generate("m", "hello", max_tokens=10, timeout_s=5.0)
        held = other.deployment("m").budget()
        await until(lambda: held.try_reserve(2 * 10**12) is not None)
        await until(lambda: shown(one, "budget_elsewhere_usd", "m")[()] >= 2.0)
        await one.generate("m", "hello", max_tokens=10, timeout_s=5.0)
        left = shown(one, "budget_left_usd", "m")[("day",)]
        assert 6.0 < left < 7.0


class SlowLink(CommonsLink):
    """A way to a store on which every answer takes a while."""

    busy: asyncio.Event

    async def run_scripts(self, calls):
        self.busy.set()
        await asyncio.sleep(0.1)
        return await super().run_scripts(calls)


class SlowStore(Commons):
    def connect(self):
        self.link = SlowLink(self)
        self.link.busy = asyncio.Event()
        return self.link


async def test_who_leaves_while_it_syncs_does_not_take_the_store_for_lost(caplog):
    caplog.set_level(logging.INFO, "spillway")
    store = SlowStore()
    async with cluster(store, m={}) as one:
        await one.generate("m", "hello", max_tokens=10, timeout_s=5.0)
        store.link.busy.clear()
        await store.link.busy.wait()
    assert [record.message for record in caplog.records if record.levelno >= logging.INFO] == []


async def test_alone_a_budget_is_local():
    async with cluster("memory", m={}) as one:
        await one.generate("m", "hello", max_tokens=10)
        assert mode(one, "m") == "local"
        assert shown(one, "budget_elsewhere_usd", "m") == {(): 0.0}
