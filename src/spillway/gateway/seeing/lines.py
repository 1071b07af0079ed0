"""Log lines of a gateway: one for each request, and what becomes of its circuits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.remote.cost import pico_to_usd
from spillway.telemetry.logging import tell

if TYPE_CHECKING:
    from spillway.gateway.served import Served
    from spillway.remote.circuit_breaker import BreakerEvent
    from spillway.runtime.cluster import Cluster

requests = logging.getLogger("spillway.requests")
"""One line a request, at INFO; those of probes and scrapes at DEBUG."""

_logger = logging.getLogger("spillway.gateway")
_QUIET = frozenset({"healthz", "readyz", "metrics"})


class RequestLine(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The fields of a request's line, in order; what is None or empty is not written."""

    request_id: str
    trace_id: str = ""
    door: str = ""
    key: str = ""
    model: str = ""
    deployment: str = ""
    status: int
    outcome: str
    limited_by: str | None = None
    stream: bool | None = None
    attempts: int
    retries: int | None = None
    fell_back: bool | None = None
    duration_s: float
    first_content_s: float | None = None
    queued_s: float
    upstream_s: float
    waited_s: float
    overhead_s: float
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class RequestLog:
    """A listener of the gateway that logs each request: who asked for what, and what became of it.

    Never a prompt, an answer, a header, or the words of an error, which may quote them.

    Args:
        trace_id: of a request that was just told to a tracer, empty for none.
    """

    def __init__(self, trace_id: Callable[[], str] | None = None) -> None:
        self._trace_id = trace_id

    def on_served(self, record: Served) -> None:
        """Log one request."""
        level = logging.DEBUG if record.door in _QUIET else logging.INFO
        if requests.isEnabledFor(level):
            tell(requests, level, "request", self._line(record))

    def _line(self, record: Served) -> RequestLine:
        usage = record.usage
        cost = record.cost_pico
        first = record.first_content_s
        line = RequestLine(
            request_id=record.request_id,
            trace_id="" if self._trace_id is None else self._trace_id(),
            door=record.door,
            key=record.caller,
            model=record.model,
            deployment=record.deployment,
            status=record.status,
            outcome=record.outcome,
            limited_by=record.limited_by,
            stream=record.stream or None,
            attempts=record.attempts,
            retries=record.retries or None,
            fell_back=record.fell_back or None,
            duration_s=round(record.elapsed_s, 6),
            first_content_s=None if first is None else round(first, 6),
            queued_s=round(record.queued_s, 6),
            upstream_s=round(record.upstream_s, 6),
            waited_s=round(record.waited_s, 6),
            overhead_s=round(record.overhead_s, 6),
            cost_usd=None if cost is None else pico_to_usd(cost),
        )
        if usage is not None:
            line.input_tokens = usage.input_tokens
            line.output_tokens = usage.output_tokens
            line.cached_tokens = usage.cached_tokens or None
            line.cache_write_tokens = usage.cache_write_tokens or None
            line.reasoning_tokens = usage.reasoning_tokens or None
        return line


def lifecycle(event: str, **fields: Any) -> None:
    """Log something of the gateway's own life at INFO: that it serves, that it stops."""
    tell(_logger, logging.INFO, event, fields)


def log_circuits(cluster: Cluster) -> Callable[[], None]:
    """Log each change of each circuit: at WARNING when one opens, else at INFO. Returns how to stop that."""
    stops = []
    seen: set[int] = set()
    for name in cluster.deployments():
        deployed = cluster.deployment(name)
        for key in range(deployed.keys):
            breaker = deployed.circuit_breaker(key)
            if id(breaker) not in seen:
                seen.add(id(breaker))
                stops.append(breaker.subscribe(_log_circuit))

    def stop() -> None:
        for each in stops:
            each()

    return stop


def _log_circuit(event: BreakerEvent) -> None:
    level = logging.WARNING if event.state.name == "OPEN" else logging.INFO
    fields = {
        "circuit": event.provider,
        "state": event.state.name.lower(),
        "previous": event.previous.name.lower(),
        "reason": str(event.reason),
        "node": event.node or None,
    }
    tell(_logger, level, "circuit", fields)
