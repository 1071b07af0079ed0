"""The one home of ambient time and entropy: everything else is handed a clock.

Inside a running event loop the clock is the loop's own (`loop.time`), so that a loop with virtual time makes every
timer, window and deadline of the system virtual at once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
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
    """Return the clock of `loop`; what asyncio's own loops read is handed out bare, since it is read often."""
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def loop_clock() -> Clock:
    """Return the running loop's clock, or the machine's monotonic one outside a loop."""
    try:
        return clock_of(asyncio.get_running_loop())
    except RuntimeError:
        return time.monotonic


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
