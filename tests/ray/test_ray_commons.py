"""What workers share without a Redis: one limit, kept by an actor of Ray's that may die."""

import asyncio
import os
import signal

import pytest
from ray_rig import processes_of

from spillway.core.errors import NetworkError
from spillway.ray import start_commons


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
