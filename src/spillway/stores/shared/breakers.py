"""Circuits that all processes of a store share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import Clock
from spillway.remote.circuit_breaker.shared import SharedCircuitBreaker
from spillway.remote.circuit_breaker.told import Record, Report, in_ms

if TYPE_CHECKING:
    from spillway.core.options import CircuitBreakerConfig
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

_logger = logging.getLogger("spillway.circuit_breaker")

SYNC_S = 0.25
"""Seconds between two syncs while a circuit had traffic, or is not closed."""

IDLE_S = 1.0
"""Seconds between two syncs while nothing happens."""

_KEEP_MS = 24 * 3600 * 1000


class BreakersSync(msgspec.Struct, kw_only=True):
    """What one sync says, see `breakers.lua`; times in milliseconds.

    Attributes:
        since: the store's version that this node knows, 0 for none.
        leaving: this node ends, and gives all probes back.
    """

    node: str
    since: int
    silent_ms: int
    keep_ms: int
    leaving: bool
    reports: list[Report]


class BreakersAnswer(msgspec.Struct, kw_only=True):
    """What the store answers: the circuits that were reported, and all that have changed since."""

    now: int
    version: int
    told: list[tuple[str, Record]] | dict[str, str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BreakersAnswer).decode


class BreakersPart:
    """All circuits of one process, as a part of its syncing: one script call for all of them.

    Args:
        node: this process, among all that share the store.
        clock: monotonic seconds of the running loop.
    """

    def __init__(self, *, settings: StoreSettings, node: str, syncing: Syncing, clock: Clock) -> None:
        self._settings = settings
        self._node = node
        self._syncing = syncing
        self._clock = clock
        self._keys = tuple(f"{settings.prefix}{{breakers}}:{what}" for what in ("circuits", "changes", "nodes"))
        self._circuits: dict[str, SharedCircuitBreaker] = {}
        self._since = 0
        self._began = -SYNC_S
        self._asked = 0
        self._busy = self._urgent = True
        self._lost = False

    def share(self, key: str, provider: str, config: CircuitBreakerConfig) -> SharedCircuitBreaker:
        """Return the circuit of `key`, the same for every holder in this process.

        Args:
            key: of the circuit, within the store's.
            provider: what it guards, in words.
            config: how this process counts; of open time and probes the newest word of a process holds.
        """
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = SharedCircuitBreaker(provider, config, clock=self._clock, node=self._node, on_news=self._hurry)
            self._circuits[key] = circuit
            if len(self._circuits) == 1:
                self._syncing.add(self)
            self._hurry()
        elif circuit.config != config:
            circuit.configure(config)
        return circuit

    def next_sync(self) -> float:
        """Return when it wants to be synced: at once with something to tell, else often enough to learn."""
        return self._began if self._urgent else self._began + (SYNC_S if self._busy else IDLE_S)

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:  # noqa: ARG002 - versions tell of another store
        """Return the script call of one sync."""
        self._began = self._clock()
        self._urgent = False
        reports = [
            report
            for key, circuit in self._circuits.items()
            if (report := circuit.report(key, leaving=leaving)) is not None
        ]
        before, self._asked = self._asked, sum(circuit.asked for circuit in self._circuits.values())
        self._busy = bool(reports) or self._asked != before
        sync = BreakersSync(
            node=self._node,
            since=self._since,
            silent_ms=in_ms(self._settings.silent_s),
            keep_ms=max(_KEEP_MS, 4 * in_ms(self._settings.silent_s)),
            leaving=leaving,
            reports=reports,
        )
        return "breakers", self._keys, _encode(sync)

    def end(self, answer: Any) -> None:
        """Follow what the store tells."""
        heard = _decode(answer)
        told = dict(heard.told) if isinstance(heard.told, list) else {}
        for key, circuit in self._circuits.items():
            circuit.follow(told.get(key), heard.now)
        self._since = heard.version
        self._urgent |= any(circuit.urgent for circuit in self._circuits.values())
        if self._lost:
            self._lost = False
            _logger.warning("circuits are shared with the other processes again")

    def failed(self) -> None:
        """Have each circuit be this process's own until the store answers."""
        for circuit in self._circuits.values():
            circuit.lose()
        self._urgent = True
        if not self._lost:
            self._lost = True
            _logger.warning("circuits are this process's own while the store does not answer")

    def _hurry(self) -> None:
        self._urgent = True
        self._syncing.wake()

    def __repr__(self) -> str:
        return f"<BreakersPart {len(self._circuits)} circuits{' lost' if self._lost else ''}>"
