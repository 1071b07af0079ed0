"""How a request ends: the timeout of a phase in words, and the books of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.errors import Timeout
from spillway.remote.engine.metrics import RequestRecord

if TYPE_CHECKING:
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine


def timeout_error(call: Call, engine: Engine, reason: str, *, sent: bool) -> Timeout:
    """Return the Timeout of a phase; a unary request that was sent may have been billed and is not repeated."""
    timeouts = engine.deployment.timeouts
    limits = {
        "unary": ("no whole answer", timeouts.unary_timeout_s),
        "first_byte": ("no first content", timeouts.first_byte_timeout_s),
        "idle": ("no byte", timeouts.idle_timeout_s),
        "deadline": ("no answer", call.deadline - call.started),
    }
    what, seconds = limits[reason]
    billed = reason == "unary" and sent and not engine.deployment.retry.retry_unary_timeout
    return Timeout(f"{what} within {seconds:g} s", reason=reason, retryable=reason != "deadline" and not billed)


def close_books(call: Call, asked: str, engine: Engine, outcome: str, *, fell_back: bool) -> None:
    """Count one request's end and tell the observers."""
    metrics = engine.metrics
    if outcome == "ok":
        metrics.succeeded += 1
    elif outcome == "cancelled":
        metrics.cancelled += 1
    else:
        metrics.failed += 1
    if fell_back:
        metrics.fell_back += 1
    if engine.observers:
        now = call.loop.time()
        record = RequestRecord(
            at=now,
            asked=asked,
            deployment=engine.name,
            outcome=outcome,
            elapsed_s=now - call.started,
            queued_s=call.queued_s,
            attempts=call.attempts,
            retries=call.retries,
            fell_back=fell_back,
        )
        for observer in engine.observers:
            observer.on_request(record)
