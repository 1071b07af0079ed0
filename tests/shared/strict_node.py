"""One node of a strict limit, as a process: sends as fast as it is let, and writes down when.

strict_node.py URL NAME WINDOW_S SILENT_S LIMIT LOG
"""

import asyncio
import os
import sys
import time

from spillway.core.clock import loop_clock
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, StrictRateLimiterActor
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing


async def main(url, name, window_s, silent_s, limit, log):
    store = RedisStore(url, name=name, window_s=float(window_s), silent_s=float(silent_s))
    sharing = Sharing(store, loop_clock())
    limits = RateLimits(requests_per_minute=int(limit), strict=True)
    handle = StrictRateLimiterActor(sharing.node, limits, store=sharing.exact, key="k").handle()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def go_on():
        while True:
            permit = await handle.acquire(AcquirePermit())
            os.write(file, f"{time.monotonic()}\n".encode())
            permit.sent()
            permit.reconcile(0)
            permit.release()
            await asyncio.sleep(0)

    await asyncio.gather(*(go_on() for _ in range(4)))


asyncio.run(main(*sys.argv[1:]))
