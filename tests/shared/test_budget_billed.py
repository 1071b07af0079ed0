"""Clusters that share a budget, against a provider that keeps its own bill."""

import asyncio

import spillway
from spillway.sim import SimConfig, Simulator
from spillway.stores.redis import RedisStore

CAP_USD = 0.01


def cluster(url, store):
    deployment = spillway.Deployment(
        name="gpt-4o-mini",
        runtime_config=spillway.OpenAiConfig(endpoint=f"{url}/v1", api_key=spillway.Secret("sk-sim")),
        pricing=spillway.Pricing(input_per_mtok_usd=0.15, output_per_mtok_usd=0.6),
        budget=spillway.Budget(max_spend_per_hour_usd=CAP_USD),
        serving=spillway.Serving(max_concurrent=8),
    )
    return spillway.Cluster([deployment], environ={}, store=store)


async def test_the_providers_bill_stays_within_the_cap_and_nearly_reaches_it(shared_redis):
    name = shared_redis.name()

    async def spend(one):
        refusals = 0
        while refusals < 5:
            try:
                await one.generate("gpt-4o-mini", "Say hello", max_tokens=100, timeout_s=30.0)
            except spillway.BudgetExceeded as error:
                assert error.reason == "hour"
                refusals += 1

    async with Simulator(SimConfig(latency_s=0.02)) as sim:
        clusters = [cluster(sim.url, RedisStore(shared_redis.url, name=name)) for _ in range(3)]
        for each in clusters:
            await each.start()
        try:
            async with asyncio.TaskGroup() as group:
                for each in clusters:
                    for _ in range(8):
                        group.create_task(spend(each))
        finally:
            for each in clusters:
                await each.aclose()
        billed = sim.stats()["billed_usd"]
        spent = sum(each.deployment("gpt-4o-mini").budget().spent_pico for each in clusters) / 10**12
    assert 0.97 * CAP_USD <= billed <= CAP_USD
    assert abs(spent - billed) < 1e-9
