"""The main path of a request, and the only place that states the order of the policies.

A worker is a slot: the caller's own task runs the attempts while it holds one, so cancelling that task cancels the
request. No task, mailbox or timeout scope is made per request or per chunk: one timer a request serves the deadline and
the limit of every phase.

    route     the asked deployment or group, then its `fallback` list, each target once, one deadline for all
    admit     closing? -> credential refused? -> budget spent? -> size possible? -> circuit open? -> room in the queue
    dispatch  between two awaits: slot -> money (deployment's budget, caller's own gate) -> limiter -> breaker;
              a refusal gives back what went before it; the head of the queue waits, no worker does
    attempt   runner.execute -> COMMIT POINT -> relay -> settle limiter, money, breaker, metrics, once
    again     not committed and the retry engine says so and the retry quota pays: another healthy member of the group
              at once, else back to the queue with a not-before time; seat, sequence number and money are kept

The commit point is the first chunk with text, reasoning, a tool call or a finish reason. Before it retry and fallback
are invisible; after it never: the reader has what came, then StreamInterrupted.

A refusal is not an attempt and never counts against the breaker. A 401 is answered by one rebuild of the session,
single flight, and one more attempt that is no retry and keeps its slot.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from spillway.core.actor import Actor
from spillway.core.errors import CircuitOpen, InferenceError, RateLimited, ServerError, Timeout, Unauthorized
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import Tokens, TokensBuilder
from spillway.remote.cost import pico_to_usd
from spillway.remote.engine.actor import Resize
from spillway.remote.engine.ending import close_books, timeout_error
from spillway.remote.engine.grant import Grant
from spillway.remote.engine.settle import settle_failure, settle_success
from spillway.remote.engine.slot import WorkerSlot
from spillway.remote.engine.stream import LiveStream
from spillway.remote.retry import Attempt, Retry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine
    from spillway.remote.retry import RetryEngine

__all__ = ["LiveStream", "RemoteWorkerActor", "Target", "WorkerMsg", "WorkerSlot", "answer"]

WorkerMsg = Resize
"""What a RemoteWorkerActor understands."""


class RemoteWorkerActor(Actor[WorkerMsg]):
    """Owns the slots of one replica's pool; the requests in them run in their callers' own tasks.

    Args:
        engine: the engine the pool belongs to.
        pool: index of the replica.
    """

    def __init__(self, engine: Engine, pool: int) -> None:
        self._engine = engine
        self._pool = pool

    async def receive(self, message: WorkerMsg) -> list[WorkerSlot]:
        """Change the pool's size and return its slots."""
        self._engine.resize(message.workers, pool=self._pool)
        return [slot for slot in self._engine.slots() if slot.pool == self._pool]


class Target(Protocol):
    """One stop of a route: a deployment, or the members of a group."""

    @property
    def name(self) -> str:
        """What was asked for."""
        ...

    @property
    def retry(self) -> RetryEngine:
        """The retry engine that counts over all members."""
        ...

    def pick(self, avoid: Collection[Engine]) -> Engine:
        """Return the member to ask now: healthy before not, then by weight and least load."""
        ...

    def other(self, avoid: Collection[Engine]) -> Engine | None:
        """Return a healthy member that is not among `avoid`, or None."""
        ...

    def healthy(self) -> bool:
        """Whether some member would take a request now."""
        ...


async def answer(call: Call, route: Sequence[Target]) -> Tokens | LiveStream:
    """Bring `call` to its answer: whole, or as a stream at its commit point.

    Args:
        call: the request; nobody else may touch it until this returns.
        route: the targets to ask in order; never empty.

    Raises:
        InferenceError: no target could; the newest sent attempt's error if one was sent, else the last refusal.

    Cancellation: cancels the request; slot, permit, ticket, money and socket are given back before it is raised.
    """
    task = asyncio.current_task()
    call.watch.attend(task)
    asked = route[0]
    engine = asked.pick(())
    engine.metrics.accepted += 1
    outcome = "cancelled"
    result: Tokens | LiveStream | None = None
    stop = 0
    try:
        while True:
            later = route[stop + 1 :]
            try:
                result, engine = await _ask_in_time(call, route[stop], engine, later)
            except InferenceError as error:
                outcome = error.code
                if not later or not _falls_back(call, error, route[stop]):
                    raise _final(call, error) from _cause(call, error)
                stop += 1
                engine = route[stop].pick(())
                continue
            outcome = "ok"
            return result
    finally:
        call.let_money_go()
        call.watch.leave()
        if not isinstance(result, LiveStream):
            call.watch.stop()
            close_books(call, asked.name, engine, outcome, fell_back=stop > 0)
        else:
            result.asked = asked.name
            result.fell_back = stop > 0


async def _ask_in_time(
    call: Call, target: Target, engine: Engine, later: Sequence[Target]
) -> tuple[Tokens | LiveStream, Engine]:
    """Ask one target; what the deadline interrupts between two attempts ends in Timeout as well."""
    try:
        return await _ask(call, target, engine, later)
    except asyncio.CancelledError:
        if not call.watch.absorbs():
            raise
        raise timeout_error(call, engine, "deadline", sent=False) from call.last_error


async def _ask(
    call: Call, target: Target, engine: Engine, later: Sequence[Target]
) -> tuple[Tokens | LiveStream, Engine]:
    """Ask one target until it answers, its retries are spent, or it refuses."""
    tried: list[Engine] = []
    failures = 0
    not_before = 0.0
    returning = False
    while True:
        try:
            grant = None
            if later and call.may_shift_early and call.may_fall_back:
                _shift_early(call, engine, later)
            if not returning:
                if engine.credential_recheck_due():
                    await _recheck_credential(engine)
                grant = engine.try_admit(call)
            if grant is None:
                grant = await engine.wait_for_grant(call, not_before=not_before, returning=returning)
        except InferenceError as refusal:
            engine.metrics.refused += 1
            tried.append(engine)
            other = target.other(tried) if refusal.falls_back and not refusal.final else None
            if other is None:
                raise
            call.history.append((engine.name, refusal.code, 0.0))
            call.let_money_go()
            engine, returning = other, False
            continue
        try:
            return await _in_slot(call, engine, grant), engine
        except InferenceError as error:
            previous, call.last_error = call.last_error, error
            if previous is not None:
                error.__cause__ = previous
            decision = target.retry.decide(Attempt(failures), error)
            if not isinstance(decision, Retry) or not engine.gates.quota.try_take(error):
                raise
            failures += 1
            call.retries += 1
            engine.metrics.retried += 1
            tried.append(engine)
            other = target.other(tried) or target.other((engine,))
            if other is not None:
                call.let_money_go()
                engine, returning, not_before = other, False, 0.0
                continue
            not_before = engine.clock() + decision.after
            if not_before >= call.deadline or _should_move_on(call, engine, decision.after, later):
                raise
            returning = True


def _shift_early(call: Call, engine: Engine, later: Sequence[Target]) -> None:
    """Raise the refusal to come when waiting for it is longer than `fallback_after_s` and a healthy fallback exists."""
    if not any(target.healthy() for target in later):
        return
    wait = engine.predicted_wait(call)
    if wait <= engine.deployment.fallback_after_s:
        return
    if engine.gates.breaker.would_admit():
        raise RateLimited(
            f"the predicted wait is {wait:.1f} s",
            provider=engine.kind,
            deployment=engine.name,
            reason="predicted_wait",
            retry_after=wait,
        )
    raise CircuitOpen("the circuit is open", provider=engine.kind, deployment=engine.name, retry_after=wait)


def _should_move_on(call: Call, engine: Engine, wait: float, later: Sequence[Target]) -> bool:
    return (
        call.may_fall_back
        and call.may_shift_early
        and wait > engine.deployment.fallback_after_s
        and any(target.healthy() for target in later)
    )


async def _in_slot(call: Call, engine: Engine, grant: Grant) -> Tokens | LiveStream:
    """Run the attempt in its slot, and once more after a rebuild if the provider refused the credential."""
    slot = grant.slot
    slot_passed_on = False
    try:
        try:
            result = await _attempt(call, engine, grant)
        except Unauthorized as error:
            if error.reason == "rebuild_failed" or not await _renew(call, engine, slot, error):
                raise
            permit = engine.gates.permit_for(call)
            wait = engine.gates.limiter.wait_for(permit)
            if wait > 0:
                raise
            again = engine.gates.reserve(call, slot)
            if not isinstance(again, Grant):
                raise
            call.last_error = error
            result = await _attempt(call, engine, again)
        slot_passed_on = isinstance(result, LiveStream)
        return result
    finally:
        if not slot_passed_on:
            engine.give_back(slot)


async def _renew(call: Call, engine: Engine, slot: WorkerSlot, error: Unauthorized) -> bool:
    """Have the session rebuilt for a refused credential; False: there is no other credential."""
    call.watch.attend(asyncio.current_task())
    try:
        await slot.runner.rebuild_session(error)
    except InferenceError:
        engine.note_refused_credential(error)
        return False
    return True


async def _recheck_credential(engine: Engine) -> None:
    """Read the source of a refused credential again; what it yields decides the admission that follows."""
    refused = engine.refused_credential
    try:
        await engine.rebuild_session(refused)
    except InferenceError:
        return


async def _attempt(call: Call, engine: Engine, grant: Grant) -> Tokens | LiveStream:
    """Send once; return the whole answer, or the stream at its commit point."""
    watch = call.watch
    clock = engine.clock
    timeouts = engine.deployment.timeouts
    built = TokensBuilder()
    handle: RunHandle | None = None
    started = clock()
    attempt = call.attempts
    call.attempts = attempt + 1
    first_content_at: float | None = None
    watch.attend(asyncio.current_task())
    if call.stream:
        watch.guard_sooner_of(call.deadline, started + timeouts.first_byte_timeout_s, "first_byte")
    else:
        watch.guard_sooner_of(call.deadline, started + timeouts.unary_timeout_s, "unary")
    try:
        handle = await grant.slot.runner.execute(
            ExecuteBatch(
                request=call.request,
                deadline=call.deadline,
                attempt=attempt,
                stream=call.stream,
                on_sent=grant.mark_sent,
            )
        )
        grant.mark_sent()
        limits_seen = getattr(handle, "limits_seen", None)
        if limits_seen is not None:
            engine.gates.limiter.observe(limits_seen)
        async for chunks in handle:
            for chunk in chunks:
                built.add(chunk)
                if first_content_at is None and chunk.commits:
                    first_content_at = clock()
            if first_content_at is not None and call.stream:
                grant.ticket.success(first_content_at - started)
                return LiveStream(call, engine, grant, handle, built, chunks, started, first_content_at)
        if first_content_at is None:
            if built.usage is None:
                raise ServerError("the answer was empty", reason="empty")
            first_content_at = clock()
        grant.ticket.success(first_content_at - started)
        cost, estimated = settle_success(engine, call, grant, built, started, first_content_at)
        return built.build(
            cost_usd=None if cost is None else pico_to_usd(cost),
            cost_estimated=estimated,
            deployment=engine.name,
            attempts=call.attempts,
            request_id=getattr(handle, "request_id", "") or call.request.idempotency_id,
        )
    except BaseException as caught:
        error = _as_inference_error(call, engine, grant, caught)
        if handle is not None:
            _close_now(engine, handle)
        if error is None:
            grant.ticket.release()
            settle_failure(engine, call, grant, None, built, started, first_content_at)
            raise
        settle_failure(engine, call, grant, error, built, started, first_content_at)
        grant.ticket.failure(error)
        if error is caught:
            raise
        raise error from caught
    finally:
        watch.leave()


def _as_inference_error(call: Call, engine: Engine, grant: Grant, caught: BaseException) -> InferenceError | None:
    """Return what an attempt's end means, or None when its caller (or the process) wants out."""
    if isinstance(caught, InferenceError):
        return caught
    if isinstance(caught, asyncio.CancelledError):
        if not call.watch.absorbs():
            return None
        reason = call.watch.fired or "deadline"
        call.watch.fired = None
        return timeout_error(call, engine, reason, sent=grant.sent)
    if isinstance(caught, Exception):
        return ServerError(f"the runner failed: {type(caught).__name__}: {caught}", reason="runner", retryable=False)
    return None


def _close_now(engine: Engine, handle: RunHandle) -> None:
    abort = getattr(handle, "abort", None)
    if abort is not None:
        abort()
    else:
        engine.chore(handle.aclose())


def _falls_back(call: Call, error: InferenceError, target: Target) -> bool:
    if not call.may_fall_back or error.final or call.deadline <= call.loop.time():
        return False
    return error.falls_back or error.code in target.pick(()).deployment.fallback_on


def _final(call: Call, error: InferenceError) -> InferenceError:
    """Return the error its caller gets: that of the newest sent attempt, unless time ran out."""
    newest = call.last_error
    if newest is None or error is newest or isinstance(error, Timeout):
        return call.stamp(error)
    call.history.append((error.deployment or "", error.code, 0.0))
    newest.refusal = error
    return call.stamp(newest)


def _cause(call: Call, error: InferenceError) -> BaseException | None:
    newest = call.last_error
    if newest is None or error is newest or not isinstance(error, Timeout):
        return (newest or error).__cause__
    return newest
