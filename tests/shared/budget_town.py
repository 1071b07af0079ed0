"""Many processes that spend from one budget, in virtual time: cut off, killed, their store restarted and emptied."""

import asyncio
import random
from contextlib import asynccontextmanager

from spillway import Budget, BudgetExceeded
from spillway.core.errors import NetworkError
from spillway.remote.cost import usd_to_pico
from spillway.stores.commons import Commons
from spillway.stores.shared import Sharing

HOUR_S = 3600.0
USD = usd_to_pico(1)


class Way:
    """A process's way to a store.

    Attributes:
        cut: whether nothing gets through.
        deaf: whether scripts run, and their answers are lost.
        late: seconds by which scripts run after they were given up; 0: they run at once.
    """

    def __init__(self, commons):
        self._commons = commons
        self._link = commons.connect()
        self.cut = self.deaf = False
        self.late = 0.0

    async def open(self):
        self._link.cut = self.cut
        return await self._link.open()

    async def run_scripts(self, calls):
        self._link.cut = self.cut
        if self.late:
            asyncio.get_running_loop().call_later(self.late, self._commons.run_scripts, calls)
            raise NetworkError("it did not answer in time", reason="store")
        answers = await self._link.run_scripts(calls)
        if self.deaf:
            raise NetworkError("its answer was lost", reason="store")
        return answers

    def heal(self, alive=True):
        self.cut = not alive
        self.deaf = False
        self.late = 0.0

    def __getattr__(self, name):
        return getattr(self._link, name)


class Ways:
    """A store that remembers the newest way to it."""

    def __init__(self, commons):
        self.commons = commons
        self.settings = commons.settings
        self.newest = None

    def connect(self):
        self.newest = Way(self.commons)
        return self.newest


class Node:
    """One process.

    Attributes:
        open: what it has reserved and not ended, by reservation.
        refused: how often it was refused because the budget is spent.
    """

    def __init__(self, town, budget=None, **about):
        self.sharing = Sharing(town.ways, asyncio.get_running_loop().time)
        self.link = town.ways.newest
        self.town = town
        self.open = {}
        self.refused = self.lost = 0
        self.alive = True
        budget = budget or Budget(max_spend_per_hour_usd=town.cap / USD)
        self.ledger = self.sharing.budgets.ledger("b", budget, **about)

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
        self.town.paid.append((held.admitted_at, pico))
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


@asynccontextmanager
async def town_of(nodes=0, *, seed=1, **options):
    """Have a town with some processes; all leave in the end."""
    town = Town(seed, **options)
    for _ in range(nodes):
        town.join()
    try:
        yield town
    finally:
        await town.aclose()


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

    def join(self, budget=None, **about):
        node = Node(self, budget, **about)
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
