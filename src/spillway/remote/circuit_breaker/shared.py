"""The synchronous face of a circuit that several processes share."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from spillway.core.clock import Clock
from spillway.core.errors import CircuitOpen
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker.handle import CircuitBreakerHandle
from spillway.remote.circuit_breaker.report import BreakerSnapshot
from spillway.remote.circuit_breaker.shared_machine import SharedBreakerMachine
from spillway.remote.circuit_breaker.told import Record, Report

PROBE_ASKED = "probe_asked"
"""The `reason` of a refusal that a probe's lease may follow within milliseconds."""

ASK_AGAIN_S = 0.1


class SharedCircuitBreaker(CircuitBreakerHandle):
    """A `CircuitBreakerHandle` whose open and half-open states are those of all processes that share a store.

    Half-open, `check` refuses where this process holds no lease of a probe, with `reason="probe_asked"` when the store
    was asked for one; `on_room` tells of the answer.

    Args:
        node: this process, among all that share the store.
        on_news: called, from any thread, when there is something to tell or to ask the store.
    """

    def __init__(
        self,
        provider: str,
        config: CircuitBreakerConfig,
        *,
        clock: Clock,
        node: str,
        on_news: Callable[[], object],
    ) -> None:
        super().__init__(provider, config, clock=clock)
        self._machine = self._shared = SharedBreakerMachine(config, node=node, on_news=on_news)

    @property
    def asked(self) -> int:
        """Calls that have asked to be let through."""
        return self._admitted + self._refused

    @property
    def urgent(self) -> bool:
        """Whether there is something to tell or to ask the store at once."""
        return self._shared.urgent

    def report(self, key: str, *, leaving: bool = False) -> Report | None:
        """Return what to tell the store, None for nothing; `follow` or `lose` comes after it.

        Args:
            leaving: this process gives all its leases back.
        """
        with self._lock:
            return self._shared.report(self._clock(), key, leaving=leaving)

    def follow(self, record: Record | None, store_now: int) -> None:
        """Be what the circuit is in the store, which has what was reported.

        Args:
            record: None: it has not changed.
            store_now: the store's time of it, in milliseconds.
        """
        machine = self._shared
        with self._lock:
            machine.told()
            room = record is not None and machine.follow(self._clock(), record, store_now)
            if machine.transition is not None or machine.renewed:
                machine.renewed = False
                room = self._turn(machine.origin) or room
        if room or self._announcer.due:
            self._announcer.publish(room=room)

    def lose(self) -> None:
        """Go on without the store."""
        with self._lock:
            self._shared.lose()
        self._announcer.publish(room=True)

    def snapshot(self) -> BreakerSnapshot:
        """Return state and counts of this instant; the counts are this process's own."""
        return msgspec.structs.replace(super().snapshot(), shared=not self._shared.alone)

    def _refusal(self, now: float) -> CircuitOpen:
        error = super()._refusal(now)
        machine = self._shared
        if machine.asking:
            error.args = ("the circuit is half-open, and the store was asked for a probe",)
            error.reason = PROBE_ASKED
            error.retry_after = ASK_AGAIN_S
            error.retry_at = now + ASK_AGAIN_S
        elif machine.alone:
            error.args = (f"{error.args[0]} (this process alone says so: the store does not answer)",)
        return error

    def __repr__(self) -> str:
        words = super().__repr__()
        return f"{words[:-1]}, alone>" if self._shared.alone else words
