"""A list of keys is a pool: taken in turns, each with limits and a circuit of its own."""

import asyncio

import pytest

import spillway
from spillway.sim import SimConfig, Simulator

PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


def deployment(sim, keys=("k-one", "k-two", "k-three"), **options):
    config = spillway.OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=[spillway.Secret(key) for key in keys])
    return spillway.Deployment(name="m", model="gpt-4o-mini", runtime_config=config, pricing=PRICING, **options)


@pytest.fixture
async def provider():
    async with Simulator(SimConfig(seed=1, latency_s=0.0)) as sim:
        yield sim


async def test_they_take_turns(provider):
    async with spillway.Cluster([deployment(provider)]) as cluster:
        for _ in range(30):
            assert (await cluster.generate("m", "Say 2 words")).deployment == "m"
        await asyncio.gather(*(cluster.generate("m", "Say 2 words") for _ in range(60)))
        metrics = cluster.metrics().per_deployment["m"]
        assert (metrics.succeeded, metrics.attempts, metrics.busy) == (90, 90, 0)
    assert provider.stats()["by_key"] == {"k-one": 30, "k-two": 30, "k-three": 30}


async def test_a_key_that_is_throttled_rests_alone():
    from spillway.sim import parse_limit

    async with Simulator(SimConfig(seed=1, latency_s=0.0, limits=(parse_limit("k-one=1,-"),))) as sim:
        async with spillway.Cluster([deployment(sim)]) as cluster:
            for _ in range(20):
                await cluster.generate("m", "Say 2 words", timeout_s=5.0)
            dep = cluster.deployment("m")
            assert [dep.rate_limiter(key).blocked_for() > 0 for key in range(3)] == [True, False, False]
            assert dep.healthy()
        asked = sim.stats()["by_key"]
        assert asked["k-one"] <= 2
        assert asked["k-two"] + asked["k-three"] >= 19


async def test_a_key_that_is_refused_does_not_keep_the_others_from_answering(provider):
    provider.set_valid_keys(frozenset({"k-two", "k-three"}))
    async with spillway.Cluster([deployment(provider)]) as cluster:
        for _ in range(9):
            assert (await cluster.generate("m", "Say 2 words")).text
        assert cluster.deployment("m").healthy()
    assert provider.stats()["by_key"]["k-one"] == 1


async def test_each_key_has_the_limits_and_all_share_one_budget(provider):
    limits = spillway.RateLimits(requests_per_minute=2)
    async with spillway.Cluster([deployment(provider, rate_limits=limits)]) as cluster:
        for _ in range(6):
            await cluster.generate("m", "Say 2 words", timeout_s=2.0)
        with pytest.raises(spillway.Timeout):
            await cluster.generate("m", "Say 2 words", timeout_s=0.05)
    budget = spillway.Budget(max_spend_per_day_usd=0.00006)
    async with spillway.Cluster([deployment(provider, budget=budget)]) as cluster:
        answered = 0
        with pytest.raises(spillway.BudgetExceeded):
            for _ in range(30):
                await cluster.generate("m", "Say 2 words", max_tokens=2)
                answered += 1
        assert 0 < answered < 15
        assert cluster.metrics().per_deployment["m"].cost_usd <= 0.00006


async def test_they_share_the_workers_and_one_circuit_is_not_the_others(provider):
    async with spillway.Cluster([deployment(provider, serving=spillway.Serving(max_concurrent=6))]) as cluster:
        dep = cluster.deployment("m")
        assert len(dep.workers()) == 6
        assert dep.options.serving.max_concurrent == 6
        dep.circuit_breaker().force_open(300.0)
        for _ in range(6):
            await cluster.generate("m", "Say 2 words")
        assert await dep.resize(9) == 9
        await dep.rebuild_session()
        await cluster.generate("m", "Say 2 words")
    assert set(provider.stats()["by_key"]) == {"k-two", "k-three"}


async def test_streams_take_turns_too(provider):
    async with spillway.Cluster([deployment(provider)]) as cluster:
        for _ in range(6):
            assert [chunk async for chunk in cluster.stream("m", "Say 2 words")]
    assert provider.stats()["by_key"] == {"k-one": 2, "k-two": 2, "k-three": 2}
