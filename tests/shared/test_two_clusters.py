"""Two Clusters that share a store: one limit for both."""

import asyncio

import pytest

import spillway
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.testing import ScriptedRunner

WINDOW_S = 2.0


@pytest.fixture(params=["redis", "commons"])
def store(request, shared_redis):
    if request.param == "redis":
        shared_redis.up_for(5.5)
        return RedisStore(shared_redis.url, name=shared_redis.name(), window_s=WINDOW_S, sync_s=0.1, silent_s=1.0)
    return Commons(window_s=WINDOW_S, sync_s=0.1, silent_s=1.0)


def cluster(store, **limits):
    deployment = spillway.Deployment(name="m", rate_limits=spillway.RateLimits(**limits))
    return spillway.Cluster([deployment], runners={"m": lambda _: ScriptedRunner()}, store=store)


@pytest.mark.parametrize("strict", [False, True])
async def test_what_one_has_sent_the_other_may_not(store, strict):
    async with (
        cluster(store, requests_per_minute=60, strict=strict) as one,
        cluster(store, requests_per_minute=60, strict=strict) as other,
    ):

        async def ask(which):
            try:
                await which.generate("m", "hello", timeout_s=1.0)
            except spillway.InferenceError as error:
                return error.code
            return "ok"

        told = await asyncio.gather(*(ask(which) for which in (one, other) for _ in range(60)))
        assert 50 <= told.count("ok") <= 70


@pytest.mark.parametrize("strict", [False, True])
async def test_a_limit_group_that_has_the_name_of_a_deployment_is_not_that_deployment(store, strict):
    limits = spillway.RateLimits(requests_per_minute=60, strict=strict)
    grouped = spillway.Deployment(name="other", limit_group="m", rate_limits=limits)
    async with (
        cluster(store, requests_per_minute=60, strict=strict) as one,
        spillway.Cluster([grouped], runners={"other": lambda _: ScriptedRunner()}, store=store) as other,
    ):
        for which, name in ((one, "m"), (other, "other")):
            for _ in range(50):
                await which.generate(name, "hello", timeout_s=1.0)
        for which, name in ((one, "m"), (other, "other")):
            used = which.deployment(name).rate_limiter().snapshot().requests
            assert used.used + used.unsent <= 60


@pytest.mark.parametrize("strict", [False, True])
async def test_nor_is_it_in_one_cluster(store, strict):
    limits = {"m": 60, "other": 30}
    deployments = [
        spillway.Deployment(
            name=name,
            limit_group="m" if name == "other" else "",
            rate_limits=spillway.RateLimits(requests_per_minute=limit, strict=strict),
        )
        for name, limit in limits.items()
    ]
    for shared in (store, "memory"):
        runners = {name: lambda _: ScriptedRunner() for name in limits}
        async with spillway.Cluster(deployments, runners=runners, store=shared) as both:
            for name, limit in limits.items():
                await both.generate(name, "hello")
                assert both.deployment(name).rate_limiter().snapshot().requests.limit == limit
