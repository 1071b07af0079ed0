"""The synchronous face of a circuit breaker: a clock, a lock, tickets and listeners around the machine."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from spillway.core.clock import Clock, loop_clock
from spillway.core.errors import CircuitOpen
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker.announcer import Announcer, Listener
from spillway.remote.circuit_breaker.machine import (
    CLOSED,
    HALF_OPEN,
    NO_PROBE,
    OPEN,
    REFUSED,
    BreakerMachine,
    CircuitState,
)
from spillway.remote.circuit_breaker.report import BreakerEvent, BreakerSnapshot
from spillway.remote.circuit_breaker.ticket import (
    FAILURE,
    INTERRUPTION,
    RELEASE,
    SUCCESS,
    BreakerTicket,
    Outcome,
    counts,
)

T = TypeVar("T")

_NO_GENERATION = -1

_SPARE_TICKETS = 64
"""So many settled tickets may lie between open ones before they are cleared away."""


class CircuitBreakerHandle:
    """Lets calls through, or refuses them while their provider fails.

    May be used from any thread; listeners run in the thread that caused the event, outside the lock, one event at a
    time, in order.

    Args:
        provider: what it guards; stands in errors and events.
        clock: returns monotonic seconds; by default the running loop's time, from the first use on.

    Complexity: O(1) a call, about a microsecond for `check` and `success` together.
    """

    def __init__(
        self, provider: str, config: CircuitBreakerConfig | None = None, *, clock: Clock | None = None
    ) -> None:
        self._provider = provider
        self._clock = clock if clock is not None else self._bind_clock
        self._machine = BreakerMachine(config if config is not None else CircuitBreakerConfig())
        # Re-entrant: a finalizer run by the collector in here may settle a ticket of its own.
        self._lock = threading.RLock()
        # Tickets of the present generation in order of admission; settled ones may lie among them.
        self._tickets: deque[BreakerTicket] = deque()
        self._open_tickets = 0
        self._stale_tickets = 0
        self._admitted = self._refused = self._successes = self._failures = self._released = self._late = 0
        self._by_code: Counter[str] = Counter()
        self._transitions = dict.fromkeys(CircuitState, 0)
        self._announcer = Announcer(provider)
        self._settle_ticket = self._settle

    @property
    def provider(self) -> str:
        """What it guards."""
        return self._provider

    @property
    def config(self) -> CircuitBreakerConfig:
        """The options in force."""
        return self._machine.config

    @property
    def state(self) -> CircuitState:
        """The present state; OPEN lasts until a first call is let through after the open time."""
        return self._machine.state

    def check(self) -> BreakerTicket:
        """Let one call through and return its ticket; half-open, it takes a probe's slot.

        Raises:
            CircuitOpen: the circuit is open, or half-open with all probes under way; `retry_after` > 0.
        """
        machine = self._machine
        probe = NO_PROBE
        # Twice on every call's way, and `with` takes double the time of this.
        self._lock.acquire()
        try:
            if machine.state is not CLOSED:
                probe = self._admit()
            self._admitted += 1
            self._open_tickets += 1
            ticket = BreakerTicket(self._settle_ticket, machine.generation, probe)
            tickets = self._tickets
            tickets.append(ticket)
            if len(tickets) > 2 * self._open_tickets + _SPARE_TICKETS:
                self._tickets = deque(held for held in tickets if held.outcome is None)
        finally:
            self._lock.release()
        if probe:
            self._announcer.publish(room=False)
        return ticket

    def would_admit(self) -> bool:
        """Return whether `check` would let a call through now; takes nothing."""
        machine = self._machine
        if machine.state is CLOSED:
            return True
        with self._lock:
            return machine.would_admit(self._clock())

    def retry_after(self) -> float:
        """Return the seconds until it is worth asking again, 0 when `check` would let a call through now."""
        with self._lock:
            return self._machine.retry_after(self._clock())

    def record_success(self, elapsed_s: float | None = None) -> None:
        """Settle the oldest open ticket of the present state with a success."""
        self._settle(None, SUCCESS, elapsed_s, None)

    def record_failure(self, error: BaseException | None = None) -> None:
        """Settle the oldest open ticket of the present state with a failure; see `BreakerTicket.failure`.

        Like `record_success`, it counts a call of its own when no ticket at all is open and the circuit is closed.
        """
        self._settle(None, FAILURE if counts(error) else RELEASE, None, error)

    def release(self) -> None:
        """Settle the oldest open ticket of the present state without a result."""
        self._settle(None, RELEASE, None, None)

    def record_interruption(self, error: BaseException | None = None) -> None:
        """Count a failure, while the circuit is closed, of an answer that broke after its success was counted."""
        ticket = BreakerTicket(self._settle_ticket, _NO_GENERATION, NO_PROBE)
        ticket.outcome = SUCCESS
        ticket.interrupted(error)

    async def run(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Return what `fn` returns, its outcome counted.

        Any exception is a failure, unless it says itself that it does not count.

        Raises:
            CircuitOpen: it was not called.

        Cancellation: counts nothing; a probe's slot is free again.
        """
        ticket = self.check()
        started = self._clock()
        try:
            result = await fn()
        except BaseException as error:
            ticket.failure(error)
            raise
        ticket.success(self._clock() - started)
        return result

    def force_open(self, seconds: float) -> None:
        """Refuse everything for `seconds` from now, whatever was before; `inf`: until `reset`."""
        _check_span(seconds)
        with self._lock:
            self._machine.force_open(self._clock(), seconds)
            room = self._turn_if_changed()
        self._announcer.publish(room=room)

    def force_close(self, seconds: float) -> None:
        """Close, and let everything through for `seconds` whatever comes; outcomes are counted meanwhile."""
        _check_span(seconds)
        with self._lock:
            self._machine.force_close(self._clock(), seconds)
            room = self._turn_if_changed()
        self._announcer.publish(room=room)

    def reset(self) -> None:
        """Close and forget what was counted in the window or forced; results of earlier calls come too late."""
        with self._lock:
            self._machine.reset(self._clock())
            room = self._turn_if_changed() or self._turn()
        self._announcer.publish(room=room)

    def configure(self, config: CircuitBreakerConfig) -> None:
        """Take other options; state and window are kept."""
        with self._lock:
            self._machine.configure(self._clock(), config)
            self._turn_if_changed()
        self._announcer.publish(room=True)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` once for each change of state; returns how to stop that.

        A listener that raises is logged and harms nobody; one that calls back sees the new state.
        """
        return self._announcer.subscribe(listener)

    def on_room(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when calls may pass sooner than `retry_after` said; returns how to stop that.

        That is when a probe's slot was given back, the circuit has closed, or other options are in force.
        """
        return self._announcer.on_room(callback)

    def snapshot(self) -> BreakerSnapshot:
        """Return state and counts of this instant."""
        machine = self._machine
        with self._lock:
            now = self._clock()
            ok, failed, slow = machine.window(now)
            calls = ok + failed
            known = calls >= machine.config.minimum_calls
            return BreakerSnapshot(
                provider=self._provider,
                state=machine.state,
                generation=machine.generation,
                admitted=self._admitted,
                successes=self._successes,
                failures=self._failures,
                released=self._released,
                late=self._late,
                not_permitted=self._refused,
                failures_by_code=dict(self._by_code),
                window_calls=calls,
                window_failures=failed,
                window_slow=slow,
                consecutive_failures=machine.consecutive_failures(now),
                failure_ratio=failed / calls if known else None,
                slow_ratio=slow / calls if known else None,
                probes=machine.probes,
                probes_succeeded=machine.probes_succeeded,
                opened_at=machine.opened_at,
                retry_at=machine.retry_at if machine.state is OPEN else None,
                retry_after=machine.retry_after(now),
                held_closed=machine.held_closed(now),
                transitions=dict(self._transitions),
            )

    def _admit(self) -> int:
        """Return the number of a probe; the lock is held.

        Raises:
            CircuitOpen: there is none to be had.
        """
        now = self._clock()
        probe = self._machine.admit(now)
        if probe == REFUSED:
            self._refused += 1
            raise self._refusal(now)
        if self._machine.transition is not None:
            self._turn()
        return probe

    def _oldest(self, outcome: Outcome) -> BreakerTicket | None:
        """Return the ticket that a result without one is for, or None when it changes nothing."""
        held = self._machine.holds
        for ticket in self._tickets:
            if ticket.outcome is None and held(ticket.probe):
                return ticket
        if self._stale_tickets:
            # It belongs to a call of an earlier state, whose result comes too late.
            self._stale_tickets -= 1
            self._late += 1
            return None
        if self._machine.state is not CLOSED or outcome is RELEASE:
            return None
        ticket = BreakerTicket(self._settle_ticket, self._machine.generation, NO_PROBE)
        self._tickets.append(ticket)
        self._open_tickets += 1
        self._admitted += 1
        return ticket

    def _settle(
        self, ticket: BreakerTicket | None, outcome: Outcome, elapsed_s: float | None, error: BaseException | None
    ) -> None:
        machine = self._machine
        room = False
        self._lock.acquire()
        try:
            if ticket is None:
                ticket = self._oldest(outcome)
                if ticket is None:
                    return
            if ticket.outcome is None:
                ticket.outcome = outcome
                if ticket.generation != machine.generation:
                    self._stale_tickets -= 1
                    self._late += 1
                    return
                self._open_tickets -= 1
                tickets = self._tickets
                while tickets and tickets[-1].outcome is not None:
                    tickets.pop()
                while tickets and tickets[0].outcome is not None:
                    tickets.popleft()
                if outcome is SUCCESS and machine.success(self._clock(), ticket.generation, ticket.probe, elapsed_s):
                    self._successes += 1
                else:
                    room = self._count(ticket, outcome, error)
            elif outcome is INTERRUPTION and ticket.outcome is SUCCESS:
                ticket.outcome = outcome
                if machine.broken(self._clock(), ticket.generation):
                    self._count_failure(error)
            else:
                return
            if machine.transition is not None:
                room = self._turn()
        finally:
            self._lock.release()
        if room or self._announcer.due:
            self._announcer.publish(room=room)

    def _count(self, ticket: BreakerTicket, outcome: Outcome, error: BaseException | None) -> bool:
        """Take in what is no counted success; return whether that gave a probe's slot back."""
        machine = self._machine
        if outcome is RELEASE:
            self._released += 1
            return machine.release(ticket.generation, ticket.probe)
        if outcome is not SUCCESS and machine.failure(self._clock(), ticket.generation, ticket.probe):
            self._count_failure(error)
        else:
            self._late += 1
        return False

    def _count_failure(self, error: BaseException | None) -> None:
        self._failures += 1
        self._by_code[getattr(error, "code", "unknown")] += 1

    def _turn_if_changed(self) -> bool:
        return self._machine.transition is not None and self._turn()

    def _turn(self, node: str = "") -> bool:
        """Begin a generation: open tickets are stale, the event is due; return whether calls may pass at once.

        Args:
            node: the process that the change came from, empty for this one.
        """
        self._stale_tickets += self._open_tickets
        self._open_tickets = 0
        self._tickets.clear()
        transition = self._machine.transition
        if transition is not None:
            self._machine.transition = None
            self._transitions[transition.state] += 1
            self._announcer.due.append(
                BreakerEvent(
                    at=transition.at,
                    provider=self._provider,
                    previous=transition.previous,
                    state=transition.state,
                    reason=transition.reason,
                    node=node,
                )
            )
        return self._machine.state is CLOSED

    def _refusal(self, now: float) -> CircuitOpen:
        machine = self._machine
        wait = machine.retry_after(now)
        return CircuitOpen(
            f"the circuit is {machine.state.replace('_', '-')}, ask again in {wait:.3g} s",
            provider=self._provider,
            retry_after=wait,
            opened_at=machine.opened_at,
            retry_at=now + wait,
        )

    def _bind_clock(self) -> float:
        self._clock = loop_clock()
        return self._clock()

    def __repr__(self) -> str:
        machine = self._machine
        state = machine.state
        words = state.name
        if state is HALF_OPEN:
            words += f" probes {machine.probes + machine.probes_succeeded}/{machine.config.half_open_max_probes}"
        elif state is OPEN:
            words += f" until {machine.retry_at:.3f}"
        return f"<CircuitBreaker {self._provider} {words}>"


def _check_span(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"a time of {seconds!r} s is not > 0")
