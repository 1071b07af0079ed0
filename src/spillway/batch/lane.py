"""The lines that lead to one target: which is next, and which waits."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from spillway.batch.lines import Line
from spillway.batch.pace import Pace
from spillway.batch.spend import LineGate
from spillway.batch.targets import Target
from spillway.batch.verdict import Failures
from spillway.core.errors import InferenceError


class Item:
    """A line on its way to its result.

    Attributes:
        error: what it met last, while it waits.
    """

    __slots__ = ("error", "failures", "gate", "line")

    def __init__(self, line: Line, gate: LineGate, failures: Failures) -> None:
        self.line = line
        self.gate = gate
        self.failures = failures
        self.error: InferenceError | None = None

    @property
    def number(self) -> int:
        """Its line number."""
        return self.line.number


class Lane:
    """Lines of one target, in the order of the input.

    Attributes:
        active: lines under way.
    """

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self.target = target
        self.pace = Pace(target.capacity)
        self.active = 0
        self._loop = loop
        self._wake = wake
        self._ready: list[tuple[int, Item]] = []
        self._later: list[tuple[float, int, Item]] = []
        self._timer: asyncio.TimerHandle | None = None

    def push(self, item: Item, *, not_before: float = 0.0) -> None:
        """Put a line in."""
        if not_before > self._loop.time():
            heapq.heappush(self._later, (not_before, item.number, item))
        else:
            heapq.heappush(self._ready, (item.number, item))

    def pop(self, now: float, *, beside: int) -> Item | None:
        """Take the next line out if one may start at `now` beside so many others.

        In trouble that is the one that has waited least often, so that a line that can't be answered does not stand for
        all others.
        """
        while self._later and self._later[0][0] <= now:
            _, number, item = heapq.heappop(self._later)
            heapq.heappush(self._ready, (number, item))
        if not self._ready or not self.pace.may_start(beside, now):
            return None
        if self.pace.since is None:
            return heapq.heappop(self._ready)[1]
        at = min(range(len(self._ready)), key=lambda i: (self._ready[i][1].failures.waits, self._ready[i][0]))
        _, item = self._ready[at]
        self._ready[at] = self._ready[-1]
        self._ready.pop()
        heapq.heapify(self._ready)
        return item

    def arm(self, now: float) -> None:
        """Have the run woken when time alone lets a line start that `pop` did not let start at `now`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at: float | None = None
        if self._ready and self.pace.closed_until > now:
            at = self.pace.closed_until
        if self._later:
            due = max(self._later[0][0], self.pace.closed_until)
            at = due if at is None else min(at, due)
        if at is not None:
            self._timer = self._loop.call_at(at, self._wake)

    def hurry(self) -> None:
        """Let one line find out now whether the trouble is over."""
        if self.pace.since is not None:
            self.pace.hurry(self._loop.time())
            self._wake()

    def clear(self) -> None:
        """Forget the lines that wait."""
        self._ready.clear()
        self._later.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def __repr__(self) -> str:
        return f"<Lane {self.target.name} active {self.active} waiting {len(self)} {self.pace!r}>"
