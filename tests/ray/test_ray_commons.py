"""What workers share without a Redis: one limit, kept by an actor of Ray's that may die."""

import asyncio
import os
import signal

import pytest
from ray_rig import processes_of

from spillway.core.errors import NetworkError
from spillway.core.options import Deployment, RateLimits
from spillway.core.secrets import Secret
from spillway.providers.openai.config import OpenAiConfig
from spillway.ray import start_commons
from spillway.runtime.cluster import Cluster

pytestmark = pytest.mark.xdist_group("ray")


async def test_links_reach_one_store_and_tell_when_it_is_lost(ray, ray_server):
    before = set(processes_of(ray_server, "CommonsActor"))
    store = start_commons(ray, name="probe", window_s=2.0)
    one, two = store.connect(), store.connect()
    run = None
    while run is None:
        try:
            run = await one.open()
        except NetworkError:
            await asyncio.sleep(0.05)
    assert await two.open() == run
    assert not one.lost
    [pid] = set(processes_of(ray_server, "CommonsActor")) - before
    os.kill(pid, signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(NetworkError):
        await one.run_scripts([])
    assert loop.time() - began < 1.0
    assert one.lost
    os.kill(pid, signal.SIGKILL)
    other = None
    while other is None:
        try:
            other = await one.open()
            await one.run_scripts([])
        except NetworkError:
            other = None
            await asyncio.sleep(0.05)
    assert other != run
    assert not one.lost
    # Who still believes in the old life is told that it is over, and nothing is run.
    with pytest.raises(NetworkError, match="started again|did not answer"):
        await two.run_scripts([])
    store.end()


async def test_a_strict_limit_waits_for_a_window_when_what_kept_it_was_killed(here, ray, ray_server):
    before = set(processes_of(ray_server, "CommonsActor"))
    store = start_commons(ray, window_s=3.0)
    config = OpenAiConfig(endpoint=f"{here.sim.url}/v1", api_key=Secret("sk-test"))
    deployment = Deployment(
        name="m",
        model="gpt-4o-mini",
        runtime="openai",
        runtime_config=config,
        rate_limits=RateLimits(requests_per_minute=10, strict=True),
    )
    loop = asyncio.get_running_loop()
    async with Cluster([deployment], store=store) as cluster:
        for i in range(5):
            await cluster.generate("m", f"say {i}")
        [pid] = set(processes_of(ray_server, "CommonsActor")) - before
        os.kill(pid, signal.SIGKILL)
        killed = loop.time()
        # What is leased still may go out; then nothing does until a window after the store has come back.
        await asyncio.gather(*(cluster.generate("m", f"say {i}") for i in range(10, 21)))
        assert loop.time() - killed > 3.0
    assert here.sim.stats()["asked"] == 16
    store.end()
