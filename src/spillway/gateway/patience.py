"""A deadline for what a task awaits, at a third of the cost of `asyncio.timeout`: one timer and no coroutine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from spillway.core.alarms import Timer, Timers


class Patience:
    """Cancels the task inside when its time is over, and raises TimeoutError in place of that cancellation.

    A cancellation that somebody else asks for stays one.

    Args:
        at: the loop's seconds.
        loop: the running one.
        timers: who is asked to tell when the time is over; by default the loop.
    """

    __slots__ = ("_at", "_before", "_loop", "_struck", "_task", "_timer", "_timers")

    def __init__(self, at: float, loop: asyncio.AbstractEventLoop, timers: Timers | None = None) -> None:
        self._at = at
        self._timers: Timers = loop if timers is None else timers
        self._loop = loop
        self._task: asyncio.Task[Any]
        self._timer: Timer
        self._before = 0
        self._struck = False

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("only a task has patience")
        self._task = task
        self._before = task.cancelling()
        self._timer = self._timers.call_at(self._at, self._strike)
        return self

    def until(self, at: float) -> None:
        """Have its end at another time."""
        self._timer.cancel()
        self._timer = self._timers.call_at(at, self._strike)

    def _strike(self) -> None:
        self._struck = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._struck and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def __repr__(self) -> str:
        return f"<Patience {'over' if self._struck else f'until {self._at:.3f}'}>"
