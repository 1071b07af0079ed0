"""The state machine of a circuit that several processes share: it follows the store, and is its own without it.

Outcomes of a closed circuit are counted by each process alone. Where that opens it, and where an operator says
something, the process turns at once and tells the store, which tells the others. Half-open, a probe is leased by the
store before it is let through, and its verdict is told; the store alone closes and reopens, by the verdicts of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker.machine import (
    CLOSED,
    HALF_OPEN,
    NO_PROBE,
    OPEN,
    REFUSED,
    BreakerMachine,
    CircuitState,
    TransitionReason,
    later,
)
from spillway.remote.circuit_breaker.told import (
    FAILED,
    FORCE_CLOSE,
    FORCE_OPEN,
    OPENED,
    ORDERS,
    PASSED,
    RESET,
    REVIEW,
    Record,
    Report,
    Said,
    in_ms,
    in_seconds,
)

_OPENING = frozenset({OPENED, FAILED})

_REASONS = {reason.value: reason for reason in TransitionReason}

UNUSED_S = 1.0
"""So long a lease for which nobody came is kept for those who were refused."""


class SharedBreakerMachine(BreakerMachine):
    """A `BreakerMachine` whose open and half-open states are those of all nodes of a store.

    Args:
        node: this process, among all that share the store.
        on_news: called when there is something to tell or to ask the store; must not call back.

    Attributes:
        alone: the store is not in reach: everything is decided here.
        asking: the newest refusal was for want of a probe's lease, and the store is asked for one.
        origin: the node that the newest change which was followed came from, empty for this one.
        renewed: a generation has begun that no transition tells of; for the caller to take and set back.
    """

    __slots__ = (
        "_apart",
        "_apart_told",
        "_freed",
        "_gen",
        "_heard",
        "_known",
        "_leased",
        "_node",
        "_on_news",
        "_orders",
        "_others",
        "_reason",
        "_said",
        "_told",
        "_unsure",
        "_unused",
        "_want",
        "alone",
        "asking",
        "origin",
        "renewed",
    )

    def __init__(self, config: CircuitBreakerConfig, *, node: str, on_news: Callable[[], object]) -> None:
        self._node = node
        self._on_news = on_news
        self.alone = True
        self.asking = self.renewed = False
        self.origin = ""
        self._gen = 0
        self._known: tuple[int, str, str, int] | None = None
        self._heard = False
        self._reason = TransitionReason.RESET
        # What has happened and was not told yet: kind, when, for how long, probe or number, reason.
        self._said: list[tuple[str, float, float, int, str]] = []
        self._told = 0
        self._orders = 0
        self._apart = self._apart_told = self._unsure = False
        # Leases: number -> when it came, until somebody uses it; then only the number.
        self._unused: dict[int, float] = {}
        self._leased: set[int] = set()
        self._others = 0
        self._want = self._freed = False
        super().__init__(config)

    # Deciding.

    def admit(self, now: float) -> int:
        """Return the number of a leased probe, NO_PROBE or REFUSED; a refusal may ask the store for a lease."""
        self.asking = False
        if self.alone:
            probe = super().admit(now)
            if probe > NO_PROBE:
                self._apart = True
            return probe
        if self.state is CLOSED:
            return NO_PROBE
        if self._unused:
            probe = next(iter(self._unused))
            del self._unused[probe]
            self._leased.add(probe)
            self._probes[probe] = later(now, self._config.max_open_duration_s)
            return probe
        if self._may_ask(now):
            self.asking = self._want = True
            self._on_news()
        return REFUSED

    def would_admit(self, now: float) -> bool:
        """Return whether `admit` would let a call through now, or ask for the lease of a probe."""
        if self.alone or self.state is CLOSED:
            return super().would_admit(now)
        return bool(self._unused) or self._may_ask(now)

    def _may_ask(self, now: float) -> bool:
        if self.state is OPEN:
            return now >= self.retry_at
        taken = self._succeeded_probes + self._others + len(self._leased) + len(self._unused)
        return taken < self._config.half_open_max_probes

    # Verdicts.

    def success(self, now: float, generation: int, probe: int, elapsed_s: float | None = None) -> bool:
        """Count a success; a probe's is told."""
        leased = probe in self._leased
        counted = super().success(now, generation, probe, elapsed_s)
        if counted and probe:
            self._verdict(now, FAILED if self.state is OPEN else PASSED, probe, leased=leased)
        return counted

    def failure(self, now: float, generation: int, probe: int) -> bool:
        """Count a failure; a probe's is told."""
        leased = probe in self._leased
        counted = super().failure(now, generation, probe)
        if counted and probe:
            self._verdict(now, FAILED, probe, leased=leased)
        return counted

    def broken(self, now: float, generation: int | None = None) -> bool:
        """Count the failure of a call whose success was counted before; one that reopens the circuit is told."""
        probed = self.state is HALF_OPEN
        counted = super().broken(now, generation)
        if counted and probed:
            self._verdict(now, FAILED, NO_PROBE, leased=not self.alone)
        return counted

    def release(self, generation: int, probe: int) -> bool:
        """End a call without a result; a lease is given back."""
        freed = super().release(generation, probe)
        if freed and probe in self._leased:
            self._leased.discard(probe)
            self._freed = True
            self._on_news()
        return freed

    def _verdict(self, now: float, kind: str, probe: int, *, leased: bool) -> None:
        self._leased.discard(probe)
        if leased:
            self._say(kind, now, probe=probe)
        else:
            self._apart = True

    # An operator's word, and options.

    def force_open(self, now: float, seconds: float) -> None:
        """Open for `seconds` from now, whatever was before, at every node; inf: until a reset."""
        super().force_open(now, seconds)
        self._reason = TransitionReason.FORCED_OPEN
        self._order(FORCE_OPEN, now, seconds)

    def force_close(self, now: float, seconds: float) -> None:
        """Close, and stay so for `seconds` whatever comes, at every node."""
        super().force_close(now, seconds)
        self._order(FORCE_CLOSE, now, seconds)

    def reset(self, now: float) -> None:
        """Close and forget everything that was counted or forced, at every node."""
        super().reset(now)
        self._order(RESET, now, 0.0)

    def configure(self, now: float, config: CircuitBreakerConfig) -> None:
        """Take other options; the open and half-open states are judged by the newest that a node tells."""
        probed = self.state is HALF_OPEN
        super().configure(now, config)
        if probed and self.state is CLOSED:
            self._say(REVIEW, now)

    def _order(self, kind: str, now: float, seconds: float) -> None:
        self._orders += 1
        self._say(kind, now, seconds, self._orders)

    def _open(self, now: float, reason: TransitionReason) -> None:
        super()._open(now, reason)
        if reason is not TransitionReason.PROBE_FAILED:
            self._say(OPENED, now, self.retry_at - now, reason=reason)

    def _enter(self, state: CircuitState, now: float, reason: TransitionReason) -> None:
        super()._enter(state, now, reason)
        self._reason = reason
        self._leased.clear()
        self._unused.clear()
        self._others = 0

    def _say(self, kind: str, now: float, seconds: float = 0.0, probe: int = 0, reason: str = "") -> None:
        if self._unsure or self._known is None or (self.alone and kind in _OPENING):
            # What the store has meanwhile is not known, so that it may be of a state that this does not fit.
            self._apart = True
        self._said.append((kind, now, seconds, probe, reason))
        self._on_news()

    # Telling and following.

    @property
    def urgent(self) -> bool:
        """Whether there is something to tell or to ask at once."""
        return bool(self._said) or self._want or self._freed or self._apart or not self._heard

    @property
    def settled(self) -> bool:
        """Whether it is closed and not held so: nothing that others need to be told again."""
        return self.state is CLOSED and self._held_until == -math.inf

    def report(self, now: float, key: str, *, leaving: bool = False) -> Report | None:
        """Return what to tell the store, None for nothing; `told` or `lose` follows."""
        for number, since in tuple(self._unused.items()):
            if now - since >= UNUSED_S:
                del self._unused[number]
        if self._held_until <= now:
            self._held_until = -math.inf
        if self.settled and not self.urgent:
            return None
        config = self._config
        want, self._want, self._freed = self._want and not leaving, False, False
        self._told = len(self._said)
        self._apart_told = self._apart
        return Report(
            key=key,
            gen=self._gen,
            said=[
                Said(
                    kind,
                    probe=0 if kind in ORDERS else number,
                    ms=in_ms(seconds),
                    ago_ms=in_ms(now - at),
                    number=number if kind in ORDERS else 0,
                    reason=reason,
                )
                for kind, at, seconds, number, reason in self._said
            ],
            probes=[] if leaving else [*self._leased, *self._unused],
            want=want,
            most=config.half_open_max_probes,
            open_ms=in_ms(config.open_duration_s),
            longest_ms=in_ms(config.max_open_duration_s),
            apart=self._apart,
            state=self.state.value,
            left_ms=in_ms(self.retry_at - now) if self.state is OPEN else 0,
            ago_ms=0 if self.opened_at is None else in_ms(now - self.opened_at),
            failed=self._failed_probes,
            held_ms=in_ms(self._held_until - now),
            reason=self._reason.value,
        )

    def told(self) -> None:
        """Take note that the store has what was reported."""
        del self._said[: self._told]
        self._told = 0
        self._unsure = False
        if self._apart_told:
            self._apart = self._apart_told = False
        self._heard = True
        if not (self._said or self._apart):
            self.alone = False

    def lose(self) -> None:
        """Go on without the store: what was reported last may have been taken, or not."""
        self._unsure = self._unsure or self._told > 0
        self._told = 0
        self._apart_told = self._heard = self.asking = self._want = False
        self._unused.clear()
        self.alone = True

    def follow(self, now: float, record: Record, store_now: int) -> bool:
        """Be what the circuit is in the store; return whether calls may pass that could not before.

        What has happened here and was not told yet comes first: then nothing changes until it was.

        Args:
            store_now: the store's time of `record`, in milliseconds.
        """
        if self._said or self._apart:
            return False
        self.alone = False
        asked, self.asking = self.asking, False
        known, self._known = self._known, (record.gen, record.node, record.state, record.till)
        mine = record.node == self._node
        anew = known is not None and known[:3] != self._known[:3] and record.gen > self._gen
        self._gen = record.gen
        if record.state != self.state:
            self._turn(now, record, store_now)
        elif anew and (self.state is HALF_OPEN or (self.state is CLOSED and not mine)):
            self._begin_again()
        self._failed_probes = record.failed
        held_s = in_seconds(record.held) - store_now / 1000
        self._held_until = later(now, held_s) if held_s > 0 else -math.inf
        if known != self._known:
            self.opened_at = None if record.opened == 0 else now - (store_now - record.opened) / 1000
        if self.state is OPEN:
            left_s = max(0.0, in_seconds(record.till) - store_now / 1000)
            if known != self._known or (left_s and now >= self.retry_at):
                self.retry_at = later(now, left_s) if left_s else now
        elif self.state is HALF_OPEN:
            self._take_leases(now, record)
        return asked or self.renewed or (self.state is HALF_OPEN and self.would_admit(now))

    def _turn(self, now: float, record: Record, store_now: int) -> None:
        reason, node = record.reason, record.node
        if record.state == CLOSED and record.held > store_now:
            # Held closed it was closed already for the others, and no state of its own began.
            reason, node = TransitionReason.FORCED_CLOSED, record.order_node
        self._enter(CircuitState(record.state), now, _REASONS.get(reason, TransitionReason.RESET))
        self.origin = "" if node == self._node else node

    def _begin_again(self) -> None:
        """Begin the present state anew: results of calls from before come too late."""
        self.generation += 1
        self.renewed = True
        self._succeeded_probes = 0
        self._probes.clear()
        self._leased.clear()
        self._unused.clear()
        if self.state is CLOSED:
            self._forget()

    def _take_leases(self, now: float, record: Record) -> None:
        own = {probe.number for probe in record.probes if probe.node == self._node}
        self._succeeded_probes = record.proven
        self._others = len(record.probes) - len(own)
        for number in tuple(self._probes):
            if number not in own:
                del self._probes[number]
        self._leased &= own
        for number in own - self._leased:
            self._unused.setdefault(number, now)
        for number in self._unused.keys() - own:
            del self._unused[number]
        self._last_probe = max(self._last_probe, *own, 0)
