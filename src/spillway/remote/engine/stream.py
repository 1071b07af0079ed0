"""A stream past its commit point: relays, and ends in exactly one outcome however its reader leaves."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

from spillway.core.building import TokensBuilder
from spillway.core.errors import InferenceError, ServerError, StreamInterrupted
from spillway.core.reply import TokenChunk, Tokens
from spillway.remote.cost import pico_to_usd
from spillway.remote.engine.ending import close_books, close_now, cut_short, let_go
from spillway.remote.engine.metrics import MOST_GAPS
from spillway.remote.engine.settle import settle_failure, settle_success

if TYPE_CHECKING:
    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine
    from spillway.remote.engine.grant import Grant
    from spillway.remote.sse import RawEvent

_MAX_DRAINS = 16


class LiveStream:
    """The rest of a streamed answer, in lists of chunks as they came from the network.

    Holds its slot until it ends: at the provider's terminal marker, at an error, or when it is closed.

    Invariants: settles exactly once; after that it reads nothing more.
    """

    __slots__ = (
        "_built",
        "_call",
        "_draining",
        "_engine",
        "_first",
        "_first_content_at",
        "_gaps",
        "_grant",
        "_handle",
        "_last_at",
        "_over",
        "_reads",
        "_started",
        "asked",
        "fell_back",
        "tokens",
    )

    def __init__(
        self,
        call: Call,
        engine: Engine,
        grant: Grant,
        handle: RunHandle,
        reads: AsyncIterator[list[TokenChunk]],
        built: TokensBuilder,
        first: list[TokenChunk],
        started: float,
        first_content_at: float,
    ) -> None:
        self._call = call
        self._engine = engine
        self._grant = grant
        self._handle = handle
        self._reads = reads
        self._built = built
        self._first: list[TokenChunk] | None = first
        self._started = started
        self._first_content_at = first_content_at
        self._last_at = first_content_at
        call.upstream_s += first_content_at - started
        self._gaps: array[float] | None = array("f") if engine.observers else None
        self._over = False
        self._draining = False
        self.asked = engine.name
        self.fell_back = False
        self.tokens: Tokens | None = None
        call.watch.on_unattended = self._time_is_over
        call.watch.guard(call.deadline, "deadline")

    @property
    def deployment(self) -> str:
        """Who answers."""
        return self._engine.name

    @property
    def attempts(self) -> int:
        """How many attempts were sent."""
        return self._call.attempts

    @property
    def wire(self) -> str:
        """The API in whose words its frames are; empty where there are none, and it must be translated.

        An answer that came whole although a stream was asked for has no frames.
        """
        handle = self._handle
        return getattr(handle, "wire", "") if hasattr(handle, "take_frames") else ""

    def take_frames(self) -> list[RawEvent]:
        """Return the events that came since this was last called, as they came; only where there is a `wire`.

        Those from before the commit point are among them; an event that says the stream failed never is.
        """
        frames: list[RawEvent] = self._handle.take_frames()  # type: ignore[attr-defined] # a handle with a wire has it
        return frames

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it must be ended on."""
        return self._engine.loop

    async def next_chunks(self) -> list[TokenChunk] | None:
        """Return the chunks of the next read that carried any, or None at the end.

        The list is empty for a read that has nothing but frames (`take_frames`), where there is a `wire`.

        Raises:
            StreamInterrupted: it broke; `partial` holds what came, `__cause__` says how.

        Cancellation: closes the upstream request.
        """
        first = self._first
        if first is not None:
            self._first = None
            return first
        if self._is_over():
            self._raise_if_cut_short()
            return None
        watch = self._call.watch
        idle = self._engine.deployment.timeouts.idle_timeout_s
        deadline = self._call.deadline
        clock = self._engine.clock
        relays = self.wire != ""
        watch.attend(asyncio.current_task(self._engine.loop))
        try:
            while True:
                began = clock()
                watch.guard_sooner_of(deadline, began + idle, "idle")
                try:
                    chunks = await self._reads.__anext__()
                except StopAsyncIteration:
                    if self._is_over():
                        break
                    self._succeed()
                    return None
                finally:
                    now = clock()
                    self._call.upstream_s += now - began
                if self._is_over():
                    break
                if chunks:
                    self._take_in(chunks, now)
                if chunks or relays:
                    return chunks
        except BaseException as caught:
            error = self._as_inference_error(caught)
            if self._is_over() and error is not None:
                # Somebody else has ended it, and what the reader saw of that is no error of its own.
                self._raise_if_cut_short()
                return None
            self._fail(error)
            if error is None:
                raise
            raise self._interrupted(error) from error
        finally:
            watch.leave()
            if not self._over:
                watch.guard(deadline, "deadline")
        self._raise_if_cut_short()
        return None

    def _take_in(self, chunks: list[TokenChunk], now: float) -> None:
        """Add what one network read has brought, and take note of the time since the read before that brought any."""
        built = self._built
        for chunk in chunks:
            built.add(chunk)
        gap = now - self._last_at
        self._last_at = now
        self._engine.metrics.gaps.record(gap)
        gaps = self._gaps
        if gaps is not None and len(gaps) < MOST_GAPS:
            gaps.append(gap)

    def _is_over(self) -> bool:
        # A call, because it changes between two awaits and type checkers do not know that.
        return self._over

    def _raise_if_cut_short(self) -> None:
        """Tell a reader of a stream that is over if it was time, or the engine, that ended it."""
        if self._call.watch.fired is not None:
            raise self._interrupted(self._cut_short())

    async def aclose(self) -> None:
        """End it early: the upstream request is cancelled, or drained where the deployment says so."""
        if self._over or self._draining or self._drains():
            return
        self._fail(None)
        await self._handle.aclose()

    @property
    def drains(self) -> bool:
        """Whether the deployment says that the rest is read for nobody when its reader leaves."""
        return self._engine.deployment.on_disconnect == "drain"

    def drain_after(self, reading: asyncio.Task[list[TokenChunk] | None]) -> None:
        """Let go of a `next_chunks` that is under way in a task of its own: read on for nobody, or cancel it."""
        reading.add_done_callback(_seen)
        if not self._over and self._may_drain():
            self._begin_draining(reading)
        else:
            reading.cancel()

    def abandon(self) -> None:
        """End it early from outside any task: what a reader who let go of it has done."""
        if not (self._over or self._draining or self._drains()):
            self._fail(None)

    def _drains(self) -> bool:
        """Begin to read the rest for nobody, where the deployment says so and not too many do; return whether."""
        if self._call.watch.attended or not self._may_drain():
            return False
        self._begin_draining(None)
        return True

    def _may_drain(self) -> bool:
        engine = self._engine
        return self.drains and engine.drains < _MAX_DRAINS and engine.accepting and not self._draining

    def _begin_draining(self, reading: asyncio.Task[list[TokenChunk] | None] | None) -> None:
        self._engine.drains += 1
        self._draining = True
        self._engine.chore(self._drain(reading)).add_done_callback(self._drained)

    async def _drain(self, reading: asyncio.Task[list[TokenChunk] | None] | None) -> None:
        self._first = None
        with suppress(StreamInterrupted):
            if reading is not None:
                await reading
            while await self.next_chunks() is not None:
                if self.wire:
                    self.take_frames()

    def _drained(self, _task: asyncio.Task[None]) -> None:
        self._engine.drains -= 1
        # Cancelled before its first step, it has read nothing and ended nothing.
        self._fail(None)

    def whole(self) -> Tokens:
        """Return the whole answer, once the end was reached."""
        return self.tokens or self.so_far()

    def so_far(self) -> Tokens:
        """Return what has come, as an answer without an end."""
        return self._built.build(
            deployment=self._engine.name,
            attempts=self._call.attempts,
            request_id=self._request_id(),
            warnings=getattr(self._handle, "warnings", ()),
        )

    def _succeed(self) -> None:
        self._over = True
        call, engine = self._call, self._engine
        cost, estimated = settle_success(
            engine,
            call,
            self._grant,
            self._built,
            self._started,
            self._first_content_at,
            self._handle,
            self._gaps or (),
        )
        let_go(engine, self._handle)
        self.tokens = self._built.build(
            cost_usd=None if cost is None else pico_to_usd(cost),
            cost_estimated=estimated,
            deployment=engine.name,
            attempts=call.attempts,
            request_id=self._request_id(),
            warnings=getattr(self._handle, "warnings", ()),
        )
        self._leave("ok")

    def _fail(self, error: InferenceError | None) -> None:
        if self._over:
            return
        self._over = True
        call, engine = self._call, self._engine
        settle_failure(
            engine,
            call,
            self._grant,
            error,
            self._built,
            self._started,
            self._first_content_at,
            self._handle,
            self._gaps or (),
        )
        call.let_money_go()
        if error is not None:
            self._grant.ticket.interrupted(error)
        close_now(engine, self._handle)
        self._leave("cancelled" if error is None else StreamInterrupted.code)

    def _leave(self, outcome: str) -> None:
        self._call.watch.stop()
        self._engine.give_back(self._grant.slot)
        close_books(self._call, self.asked, self._engine, outcome, fell_back=self.fell_back)

    def _as_inference_error(self, caught: BaseException) -> InferenceError | None:
        watch = self._call.watch
        if watch.struck and watch.absorbs():
            return self._cut_short()
        if isinstance(caught, InferenceError):
            return caught
        if isinstance(caught, asyncio.CancelledError) and watch.cancelled_within():
            return ServerError("the runner was cancelled from within", reason="runner")
        if isinstance(caught, Exception):
            return ServerError(f"the runner failed: {type(caught).__name__}: {caught}", reason="runner")
        return None

    def _cut_short(self) -> InferenceError:
        return cut_short(self._call, self._engine, self._call.watch.fired or "deadline", sent=True)

    def _time_is_over(self) -> None:
        error = self._cut_short()
        # Nobody was reading, so this says nothing of the provider.
        error.counts_as_circuit_failure = False
        self._fail(error)

    def _interrupted(self, error: InferenceError) -> StreamInterrupted:
        came = self.so_far()
        broken = StreamInterrupted(
            f"the stream broke after {len(came.text)} characters: {error.message}",
            provider=self._engine.kind,
            deployment=self._engine.name,
            reason=error.reason or error.code,
            status=error.status,
            elapsed_s=self._engine.clock() - self._started,
        )
        broken.partial = came
        broken.sent = True
        self._call.stamp(broken)
        broken.__cause__ = error
        return broken

    def _request_id(self) -> str:
        return getattr(self._handle, "request_id", "") or self._call.request.idempotency_id


def _seen(reading: asyncio.Task[list[TokenChunk] | None]) -> None:
    """Take note of how a read ended whose result nobody asks for."""
    if not reading.cancelled():
        reading.exception()
