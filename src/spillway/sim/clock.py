"""Time for the simulator: waits on the running loop, and the wall clock that rate-limit headers quote.

The simulator shares no module with the clients it judges, so it keeps these few lines of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Monotonic seconds; only differences mean anything."""

WallClock = Callable[[], datetime]
"""An aware instant in UTC."""


def wall_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251  core.clock is out of bounds here


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def pause(seconds: float) -> None:
    """Wait `seconds` of the running loop's time; zero or less yields once."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(max(0.0, seconds), _wake, waiter)
    try:
        await waiter
    finally:
        timer.cancel()
