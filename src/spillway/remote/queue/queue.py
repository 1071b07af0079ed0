"""The queue of one deployment: who waits, and who is next.

classes     strict: a lower one is served only while no higher one waits
aging       with `aging_s`, a waiting request rises one class each so many seconds
tenants     inside a class the tenant that was given least goes next
order       inside a tenant by sequence number; a repetition keeps its own
parked      it counts towards capacity and is passed over until it is called back
not-before  it counts towards capacity and is passed over until its time
deadline    from it on a request is not popped but put aside for `take_expired`
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from threading import Lock

from spillway.core.errors import Backpressure
from spillway.core.priority import Priority
from spillway.remote.queue.lanes import Lane, PriorityClass
from spillway.remote.queue.request import PriorityRequest

Timed = list[tuple[float, int, PriorityRequest]]
"""A heap of instant, stay, request; an entry whose request has left that stay means nothing."""

_TOP = max(Priority).value
_TOLERATED = 64


class RequestQueue:
    """Holds what waits for a slot of one deployment.

    Instants are seconds of the caller's clock; a `now` that is left out is the newest the queue was told, 0.0 at first.

    Args:
        capacity: how many may wait, those with a not-before time included.
        aging_s: seconds in which a waiting request rises one class; 0: never.

    Invariants: pushed + requeued == popped + cancelled + expired + drained + waiting; no more than `capacity` wait, but
        for those that came back by `requeue`.
    Complexity: O(log n) amortised for push, pop, requeue and cancel; O(1) for a repeated peek.

    Threads may share it.
    """

    __slots__ = (
        "_aside",
        "_classes",
        "_closed",
        "_deadlines",
        "_delayed",
        "_expired",
        "_from_the_top",
        "_head",
        "_live",
        "_lock",
        "_now",
        "_parked",
        "_rising",
        "_seats",
        "_stays",
        "_wake",
        "aging_s",
        "capacity",
    )

    def __init__(self, capacity: int, *, aging_s: float = 0.0) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        if not 0.0 <= aging_s < math.inf:
            raise ValueError(f"aging_s must be a number >= 0, not {aging_s!r}")
        self.capacity = capacity
        self.aging_s = aging_s
        self._classes = tuple(PriorityClass(self, rank) for rank in range(_TOP + 1))
        self._from_the_top = self._classes[::-1]
        self._aside = Lane(PriorityClass(self, -1), "")  # the mark of those whose not-before time has not come
        self._delayed: Timed = []
        self._rising: Timed = []
        self._deadlines: Timed = []
        self._expired: list[PriorityRequest] = []
        self._head: PriorityRequest | None = None
        self._parked: dict[PriorityRequest, None] = {}
        self._seats: dict[str, int] = {}  # of each tenant that has any
        self._live = 0
        self._now = 0.0
        self._wake = math.inf  # the next instant at which time alone changes who waits where
        self._stays = 0
        self._closed = False
        self._lock = Lock()

    def __len__(self) -> int:
        return self._live

    @property
    def is_full(self) -> bool:
        """Whether there is no seat for a push."""
        return self._live >= self.capacity

    @property
    def is_closed(self) -> bool:
        """Whether it refuses everything."""
        return self._closed

    def push(self, request: PriorityRequest, now: float | None = None) -> None:
        """Let `request` wait, behind all of its tenant and class that came before it.

        Raises:
            Backpressure: there is no seat (`reason="full"`), or the queue is closed (`reason="closed"`).
            ValueError: it waits already.
        """
        with self._lock:
            if request.lane is not None:
                raise ValueError(f"{request!r} waits already")
            if now is None:
                now = self._now
            else:
                self._now = now
            if self._closed:
                raise Backpressure("the queue is closed", reason="closed")
            if self._live >= self.capacity:
                self._expire(now)
                if self._live >= self.capacity:
                    raise Backpressure(f"the queue is full ({self._live} of {self.capacity})", reason="full")
            request.seq = self._stays + 1
            request.waits_since = now
            self._settle(request, now, late=False)

    def requeue(self, request: PriorityRequest, now: float | None = None) -> None:
        """Let a request that has left wait again in its old place, from its `not_before` on; a seat is never lacking.

        Raises:
            Backpressure: the queue is closed (`reason="closed"`).
            ValueError: it was never pushed, or it waits already.
        """
        with self._lock:
            if request.seq == 0 or request.lane is not None:
                raise ValueError(f"{request!r} can't come back")
            if now is None:
                now = self._now
            else:
                self._now = now
            if self._closed:
                raise Backpressure("the queue is closed", reason="closed")
            self._settle(request, now, late=True)

    def pop(self, now: float | None = None) -> PriorityRequest | None:
        """Return the next request and free its seat, or None when none is ready."""
        with self._lock:
            head = self._head_at(now)
            if head is not None:
                head.lane.home.take_first(head.cost)  # type: ignore[union-attr] # what waits has a lane
                head.lane = self._head = None
                head.stay = 0
                self._live -= 1
                self._stand_up(head.tenant)
            return head

    def peek(self, now: float | None = None) -> PriorityRequest | None:
        """Return the request that `pop` would return; it goes on waiting."""
        with self._lock:
            return self._head_at(now)

    def park(self, request: PriorityRequest) -> None:
        """Pass over a request that waits, until `unpark`; it keeps its seat, and is charged nothing."""
        with self._lock:
            lane = request.lane
            if lane is None or lane.home.owner is not self or lane is self._aside:
                raise ValueError(f"{request!r} is not ready here")
            lane.home.forget(lane)
            request.lane = self._aside
            self._parked[request] = None
            if request is self._head:
                self._head = None

    def unpark(self, request: PriorityRequest) -> bool:
        """Let a parked request wait in its old place again; False: it is not parked."""
        with self._lock:
            if request not in self._parked:
                return False
            del self._parked[request]
            # A stay of its own, or what it left in its lane when it was parked would count again.
            self._stays += 1
            request.stay = self._stays
            if request.deadline is not None:
                self._schedule(self._deadlines, request.deadline, request)
            self._join(request, self._now, late=True)
            return True

    def seats(self, tenant: str) -> int:
        """Return how many requests of a tenant wait."""
        return self._seats.get(tenant, 0)

    def yield_seat(self, tenant: str, priority: Priority) -> PriorityRequest | None:
        """Take out and return who must make room for a newcomer in a full queue; None: nobody.

        It is the newest request of the tenant with the most seats, of no higher class than the newcomer's, if that
        tenant has more than its fair share of the seats and the newcomer's tenant less; else the newest background
        request, if the newcomer is none. One that came back is never sent away.
        """
        with self._lock:
            seats = self._seats
            share = max(1, self.capacity // (len(seats) + (tenant not in seats)))
            most = max(seats, key=seats.__getitem__, default=tenant)
            victim = None
            if seats.get(tenant, 0) < share < seats.get(most, 0):
                victim = self._newest_of(most, priority)
            elif priority > Priority.BACKGROUND and self._classes[Priority.BACKGROUND].ready:
                by_seats = sorted(seats, key=seats.__getitem__, reverse=True)
                victims = (self._newest_of(each, Priority.BACKGROUND) for each in by_seats)
                victim = next((each for each in victims if each is not None), None)
            if victim is not None and victim.lane is not None:
                self._withdraw(victim, victim.lane)
            return victim

    def ahead_of(self, tenant: str, priority: Priority) -> int:
        """Return how many will be served before a newcomer of a tenant and class if nobody else comes."""
        with self._lock:
            higher = sum(self._classes[rank].ready for rank in range(priority + 1, _TOP + 1))
            return higher + self._classes[priority].ahead_of(tenant)

    def cancel(self, request: PriorityRequest) -> bool:
        """Take `request` out and free its seat at once; False: it does not wait here."""
        with self._lock:
            lane = request.lane
            if lane is None or lane.home.owner is not self:
                return False
            self._withdraw(request, lane)
            return True

    def next_ready(self, now: float | None = None) -> float | None:
        """Return the instant from which some request is ready: `now` if one is, None when none waits."""
        with self._lock:
            if self._head_at(now) is not None:
                return self._now
            delayed = self._delayed
            while delayed and delayed[0][2].stay != delayed[0][1]:
                heappop(delayed)
            return delayed[0][0] if delayed else None

    @property
    def next_change(self) -> float:
        """The instant before which time alone does not change who is next; `inf` for never."""
        return self._wake

    def take_expired(self, now: float | None = None) -> list[PriorityRequest]:
        """Return those whose deadline came before their turn, each once, the earliest deadline first."""
        with self._lock:
            self._expire(self._now if now is None else now)
            expired, self._expired = self._expired, []
            return expired

    def drain(self) -> list[PriorityRequest]:
        """Take out and return all that wait, by sequence number."""
        with self._lock:
            return self._drain()

    def close(self) -> list[PriorityRequest]:
        """Refuse everything from now on and return all that waited, by sequence number; may be called again."""
        with self._lock:
            self._closed = True
            return self._drain()

    def _settle(self, request: PriorityRequest, now: float, *, late: bool) -> None:
        """Begin a new stay of `request` where it belongs at `now`."""
        self._stays += 1
        request.stay = self._stays
        self._live += 1
        seats = self._seats
        seats[request.tenant] = seats.get(request.tenant, 0) + 1
        if request.deadline is not None:
            self._schedule(self._deadlines, request.deadline, request)
        if request.not_before > now:
            request.lane = self._aside
            self._schedule(self._delayed, request.not_before, request)
        else:
            self._join(request, now, late=late)

    def _join(self, request: PriorityRequest, now: float, *, late: bool) -> None:
        """Put `request` into the class it has at `now`."""
        rank: int = request.priority
        if self.aging_s and rank < _TOP:
            rises_at = request.waits_since + self.aging_s
            while rank < _TOP and rises_at <= now:
                rank += 1
                rises_at = request.waits_since + self.aging_s * (rank - request.priority + 1)
            if rank < _TOP:
                self._schedule(self._rising, rises_at, request)
        self._classes[rank].add(request, late=late)
        head = self._head
        # In its own class a newcomer goes behind the head, whatever its tenant, unless it comes back to an older place.
        if head is not None and (late or rank > head.lane.home.rank):  # type: ignore[union-attr] # what waits has a lane
            self._head = None

    def _head_at(self, now: float | None) -> PriorityRequest | None:
        if now is None:
            now = self._now
        else:
            self._now = now
        if now >= self._wake:
            self._advance(now)
        head = self._head
        if head is None:
            for cls in self._from_the_top:
                if cls.ready:
                    head = self._head = cls.first()
                    break
        return head

    def _advance(self, now: float) -> None:
        """Do what time has made due."""
        self._expire(now)
        delayed, rising = self._delayed, self._rising
        while delayed and delayed[0][0] <= now:
            _, stay, request = heappop(delayed)
            if request.stay == stay:
                self._join(request, now, late=True)
        while rising and rising[0][0] <= now:
            _, stay, request = heappop(rising)
            lane = request.lane
            if request.stay == stay and lane is not None and lane is not self._aside:
                lane.home.forget(lane)
                self._join(request, now, late=True)
        self._wake = min(heap[0][0] if heap else math.inf for heap in (delayed, rising, self._deadlines))

    def _expire(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            _, stay, request = heappop(deadlines)
            lane = request.lane
            if request.stay == stay and lane is not None:
                self._withdraw(request, lane)
                self._expired.append(request)

    def _withdraw(self, request: PriorityRequest, lane: Lane) -> None:
        if lane is not self._aside:
            lane.home.forget(lane)
        elif self._parked:
            self._parked.pop(request, None)
        request.lane = None
        request.stay = 0
        self._live -= 1
        self._stand_up(request.tenant)
        if request is self._head:
            self._head = None

    def _stand_up(self, tenant: str) -> None:
        seats = self._seats
        left = seats[tenant] - 1
        if left:
            seats[tenant] = left
        else:
            del seats[tenant]

    def _newest_of(self, tenant: str, highest: Priority) -> PriorityRequest | None:
        for request in reversed(self._parked):
            if request.tenant == tenant and request.priority <= highest:
                return request
        for rank in range(highest + 1):
            newest = self._classes[rank].newest_of(tenant)
            if newest is not None:
                return newest
        return None

    def _schedule(self, heap: Timed, at: float, request: PriorityRequest) -> None:
        if len(heap) > 2 * self._live + _TOLERATED:
            heap[:] = [entry for entry in heap if entry[2].stay == entry[1]]
            heapify(heap)
        heappush(heap, (at, request.stay, request))
        self._wake = min(self._wake, at)

    def _drain(self) -> list[PriorityRequest]:
        waiting = [r for _, stay, r in self._delayed if r.stay == stay and r.lane is self._aside]
        waiting += self._parked
        for request in waiting:
            self._withdraw(request, self._aside)
        for cls in self._classes:
            for request, lane in cls.live():
                self._withdraw(request, lane)
                waiting.append(request)
        for heap in (self._delayed, self._rising, self._deadlines):
            heap.clear()
        self._wake = math.inf
        return sorted(waiting, key=lambda request: request.seq)

    def __repr__(self) -> str:
        ready = [f"{c.ready} {Priority(c.rank).name.lower()}" for c in self._from_the_top if c.ready]
        later = self._live - sum(c.ready for c in self._classes)
        if later:
            ready.append(f"{later} not yet due")
        state = " closed" if self._closed else ""
        return f"<RequestQueue{state} {self._live}/{self.capacity} {', '.join(ready) or 'empty'}>"
