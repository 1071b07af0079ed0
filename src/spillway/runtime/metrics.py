"""Counters of a cluster as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from spillway.remote.engine import Engine
    from spillway.remote.engine.metrics import EngineMetrics


class KeyMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of a key pool has done, and whether it is asked now; it is named by its position only.

    Attributes:
        served: requests that it was asked with and that have ended.
        state: `ok`, `cooling` (the provider told it to wait), `open` (its circuit), or `refused` (the credential; it
            comes back when its source yields another).
        breaker: the state of its breaker.
    """

    served: int
    busy: int
    queued: int
    state: str
    breaker: str


class DeploymentMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment has done since the Cluster started; times in seconds.

    Attributes:
        requests: requests of callers that came here first or as a fallback and have ended.
        refused: times it refused a request without sending anything.
        retried: attempts that repeated a failed one.
        fell_back: requests it answered, or failed last, for another that was asked.
        attempts: attempts that were sent.
        errors: failed attempts by code.
        cost_usd: None when the price of its model is unknown.
        breaker: the state of its breaker; of a key pool's, that which lets most through.
        latency_p50_s: of whole attempts that succeeded; None before the first.
        first_content_p50_s: of their time to the first content.
        per_key: one for each entry of its key pool, in that order; empty for a single key.
    """

    requests: int
    succeeded: int
    failed: int
    cancelled: int
    refused: int
    retried: int
    fell_back: int
    attempts: int
    errors: dict[str, int]
    usage_rows: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    busy: int
    queued: int
    breaker: str
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    first_content_p50_s: float | None
    first_content_p95_s: float | None
    queue_wait_p95_s: float | None
    per_key: tuple[KeyMetrics, ...] = ()


NOTHING_YET = DeploymentMetrics(
    requests=0,
    succeeded=0,
    failed=0,
    cancelled=0,
    refused=0,
    retried=0,
    fell_back=0,
    attempts=0,
    errors={},
    usage_rows=0,
    input_tokens=0,
    output_tokens=0,
    cached_tokens=0,
    cost_usd=0.0,
    busy=0,
    queued=0,
    breaker="CLOSED",
    latency_p50_s=None,
    latency_p95_s=None,
    latency_p99_s=None,
    first_content_p50_s=None,
    first_content_p95_s=None,
    queue_wait_p95_s=None,
)
"""Of a deployment that nobody has asked yet."""


class ClusterMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster has done, by deployment name."""

    per_deployment: dict[str, DeploymentMetrics]

    @property
    def cost_usd(self) -> float:
        """The known cost of all deployments."""
        return sum(m.cost_usd or 0.0 for m in self.per_deployment.values())


def measure(entries: Sequence[Engine]) -> DeploymentMetrics:
    """Return the present counters of one deployment, whose engines share them."""
    engine = entries[0]
    return counters(
        engine.metrics,
        priced=engine.gates.prices is not None,
        busy=sum(each.busy for each in entries),
        queued=sum(len(each.queue) for each in entries),
        # In the alphabet CLOSED comes before HALF_OPEN, and that before OPEN.
        breaker=min(each.gates.breaker.state.name for each in entries),
        per_key=tuple(map(_measure_key, entries)) if len(entries) > 1 else (),
    )


def counters(
    m: EngineMetrics, *, priced: bool, busy: int, queued: int, breaker: str, per_key: tuple[KeyMetrics, ...] = ()
) -> DeploymentMetrics:
    """Return what an engine, or several that share it, has counted; `priced`: whether its price is known."""
    return DeploymentMetrics(
        requests=m.succeeded + m.failed + m.cancelled,
        succeeded=m.succeeded,
        failed=m.failed,
        cancelled=m.cancelled,
        refused=m.refused,
        retried=m.retried,
        fell_back=m.fell_back,
        attempts=m.attempts,
        errors=dict(m.errors),
        usage_rows=m.usage_rows,
        input_tokens=m.input_tokens,
        output_tokens=m.output_tokens,
        cached_tokens=m.cached_tokens,
        cost_usd=pico_to_usd(m.cost_pico) if priced or m.cost_pico else None,
        busy=busy,
        queued=queued,
        breaker=breaker,
        latency_p50_s=m.latency.quantile(0.5),
        latency_p95_s=m.latency.quantile(0.95),
        latency_p99_s=m.latency.quantile(0.99),
        first_content_p50_s=m.first_content.quantile(0.5),
        first_content_p95_s=m.first_content.quantile(0.95),
        queue_wait_p95_s=m.queue_wait.quantile(0.95),
        per_key=per_key,
    )


def _measure_key(engine: Engine) -> KeyMetrics:
    gates = engine.gates
    state = "ok"
    if engine.credential.refused is not None:
        state = "refused"
    elif not gates.breaker.would_admit():
        state = "open"
    elif gates.limiter.blocked_for() > 0:
        state = "cooling"
    return KeyMetrics(
        served=engine.served,
        busy=engine.busy,
        queued=len(engine.queue),
        state=state,
        breaker=gates.breaker.state.name,
    )
