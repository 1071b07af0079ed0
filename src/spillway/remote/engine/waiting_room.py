"""Where callers wait for a seat in a full queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from spillway.core.errors import InferenceError

if TYPE_CHECKING:
    from spillway.remote.engine.call import Call
    from spillway.remote.queue import RequestQueue


class WaitingRoom:
    """Promises each seat of a queue that becomes free to the caller of the highest class who has waited longest.

    Invariants: a promised seat is taken or passed on; what waits in the queue and what is promised never exceed its
        capacity, but for those that came back.
    Complexity: O(callers waiting) to come in, O(1) to be called.
    """

    __slots__ = ("_loop", "_promised", "_queue", "_waiting")

    def __init__(self, queue: RequestQueue, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._promised = 0

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._promised > 0

    @property
    def is_full(self) -> bool:
        """Whether a newcomer finds no seat that is nobody else's."""
        return bool(self._waiting) or self._seats_left() <= 0

    async def wait(self, call: Call) -> None:
        """Return once there is a seat, to be taken before the next await.

        Raises:
            InferenceError: it was closed.

        Cancellation: a seat that was promised in the same instant goes to the next.
        """
        seat: asyncio.Future[None] = self._loop.create_future()
        rank = -int(call.priority)
        place = next((i for i, (other, _) in enumerate(self._waiting) if other > rank), len(self._waiting))
        self._waiting.insert(place, (rank, seat))
        call.watch.wait_on(seat)
        try:
            await seat
            self._promised -= 1
        except InferenceError:
            raise
        except BaseException:
            self._waiting = deque(item for item in self._waiting if item[1] is not seat)
            if seat.done() and not seat.cancelled() and seat.exception() is None:
                self._promised -= 1
                self.offer()
            seat.cancel()
            raise
        finally:
            call.watch.wait_on(None)

    def offer(self) -> None:
        """Promise the seats that are free."""
        while self._waiting and self._seats_left() > 0:
            _, seat = self._waiting.popleft()
            if not seat.done():
                seat.set_result(None)
                self._promised += 1

    def close(self, refusal: Callable[[], InferenceError]) -> None:
        """Send everybody away, each with a refusal of his own."""
        for _, seat in self._waiting:
            if not seat.done():
                seat.set_exception(refusal())
        self._waiting.clear()

    def _seats_left(self) -> int:
        return self._queue.capacity - len(self._queue) - self._promised

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self._waiting)} waiting, {self._promised} promised>"
