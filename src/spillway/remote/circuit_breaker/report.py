"""What a circuit breaker tells of itself."""

from __future__ import annotations

import msgspec

from spillway.remote.circuit_breaker.machine import CircuitState, TransitionReason


class BreakerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state.

    Attributes:
        at: monotonic seconds of the breaker's clock.
        node: the process that it came from, where several share the circuit; empty where it happened in this one.
    """

    at: float
    provider: str
    previous: CircuitState
    state: CircuitState
    reason: TransitionReason
    node: str = ""


class BreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker at one instant; counts are since it was made, `window_*` of the last `window_s` seconds.

    Attributes:
        generation: number of the present state.
        admitted: calls let through; each ends in one of the next four, or is in flight.
        successes: of calls and probes, slow ones included.
        failures: of calls and probes, and streams that broke after their verdict.
        released: ended without a result that speaks of the provider.
        late: ended after the state they were admitted in; changed nothing.
        not_permitted: calls refused.
        failures_by_code: `failures` by the code of the error (`unknown` when there was none): `network_error` and
            `timeout` were seen at our end, the others are the provider's word.
        failure_ratio: share of failures in the window; None below `minimum_calls`.
        slow_ratio: share of slow calls in the window; None below `minimum_calls`.
        probes: probes under way.
        probes_succeeded: of the present half-open state.
        opened_at: when it last opened, in monotonic seconds; None before that and after a reset.
        retry_at: end of the open time, None unless it is open; inf: open until a reset.
        retry_after: seconds until it would admit a call, 0 when it would now.
        held_closed: forced closed.
        transitions: how often each state was entered.
        shared: whether the state is that of all processes that share a store; False: the store does not answer, and it
            is this process's own until it does; None: there is no store.
    """

    provider: str
    state: CircuitState
    generation: int
    admitted: int
    successes: int
    failures: int
    released: int
    late: int
    not_permitted: int
    failures_by_code: dict[str, int]
    window_calls: int
    window_failures: int
    window_slow: int
    consecutive_failures: int
    failure_ratio: float | None
    slow_ratio: float | None
    probes: int
    probes_succeeded: int
    opened_at: float | None
    retry_at: float | None
    retry_after: float
    held_closed: bool
    transitions: dict[CircuitState, int]
    shared: bool | None = None
