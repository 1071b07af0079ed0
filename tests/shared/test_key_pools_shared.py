"""The keys of a pool rest at every Cluster of a store once one of them was told that a key is over its limit."""

import asyncio

import pytest

import spillway
from spillway.sim import SimConfig, Simulator, parse_limit
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore

KEYS = ("sk-one", "sk-two", "sk-three")


@pytest.fixture(params=["redis", "commons"])
def store(request, shared_redis):
    if request.param == "redis":
        shared_redis.up_for(5.5)
        return RedisStore(shared_redis.url, name=shared_redis.name(), window_s=2.0, sync_s=0.1, silent_s=1.0)
    return Commons(window_s=2.0, sync_s=0.1, silent_s=1.0)


def cluster(sim, store, **limits):
    config = spillway.OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=tuple(map(spillway.Secret, KEYS)))
    deployment = spillway.Deployment(
        name="m",
        model="gpt-4o-mini",
        runtime_config=config,
        rate_limits=spillway.RateLimits(**limits),
        pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
    )
    return spillway.Cluster([deployment], environ={}, store=store)


def states(cluster):
    return [key.state for key in cluster.metrics().per_deployment["m"].per_key]


async def ask(cluster):
    await cluster.generate("m", "Say 2 words", timeout_s=20.0)


LIMITS = [{}, {"strict": True}, {"requests_per_minute": 600}, {"requests_per_minute": 600, "strict": True}]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_a_key_that_one_was_refused_with_is_left_alone_by_the_other(store, limits):
    limited = SimConfig(seed=1, limits=(parse_limit(f"{KEYS[0]}=1,-"),))
    async with (
        Simulator(limited) as sim,
        cluster(sim, store, **limits) as one,
        cluster(sim, store, **limits) as other,
    ):
        for _ in range(6):
            await ask(one)
        assert states(one) == ["cooling", "ok", "ok"]
        async with asyncio.timeout(5.0):
            while states(other) != ["cooling", "ok", "ok"]:
                await asyncio.sleep(0.02)
        for _ in range(9):
            await ask(other)
        counted = sim.stats()
        assert (counted["rejected"], counted["by_key"][KEYS[0]]) == (1, 2)
        assert counted["by_key"][KEYS[1]] + counted["by_key"][KEYS[2]] == 14
