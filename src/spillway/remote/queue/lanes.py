"""One priority class: a lane for each tenant, and whose turn it is.

The tenant that was given least goes next: each lane has a mark that grows by the cost of what is taken from it, and the
lane with the lowest mark is served. This is deficit round robin with an infinitely small quantum, so that a turn costs
one look at a heap whatever the costs are.

A tenant that comes while others wait starts at the class's clock, which advances with each turn by that turn's cost
divided by the tenants who wait: at what it would have been given had it waited all along. Starting lower, newcomers
without end could keep the others waiting for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain, count

from spillway.remote.queue.request import PriorityRequest

Entry = tuple[int, int, PriorityRequest]
"""Sequence number, stay, request; a ghost when the request has left that stay or that lane since."""

_TOLERATED = 64


class Lane:
    """The requests of one tenant in one class, by sequence number; `ready` counts the live ones."""

    __slots__ = ("home", "in_order", "late", "ready", "tenant")

    def __init__(self, home: PriorityClass, tenant: str) -> None:
        self.home = home
        self.tenant = tenant
        self.ready = 0
        self.in_order: deque[Entry] = deque()
        self.late: list[Entry] = []  # a heap of those that came to a place ahead of others

    def first(self) -> PriorityRequest | None:
        """Return the live request with the lowest sequence number; ghosts ahead of it are dropped."""
        in_order, late = self.in_order, self.late
        while in_order:
            _, stay, request = in_order[0]
            if request.stay == stay and request.lane is self:
                break
            in_order.popleft()
            self.home.ghosts -= 1
        while late:
            seq, stay, request = late[0]
            if request.stay == stay and request.lane is self:
                if in_order and in_order[0][0] < seq:
                    break
                return request
            heappop(late)
            self.home.ghosts -= 1
        return in_order[0][2] if in_order else None

    def drop_first(self) -> None:
        """Take out what `first` returned, which must still be live."""
        in_order, late = self.in_order, self.late
        if late and (not in_order or late[0][0] < in_order[0][0]):
            heappop(late)
        else:
            in_order.popleft()

    def last(self) -> PriorityRequest | None:
        """Return the live request that came last and did not come back; ghosts behind it are dropped."""
        in_order = self.in_order
        while in_order:
            _, stay, request = in_order[-1]
            if request.stay == stay and request.lane is self:
                return request
            in_order.pop()
            self.home.ghosts -= 1
        return None

    def live(self) -> list[Entry]:
        """Return its live entries by sequence number."""
        entries: Iterable[Entry] = chain(self.in_order, self.late)
        return sorted(entry for entry in entries if entry[2].stay == entry[1] and entry[2].lane is self)


class PriorityClass:
    """The lanes of one class.

    Attributes:
        owner: the queue it belongs to.
        rank: its priority.
        ready: how many wait in its lanes.
        ghosts: entries left behind by those that went without a turn.

    Complexity: O(log n) amortised for each method, `live` excepted.
    """

    __slots__ = ("_active", "_clock", "_lanes", "_ring", "_turns", "ghosts", "owner", "rank", "ready")

    def __init__(self, owner: object, rank: int) -> None:
        self.owner = owner
        self.rank = rank
        self.ready = 0
        self.ghosts = 0
        self._active = 0  # lanes in which somebody waits
        self._clock = 0.0
        self._lanes: dict[str, Lane] = {}
        self._ring: list[tuple[float, int, Lane]] = []  # a heap of mark, turn, lane; each lane is in it once
        self._turns = count()

    def add(self, request: PriorityRequest, *, late: bool) -> None:
        """Let `request` wait here.

        Args:
            late: one with a higher sequence number may wait here already.
        """
        lane = self._lanes.get(request.tenant)
        if lane is None or (self.ready == 0 and len(self._lanes) > 1):
            lane = self._new_lane(request.tenant)
        if late:
            heappush(lane.late, (request.seq, request.stay, request))
        else:
            lane.in_order.append((request.seq, request.stay, request))
        request.lane = lane
        if lane.ready == 0:
            self._active += 1
        lane.ready += 1
        self.ready += 1

    def first(self) -> PriorityRequest:
        """Return the request whose turn it is; somebody must wait here."""
        ring = self._ring
        while True:
            lane = ring[0][2]
            if lane.in_order and not lane.late:
                _, stay, request = lane.in_order[0]
                if request.stay == stay and request.lane is lane:
                    return request
            first = lane.first()
            if first is not None:
                return first
            heappop(ring)
            del self._lanes[lane.tenant]

    def take_first(self, cost: int) -> None:
        """Take out what `first` returned, which must still be live, and charge its tenant."""
        mark, _, lane = self._ring[0]
        if lane.late:
            lane.drop_first()
        else:
            lane.in_order.popleft()
        heapreplace(self._ring, (mark + cost, next(self._turns), lane))
        self._clock += cost / self._active
        self.ready -= 1
        lane.ready -= 1
        if lane.ready == 0:
            self._active -= 1

    def forget(self, lane: Lane) -> None:
        """Account for one that leaves `lane` without a turn."""
        self.ready -= 1
        lane.ready -= 1
        if lane.ready == 0:
            self._active -= 1
        self.ghosts += 1
        if self.ghosts > self.ready + _TOLERATED:
            self._tidy()

    def newest_of(self, tenant: str) -> PriorityRequest | None:
        """Return the request of a tenant that came last, None when none waits but such as came back."""
        lane = self._lanes.get(tenant)
        return None if lane is None else lane.last()

    def ahead_of(self, tenant: str) -> int:
        """Return how many take their turn before a newcomer of `tenant`, if all cost the same."""
        lane = self._lanes.get(tenant)
        own = 0 if lane is None else lane.ready
        others = [other.ready for other in self._lanes.values() if other is not lane]
        return own + sum(min(ready, own + 1) for ready in others)

    def live(self) -> list[tuple[PriorityRequest, Lane]]:
        """Return all that wait here, each with its lane."""
        return [(entry[2], lane) for lane in self._lanes.values() for entry in lane.live()]

    def _new_lane(self, tenant: str) -> Lane:
        if self.ready == 0:
            # Nobody waits, so nobody is owed anything.
            self._lanes.clear()
            self._ring.clear()
            self.ghosts = 0
            self._clock = 0.0
        lane = self._lanes[tenant] = Lane(self, tenant)
        mark = max(self._clock, self._ring[0][0]) if self._ring else self._clock
        heappush(self._ring, (mark, next(self._turns), lane))
        return lane

    def _tidy(self) -> None:
        """Drop the ghosts, and the lanes in which nobody waits."""
        kept = []
        for place in self._ring:
            lane = place[2]
            live = lane.live()
            if live:
                lane.in_order = deque(live)
                lane.late = []
                kept.append(place)
            else:
                del self._lanes[lane.tenant]
        heapify(kept)
        self._ring = kept
        self.ghosts = 0
