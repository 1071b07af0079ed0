"""Where callers wait for a seat in a full queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from spillway.core.errors import InferenceError

if TYPE_CHECKING:
    from spillway.core.priority import Priority
    from spillway.remote.engine.call import Call
    from spillway.remote.queue import RequestQueue

_Seat = asyncio.Future[None]


class SeatLostError(Exception):
    """A request has lost its seat to a tenant who had fewer, and goes back to where seats are waited for."""


class WaitingRoom:
    """Promises each seat of a queue that becomes free.

    It goes to the highest class that waits; in it to the tenant with the fewest seats; of that to who came first.

    Invariants: a promised seat is taken or passed on; what waits in the queue and what is promised never exceed its
        capacity, but for those that came back.
    Complexity: O(1) to come in, O(tenants waiting) to be called.
    """

    __slots__ = ("_count", "_loop", "_promised", "_queue", "_waiting")

    def __init__(self, queue: RequestQueue, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop
        self._waiting: dict[tuple[Priority, str], deque[_Seat]] = {}
        self._count = 0
        self._promised: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting) or bool(self._promised)

    @property
    def is_full(self) -> bool:
        """Whether a newcomer finds no seat that is nobody else's."""
        return bool(self._waiting) or self._seats_left() <= 0

    def takes_a_seat(self, call: Call, turned_away: Callable[[], Exception]) -> bool:
        """Have a tenant with more than its share of a full queue, or the background, make room; False: none must.

        The seat is to be taken before the next await.

        Args:
            turned_away: what the one is told who made room.
        """
        if any(whose == call.tenant and waits >= call.priority for waits, whose in self._waiting):
            return False
        victim = self._queue.yield_seat(call.tenant, call.priority)
        if victim is None:
            return False
        waiter = victim.payload.waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(turned_away())
        return True

    async def wait(self, call: Call, *, first: bool = False) -> None:
        """Return once there is a seat, to be taken before the next await.

        Args:
            first: it had a seat before, so it goes ahead of its tenant's others.

        Raises:
            InferenceError: it was closed.

        Cancellation: a seat that was promised in the same instant goes to the next.
        """
        seat: _Seat = self._loop.create_future()
        place = call.priority, call.tenant
        line = self._waiting.setdefault(place, deque())
        if first:
            line.appendleft(seat)
        else:
            line.append(seat)
        self._count += 1
        call.watch.wait_on(seat)
        try:
            await seat
            self._take_back(call.tenant)
        except InferenceError:
            raise
        except BaseException:
            self._leave(place, seat)
            if seat.done() and not seat.cancelled() and seat.exception() is None:
                self._take_back(call.tenant)
                self.offer()
            seat.cancel()
            raise
        finally:
            call.watch.wait_on(None)

    def offer(self) -> None:
        """Promise the seats that are free."""
        while self._waiting and self._seats_left() > 0:
            place = min(self._waiting, key=self._turn)
            line = self._waiting[place]
            seat = line.popleft()
            self._count -= 1
            if not line:
                del self._waiting[place]
            if not seat.done():
                seat.set_result(None)
                self._promised[place[1]] = self._promised.get(place[1], 0) + 1

    def close(self, refusal: Callable[[], InferenceError]) -> None:
        """Send everybody away, each with a refusal of his own."""
        for line in self._waiting.values():
            for seat in line:
                if not seat.done():
                    seat.set_exception(refusal())
        self._waiting.clear()
        self._count = 0

    def _turn(self, place: tuple[Priority, str]) -> tuple[int, int]:
        priority, tenant = place
        return -priority, self._queue.seats(tenant) + self._promised.get(tenant, 0)

    def _leave(self, place: tuple[Priority, str], seat: _Seat) -> None:
        line = self._waiting.get(place)
        if line is not None and seat in line:
            line.remove(seat)
            self._count -= 1
            if not line:
                del self._waiting[place]

    def _take_back(self, tenant: str) -> None:
        left = self._promised[tenant] - 1
        if left:
            self._promised[tenant] = left
        else:
            del self._promised[tenant]

    def _seats_left(self) -> int:
        return self._queue.capacity - len(self._queue) - sum(self._promised.values())

    def __repr__(self) -> str:
        return f"<WaitingRoom {self._count} waiting, {sum(self._promised.values())} promised>"
