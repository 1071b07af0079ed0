"""One timer a request, re-armed only when it fires too early: the deadline and every phase's limit share it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillway.core.alarms import Timer, Timers

_EARLY_S = 1e-6


class Watchdog:
    """Ends what a request waits for when its present limit is over.

    It interrupts whichever it finds: the future the request waits on, or the task that is inside; when it finds
    neither (a stream whose reader is elsewhere) it calls `on_unattended`.

    Args:
        loop: the running one.
        timers: who is asked to tell when a limit is over; by default the loop.

    Attributes:
        fired: the limit that ended it, until somebody sets it back to None.
        struck: whether it has cancelled the task and nobody has accounted for that yet.

    Invariants: at most one timer is scheduled. What others ask of the task is never swallowed: its own `cancel` is
        taken back once, and a cancellation that came from elsewhere, before or since, stays.
    """

    __slots__ = (
        "_armed_at",
        "_at",
        "_before",
        "_loop",
        "_reason",
        "_task",
        "_timer",
        "_timers",
        "_waiter",
        "fired",
        "on_unattended",
        "struck",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, timers: Timers | None = None) -> None:
        self._loop = loop
        self._timers: Timers = loop if timers is None else timers
        self._timer: Timer | None = None
        self._armed_at = math.inf
        self._at = math.inf
        self._reason = "deadline"
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._waiter: asyncio.Future[Any] | None = None
        self.fired: str | None = None
        self.struck = False
        self.on_unattended: Callable[[], None] | None = None

    def guard(self, at: float, reason: str) -> None:
        """From now on end it at `at` (the loop's seconds), for `reason`."""
        self._at = at
        self._reason = reason
        if at < self._armed_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._timers.call_at(at, self._ring)
            self._armed_at = at

    def guard_sooner_of(self, deadline: float, at: float, reason: str) -> None:
        """Guard the sooner of the request's deadline and a phase's own limit."""
        if deadline <= at:
            self.guard(deadline, "deadline")
        else:
            self.guard(at, reason)

    def attend(self, task: asyncio.Task[Any] | None) -> None:
        """Say which task is inside the request from now on; it is cancelled when the time is over."""
        self._task = task
        self._before = 0 if task is None else task.cancelling()

    def leave(self) -> None:
        """Say that no task is inside; a cancellation of our own that nobody noticed is taken back."""
        if self.struck:
            self.absorbs()
        self._task = None

    @property
    def attended(self) -> bool:
        """Whether a task is inside."""
        return self._task is not None

    def wait_on(self, waiter: asyncio.Future[Any] | None) -> None:
        """Say which future the request waits on now; None for none."""
        self._waiter = waiter

    def absorbs(self) -> bool:
        """Take our own cancellation of the task back; return whether it was ours and nobody else's."""
        if not self.struck:
            return False
        self.struck = False
        return self._task is not None and self._task.uncancel() <= self._before

    def wanted_elsewhere(self) -> bool:
        """Whether somebody else has asked for the end of the task since it came in."""
        task = self._task
        return task is not None and task.cancelling() - self.struck > self._before

    def cancelled_within(self) -> bool:
        """Whether a CancelledError that was just caught is nobody's wish: what was awaited came to its own end."""
        return self._task is not None and not self.struck and not self.wanted_elsewhere()

    def interrupt(self, reason: str) -> None:
        """End it now, for `reason`."""
        if self._waiter is not None:
            if not self._waiter.done():
                self.fired = reason
                self._waiter.cancel()
        elif self._task is not None:
            if not self.struck:
                self.fired = reason
                self.struck = True
                self._task.cancel()
        elif self.on_unattended is not None:
            self.fired = reason
            self.on_unattended()

    def stop(self) -> None:
        """Never fire again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = math.inf
        self._at = math.inf
        self.on_unattended = None

    def _ring(self) -> None:
        self._timer = None
        self._armed_at = math.inf
        if self._loop.time() < self._at - _EARLY_S:
            self.guard(self._at, self._reason)
            return
        self.interrupt(self._reason)
