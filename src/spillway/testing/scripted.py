"""Runners that answer what a script says, without a socket: for tests of policies in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec

from spillway.core.clock import sleep
from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import FinishReason, TokenChunk, Usage


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted answer.

    Attributes:
        text: the whole text; a streamed answer cuts it into `chunks` pieces.
        chunks: pieces of a streamed answer.
        delay_s: time before the head of the answer.
        chunk_delay_s: time before each piece but the first.
        error: raised before anything is answered.
        error_after: with `error`, raised after so many pieces of the stream instead.
        usage: token counts; None: none is reported.
        limits_seen: what the answer's headers tell of the provider's limits.
        send_delay_s: time until the body is on the wire.
        hang: never answer.
    """

    text: str = "ok"
    chunks: int = 1
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    error: BaseException | None = None
    error_after: int | None = None
    usage: Usage | None = Usage(input_tokens=10, output_tokens=5)
    finish_reason: FinishReason = FinishReason.STOP
    limits_seen: LimitsSeen | None = None
    send_delay_s: float = 0.0
    hang: bool = False


Script = Reply | BaseException | str
"""A reply, an error to raise, or a text to answer."""


class ScriptedRunner:
    """A `ModelRunner` that plays a script; the last entry repeats.

    Args:
        script: what to answer, in order of the attempts; or a function of the attempt's `ExecuteBatch`.

    Attributes:
        calls: every attempt it got, in order, with the loop's time of its start and of its send.
        closed: streams and answers that were closed before their end.
        open: answers that are under way.
        rebuilds: causes of every session rebuild.
    """

    runtime_kind = "scripted"
    transport_kind = "memory"

    def __init__(
        self, script: Iterable[Script] | Callable[[ExecuteBatch], Script] = ("ok",), *, on_rebuild: Any = None
    ) -> None:
        self._choose = script if callable(script) else None
        self._script: Sequence[Script] = () if callable(script) else tuple(script)
        self._on_rebuild = on_rebuild
        self._numbers = itertools.count()
        self.calls: list[ScriptedCall] = []
        self.closed = 0
        self.open = 0
        self.max_open = 0
        self.rebuilds: list[BaseException | None] = []
        self.rate_limits: LimitsSeen | None = None

    async def execute(self, batch: ExecuteBatch) -> ScriptedAnswer:
        """Answer the next entry of the script."""
        number = next(self._numbers)
        step = self._choose(batch) if self._choose else self._script[min(number, len(self._script) - 1)]
        reply = _as_reply(step)
        loop = asyncio.get_running_loop()
        call = ScriptedCall(batch, loop.time())
        self.calls.append(call)
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        try:
            if reply.send_delay_s:
                await sleep(reply.send_delay_s)
            call.sent = loop.time()
            if batch.on_sent is not None:
                batch.on_sent()
            if reply.hang:
                await loop.create_future()
            if reply.delay_s:
                await sleep(reply.delay_s)
            if reply.error is not None and reply.error_after is None:
                raise _fresh(reply.error)
        except BaseException:
            self.open -= 1
            raise
        self.rate_limits = reply.limits_seen
        return ScriptedAnswer(self, reply, number, stream=batch.stream)

    async def rebuild_session(self, cause: BaseException | None) -> None:
        """Record the cause and do what `on_rebuild` says."""
        self.rebuilds.append(cause)
        if self._on_rebuild is not None:
            done = self._on_rebuild(cause)
            if done is not None:
                await done

    def __repr__(self) -> str:
        return f"<ScriptedRunner calls {len(self.calls)} open {self.open}>"


class ScriptedCall(msgspec.Struct):
    """One attempt as the runner saw it; times are the loop's."""

    batch: ExecuteBatch
    started: float
    sent: float | None = None


class ScriptedAnswer:
    """The `RunHandle` of a scripted reply."""

    def __init__(self, runner: ScriptedRunner, reply: Reply, number: int, *, stream: bool) -> None:
        self._runner = runner
        self._reply = reply
        self._pieces = self._play(stream=stream)
        self._done = False
        self.request_id = f"scripted-{number}"
        self.limits_seen = reply.limits_seen

    def __aiter__(self) -> AsyncIterator[list[TokenChunk]]:
        return self

    async def __anext__(self) -> list[TokenChunk]:
        try:
            return await anext(self._pieces)
        except BaseException as end:
            self._finish(early=not isinstance(end, StopAsyncIteration | InferenceError))
            raise

    async def aclose(self) -> None:
        """Close it, counting it as closed early unless it was at its end."""
        self._finish(early=True)
        await self._pieces.aclose()

    def abort(self) -> None:
        """Close it now."""
        self._finish(early=True)

    def _finish(self, *, early: bool) -> None:
        if not self._done:
            self._done = True
            self._runner.open -= 1
            self._runner.closed += early

    async def _play(self, *, stream: bool) -> AsyncGenerator[list[TokenChunk], None]:
        reply = self._reply
        count = reply.chunks if stream else 1
        size = -(-len(reply.text) // count) if reply.text else 0
        for index in range(count):
            if index == reply.error_after and reply.error is not None:
                raise _fresh(reply.error)
            if index and reply.chunk_delay_s:
                await sleep(reply.chunk_delay_s)
            piece = reply.text[index * size : (index + 1) * size]
            last = index == count - 1
            yield [
                TokenChunk(
                    text_delta=piece,
                    usage=reply.usage if last else None,
                    finish_reason=reply.finish_reason if last else None,
                )
            ]
        if reply.error_after is not None and reply.error_after >= count and reply.error is not None:
            raise _fresh(reply.error)


class FaultRunner:
    """A `ModelRunner` around another one that fails some attempts first.

    Args:
        inner: the runner that answers.
        fault: given the attempt, the error to raise instead of answering, or None.
    """

    def __init__(self, inner: Any, fault: Callable[[ExecuteBatch], BaseException | None]) -> None:
        self._inner = inner
        self._fault = fault
        self.runtime_kind = inner.runtime_kind
        self.transport_kind = inner.transport_kind

    @property
    def rate_limits(self) -> LimitsSeen | None:
        """What the inner runner saw."""
        return self._inner.rate_limits  # type: ignore[no-any-return] # the inner runner is any ModelRunner

    async def execute(self, batch: ExecuteBatch) -> Any:
        """Raise the fault for this attempt, or let the inner runner answer."""
        error = self._fault(batch)
        if error is not None:
            raise error
        return await self._inner.execute(batch)

    async def rebuild_session(self, cause: BaseException | None) -> None:
        """Pass it on."""
        await self._inner.rebuild_session(cause)


def _as_reply(step: Script) -> Reply:
    if isinstance(step, Reply):
        return step
    if isinstance(step, BaseException):
        return Reply(error=step)
    return Reply(text=step)


def _fresh(error: BaseException) -> BaseException:
    """Return a copy, so that a repeated error does not drag tracebacks and attributes of its last use along."""
    if isinstance(error, InferenceError):
        copy = type(error)(error.message)
        copy.__dict__.update(error.__dict__)
        return copy
    return error
