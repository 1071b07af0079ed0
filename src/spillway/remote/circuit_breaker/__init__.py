"""A circuit breaker: stops sending to a provider that fails, and finds out with few calls when it is well again."""

from spillway.remote.circuit_breaker.actor import (
    BreakerMsg,
    CircuitBreakerActor,
    ConfigureBreaker,
    ForceClose,
    ForceOpen,
    ResetBreaker,
    SnapshotBreaker,
)
from spillway.remote.circuit_breaker.handle import CircuitBreakerHandle
from spillway.remote.circuit_breaker.machine import CircuitState, TransitionReason
from spillway.remote.circuit_breaker.report import BreakerEvent, BreakerSnapshot
from spillway.remote.circuit_breaker.shared import PROBE_ASKED
from spillway.remote.circuit_breaker.ticket import BreakerTicket

__all__ = [
    # what a call touches
    "BreakerTicket",
    "CircuitBreakerHandle",
    "CircuitState",
    # what it tells
    "PROBE_ASKED",
    "BreakerEvent",
    "BreakerSnapshot",
    "TransitionReason",
    # the actor and its messages
    "BreakerMsg",
    "CircuitBreakerActor",
    "ConfigureBreaker",
    "ForceClose",
    "ForceOpen",
    "ResetBreaker",
    "SnapshotBreaker",
]
