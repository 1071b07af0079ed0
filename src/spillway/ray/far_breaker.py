"""The breakers of one deployment at all workers, as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spillway.core.clock import Clock
from spillway.remote.circuit_breaker import BreakerEvent, CircuitState

_SEVERITY = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class FarBreaker:
    """Its state is the worst of all; what it tells comes a little after the fact.

    Args:
        clock: monotonic seconds of this process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[int, CircuitState] = {}
        self._retry_at: dict[int, float] = {}
        self._listeners: list[Callable[[BreakerEvent], Any]] = []
        self._rooms: list[Callable[[], Any]] = []

    @property
    def state(self) -> CircuitState:
        """The worst state of any worker's."""
        return max(self._states.values(), key=_SEVERITY.__getitem__, default=CircuitState.CLOSED)

    def retry_after(self) -> float:
        """Return the seconds until it is worth asking again at some worker."""
        waits = [at for number, at in self._retry_at.items() if self._states.get(number) is CircuitState.OPEN]
        return max(0.0, min(waits) - self._clock()) if waits else 0.0

    def on_room(self, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` when calls may pass sooner than `retry_after` said; returns how to stop that."""
        self._rooms.append(callback)
        return lambda: self._rooms.remove(callback) if callback in self._rooms else None

    def subscribe(self, listener: Callable[[BreakerEvent], Any]) -> Callable[[], None]:
        """Call `listener` once for each change of the state; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def take(self, number: int, event: BreakerEvent, *, retry_at: float) -> None:
        """Take what a worker tells of its own."""
        before = self.state
        self._states[number] = event.state
        self._retry_at[number] = retry_at
        after = self.state
        if after is not before:
            for listener in tuple(self._listeners):
                listener(event if event.state is after else _as(event, after))

    def forget(self, number: int) -> None:
        """A worker is gone, and its breaker with it."""
        self._states.pop(number, None)
        self._retry_at.pop(number, None)

    def has_room(self) -> None:
        """Tell those who wait that calls may pass."""
        for callback in tuple(self._rooms):
            callback()

    def __repr__(self) -> str:
        return f"<FarBreaker {self.state.name} of {len(self._states)}>"


def _as(event: BreakerEvent, state: CircuitState) -> BreakerEvent:
    return BreakerEvent(at=event.at, provider=event.provider, previous=event.previous, state=state, reason=event.reason)
