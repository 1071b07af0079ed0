"""A sliding window kept as sub-slots: amounts that were sent within `width_s` of each other leave it together."""

from __future__ import annotations

import math
from collections import deque


class Slot:
    """Amounts sent until `last`; `live` until it has left its window."""

    __slots__ = ("amount", "last", "live")

    def __init__(self, now: float, amount: int) -> None:
        self.last = now
        self.amount = amount
        self.live = True


class SlotLog:
    """How much was sent in the last `span_s` seconds, never less than the truth.

    A slot counts in full until its last amount is `span_s + guard_s` old.

    Invariants: `used` is the sum of the live slots, and at least what was added in the half-open `(now - span_s, now]`.
    Complexity: amortised O(1) an operation, at most `span_s / width_s + 2` slots; one an instant if `width_s` is 0.
    """

    __slots__ = ("_guard_s", "_slots", "_span_s", "_tail", "_tail_open_until", "_width_s", "next_leave", "used")

    def __init__(self, span_s: float, *, width_s: float, guard_s: float = 0.0) -> None:
        self._span_s = span_s
        self._width_s = width_s
        self._guard_s = guard_s
        self._slots: deque[Slot] = deque()
        self._tail = Slot(-math.inf, 0)
        self._tail_open_until = -math.inf
        self.used = 0
        self.next_leave = math.inf
        """No slot leaves before this instant."""

    def add(self, now: float, amount: int) -> Slot:
        """Count `amount` as sent now; return the slot it went into."""
        self.used += amount
        if now <= self._tail_open_until:
            slot = self._tail
            slot.amount += amount
            slot.last = max(slot.last, now)
            return slot
        slot = self._tail = Slot(now, amount)
        self._tail_open_until = now + self._width_s
        if not self._slots:
            self.next_leave = self._leaves_at(slot)
        self._slots.append(slot)
        return slot

    def give_back(self, slot: Slot, amount: int) -> bool:
        """Take `amount` out of `slot` again; False when that has left the window."""
        if not slot.live:
            return False
        slot.amount -= amount
        self.used -= amount
        return True

    def expire(self, now: float) -> None:
        """Drop what has left the window."""
        slots = self._slots
        while slots:
            slot = slots[0]
            leave = self._leaves_at(slot)
            if leave > now:
                self.next_leave = leave
                return
            slots.popleft()
            slot.live = False
            self.used -= slot.amount
        self.next_leave = math.inf
        self._tail_open_until = -math.inf

    def leaves_at(self, amount: int) -> float:
        """Return when at least `amount` of what is counted has left; `inf` when there is not so much."""
        gone = 0
        for slot in self._slots:
            gone += slot.amount
            if gone >= amount:
                return self._leaves_at(slot)
        return math.inf

    def move_to(self, other: SlotLog) -> None:
        """Add all that is counted here to `other`, oldest first; what was stamped here can't be given back there."""
        for slot in self._slots:
            other.add(slot.last, slot.amount)
            slot.live = False

    def __len__(self) -> int:
        return len(self._slots)

    def _leaves_at(self, slot: Slot) -> float:
        last = slot.last
        if self._guard_s:
            return last + self._span_s + self._guard_s
        # Rounded so that no way of writing "at least span_s later" is false from then on.
        at = last + self._span_s
        while at - last < self._span_s or at - self._span_s < last:
            at = math.nextafter(at, math.inf)
        return at

    def __repr__(self) -> str:
        return f"<SlotLog {self.used} in {self._span_s:g} s, {len(self._slots)} slots>"
