"""The circuit breaker as an actor: for operators and supervisors; calls use its handle."""

from __future__ import annotations

import msgspec

from spillway.core.actor import Actor
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker.handle import CircuitBreakerHandle
from spillway.remote.circuit_breaker.report import BreakerSnapshot


class SnapshotBreaker(msgspec.Struct, frozen=True, tag=True):
    """Answer with a `BreakerSnapshot`."""


class ForceOpen(msgspec.Struct, frozen=True, tag=True):
    """Refuse everything for `seconds`; a time that is not > 0 is refused at construction."""

    seconds: float

    def __post_init__(self) -> None:
        _check_positive(self.seconds)


class ForceClose(msgspec.Struct, frozen=True, tag=True):
    """Let everything through for `seconds`; a time that is not > 0 is refused at construction."""

    seconds: float

    def __post_init__(self) -> None:
        _check_positive(self.seconds)


class ResetBreaker(msgspec.Struct, frozen=True, tag=True):
    """Close and forget."""


class ConfigureBreaker(msgspec.Struct, frozen=True, tag=True):
    """Take other options."""

    config: CircuitBreakerConfig


BreakerMsg = SnapshotBreaker | ForceOpen | ForceClose | ResetBreaker | ConfigureBreaker
"""What a CircuitBreakerActor understands."""


class CircuitBreakerActor(Actor[BreakerMsg]):
    """Owns one breaker; each message is answered with the snapshot after it.

    A crash keeps the breaker as it is: callers hold its handle.
    """

    def __init__(self, handle: CircuitBreakerHandle) -> None:
        self._handle = handle

    def handle(self) -> CircuitBreakerHandle:
        """Return what calls use."""
        return self._handle

    async def receive(self, message: BreakerMsg) -> BreakerSnapshot:
        """Do what the message says."""
        match message:
            case ForceOpen(seconds):
                self._handle.force_open(seconds)
            case ForceClose(seconds):
                self._handle.force_close(seconds)
            case ResetBreaker():
                self._handle.reset()
            case ConfigureBreaker(config):
                self._handle.configure(config)
            case SnapshotBreaker():
                pass
        return self._handle.snapshot()

    def __repr__(self) -> str:
        return f"<CircuitBreakerActor of {self._handle!r}>"


def _check_positive(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"seconds must be > 0, not {seconds!r}")
