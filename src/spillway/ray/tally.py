"""What a deployment did at all workers, counted from what they tell, so that it outlives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.remote.engine.metrics import EngineMetrics
from spillway.runtime.metrics import counters

if TYPE_CHECKING:
    from spillway.remote.engine.metrics import AttemptRecord, RequestRecord
    from spillway.runtime.metrics import DeploymentMetrics


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
        return counters(self._of(name), priced=priced, busy=busy, queued=0, breaker=breaker)

    def _of(self, name: str) -> EngineMetrics:
        return self._counted.setdefault(name, EngineMetrics())

    def __repr__(self) -> str:
        return f"<Tally of {len(self._counted)} deployments>"
