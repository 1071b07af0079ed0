"""One node of a limit, as a process: sends as fast as it is let, and writes down when.

limited_node.py URL NAME STRICT WINDOW_S SYNC_S SILENT_S LIMIT LOG
"""

import asyncio
import os
import sys
import time

from spillway.core.clock import loop_clock
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, RateLimiterActor, StrictRateLimiterActor
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing


async def main(url, name, strict, window_s, sync_s, silent_s, limit, log):
    store = RedisStore(url, name=name, window_s=float(window_s), sync_s=float(sync_s), silent_s=float(silent_s))
    sharing = Sharing(store, loop_clock())
    limits = RateLimits(requests_per_minute=int(limit), strict=strict == "1")
    kind = StrictRateLimiterActor if limits.strict else RateLimiterActor
    shared = sharing.exact if limits.strict else sharing.approximate
    handle = kind(sharing.node, limits, store=shared, key="k").handle()
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
