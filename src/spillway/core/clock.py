"""The one home of ambient time and entropy: everything else is handed a clock.

Inside a running event loop the clock is the loop's own (`loop.time`), so that a loop with virtual time makes every
timer, window and deadline of the system virtual at once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Clock = Callable[[], float]
"""Monotonic seconds; only differences mean anything."""

WallClock = Callable[[], datetime]
"""An aware instant in UTC."""


class Rng(Protocol):
    """A source of uniform floats in [0, 1)."""

    def random(self) -> float:
        """Return the next float in [0, 1)."""
        ...


monotonic: Clock = time.monotonic
entropy: Rng = random.SystemRandom()


def wall_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """Return the clock of `loop`; the machine's monotonic one is handed out bare where the loop tells that.

    uvloop tells it too, but in whole milliseconds and as it was when the present round of callbacks began.
    """
    kind = type(loop)
    if kind.time is asyncio.BaseEventLoop.time or kind.__module__.partition(".")[0] == "uvloop":
        return time.monotonic
    return loop.time


def loop_clock() -> Clock:
    """Return the running loop's clock, or the machine's monotonic one outside a loop."""
    try:
        return clock_of(asyncio.get_running_loop())
    except RuntimeError:
        return time.monotonic


unix_now: Clock = time.time
"""Seconds since 1970, for what is told to people."""


class LoopInSight:
    """The running loop, remembered: until Python 3.12 each question for it is a system call.

    Complexity: 0.1 µs where it is the same as before.
    """

    __slots__ = ("_loop", "_thread")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def __call__(self) -> asyncio.AbstractEventLoop:
        """Return the loop that runs in this thread.

        Raises:
            RuntimeError: none does.
        """
        loop = self._loop
        # A loop that runs, and was seen in this thread, is the one that runs here: there is one at a time.
        if loop is None or self._thread != threading.get_ident() or not loop.is_running():
            self._loop = loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
        return loop


async def sleep(seconds: float) -> None:
    """Wait `seconds` of the running loop's time; zero or less yields once."""
    await asyncio.sleep(max(0.0, seconds))


_process = f"{random.SystemRandom().getrandbits(64):016x}"
_numbers = itertools.count(1)


def new_id() -> str:
    """Return an id that no other call in any process returns.

    Complexity: a counter behind 64 random bits of the process, 0.2 µs.
    """
    return f"{_process}{next(_numbers):08x}"


def new_secret() -> str:
    """Return 256 random bits that nobody can guess, as 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)
