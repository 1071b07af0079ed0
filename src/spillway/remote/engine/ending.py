"""How a request ends: what cut it short, in words, and the books of the whole."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spillway.core.errors import Backpressure, BudgetExceeded, InferenceError, RateLimited, Timeout
from spillway.remote.engine.gates import MONEY, OWN_MONEY, PERMIT
from spillway.remote.engine.metrics import RequestRecord

if TYPE_CHECKING:
    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine

_logger = logging.getLogger("spillway.engine")
_observer_logger = logging.getLogger("spillway.observers")

SHUTTING_DOWN = "shutting_down"
PAUSED = "paused"


def cut_short(call: Call, engine: Engine, reason: str, *, sent: bool) -> InferenceError:
    """Return what an attempt ended in that was cut short: the Timeout of a phase, or the engine's own end.

    A unary request that timed out after it was sent may have been billed and is not repeated.
    """
    if reason == SHUTTING_DOWN:
        return engine.refusal(SHUTTING_DOWN)
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


def out_of_time(call: Call, engine: Engine) -> Timeout:
    """Return the Timeout of a request whose deadline passed while it waited."""
    return Timeout(
        "the deadline passed while the request waited",
        provider=engine.kind,
        deployment=engine.name,
        reason="queue" if call.attempts == 0 else "deadline",
        retryable=False,
        counts_as_circuit_failure=False,
        elapsed_s=engine.clock() - call.started,
    )


def close_now(engine: Engine, handle: RunHandle) -> None:
    """Close the upstream request of an answer that is not wanted any more, without waiting for it; never fails."""
    try:
        abort = getattr(handle, "abort", None)
        if abort is not None:
            abort()
        else:
            engine.chore(handle.aclose())
    except Exception:
        _logger.exception("an answer of %s failed to close", engine.name)


def let_go(engine: Engine, handle: RunHandle) -> None:
    """Tell the handle of an answer that was read to its end; one that can be aborted has nothing left to close."""
    if not hasattr(handle, "abort"):
        engine.chore(handle.aclose())


def waited_too_long(call: Call, engine: Engine, lacked: str) -> InferenceError:
    """Return what `queue_timeout_s` ends in, by what the head of the queue lacked."""
    within = f"within {engine.deployment.serving.queue_timeout_s:g} s"
    gates = engine.gates
    if lacked == PERMIT:
        wait = gates.permit_wait(call)
        trouble = gates.limiter.why()
        why = f"no permit {within}: {trouble}" if trouble else f"no permit {within}"
        return RateLimited(why, reason="queue_timeout", retry_after=None if wait == math.inf else wait)
    if lacked == OWN_MONEY:
        return BudgetExceeded(f"no room under the caller's own cap {within}", reason="queue_timeout", limited_by="key")
    budget = engine.deployment.budget
    if lacked == MONEY and budget is not None and budget.on_exceeded == "throttle":
        wait = gates.money_wait(call)
        return BudgetExceeded(
            f"no room in the budget {within}", reason="queue_timeout", retry_after=None if wait == math.inf else wait
        )
    return engine.refusal("queue_timeout")


def raise_if_too_long(call: Call, engine: Engine) -> None:
    """Raise what a wait ended in if it was ended for taking too long, and its caller does not want out anyway."""
    reason = call.watch.fired
    if reason is not None and not call.watch.wanted_elsewhere():
        call.watch.fired = None
        late = reason == "queue_timeout"
        lacked = OWN_MONEY if call.lacks_own else engine.blocked_on
        error = waited_too_long(call, engine, lacked) if late else out_of_time(call, engine)
        raise error from call.last_error


def no_room(engine: Engine, reason: str) -> Backpressure:
    """Return what a caller gets for whom there is no room, or no time left, to wait or to run.

    Args:
        reason: `full`, `shutting_down`, `paused` or `queue_timeout`.
    """
    serving = engine.deployment.serving
    waiting = len(engine.queue)
    words = {
        "full": f"the queue is full ({waiting} of {engine.queue.capacity})",
        SHUTTING_DOWN: "shutting down",
        PAUSED: "out of service, by its operator",
        "queue_timeout": f"no worker became free within {serving.queue_timeout_s:g} s",
    }
    rate = engine.drain_rate()
    error = Backpressure(
        words[reason],
        provider=engine.kind,
        deployment=engine.name,
        reason=reason,
        retry_after=max(1.0, waiting / rate) if rate > 0 else None,
    )
    error.final = reason == "full" and serving.on_capacity_exhausted == "reject"
    return error


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
    observers = engine.observers.of_requests
    if observers:
        now = engine.clock()
        request = call.request
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
            request_id=request.idempotency_id,
            tenant=call.tenant,
            provider=engine.kind,
            endpoint=engine.endpoint,
            model=engine.deployment.provider_model,
            operation="embeddings" if request.inputs is not None else "count_tokens" if request.counts else "chat",
            stream=call.stream,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
        )
        for observer in observers:
            tell(observer.on_request, record)


def tell(listen: Callable[[Any], None], record: Any) -> None:
    """Hand a record to an observer; what it raises is logged and changes nothing."""
    try:
        listen(record)
    except Exception:
        _observer_logger.exception("an observer failed")
