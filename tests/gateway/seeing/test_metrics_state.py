"""What /metrics says of the present: queue, workers, breaker, limits, budgets, readiness."""

import asyncio

import pytest

import spillway
from spillway.runtime.project import GatewayKey


async def until(condition):
    """Wait until the condition holds; every look is a scrape."""
    async with asyncio.timeout(5.0):
        while not (seen := await condition()):
            await asyncio.sleep(0.01)
    return seen


async def test_queue_workers_and_requests_in_flight(gate, sim):
    sim.set_scenario({"phase": [{"fault": "stall-before-headers"}]})
    g = await gate()
    serving = spillway.Serving(max_concurrent=2, queue_capacity=7)
    g = await gate(deployments=[g.deployment("narrow", serving=serving)])
    tasks = [asyncio.create_task(g.chat("narrow")) for _ in range(5)]

    async def queued():
        seen = await g.scrape()
        return seen if seen("spillway_queue_depth", deployment="narrow") == 3 else None

    seen = await until(queued)
    assert seen("spillway_queue_capacity", deployment="narrow") == 7
    assert seen("spillway_workers", deployment="narrow") == seen("spillway_workers_busy", deployment="narrow") == 2
    assert seen("spillway_requests_in_flight") == 5
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen = await g.scrape()
    assert seen("spillway_workers_busy") == seen("spillway_queue_depth") == seen("spillway_requests_in_flight") == 0
    assert seen("spillway_queue_wait_seconds_count", deployment="narrow") == 3
    assert seen("spillway_requests_total", outcome="cancelled") == 5


async def test_breaker_health_and_readiness(gate, sim):
    g = await gate()
    sim.set_scenario({"phase": [{"fault": "500"}]})
    breaker = spillway.CircuitBreakerConfig(failure_threshold=2, open_duration_s=60.0)
    once = spillway.RetryPolicy(max_retries=0)
    g = await gate(deployments=[g.deployment("bad", circuit_breaker=breaker, retry=once)])
    seen = await g.scrape()
    assert seen.rows("spillway_breaker_state") == {
        (("deployment", "bad"), ("entry", "1"), ("state", state)): float(state == "closed")
        for state in ("closed", "open", "half_open")
    }
    assert seen("spillway_deployment_healthy") == seen("spillway_ready") == 1
    for _ in range(3):
        await g.chat("bad")
    seen = await g.scrape()
    assert seen("spillway_breaker_state", deployment="bad", state="open") == 1
    assert seen("spillway_breaker_state", deployment="bad", state="closed") == 0
    assert seen("spillway_breaker_transitions_total", deployment="bad", state="open") == 1
    assert seen("spillway_deployment_healthy") == seen("spillway_ready") == 0
    assert seen("spillway_attempts_total", outcome="server_error") == (await g.sim_stats())["asked"] == 2


async def test_limits_used_against_limits(gate, sim):
    key = GatewayKey(name="team", key=spillway.Secret("-"), requests_per_minute=9, tokens_per_minute=50_000)
    g = await gate()
    limits = spillway.RateLimits(requests_per_minute=100, tokens_per_minute=90_000, concurrent_requests=4)
    strict = spillway.RateLimits(requests_per_minute=5, strict=True)
    g = await gate(key=key, deployments=[g.deployment("a", rate_limits=limits), g.deployment("b", rate_limits=strict)])
    usages = [(await g.chat("a")).json()["usage"]["total_tokens"] for _ in range(3)]
    seen = await g.scrape()
    most = {"requests": 100, "tokens": 90_000, "concurrency": 4}
    used = {"requests": 3, "tokens": sum(usages), "concurrency": 0}
    for limit, amount in most.items():
        about = {"deployment": "a", "entry": "1", "limit": limit}
        assert seen("spillway_limit", **about) == seen("spillway_limit_ceiling", **about) == amount
        assert seen("spillway_limit_used", **about) == used[limit], limit
    for limit, amount, taken in (("requests", 9, 3), ("tokens", 50_000, sum(usages))):
        assert seen("spillway_key_limit", key="team", limit=limit) == amount
        assert seen("spillway_key_limit_used", key="team", limit=limit) == taken
    assert seen("spillway_limiter_mode", deployment="a", mode="local") == 1
    assert seen("spillway_limiter_mode", deployment="b", mode="strict") == 1
    assert seen("spillway_limiter_mode", deployment="b", mode="local") == 0


async def test_the_providers_pause_and_what_it_lowers(gate, sim):
    g = await gate()
    limits = spillway.RateLimits(requests_per_minute=100)
    once = spillway.RetryPolicy(max_retries=0)
    g = await gate(deployments=[g.deployment("a", rate_limits=limits, retry=once)])
    sim.set_scenario({"phase": [{"fault": "429-retry-after=20"}]})
    await g.chat("a")
    seen = await g.scrape()
    assert 15 < seen("spillway_limit_blocked_seconds", deployment="a", entry="1") <= 20
    assert seen("spillway_limit_ceiling", deployment="a", limit="requests") < 100
    assert seen("spillway_limit", deployment="a", limit="requests") == 100


async def test_budgets_spent_and_left(gate, sim):
    key = GatewayKey(name="team", key=spillway.Secret("-"), max_spend_per_day_usd=2.0)
    g = await gate()
    budget = spillway.Budget(max_spend_per_hour_usd=1.0, max_spend_per_month_usd=5.0)
    g = await gate(key=key, deployments=[g.deployment("a", budget=budget)])
    for _ in range(3):
        await g.chat("a")
    billed = (await g.sim_stats())["billed_usd"]
    seen = await g.scrape()
    for window, cap in (("hour", 1.0), ("month", 5.0)):
        about = {"deployment": "a", "window": window}
        assert seen("spillway_budget_usd", **about) == cap
        assert seen("spillway_budget_spent_usd", **about) == pytest.approx(billed)
        assert seen("spillway_budget_left_usd", **about) == pytest.approx(cap - billed)
    assert seen("spillway_budget_reserved_usd", deployment="a") == 0
    assert seen("spillway_key_budget_usd", key="team", window="day") == 2.0
    assert seen("spillway_key_budget_spent_usd", key="team", window="day") == pytest.approx(billed)
    assert seen("spillway_key_budget_left_usd", key="team", window="day") == pytest.approx(2.0 - billed)
    sim.set_scenario({"phase": [{"fault": "stall-before-headers"}]})
    running = asyncio.create_task(g.chat("a"))

    async def reserved():
        now = await g.scrape()
        return now("spillway_budget_reserved_usd", deployment="a")

    held = await until(reserved)
    left = (await g.scrape())("spillway_budget_left_usd", deployment="a", window="hour")
    assert left == pytest.approx(1.0 - billed - held)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_each_entry_of_a_key_pool_has_its_own(gate, sim):
    g = await gate()
    secrets = (spillway.Secret("sk-sim-1"), spillway.Secret("sk-sim-2"))
    config = spillway.OpenAiConfig(endpoint=sim.url + "/v1", api_key=secrets)
    limits = spillway.RateLimits(requests_per_minute=50)
    pool = g.deployment("pool", runtime_config=config, rate_limits=limits)
    g = await gate(deployments=[pool])
    for _ in range(4):
        await g.chat("pool")
    g.cluster.deployment("pool").circuit_breaker(1).force_open(60.0)
    seen = await g.scrape()
    assert [seen("spillway_breaker_state", entry=e, state="open") for e in "12"] == [0, 1]
    assert sum(seen("spillway_limit_used", entry=e, limit="requests") for e in "12") == 4
    assert seen("spillway_attempts_total", deployment="pool") == 4
    assert "sk-sim" not in seen.text
