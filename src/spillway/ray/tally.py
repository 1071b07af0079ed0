"""What a deployment did at all workers, counted from what they tell, so that it outlives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.remote.cost import pico_to_usd
from spillway.remote.engine.metrics import EngineMetrics
from spillway.runtime.metrics import DeploymentMetrics

if TYPE_CHECKING:
    from spillway.remote.engine.metrics import AttemptRecord, RequestRecord


class Tally:
    """An observer that counts, for each deployment."""

    def __init__(self) -> None:
        self._counted: dict[str, EngineMetrics] = {}

    def on_attempt(self, record: AttemptRecord) -> None:
        """Count an attempt."""
        m = self._of(record.deployment)
        m.attempts += 1
        m.retried += record.attempt > 0
        if record.outcome == "ok":
            m.latency.record(record.elapsed_s)
            if record.first_content_s is not None:
                m.first_content.record(record.first_content_s)
        elif record.outcome != "cancelled":
            m.errors[record.outcome] = m.errors.get(record.outcome, 0) + 1
        if record.usage is not None:
            m.count_usage(record.usage, record.cost_pico or 0)
        else:
            m.cost_pico += record.cost_pico or 0

    def on_request(self, record: RequestRecord) -> None:
        """Count a request."""
        m = self._of(record.deployment)
        m.fell_back += record.fell_back
        if record.outcome == "ok":
            m.succeeded += 1
        elif record.outcome == "cancelled":
            m.cancelled += 1
        elif record.attempts:
            m.failed += 1
        else:
            m.refused += 1
        if record.queued_s:
            m.queue_wait.record(record.queued_s)

    def measure(self, name: str, *, priced: bool, busy: int, breaker: str) -> DeploymentMetrics:
        """Return the counters of one deployment."""
        m = self._of(name)
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
            queued=0,
            breaker=breaker,
            latency_p50_s=m.latency.quantile(0.5),
            latency_p95_s=m.latency.quantile(0.95),
            latency_p99_s=m.latency.quantile(0.99),
            first_content_p50_s=m.first_content.quantile(0.5),
            first_content_p95_s=m.first_content.quantile(0.95),
            queue_wait_p95_s=m.queue_wait.quantile(0.95),
        )

    def _of(self, name: str) -> EngineMetrics:
        return self._counted.setdefault(name, EngineMetrics())

    def __repr__(self) -> str:
        return f"<Tally of {len(self._counted)} deployments>"
