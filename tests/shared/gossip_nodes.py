"""Nodes that keep limits together through a store, in virtual time and without an event loop."""

import heapq
import itertools
import math

from spillway.core.limit_store import AcquirePermit, Lease
from spillway.core.options import RateLimits
from spillway.stores.commons import Commons
from spillway.stores.shared import StoreSettings
from spillway.stores.shared.gossip import GossipPart

ONE = AcquirePermit()
WINDOW_S = 60.0
EPOCH_S = 1_000_000.0


class World:
    """The true time, what happens when, and the store; each node has a clock of its own."""

    def __init__(self, seconds=EPOCH_S):
        self.now = seconds
        self.commons = Commons(clock=lambda: self.now)
        self.sent = []
        self._todo = []
        self._order = itertools.count()

    def at(self, when, what):
        heapq.heappush(self._todo, (when, next(self._order), what))

    def run(self, until):
        while self._todo and self._todo[0][0] <= until:
            self.now, _, what = heapq.heappop(self._todo)
            what()
        self.now = until

    def worst(self, window_s=WINDOW_S, *, since=-math.inf):
        """Return the most that was sent in any half-open window that ends after `since`."""
        times = sorted(self.sent)
        first = worst = total = 0
        for at, amount in times:
            total += amount
            while times[first][0] <= at - window_s:
                total -= times[first][1]
                first += 1
            if at > since:
                worst = max(worst, total)
        return worst


class Node:
    """A machine, synced through the store's script every `sync_s`, unless cut off.

    Args:
        skew_s: by which its clock is ahead.
        phase: of its first sync.
        delay_s: that each way to the store takes.
        allowance: requests that it may let through between two syncs.
    """

    def __init__(
        self,
        world,
        name,
        limits,
        *,
        sync_s=1.0,
        phase=0.0,
        skew_s=0.0,
        delay_s=0.0,
        window_s=WINDOW_S,
        allowance=None,
        **more,
    ):
        self.world = world
        self.skew_s = skew_s
        self.cut = False
        self.dead = False
        self.deaf = False
        self._delay_s = delay_s
        if allowance is not None:
            more["allowance_s"] = allowance * window_s / limits.requests_per_minute
        settings = StoreSettings(window_s=window_s, sync_s=sync_s, **more)
        self.part = GossipPart(
            "m", limits, settings=settings, holder=name, syncing=self, window_s=window_s, gives_back=True
        )
        self.machine = self.part.windows
        self._window_s = window_s
        self._sync_s = sync_s
        world.at(world.now + phase, self.sync)

    def clock(self):
        return self.world.now + self.skew_s

    def sync(self, *, leaving=False):
        if self.dead or self.deaf:
            return
        if self.cut:
            self.part.failed()
            self.world.at(self.world.now + 0.1, self.sync)
            return
        name, keys, argument = self.part.begin(self.world.commons.run, leaving=leaving)
        self.world.at(self.world.now + self._delay_s, lambda: self._arrive((name, keys, argument)))

    def _arrive(self, call):
        answer = self.world.commons.run_scripts([call])[0]
        self.world.at(self.world.now + self._delay_s, lambda: self._end(answer))

    def _end(self, answer):
        if self.dead:
            return
        self.part.end(answer)
        self.world.at(max(self.world.now, self.part.next_sync() - self.skew_s), self.sync)

    def try_send(self, want=ONE):
        """Send what is wanted if that may be now; return its lease, or None."""
        lease = Lease()
        lease.want = want
        lease.holds = False
        if self.dead or self.machine.take(self.clock(), lease):
            return None
        self.machine.stamp(self.clock(), lease)
        self.world.sent.append((self.world.now, want.requests))
        return lease

    def greedy(self, every_s, *, until):
        """Send whatever may be sent, looking every `every_s`."""

        def look():
            while self.try_send():
                pass
            if self.world.now + every_s <= until and not self.dead:
                self.world.at(self.world.now + every_s, look)

        self.world.at(self.world.now + every_s / 7, look)

    def mode(self):
        return self.machine.mode(self.clock())

    def counted(self):
        """Return what it knows to be sent in the window."""
        return self.machine.snapshot(self.clock()).requests.used


def nodes(world, count, limit, *, sync_s=1.0, **more):
    limits = RateLimits(requests_per_minute=limit)
    return [Node(world, f"n{i}", limits, sync_s=sync_s, phase=i * sync_s / count, **more) for i in range(count)]
