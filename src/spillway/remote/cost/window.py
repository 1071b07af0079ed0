"""What was spent in a rolling window, kept in sub-slots."""

from __future__ import annotations

import math


class SpendWindow:
    """Committed spend of the last `slots * width` seconds, at most one sub-slot more.

    A sub-slot counts in full until the window has wholly left it, so that what is counted is never less than what was
    spent in the window.

    Args:
        name: `hour`, `day` or `month`.
        cap: the most that may be spent in it, in pico-USD.
        width: seconds of a sub-slot.
        slots: sub-slots of a window.
        now: the present, in monotonic seconds.

    Attributes:
        committed: pico-USD that count now, as of the last `advance`.
        edge: the instant from which `advance` is due.

    Complexity: O(1) amortised.
    """

    __slots__ = ("_current", "_ring", "_slots", "_width", "cap", "committed", "edge", "name")

    def __init__(self, name: str, cap: int, *, width: float, slots: int, now: float) -> None:
        self.name = name
        self.cap = cap
        self.committed = 0
        self._width = width
        self._slots = slots
        self._ring = [0] * (slots + 1)
        self._current = math.floor(now / width)
        self.edge = (self._current + 1) * width

    def advance(self, now: float) -> None:
        """Drop the sub-slots that have left the window at `now`."""
        if now < self.edge:
            return
        ring = self._ring
        size = len(ring)
        index = math.floor(now / self._width)
        for passed in range(max(self._current + 1, index - self._slots), index + 1):
            place = passed % size
            self.committed -= ring[place]
            ring[place] = 0
        self._current = index
        self.edge = (index + 1) * self._width

    def add(self, pico: int, at: float) -> None:
        """Count `pico` in the sub-slot of the instant `at`, unless that has left the window."""
        index = min(math.floor(at / self._width), self._current)
        if index >= self._current - self._slots:
            self._ring[index % len(self._ring)] += pico
            self.committed += pico

    def put(self, index: int, pico: int) -> None:
        """Have the sub-slot `index` hold `pico`; one ahead of the present makes it the present."""
        if index > self._current:
            self.advance(index * self._width)
        if index >= self._current - self._slots:
            place = index % len(self._ring)
            self.committed += pico - self._ring[place]
            self._ring[place] = pico

    def held_by(self, index: int) -> int:
        """Return what the sub-slot `index` holds; 0 outside the window."""
        within = self._current - self._slots <= index <= self._current
        return self._ring[index % len(self._ring)] if within else 0

    def filled(self) -> list[tuple[int, int]]:
        """Return `(index, pico)` of each sub-slot that holds something."""
        ring = self._ring
        indexes = range(self._current - self._slots, self._current + 1)
        return [(index, ring[index % len(ring)]) for index in indexes if ring[index % len(ring)]]

    def time_until_free(self, pico: int, now: float) -> float:
        """Return the seconds from `now` until at least `pico` of what is committed has left; `inf` if it never has."""
        if pico <= 0:
            return 0.0
        for index in range(self._current - self._slots, self._current + 1):
            pico -= self._ring[index % len(self._ring)]
            if pico <= 0:
                return max((index + 1 + self._slots) * self._width - now, 0.0)
        return math.inf
