"""A background run beside a gateway, two Clusters that share a store: it uses what live traffic leaves, and catches up."""

import asyncio
import statistics

import pytest

import spillway
from spillway.core.clock import loop_clock
from spillway.stores.commons import Commons
from spillway.testing import ScriptedRunner, run_virtual
from spillway.testing.scripted import Reply

SERVING = spillway.Serving(max_concurrent=16, queue_timeout_s=1e6)


def play(*, strict, stops_at, seconds):
    """Ask one Cluster live each second, and flood another in the background after 130 s."""
    waits, later = [], []

    async def main():
        store = Commons(clock=loop_clock())
        limits = spillway.RateLimits(requests_per_minute=120, strict=strict)
        runner = ScriptedRunner([Reply(delay_s=0.1)])

        def cluster():
            deployment = spillway.Deployment(name="m", rate_limits=limits, serving=SERVING)
            return spillway.Cluster([deployment], runners={"m": lambda _: runner}, environ={}, store=store)

        async with cluster() as gateway, cluster() as batch:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(70.0)
            start = loop.time()

            async def ask():
                began = loop.time()
                await gateway.generate("m", "now", timeout_s=300.0)
                waits.append((began - start, loop.time() - began - 0.1))

            async def run():
                while True:
                    await batch.generate("m", "later", priority=spillway.Priority.BACKGROUND, timeout_s=1e6)
                    later.append(loop.time() - start)

            asked, flood = [], []
            while loop.time() - start < seconds:
                now = loop.time() - start
                if now >= 130.0 and not flood:
                    flood = [asyncio.ensure_future(run()) for _ in range(64)]
                if now < stops_at:
                    asked.append(asyncio.ensure_future(ask()))
                await asyncio.sleep(1.0)
            await asyncio.gather(*asked)
            for task in flood:
                task.cancel()
            await asyncio.gather(*flood, return_exceptions=True)

    run_virtual(main())
    return waits, later


@pytest.mark.parametrize("strict", [False, True])
def test_it_leaves_the_rate_of_live_traffic_and_takes_all_once_that_has_stopped(strict):
    waits, later = play(strict=strict, stops_at=320.0, seconds=620.0)
    beside = [wait for at, wait in waits if at >= 140.0]
    assert statistics.quantiles(beside, n=100)[94] < 1.0
    assert 30 <= sum(200 <= at < 320 for at in later) / 2 <= 62
    assert sum(500 <= at < 620 for at in later) / 2 >= 90
