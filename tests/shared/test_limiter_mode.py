"""How limits are held when the store is there, is killed, hangs and comes back, through the public door."""

import asyncio
import logging
import time

import pytest

import spillway
from spillway.stores.redis import RedisStore
from spillway.telemetry.engines import read_engines
from spillway.testing import ScriptedRunner

SYNC_S = 1.0
WINDOW_S = 2.0
NOTICED_S = 0.25
SLACK_S = 0.15
"""A busy machine's."""


def cluster(store, **more):
    def deployment(name, **options):
        limits = options.pop("limits")
        return spillway.Deployment(
            name=name,
            rate_limits=spillway.RateLimits(**limits),
            serving=spillway.Serving(queue_timeout_s=0.2),
            **options,
        )

    deployments = [
        deployment("told", limits={"requests_per_minute": 100}, **more),
        deployment("exact", limits={"requests_per_minute": 100, "strict": True}),
        deployment("free", limits={}),
        deployment("spare", limits={}),
    ]
    runners = {each.name: (lambda _: ScriptedRunner()) for each in deployments}
    return spillway.Cluster(deployments, runners=runners, store=store)


def modes(of):
    return tuple(of.deployment(name).rate_limiter().snapshot().mode for name in ("told", "exact"))


async def until(holds, most_s):
    """Return the seconds until `holds`, at most `most_s`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < most_s, "it never came to it"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def shown(of, name):
    """Return the mode that the metrics show."""
    reading = next(one for one in read_engines(of.engines()) if one.metric.name == "spillway_limiter_mode")
    return [labels[1] for labels, value in reading.rows if labels[0] == name and value]


async def test_a_killed_store_is_noticed_at_once_and_one_that_is_back_soon(redis_server, caplog):
    caplog.set_level(logging.INFO, "spillway")
    redis_server.up_for(5.5)
    async with cluster(RedisStore(redis_server.url, window_s=WINDOW_S, sync_s=SYNC_S, silent_s=1.0)) as one:
        await one.generate("told", "hello")
        assert modes(one) == ("approximate", "strict")
        assert shown(one, "told") == ["approximate"]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(redis_server.kill)
        assert await until(lambda: modes(one) == ("share", "closed"), 3.0) <= NOTICED_S + SLACK_S
        assert (shown(one, "told"), shown(one, "exact")) == (["share"], ["closed"])
        assert "share" in repr(one.deployment("told").rate_limiter())
        # What is left of the lease apart, a strict limit admits nothing, and says why; its share goes on.
        await one.generate("told", "hello")
        with pytest.raises(
            spillway.RateLimited,
            match="the store is lost or may have forgotten, and a strict limit lets nothing through without it",
        ) as shut:
            for _ in range(20):
                await one.generate("exact", "hello")
        assert shut.value.limited_by == "deployment"
        with pytest.raises(spillway.RateLimited, match="the store is lost, and this process keeps to its share"):
            for _ in range(200):
                await one.generate("told", "hello", timeout_s=0.3)
        assert (await one.generate("free", "hello")).text is not None
        await asyncio.to_thread(redis_server.start)
        await until(lambda: modes(one)[0] == "approximate", 2.0)
    said = [record for record in caplog.records if record.name == "spillway.rate_limit" and "told" in record.message]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert "share" in said[0].message
    assert "approximate again" in said[1].message
    assert not [
        record for record in caplog.records if record.name == "spillway.rate_limit" and "free" in record.message
    ]


async def test_a_store_that_hangs_is_noticed_at_the_next_sync(redis_server):
    async with cluster(RedisStore(redis_server.url, window_s=WINDOW_S, sync_s=0.3)) as one:
        await one.generate("told", "hello")
        redis_server.pause()
        try:
            assert await until(lambda: modes(one)[0] == "share", 3.0) <= 0.3 + NOTICED_S + SLACK_S
        finally:
            redis_server.go_on()
        await until(lambda: modes(one)[0] == "approximate", 2.0)


async def test_without_having_reached_the_store_nothing_is_admitted(redis_server, caplog):
    redis_server.kill()
    async with cluster(RedisStore(redis_server.url, window_s=WINDOW_S, sync_s=0.3)) as one:
        began = time.monotonic()
        with pytest.raises(spillway.RateLimited, match="the store has not been reached yet"):
            await one.generate("told", "hello")
        assert time.monotonic() - began < 2.0
        assert modes(one) == ("joining", "joining")
        assert (await one.generate("free", "hello")).text is not None
        await asyncio.to_thread(redis_server.start)
        await until(lambda: modes(one)[0] == "approximate", 3.0)
        await one.generate("told", "hello")


async def test_what_nothing_is_admitted_by_falls_back_at_once(redis_server):
    redis_server.kill()
    async with cluster(RedisStore(redis_server.url), fallback=("spare",)) as one:
        assert (await one.generate("told", "hello")).deployment == "spare"


async def test_alone_limits_are_local():
    async with cluster("memory") as one:
        await one.generate("told", "hello")
        assert modes(one) == ("local", "strict")
        assert (shown(one, "told"), shown(one, "exact")) == (["local"], ["strict"])
