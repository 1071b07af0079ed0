"""The state machine of a circuit breaker: no clock, no await, no lock; every method is told the time."""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import NamedTuple

from spillway.core.options import CircuitBreakerConfig


class CircuitState(StrEnum):
    """What a circuit does with calls: let all through, none, or a few to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class TransitionReason(StrEnum):
    """Why a circuit changed its state."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    FAILURE_RATIO = "failure_ratio"
    SLOW_CALLS = "slow_calls"
    OPEN_TIME_OVER = "open_time_over"
    PROBE_FAILED = "probe_failed"
    PROBES_SUCCEEDED = "probes_succeeded"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    RESET = "reset"


class Transition(NamedTuple):
    """One change of state."""

    at: float
    previous: CircuitState
    state: CircuitState
    reason: TransitionReason


CLOSED = CircuitState.CLOSED
OPEN = CircuitState.OPEN
HALF_OPEN = CircuitState.HALF_OPEN

REFUSED = -1
"""What `admit` returns for a call that must not be made."""

NO_PROBE = 0
"""What `admit` returns for a call through a closed circuit; probes are numbered from 1."""


class BreakerMachine:
    """Counts outcomes, decides who is let through.

    An admission belongs to the generation it was made in; a result is handed in with it and changes nothing once
    another state has begun. Instants are seconds of one monotonic clock, never decreasing from call to call.

    States: CLOSED counts outcomes and opens; OPEN refuses until `retry_at`; HALF_OPEN takes `half_open_max_probes`
    probes, closes when all have succeeded and opens again on the first failure.

    Attributes:
        state: the present state; OPEN lasts until somebody is admitted as a probe, not until the open time is over.
        generation: number of the present state, counted from 0.
        opened_at: when it last opened; None before that, and after a reset.
        retry_at: end of the open time; inf when the clock can't tell it or it was forced open without end.
        transition: the newest change of state, for the caller to take and set back to None.

    Invariants: at most `half_open_max_probes` probes are under way or have succeeded in one half-open state; a call
    is in exactly one counter once its result is in.
    Complexity: amortised O(1); 32 bytes for each call of the last `window_s` seconds.
    """

    __slots__ = (
        "_config",
        "_consecutive",
        "_failed",
        "_failed_probes",
        "_held_until",
        "_last_probe",
        "_ok",
        "_probes",
        "_slow",
        "_slow_call_s",
        "_succeeded_probes",
        "_window_s",
        "generation",
        "opened_at",
        "retry_at",
        "state",
        "transition",
    )

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._take(config)
        self.state = CLOSED
        self.generation = 0
        self.opened_at: float | None = None
        self.retry_at = 0.0
        self.transition: Transition | None = None
        # Of each outcome only the instant is kept at which it leaves the window.
        self._ok: deque[float] = deque()
        self._failed: deque[float] = deque()
        self._slow: deque[float] = deque()
        self._consecutive = 0
        self._failed_probes = 0
        self._succeeded_probes = 0
        self._last_probe = NO_PROBE
        # Probes under way, oldest first: number -> when it is given up.
        self._probes: dict[int, float] = {}
        self._held_until = -math.inf

    @property
    def config(self) -> CircuitBreakerConfig:
        """The options in force."""
        return self._config

    @property
    def probes(self) -> int:
        """Probes under way."""
        return len(self._probes)

    @property
    def probes_succeeded(self) -> int:
        """Probes of this half-open state that succeeded."""
        return self._succeeded_probes

    def admit(self, now: float) -> int:
        """Return the number of a probe, NO_PROBE or REFUSED.

        Probes that have been under way for `max_open_duration_s` are given up here: their slots are free again.
        """
        if self.state is CLOSED:
            return NO_PROBE
        if self.state is OPEN:
            if now < self.retry_at:
                return REFUSED
            self._enter(HALF_OPEN, now, TransitionReason.OPEN_TIME_OVER)
        elif not self._has_slot(now):
            return REFUSED
        for number, until in tuple(self._probes.items()):
            if until <= now:
                del self._probes[number]
        self._last_probe += 1
        self._probes[self._last_probe] = later(now, self._config.max_open_duration_s)
        return self._last_probe

    def would_admit(self, now: float) -> bool:
        """Return whether `admit` would let a call through now; changes nothing."""
        return self.state is CLOSED or (now >= self.retry_at if self.state is OPEN else self._has_slot(now))

    def retry_after(self, now: float) -> float:
        """Return the seconds until asking again is worth it: 0 when a call would be admitted, else finite and > 0.

        With all probes under way nobody knows when they end: it says `open_duration_s`, or less when a probe is given
        up before that.
        """
        if self.would_admit(now):
            return 0.0
        if self.state is OPEN:
            at = self.retry_at
        else:
            given_up = min((until for until in tuple(self._probes.values()) if until > now), default=math.inf)
            at = min(later(now, self._config.open_duration_s), given_up)
        if at == math.inf:
            return self._config.max_open_duration_s
        wait = at - now
        # Rounded up, so that `now + wait` is never before the instant.
        return wait if now + wait >= at else wait + math.ulp(at)

    def success(self, now: float, generation: int, probe: int, elapsed_s: float | None = None) -> bool:
        """Count a success; `elapsed_s` is the time to its first content. Return whether it was counted.

        A slow success of a probe is a failed probe when slow calls are looked at.
        """
        if generation != self.generation:
            return False
        slow = elapsed_s is not None and elapsed_s >= self._slow_call_s
        if probe:
            if self._probes.pop(probe, None) is None:
                return False
            if slow:
                self._reopen(now)
            else:
                self._succeeded_probes += 1
                self._close_when_proven(now)
            return True
        until = now + self._window_s
        if until <= now:
            until = math.inf
        self._consecutive = 0
        ok = self._ok
        while ok and ok[0] <= now:
            ok.popleft()
        ok.append(until)
        if slow:
            self._slow.append(until)
        if self._failed or self._slow:
            self._trip_if_due(now)
        return True

    def failure(self, now: float, generation: int, probe: int) -> bool:
        """Count a failure; return whether it was counted."""
        if generation != self.generation:
            return False
        if probe:
            if self._probes.pop(probe, None) is None:
                return False
            self._reopen(now)
            return True
        self._count_failure(now)
        return True

    def broken(self, now: float, generation: int | None = None) -> bool:
        """Count the failure of a call whose success was counted before; return whether it was counted.

        In a closed circuit it counts whenever the call was admitted; in a half-open one only if it was a probe of it.
        """
        if self.state is CLOSED:
            self._count_failure(now)
        elif self.state is HALF_OPEN and generation == self.generation:
            self._reopen(now)
        else:
            return False
        return True

    def release(self, generation: int, probe: int) -> bool:
        """End a call without a result; return whether that gave a probe's slot back."""
        return generation == self.generation and probe != NO_PROBE and self._probes.pop(probe, None) is not None

    def holds(self, probe: int) -> bool:
        """Return whether the call with this number from `admit` still counts; a probe that was given up does not."""
        return probe == NO_PROBE or probe in self._probes

    def force_open(self, now: float, seconds: float) -> None:
        """Open for `seconds` from now, whatever was before; inf: until a reset."""
        self._held_until = -math.inf
        if self.state is not OPEN:
            self._enter(OPEN, now, TransitionReason.FORCED_OPEN)
            self.opened_at = now
        self.retry_at = later(now, seconds)

    def force_close(self, now: float, seconds: float) -> None:
        """Close, and stay so for `seconds` whatever comes; outcomes are counted."""
        self._held_until = later(now, seconds)
        if self.state is not CLOSED:
            self._enter(CLOSED, now, TransitionReason.FORCED_CLOSED)

    def reset(self, now: float) -> None:
        """Close and forget everything that was counted or forced."""
        self._held_until = -math.inf
        self.opened_at = None
        if self.state is not CLOSED:
            self._enter(CLOSED, now, TransitionReason.RESET)
        else:
            self.generation += 1
            self._forget()

    def configure(self, now: float, config: CircuitBreakerConfig) -> None:
        """Take other options; what is in the window stays there as long as when it was counted."""
        self._take(config)
        if self.state is HALF_OPEN:
            self._close_when_proven(now)

    def window(self, now: float) -> tuple[int, int, int]:
        """Return how many calls of the window were successes, failures and slow successes."""
        self._expire(now)
        return len(self._ok), len(self._failed), len(self._slow)

    def consecutive_failures(self, now: float) -> int:
        """Return the failures of the window since the last success."""
        self._expire(now)
        # All failures of the window belong to the run once the success before it has left the window.
        return min(self._consecutive, len(self._failed))

    def held_closed(self, now: float) -> bool:
        """Return whether it was forced closed and that still holds."""
        return now < self._held_until

    def _take(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        # Read for each call.
        self._window_s = config.window_s
        self._slow_call_s = math.inf if config.slow_call_s is None else config.slow_call_s

    def _has_slot(self, now: float) -> bool:
        taken = self._succeeded_probes + len(self._probes)
        if taken < self._config.half_open_max_probes:
            return True
        given_up = sum(until <= now for until in tuple(self._probes.values()))
        return taken - given_up < self._config.half_open_max_probes

    def _count_failure(self, now: float) -> None:
        until = later(now, self._window_s)
        self._consecutive += 1
        self._failed.append(until)
        self._trip_if_due(now)

    def _trip_if_due(self, now: float) -> None:
        self._expire(now)
        if now < self._held_until:
            return
        config = self._config
        failed = len(self._failed)
        total = len(self._ok) + failed
        # See `consecutive_failures`.
        if min(self._consecutive, failed) >= config.failure_threshold:
            self._open(now, TransitionReason.CONSECUTIVE_FAILURES)
        elif total >= config.minimum_calls:
            if failed / total >= config.failure_ratio:
                self._open(now, TransitionReason.FAILURE_RATIO)
            elif len(self._slow) / total >= config.slow_call_ratio:
                self._open(now, TransitionReason.SLOW_CALLS)

    def _expire(self, now: float) -> None:
        for outcomes in (self._ok, self._failed, self._slow):
            while outcomes and outcomes[0] <= now:
                outcomes.popleft()

    def _reopen(self, now: float) -> None:
        self._failed_probes += 1
        self._open(now, TransitionReason.PROBE_FAILED)

    def _open(self, now: float, reason: TransitionReason) -> None:
        self._enter(OPEN, now, reason)
        self.opened_at = now
        config = self._config
        # Beyond 2**64 the cap decides anyway; the exponent must not overflow a float.
        doubled = config.open_duration_s * 2.0 ** min(self._failed_probes, 64)
        self.retry_at = later(now, min(doubled, config.max_open_duration_s))

    def _close_when_proven(self, now: float) -> None:
        if self._succeeded_probes >= self._config.half_open_max_probes:
            self._enter(CLOSED, now, TransitionReason.PROBES_SUCCEEDED)

    def _enter(self, state: CircuitState, now: float, reason: TransitionReason) -> None:
        self.transition = Transition(now, self.state, state, reason)
        self.state = state
        self.generation += 1
        self._succeeded_probes = 0
        self._probes.clear()
        if state is CLOSED:
            self._forget()
        elif state is HALF_OPEN:
            self._empty_window()

    def _forget(self) -> None:
        self._failed_probes = 0
        self._empty_window()

    def _empty_window(self) -> None:
        self._consecutive = 0
        self._ok.clear()
        self._failed.clear()
        self._slow.clear()


def later(now: float, seconds: float) -> float:
    """Return an instant after `now`; inf where floats of that size no longer tell `now + seconds` from `now`."""
    at = now + seconds
    return at if at > now else math.inf
