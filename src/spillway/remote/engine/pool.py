"""The slots of one engine: which exist, which are free, which go out of service."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spillway.remote.engine.forecast import HoldTimes
from spillway.remote.engine.slot import WorkerSlot

if TYPE_CHECKING:
    from spillway.core.ports import ModelRunner
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.leftover import Leftover


class SlotPool:
    """The slots of all replicas.

    Attributes:
        leftover: what background requests leave free; None: nothing.
        free: idle slots, the one that has been idle longest first; replicas alternate.
        busy: how many have a request in them.
        served: requests that have left them.
        hold_times: how long they stayed.

    Invariants: `busy` never exceeds the slots there are; a slot that is retired gets no request.
    Complexity: O(1) to take and give back, O(slots) to resize.
    """

    __slots__ = ("_runners", "_slots", "busy", "free", "hold_times", "leftover", "served")

    def __init__(self, runners: Sequence[ModelRunner], workers: int, leftover: Leftover | None = None) -> None:
        self._runners = tuple(runners)
        self.leftover = leftover
        self._slots: list[WorkerSlot] = []
        self.free: deque[WorkerSlot] = deque()
        self.busy = 0
        self.served = 0
        self.hold_times = HoldTimes()
        self.resize(workers)

    def slots(self) -> list[WorkerSlot]:
        """Return all slots, those retired and still busy included."""
        return list(self._slots)

    def in_service(self) -> int:
        """Return how many slots are not retired."""
        return sum(not slot.retired for slot in self._slots)

    def calls(self) -> list[Call]:
        """Return the requests that are in slots."""
        return [slot.call for slot in self._slots if slot.call is not None]

    def take(self, call: Call, now: float) -> WorkerSlot:
        """Put `call` into the first free slot."""
        slot = self.free.popleft()
        slot.call = call
        slot.taken_at = now
        self.busy += 1
        if self.leftover is not None:
            self.leftover.began(call, now)
        return slot

    def keeps_from(self, call: Call, now: float) -> bool:
        """Return whether `call` is to leave what is free to more important ones."""
        leftover = self.leftover
        if leftover is None:
            return False
        return leftover.holds_up(call, now, free=len(self.free), slots=len(self._slots))

    def give_back(self, slot: WorkerSlot, now: float) -> None:
        """Free the slot of a request that has ended."""
        self.hold_times.record(now - slot.taken_at)
        if self.leftover is not None and slot.call is not None:
            self.leftover.ended(slot.call)
        slot.call = None
        slot.served += 1
        self.served += 1
        self.busy -= 1
        if slot.retired:
            self._slots.remove(slot)
        else:
            self.free.append(slot)

    def resize(self, workers: int, *, pool: int | None = None) -> None:
        """Have so many slots in one replica's pool, or in each; nothing that runs is ended.

        Raises:
            ValueError: it is less than one.
        """
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers!r}")
        for index, runner in enumerate(self._runners):
            if pool is None or pool == index:
                self._resize_pool(index, runner, workers)
        idle = [s for s in self._slots if not s.busy and not s.retired]
        self.free = deque(sorted(idle, key=lambda s: (s.number, s.pool)))

    def _resize_pool(self, pool: int, runner: ModelRunner, workers: int) -> None:
        mine = sorted((s for s in self._slots if s.pool == pool), key=lambda s: (not s.busy, s.number))
        for slot in mine[workers:]:
            slot.retired = True
        for slot in mine[:workers]:
            slot.retired = False
        self._slots = [s for s in self._slots if s.busy or not s.retired]
        taken = {s.number for s in self._slots if s.pool == pool}
        numbers = (n for n in range(len(mine) + workers) if n not in taken)
        self._slots += [WorkerSlot(pool, next(numbers), runner) for _ in range(len(mine), workers)]
