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
