"""One timer a request, re-armed only when it fires too early: the deadline and every phase's limit share it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

_EARLY_S = 1e-6


class Watchdog:
    """Ends what a request waits for when its present limit is over.

    It interrupts whichever it finds: the future the request waits on, or the task that is inside an attempt; when it
    finds neither (a stream whose reader is elsewhere) it calls `on_unattended`.

    Invariants: at most one timer is scheduled; `fired` names the limit that ended it and stays.
    """

    __slots__ = ("_armed_at", "_at", "_loop", "_reason", "_task", "_timer", "_waiter", "fired", "on_unattended")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._at = math.inf
        self._reason = "deadline"
        self._task: asyncio.Task[Any] | None = None
        self._waiter: asyncio.Future[Any] | None = None
        self.fired: str | None = None
        self.on_unattended: Callable[[], None] | None = None

    def guard(self, at: float, reason: str) -> None:
        """From now on end it at `at` (the loop's seconds), for `reason`."""
        self._at = at
        self._reason = reason
        if at < self._armed_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._ring)
            self._armed_at = at

    def guard_sooner_of(self, deadline: float, at: float, reason: str) -> None:
        """Guard the sooner of the request's deadline and a phase's own limit."""
        if deadline <= at:
            self.guard(deadline, "deadline")
        else:
            self.guard(at, reason)

    def attend(self, task: asyncio.Task[Any] | None) -> None:
        """Say which task is inside the request now; it is cancelled when the time is over."""
        self._task = task

    def leave(self) -> None:
        """Say that no task is inside."""
        self._task = None

    def wait_on(self, waiter: asyncio.Future[Any] | None) -> None:
        """Say which future the request waits on now; None for none."""
        self._waiter = waiter

    def absorbs(self) -> bool:
        """Whether the CancelledError just caught was this watchdog's own, and nobody else wants the task cancelled."""
        if self.fired is None or self._task is None:
            return False
        return self._task.uncancel() == 0

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
        if self._waiter is not None:
            if not self._waiter.done():
                self.fired = self._reason
                self._waiter.cancel()
        elif self._task is not None:
            self.fired = self._reason
            self._task.cancel()
        elif self.on_unattended is not None:
            self.fired = self._reason
            self.on_unattended()
