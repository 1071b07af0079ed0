"""The orderly end: nobody new, everybody who is there finishes in time or is told that it is over."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from spillway.core.clock import loop_clock, sleep

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway

DRAIN_S = 30.0
"""How long requests under way may take to finish."""

TELL_S = 5.0
"""How long those that did not may take to be told so."""

_LOOK_S = 0.02


class Stop:
    """What the signals of a process ask for.

    Attributes:
        asked: set by the first.
        at_once: set by the second.
        number: the first signal's.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self.number = signal.SIGTERM

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, number)

    @property
    def exit_code(self) -> int:
        """0, after Ctrl-C 130."""
        return 130 if self.number == signal.SIGINT else 0

    def _hear(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self.at_once.set()
        else:
            self.number = number
            self.asked.set()


async def drain(gateway: Gateway, stop: Stop) -> int:
    """Let what is under way finish, for `DRAIN_S` or until `stop` wants it at once; then end it.

    The server takes no new connection any more. A stream that is ended gets an error event, an answer that has not
    begun the error.

    Returns:
        How many requests had to be ended.
    """
    await _until_idle(gateway, DRAIN_S, stop.at_once)
    ended = gateway.in_flight
    closing = asyncio.ensure_future(gateway.aclose())
    await _until_idle(gateway, TELL_S, None)
    await closing
    return ended


async def _until_idle(gateway: Gateway, within_s: float, unless: asyncio.Event | None) -> None:
    clock = loop_clock()
    until = clock() + within_s
    while gateway.in_flight and clock() < until and not (unless is not None and unless.is_set()):
        await sleep(_LOOK_S)
