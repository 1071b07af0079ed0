"""How an attempt ends: exactly one outcome each, reported to limiter, breaker, money, metrics and observers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spillway.core.building import TokensBuilder
from spillway.core.reply import Usage
from spillway.remote.cost import lost_attempt_cost, told_pico
from spillway.remote.engine.call import KeptMoney
from spillway.remote.engine.ending import tell
from spillway.remote.engine.gates import began
from spillway.remote.engine.metrics import AttemptRecord

if TYPE_CHECKING:
    from spillway.core.errors import InferenceError
    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine
    from spillway.remote.engine.gates import Gates
    from spillway.remote.engine.grant import Grant
    from spillway.remote.engine.metrics import Observer

_BYTES_A_TOKEN = 4

_LEFT = "cancelled"
"""The outcome of an attempt whose caller has left."""


def settle_success(
    engine: Engine,
    call: Call,
    grant: Grant,
    built: TokensBuilder,
    started: float,
    first_content_at: float,
    handle: RunHandle,
    gaps: Sequence[float] = (),
) -> tuple[int | None, bool]:
    """End an attempt that gave a whole answer.

    Returns:
        Its cost in pico-USD (None: the price is unknown), and whether that is an estimate.
    """
    usage = built.usage
    estimated = usage is None
    if usage is None:
        usage = _guess(call, built)
    gates = engine.gates
    counts = call.request.counts
    now = engine.clock()
    cost = 0 if counts else gates.cost_pico(usage, built.about, now - started)
    if cost is None and built.about is not None:
        cost = told_pico(built.about.get("response_cost"))
    grant.settle(None if estimated or counts else _counted(gates, usage), cost or 0, streamed=call.stream)
    if grant.entry is not None:
        grant.entry.close(None if counts else usage, cost or 0)
    engine.last_success_at = now
    engine.credential.refused = None
    if call.request.inputs is None and not counts:
        gates.output_p95.record(usage.output_tokens)
    charged = call.charged
    if charged is None:
        gates.quota.success(retried=False)
    else:
        charged.success(retried=True)
    metrics = engine.metrics
    metrics.attempts += 1
    if not counts:
        metrics.count_usage(usage, cost or 0)
    metrics.latency.record(now - started)
    if not call.stream:
        # Of a stream its reads are counted, as they come.
        call.upstream_s += now - started
    metrics.first_content.record(first_content_at - started)
    observers: Sequence[Observer] = engine.observers
    if call.attempts == 1 and not call.stream and call.request.inputs is None:
        call.plain = now - started, first_content_at - started
        observers = engine.observers.of_plain
    if observers:
        _tell(
            engine,
            call,
            now,
            None,
            started,
            first_content_at,
            usage,
            cost,
            built,
            handle,
            gaps,
            observers,
            estimated=estimated,
        )
    return cost, estimated


def settle_failure(
    engine: Engine,
    call: Call,
    grant: Grant,
    error: InferenceError | None,
    built: TokensBuilder,
    started: float,
    first_content_at: float | None = None,
    handle: RunHandle | None = None,
    gaps: Sequence[float] = (),
) -> None:
    """End an attempt that gave no whole answer.

    Args:
        error: what ended it; None: its caller has left.
        handle: of its answer, None when there was none.
        gaps: seconds between the reads that brought content.
    """
    now = engine.clock()
    gates = engine.gates
    if error is not None and (error.sent or error.status is not None):
        # The provider answered: it has seen the request, whether or not the whole body was written by then.
        grant.mark_sent()
    usage, cost, estimated = _lost(engine, call, grant, error, built, now - started)
    keep = error is not None and not cost and (grant.reservation is not None or grant.hold is not None)
    counted = None if usage is None or estimated else _counted(gates, usage)
    grant.settle(counted, None if keep else cost, streamed=call.stream)
    if grant.entry is not None:
        grant.entry.close(usage, cost)
    if keep:
        call.kept = KeptMoney(gates, grant.reservation, grant.hold, grant.reserved_pico)
    metrics = engine.metrics
    metrics.attempts += 1
    if first_content_at is None or not call.stream:
        call.upstream_s += now - started
    if usage is not None:
        metrics.count_usage(usage, cost)
    if error is not None:
        error.provider = error.provider or engine.kind
        error.deployment = engine.name
        error.elapsed_s = now - started
        error.sent = grant.sent
        call.history.append((engine.name, error.code, now - started))
        metrics.errors[error.code] = metrics.errors.get(error.code, 0) + 1
        if error.code == "rate_limited":
            obeys = engine.deployment.retry.respect_retry_after
            gates.limiter.throttled(error.retry_after if obeys else None)
    if engine.observers:
        end = _LEFT if error is None else error
        _tell(
            engine,
            call,
            now,
            end,
            started,
            first_content_at,
            usage,
            cost,
            built,
            handle,
            gaps,
            engine.observers,
            estimated=estimated,
        )


def _lost(
    engine: Engine, call: Call, grant: Grant, error: InferenceError | None, built: TokensBuilder, age_s: float
) -> tuple[Usage | None, int, bool]:
    """Return the usage, the cost and whether both are estimates, of an attempt without a whole answer."""
    gates = engine.gates
    if built.usage is not None and built.usage.output_tokens:
        return built.usage, gates.cost_pico(built.usage, built.about, age_s) or 0, False
    seen = -(-built.output_chars() // _BYTES_A_TOKEN)
    # A refusal or a redirect costs nothing, unless some of the answer came before it; an empty answer is neither.
    refused = error is not None and (error.status or 0) >= 300 and error.reason != "empty" and not seen
    if not grant.sent or refused:
        return None, 0, False
    cost = lost_attempt_cost(
        sent=True,
        stream=call.stream,
        reserved_pico=gates.estimate_pico(call) or 0,
        input_tokens=_input_guess(call),
        output_tokens_seen=seen,
        prices=gates.prices_of(built.about),
        when=began(age_s),
    )
    return Usage(input_tokens=_input_guess(call), output_tokens=seen), cost, True


def _counted(gates: Gates, usage: Usage) -> Usage:
    """Return the tokens that count against the provider's limits."""
    if not gates.cached_input_is_free or not usage.cached_tokens:
        return usage
    return Usage(input_tokens=max(0, usage.input_tokens - usage.cached_tokens), output_tokens=usage.output_tokens)


def _guess(call: Call, built: TokensBuilder) -> Usage:
    return Usage(input_tokens=_input_guess(call), output_tokens=-(-built.output_chars() // _BYTES_A_TOKEN))


def _input_guess(call: Call) -> int:
    return -(-call.input_bound // _BYTES_A_TOKEN)


def _tell(
    engine: Engine,
    call: Call,
    now: float,
    end: InferenceError | str | None,
    started: float,
    first_content_at: float | None,
    usage: Usage | None,
    cost: int | None,
    built: TokensBuilder,
    handle: RunHandle | None,
    gaps: Sequence[float],
    observers: Sequence[Observer],
    *,
    estimated: bool,
) -> None:
    about = built.about
    model = None if about is None else about.get("model")
    outcome, status, reason = "ok", None, ""
    if isinstance(end, str):
        outcome = end
    elif end is not None:
        outcome, status, reason = end.code, end.status, end.reason or ""
    record = AttemptRecord(
        at=now,
        deployment=engine.name,
        attempt=call.attempts - 1,
        outcome=outcome,
        elapsed_s=now - started,
        first_content_s=None if first_content_at is None else first_content_at - started,
        usage=usage,
        cost_pico=cost,
        estimated=estimated,
        stream=call.stream,
        request_id=call.request.idempotency_id,
        tenant=call.tenant,
        provider=engine.kind,
        endpoint=engine.endpoint,
        model=engine.deployment.provider_model,
        status=status,
        reason=reason,
        response_model=model if isinstance(model, str) else "",
        response_id=getattr(handle, "request_id", "") or "",
        finish_reason=built.finish_reason or "",
        gaps=gaps,
    )
    for observer in observers:
        tell(observer.on_attempt, record)
