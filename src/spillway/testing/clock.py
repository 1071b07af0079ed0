"""Time that moves only when it is told to, or when everybody waits."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class ManualClock:
    """A clock that is moved by hand: call it for the time, `advance` it to move it.

    Args:
        start: its first reading in seconds.
    """

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """Return the present reading in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward by `seconds` and return the new time.

        Raises:
            ValueError: `seconds` is negative; a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock can't go back by {-seconds} s")
        self._now += seconds
        return self._now

    def __repr__(self) -> str:
        return f"<ManualClock {self._now:g} s>"


class _JumpingSelector(selectors.DefaultSelector):
    """Turns a wait for time into a jump of the loop's clock; waits for real only when nothing is scheduled."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, jump instead of waiting."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nobody can run.

    Meant for tests without real sockets: hours pass in milliseconds, in exact order, and `loop.time()` is the clock of
    every timer, window and deadline in the code under test.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._virtual_now = start
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Move the loop's time forward."""
        self._virtual_now += seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh `VirtualTimeLoop` and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
