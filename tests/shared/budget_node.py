"""One process that spends from a shared budget as fast as it is let, and writes down what before it sends.

budget_node.py URL NAME SILENT_S CAP_USD LOG
"""

import asyncio
import os
import random
import sys

from spillway import Budget, BudgetExceeded
from spillway.core.clock import loop_clock
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing


async def main(url, name, silent_s, cap, log):
    sharing = Sharing(RedisStore(url, name=name, silent_s=float(silent_s)), loop_clock())
    ledger = sharing.budgets.ledger("b", Budget(max_spend_per_day_usd=float(cap)))
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    unit = int(float(cap) * 10**12 / 10_000)

    async def go_on():
        while True:
            estimate = unit * random.randint(1, 4)
            try:
                held = ledger.try_reserve(estimate)
            except BudgetExceeded:
                held = None
            if held is None:
                await asyncio.sleep(0.01)
                continue
            cost = random.randint(estimate // 2, estimate)
            os.write(file, f"{cost}\n".encode())
            await asyncio.sleep(random.uniform(0.0, 0.02))
            held.settle(cost)

    await asyncio.gather(*(go_on() for _ in range(8)))


asyncio.run(main(*sys.argv[1:]))
