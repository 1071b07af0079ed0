"""The client metrics of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spillway.telemetry.otel.attributes import Attributes, error_type, of_call

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter

    from spillway.remote.engine import AttemptRecord, RequestRecord

SECONDS = tuple(0.01 * 2**n for n in range(14))
TOKENS = tuple(4**n for n in range(14))


class Instruments:
    """Histograms of operations, tokens and chunks."""

    def __init__(self, meter: Meter) -> None:
        def histogram(name: str, unit: str, says: str, edges: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                f"gen_ai.client.{name}", unit=unit, description=says, explicit_bucket_boundaries_advisory=edges
            )

        self._duration = histogram("operation.duration", "s", "GenAI operation duration.", SECONDS)
        self._tokens = histogram("token.usage", "{token}", "Number of input and output tokens used.", TOKENS)
        self._first = histogram(
            "operation.time_to_first_chunk", "s", "Time to receive the first chunk of a streamed answer.", SECONDS
        )
        self._gaps = histogram(
            "operation.time_per_output_chunk", "s", "Time between the chunks of a streamed answer.", SECONDS
        )

    def record(self, request: RequestRecord, attempts: Sequence[AttemptRecord]) -> None:
        """Record one request and what its attempts brought; tokens that are an estimate are left out."""
        about = _about(request, attempts[-1].response_model if attempts else "")
        error = error_type(request.outcome)
        whole = about if error is None else {**about, "error.type": error}
        self._duration.record(request.elapsed_s, whole)
        for attempt in attempts:
            usage = attempt.usage
            if usage is not None and not attempt.estimated:
                mine = _about(request, attempt.response_model, attempt)
                self._tokens.record(usage.input_tokens, {**mine, "gen_ai.token.type": "input"})
                self._tokens.record(usage.output_tokens, {**mine, "gen_ai.token.type": "output"})
        if request.stream and attempts and attempts[-1].first_content_s is not None:
            self._first.record(first_chunk_s(request, attempts[-1]) or 0.0, about)
            for gap in attempts[-1].gaps:
                self._gaps.record(gap, about)


def first_chunk_s(request: RequestRecord, last: AttemptRecord) -> float | None:
    """Return the seconds from a request to its first content, None without any."""
    if last.first_content_s is None:
        return None
    began = request.at - request.elapsed_s
    return last.at - last.elapsed_s + last.first_content_s - began


def _about(request: RequestRecord, response_model: str, attempt: AttemptRecord | None = None) -> Attributes:
    about: Attributes = {"gen_ai.operation.name": request.operation, **of_call(attempt or request)}
    if response_model:
        about["gen_ai.response.model"] = response_model
    return about
