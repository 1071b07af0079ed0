"""The main path of a request, and the only place that states the order of the policies.

A worker is a slot: the caller's own task runs the attempts while it holds one, so cancelling that task cancels the
request. No task, mailbox or timeout scope is made per request or per chunk: one timer a request serves the deadline and
the limit of every phase.

    route     the asked deployment or group, then its `fallback` list, each target once, one deadline for all
    admit     closing? -> credential refused? -> budget spent? -> size possible? -> circuit open? -> in time? (where
              that is to be told at once) -> room in the queue
    dispatch  between two awaits: slot -> money (deployment's budget, caller's own gate) -> journal of spend -> limiter
              -> breaker; a refusal gives back what went before it; the head of the queue waits, no worker does, but for
              one that lacks its caller's own money: it is passed over
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
from contextlib import suppress
from typing import TYPE_CHECKING

from spillway.core.actor import Actor
from spillway.core.building import TokensBuilder
from spillway.core.errors import CircuitOpen, InferenceError, RateLimited, ServerError, Timeout, Unauthorized
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import TokenChunk
from spillway.remote.engine.actor import Resize
from spillway.remote.engine.credential import reread_credential
from spillway.remote.engine.detour import Detour, Target
from spillway.remote.engine.ending import SHUTTING_DOWN, close_books, close_now, cut_short, out_of_time
from spillway.remote.engine.forecast import predicted_wait
from spillway.remote.engine.grant import Grant
from spillway.remote.engine.settle import settle_failure
from spillway.remote.engine.slot import WorkerSlot
from spillway.remote.engine.stream import LiveStream
from spillway.remote.engine.whole import Answer, conclude

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.core.clock import Clock
    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine

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


async def answer(call: Call, route: Sequence[Target]) -> Answer | LiveStream:
    """Bring `call` to its answer: whole, or as a stream at its commit point.

    Args:
        call: the request; nobody else may touch it until this returns.
        route: the targets to ask in order; never empty.

    Raises:
        InferenceError: no target could; the newest sent attempt's error if one was sent, else the last refusal.

    Cancellation: cancels the request; slot, permit, ticket, money and socket are given back before it is raised.
    """
    watch = call.watch
    watch.attend(asyncio.current_task(call.loop))
    asked = route[0]
    call.engine = asked.pick(())
    call.engine.metrics.accepted += 1
    outcome = "cancelled"
    result: Answer | LiveStream | None = None
    stop = 0
    try:
        while True:
            try:
                result = await _ask(call, route[stop], route[stop + 1 :])
            except (InferenceError, asyncio.CancelledError) as caught:
                error = caught if isinstance(caught, InferenceError) else _cut_between(call)
                if error is None:
                    raise
                # What falls back beside refusals and trouble is for the asked deployment to say.
                ruling = call.tried[0] if stop else call.engine
                if stop + 1 == len(route) or not _falls_back(call, error, ruling):
                    final, cause = _conclude(call, error)
                    outcome = final.code
                    raise final from cause
                stop += 1
                call.charged = None
                call.let_money_go()
                call.engine = route[stop].pick(call.tried)
                continue
            outcome = "ok"
            return result
    finally:
        call.let_money_go()
        watch.leave()
        if not isinstance(result, LiveStream):
            watch.stop()
            close_books(call, asked.name, call.engine, outcome, fell_back=stop > 0)
        else:
            result.asked = asked.name
            result.fell_back = stop > 0


def _cut_between(call: Call) -> InferenceError | None:
    """Return what a cancellation between two attempts means, None when it is not the watchdog's."""
    watch = call.watch
    if not watch.absorbs():
        return None
    reason, watch.fired = watch.fired, None
    engine = call.engine
    error: InferenceError = engine.refusal(SHUTTING_DOWN) if reason == SHUTTING_DOWN else out_of_time(call, engine)
    error.__cause__ = call.last_error
    return error


async def _ask(call: Call, target: Target, later: Sequence[Target]) -> Answer | LiveStream:
    """Ask one target until it answers, its retries are spent, or it refuses."""
    detour: Detour | None = None
    while True:
        engine = call.engine
        try:
            grant = None
            fresh = detour is None or detour.fresh
            may_shift = bool(later) and call.may_shift_early and call.may_fall_back
            if fresh:
                if engine.credential.recheck_due():
                    await _recheck_credential(call, engine)
                grant = engine.try_admit(call)
            if grant is None and may_shift:
                _shift_early(call, engine, later)
            if grant is None:
                if detour is None or detour.fresh:
                    grant = await engine.wait_for_grant(call)
                else:
                    grant = await engine.wait_for_grant(call, not_before=detour.not_before, returning=True)
        except InferenceError as refusal:
            engine.metrics.refused += 1
            detour = detour or Detour(call, target, later)
            detour.after_refusal(call, engine, refusal)
            continue
        try:
            result = await _in_slot(call, engine, grant)
        except InferenceError as error:
            detour = detour or Detour(call, target, later)
            detour.after_failure(call, engine, error)
            continue
        if result is not None:
            return result
        detour = detour or Detour(call, target, later)
        detour.back_in_line()


def _shift_early(call: Call, engine: Engine, later: Sequence[Target]) -> None:
    """Raise the refusal to come when waiting for it is longer than `fallback_after_s` and a healthy fallback exists."""
    if not any(target.healthy() for target in later):
        return
    trouble = engine.gates.limiter.trouble()
    if trouble:
        raise RateLimited(trouble, reason="store")
    wait = predicted_wait(engine, call)
    if wait <= engine.deployment.fallback_after_s:
        return
    if engine.gates.breaker.would_admit():
        raise RateLimited(f"the predicted wait is {wait:.1f} s", reason="predicted_wait", retry_after=wait)
    raise CircuitOpen("the circuit is open", retry_after=wait)


async def _in_slot(call: Call, engine: Engine, grant: Grant) -> Answer | LiveStream | None:
    """Run the attempt in its slot, and once more after a rebuild if the provider refused the credential.

    None: the session was rebuilt, and the second attempt must wait for its permit or its money, in its old place.
    """
    slot = grant.slot
    slot_passed_on = False
    try:
        try:
            result = await _attempt(call, engine, grant)
        except Unauthorized as error:
            if call.renewed or not await _renew(call, engine, slot, error):
                raise
            call.renewed = True
            call.failed(error)
            again = _reserve_again(call, engine, slot)
            if again is None:
                return None
            result = await _attempt(call, engine, again)
        slot_passed_on = isinstance(result, LiveStream)
        return result
    finally:
        if not slot_passed_on:
            engine.give_back(slot)


def _reserve_again(call: Call, engine: Engine, slot: WorkerSlot) -> Grant | None:
    try:
        again = engine.gates.reserve(call, slot)
    except InferenceError:
        # It will be refused in the same words where refusals are dealt with.
        return None
    return again if isinstance(again, Grant) else None


async def _renew(call: Call, engine: Engine, slot: WorkerSlot, error: Unauthorized) -> bool:
    """Have the session rebuilt for a refused credential; False: there is no other credential."""
    call.watch.guard(call.deadline, "deadline")
    if error.reason != "rebuild_failed":
        began = engine.clock()
        try:
            with suppress(Exception):
                await slot.runner.rebuild_session(error)
                return True
        finally:
            call.upstream_s += engine.clock() - began
    engine.credential.note_refused(error)
    return False


async def _recheck_credential(call: Call, engine: Engine) -> None:
    """Read the source of a refused credential again; what it yields decides the admission that follows."""
    call.watch.guard(call.deadline, "deadline")
    began = engine.clock()
    try:
        await reread_credential(engine)
    finally:
        call.upstream_s += engine.clock() - began


async def _attempt(call: Call, engine: Engine, grant: Grant) -> Answer | LiveStream:
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
        reads = aiter(handle)
        whole = None if call.stream else getattr(handle, "chunks", None)
        if whole is not None:
            first_content_at = _take_in(whole, built, clock)
        else:
            async for chunks in reads:
                first_content_at = _take_in(chunks, built, clock, first_content_at)
                if first_content_at is not None and call.stream:
                    grant.ticket.success(first_content_at - started)
                    return LiveStream(call, engine, grant, handle, reads, built, chunks, started, first_content_at)
        if first_content_at is None:
            if built.usage is None and getattr(handle, "vectors", None) is None:
                raise ServerError("the answer was empty", reason="empty")
            first_content_at = clock()
        grant.ticket.success(first_content_at - started)
        if call.stream:
            last = [TokenChunk(usage=built.usage)]
            return LiveStream(call, engine, grant, handle, reads, built, last, started, first_content_at)
        return conclude(engine, call, grant, handle, built, started, first_content_at)
    except BaseException as caught:
        error = _as_inference_error(call, engine, grant, caught)
        if handle is not None:
            close_now(engine, handle)
        if error is None:
            grant.ticket.release()
            settle_failure(engine, call, grant, None, built, started, first_content_at, handle)
            raise
        settle_failure(engine, call, grant, error, built, started, first_content_at, handle)
        grant.ticket.failure(error)
        if error is caught:
            raise
        raise error from caught


def _take_in(
    chunks: Sequence[TokenChunk], built: TokensBuilder, clock: Clock, first_content_at: float | None = None
) -> float | None:
    """Add chunks to an answer; return when its first content came."""
    for chunk in chunks:
        built.add(chunk)
        if first_content_at is None and chunk.commits:
            first_content_at = clock()
    return first_content_at


def _as_inference_error(call: Call, engine: Engine, grant: Grant, caught: BaseException) -> InferenceError | None:
    """Return what an attempt's end means, or None when its caller (or the process) wants out."""
    watch = call.watch
    if watch.struck:
        # Whatever the runner made of it, it was cut short.
        reason, watch.fired = watch.fired or "deadline", None
        if watch.absorbs():
            return cut_short(call, engine, reason, sent=grant.sent)
    if isinstance(caught, InferenceError):
        return caught
    if isinstance(caught, asyncio.CancelledError) and watch.cancelled_within():
        return ServerError("the runner was cancelled from within", reason="runner", retryable=False)
    if isinstance(caught, Exception):
        return ServerError(f"the runner failed: {type(caught).__name__}: {caught}", reason="runner", retryable=False)
    return None


def _falls_back(call: Call, error: InferenceError, ruling: Engine) -> bool:
    if not call.may_fall_back or error.final or call.deadline <= ruling.clock():
        return False
    if error.sent and error.status is None and not ruling.deployment.idempotent:
        # Nobody said that it was not done, so to ask another would be to ask twice.
        return False
    return error.falls_back or error.code in ruling.deployment.fallback_on


def _conclude(call: Call, error: InferenceError) -> tuple[InferenceError, BaseException | None]:
    """Return the error its caller gets and the cause of that: the newest sent attempt's, unless time ran out."""
    newest = call.last_error
    if newest is None:
        if error.retry_after is not None and call.soonest is not None:
            error.retry_after = min(error.retry_after, call.soonest)
        return call.stamp(error), error.__cause__
    if error is newest:
        return call.stamp(error), error.__cause__
    if isinstance(error, Timeout):
        return call.stamp(error), newest
    call.history.append((error.deployment or "", error.code, 0.0))
    newest.refusal = error
    return call.stamp(newest), newest.__cause__
