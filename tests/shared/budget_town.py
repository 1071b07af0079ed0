"""Many processes that spend from one budget, in virtual time: cut off, killed, their store restarted and emptied."""

import asyncio
import random

from spillway import Budget, BudgetExceeded
from spillway.remote.cost import usd_to_pico
from spillway.stores.commons import Commons
from spillway.stores.shared import Sharing

HOUR_S = 3600.0
USD = usd_to_pico(1)


class Ways:
    """A store that remembers the way of each who comes, so that it can be cut."""

    def __init__(self, commons):
        self.commons = commons
        self.settings = commons.settings
        self.newest = None

    def connect(self):
        self.newest = self.commons.connect()
        return self.newest


class Node:
    """One process.

    Attributes:
        open: what it has reserved and not ended, by reservation.
        refused: how often it was refused because the budget is spent.
    """

    def __init__(self, town):
        self.sharing = Sharing(town.ways, asyncio.get_running_loop().time)
        self.link = town.ways.newest
        self.town = town
        self.open = {}
        self.refused = self.lost = 0
        self.alive = True
        self.ledger = self.sharing.budgets.ledger("b", Budget(max_spend_per_hour_usd=town.cap / USD))

    async def reserve(self, pico, patience_s=5.0):
        """Return a reservation, None when it was refused or had no room for so long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        admitted = loop.time()
        while loop.time() < until and self.alive:
            try:
                held = self.ledger.try_reserve(pico, admitted_at=admitted)
            except BudgetExceeded as error:
                self.lost += error.reason == "store_lost"
                self.refused += error.reason != "store_lost"
                return None
            if held is not None:
                self.open[held] = pico
                self.town.look()
                return held
            await asyncio.sleep(min(self.ledger.wait_hint(pico), 0.05))
        return None

    def settle(self, held, pico):
        del self.open[held]
        self.town.paid.append((held_at(held), pico))
        held.settle(pico)
        self.town.look()

    def release(self, held):
        del self.open[held]
        held.release()

    def kill(self):
        """End it between two instructions: what it had open may have been spent."""
        self.link.cut = True
        self.alive = False
        now = asyncio.get_running_loop().time()
        self.town.paid.extend((now, pico) for pico in self.open.values())
        self.town.killed_at = now
        self.open.clear()


def held_at(held):
    return held.admitted_at


class Town:
    """Processes, their store, and what was truly spent."""

    def __init__(self, seed, cap=10 * USD):
        self.rng = random.Random(seed)
        self.cap = cap
        loop = asyncio.get_running_loop()
        self.commons = Commons(clock=loop.time)
        self.ways = Ways(self.commons)
        self.paid = []
        self.nodes = []
        self.dead = []
        self.killed_at = -1e9
        self.worst = 0

    def join(self):
        node = Node(self)
        self.nodes.append(node)
        return node

    def kill(self, node):
        self.nodes.remove(node)
        self.dead.append(node)
        node.kill()

    @property
    def spent(self):
        now = asyncio.get_running_loop().time()
        return sum(pico for at, pico in self.paid if at > now - HOUR_S)

    def look(self):
        """Hold that no more is spent, or may yet be, than the cap."""
        at_stake = self.spent + sum(sum(node.open.values()) for node in self.nodes)
        self.worst = max(self.worst, at_stake)
        assert at_stake <= self.cap, f"{at_stake / USD} of {self.cap / USD}"

    async def spend(self, node, seconds, *, estimates=(0.01, 0.3), workers=4):
        """Have a node send requests for so long, of random estimates, costs and lengths."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        rng = self.rng

        async def work():
            while loop.time() < until and node.alive:
                pico = int(rng.uniform(*estimates) * USD)
                held = await node.reserve(pico)
                await asyncio.sleep(rng.uniform(0.0, 0.5))
                if held is None or not node.alive:
                    continue
                if rng.random() < 0.1:
                    node.release(held)
                else:
                    node.settle(held, int(pico * rng.random()))

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())

    async def aclose(self):
        for node in (*self.nodes, *self.dead):
            await node.sharing.aclose()
