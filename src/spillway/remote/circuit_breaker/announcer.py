"""Who is told what a circuit breaker does."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from spillway.remote.circuit_breaker.report import BreakerEvent

C = TypeVar("C")

Listener = Callable[[BreakerEvent], object]

_logger = logging.getLogger("spillway.circuit_breaker")


class Announcer:
    """Hands events to listeners, one at a time and in order, and tells those who wait for room.

    Callbacks run in the thread that publishes, under no lock, so that they may call back into the breaker; one that
    raises is logged and the next one is called.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._listeners: dict[int, Listener] = {}
        self._waiting: dict[int, Callable[[], object]] = {}
        self._delivering = False
        self.due: deque[BreakerEvent] = deque()
        """Events not yet handed out; appended to in the order in which they happened."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event; returns how to stop that."""
        return self._register(self._listeners, listener)

    def on_room(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when there is room; returns how to stop that."""
        return self._register(self._waiting, callback)

    def publish(self, *, room: bool) -> None:
        """Hand out the due events, then say that there is room.

        When another call is handing out already, further up the stack or in another thread, that one goes on with ours.
        """
        while True:
            with self._lock:
                if self._delivering or not self.due:
                    break
                self._delivering = True
                event = self.due.popleft()
                listeners = tuple(self._listeners.values())
            try:
                for listener in listeners:
                    self._guard(listener, event)
            finally:
                self._delivering = False
        if room and self._waiting:
            with self._lock:
                waiting = tuple(self._waiting.values())
            for callback in waiting:
                self._guard(callback)

    def _guard(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            _logger.exception("a listener of circuit breaker %s failed", self._provider)

    def _register(self, registry: dict[int, C], callback: C) -> Callable[[], None]:
        number = next(self._numbers)
        with self._lock:
            registry[number] = callback

        def stop() -> None:
            with self._lock:
                registry.pop(number, None)

        return stop
