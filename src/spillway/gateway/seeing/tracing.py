"""One trace a request: the caller's, or its own, from the gateway's door down to each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from spillway.telemetry.otel.observer import OtelObserver, nanoseconds, wall_offset

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from spillway.gateway.served import Served
    from spillway.remote.engine import AttemptRecord, RequestRecord

T = TypeVar("T")

_MOST_PENDING = 20_000
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PROBES = frozenset({"healthz", "readyz", "metrics"})
_propagator = TraceContextTextMapPropagator()


class RequestTracer:
    """An observer of the Cluster and a listener of its gateway: a server span around the inference span of a request.

    Its parent is what the caller's `traceparent` names, where it is valid. Probes and scrapes make no span.

    Args:
        observer: makes the spans below.
    """

    def __init__(self, observer: OtelObserver) -> None:
        from spillway.gateway.doors import BRANCHES, DOORS  # noqa: PLC0415 - the doors import what is imported here

        self._observer = observer
        self._routes = {door.name: path for path, door in (*BRANCHES, *DOORS.items())}
        self._ended: dict[str, tuple[RequestRecord, Sequence[AttemptRecord]]] = {}
        self._above: dict[str, Context] = {}
        self._trace_id = ""
        self._duration = observer.meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def trace_id(self) -> str:
        """Return the trace of the request that was told last; empty when it had none."""
        return self._trace_id

    def on_attempt(self, record: AttemptRecord) -> None:
        """Keep one attempt until its request has ended."""
        self._observer.on_attempt(record)

    def on_request(self, record: RequestRecord) -> None:
        """Keep what the engines did until the gateway has told of the request, or tell of it below that."""
        if not record.tenant:
            # Asked of the Cluster by the program that the gateway is mounted in.
            self._observer.on_request(record)
            return
        attempts = self._observer.attempts_of(record)
        above = self._above.pop(record.request_id, None)
        if above is not None:
            self._observer.tell(record, attempts, above)
        else:
            _keep(self._ended, record.request_id, (record, attempts))

    def on_served(self, record: Served) -> None:
        """Tell of one request of a caller, and of what the engines did for it."""
        self._trace_id = ""
        if record.door in _PROBES:
            return
        attributes = self._attributes(record)
        self._duration.record(record.elapsed_s, attributes)
        offset = wall_offset()
        method = attributes["http.request.method"] if attributes["http.request.method"] in _METHODS else "HTTP"
        span = self._observer.tracer.start_span(
            f"{method} {attributes.get('http.route', '')}".strip(),
            context=_above(record),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=nanoseconds(record.at - record.elapsed_s, offset),
        )
        span.set_attributes(
            {
                "spillway.request_id": record.request_id,
                "spillway.outcome": record.outcome,
                "spillway.overhead_s": record.overhead_s,
            }
        )
        if record.caller:
            span.set_attribute("spillway.tenant", record.caller)
        if record.limited_by is not None:
            span.set_attribute("spillway.limited_by", record.limited_by)
        context = span.get_span_context()
        if context.is_valid:
            self._trace_id = trace.format_trace_id(context.trace_id)
        below = trace.set_span_in_context(span)
        ended = self._ended.pop(record.errand_id, None)
        if ended is not None:
            self._observer.tell(*ended, below)
        elif record.errand_id and record.attempts:
            # Its stream is read on although the caller has left.
            _keep(self._above, record.errand_id, below)
        if record.status >= 500:
            span.set_status(Status(StatusCode.ERROR, record.outcome))
        span.end(nanoseconds(record.at, offset))

    def _attributes(self, record: Served) -> dict[str, AttributeValue]:
        route = self._routes.get(record.door)
        found: dict[str, AttributeValue] = {
            "http.request.method": record.method if record.method in _METHODS else "_OTHER",
            "http.response.status_code": record.status,
            "url.scheme": "http",
        }
        if route is not None:
            found["http.route"] = route
        if record.status >= 500:
            found["error.type"] = record.outcome
        return found


def _keep(pending: dict[str, T], name: str, value: T) -> None:
    if len(pending) >= _MOST_PENDING:
        pending.pop(next(iter(pending)))
    pending[name] = value


def _above(record: Served) -> Context:
    """Return what a request is part of: the span of an app that the gateway is mounted in, or what its caller names."""
    if trace.get_current_span().get_span_context().is_valid:
        return context_api.get_current()
    return _propagator.extract({"traceparent": record.traceparent}, context_api.Context())
