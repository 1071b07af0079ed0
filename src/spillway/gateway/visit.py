"""One caller's request on its way through the gateway: who asks, what, how much of the key's limits it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, cast

import msgspec

from spillway.core.errors import BadRequest, InferenceError, ModelNotFound
from spillway.gateway.asked import read_wishes
from spillway.gateway.callers import of_key
from spillway.gateway.intake import understood
from spillway.gateway.served import Served
from spillway.remote.cost import input_bound, pico_to_usd

if TYPE_CHECKING:
    from types import TracebackType

    from spillway.core.reply import Embeddings, TokenChunk, Tokens, Usage
    from spillway.core.request import GenerateRequest
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.refusals import Refusal
    from spillway.remote.engine import LiveStream
    from spillway.remote.rate_limit import Permit
    from spillway.runtime.embedding import EmbeddingErrand
    from spillway.runtime.errand import Errand

CLIENT_LEFT = 499
"""The status of a request whose caller left before any was sent."""


class Note:
    """What is known of a request so far, for its record."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._clock = exchange.clock
        self.started = self._clock()
        self._ended_at = self.started
        self.door = ""
        self.caller = ""
        self.model = ""
        self.deployment = ""
        self.errand_id = ""
        self.outcome = "ok"
        self.limited_by: str | None = None
        self.stream = False
        self.errand: Errand | EmbeddingErrand | None = None
        self.first_content_at: float | None = None
        self.usage: Usage | None = None
        self.cost_pico: int | None = 0

    def ended(self) -> None:
        """Take note that it has ended now."""
        self._ended_at = self._clock()

    def first_content(self) -> None:
        """Take note that the first content goes out now."""
        self.first_content_at = self._clock()

    def left(self) -> None:
        """Take note that the caller has left."""
        self.outcome = "cancelled"

    def failed(self, error: InferenceError) -> None:
        """Take note of who was asked last for what nobody could answer."""
        self.deployment = self.deployment or error.deployment or ""

    def refused(self, refusal: Refusal) -> None:
        """Take note of an error that the caller is told."""
        self.outcome = refusal.code
        self.limited_by = refusal.headers.get("x-spillway-limited-by")
        self.deployment = self.deployment or refusal.headers.get("x-spillway-deployment", "")

    def served(self) -> Served:
        """Return the record of the request, which has ended."""
        now = self._ended_at
        elapsed = now - self.started
        errand = self.errand
        queued, upstream = (0.0, 0.0) if errand is None else (errand.queued_s, errand.upstream_s)
        waited = self._exchange.waited_s
        first = self.first_content_at
        return Served(
            at=now,
            request_id=self._exchange.request_id,
            errand_id=self.errand_id,
            method=self._exchange.method,
            traceparent=self._exchange.headers.get("traceparent", ""),
            door=self.door,
            caller=self.caller,
            model=self.model,
            deployment=self.deployment,
            status=self._exchange.status or CLIENT_LEFT,
            outcome=self.outcome,
            limited_by=self.limited_by,
            stream=self.stream,
            attempts=0 if errand is None else errand.attempts,
            retries=0 if errand is None else errand.retries,
            fell_back=errand is not None and errand.fell_back,
            elapsed_s=elapsed,
            first_content_s=None if first is None else first - self.started,
            queued_s=queued,
            upstream_s=upstream,
            waited_s=waited,
            overhead_s=max(0.0, elapsed - queued - upstream - waited),
            usage=self.usage,
            plain=None if errand is None else errand.plain,
            cost_pico=self.cost_pico,
        )


class Visit:
    """A request that was let in; entered while its answer is made. Leaving it settles what it came to.

    Attributes:
        model: the deployment or group that is asked.
        request: with the wishes of its headers.
    """

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        exchange: Exchange,
        note: Note,
        model: str,
        request: GenerateRequest,
        permit: Permit,
    ) -> None:
        self.model = model
        self.request = request
        self.note = note
        self._cluster = gateway.cluster
        self._caller = caller
        self._exchange = exchange
        self._gate = caller.gate()
        self._permit = permit

    def __enter__(self) -> Self:
        self._exchange.attendance.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        note = self.note
        try:
            self._exchange.attendance.__exit__(kind, error, traceback)
        finally:
            errand = note.errand
            self._caller.settle(self._permit, note.usage, sent=errand is not None and errand.attempts > 0)
            if errand is not None:
                note.model = self.model
        if isinstance(error, InferenceError):
            of_key(error)

    async def whole(self) -> Tokens | Embeddings:
        """Return the whole answer; a caller who leaves cancels it.

        Raises:
            InferenceError: nobody could answer.
            CallerGone: the caller has left.
        """
        answer = cast("Tokens | Embeddings", await self._run(stream=False))
        self._took(answer.usage)
        self.note.deployment = answer.deployment
        if answer.cost_usd is None:
            self.note.cost_pico = None
        return answer

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[LiveStream]:
        """Open the answer as a stream at its commit point; leaving closes it."""
        self.note.stream = True
        live = cast("LiveStream", await self._run(stream=True))
        self.note.deployment = live.deployment
        try:
            yield live
        finally:
            await live.aclose()
            self._took(live.so_far().usage)
            if live.tokens is not None and live.tokens.cost_usd is None:
                self.note.cost_pico = None

    async def next_of(self, live: LiveStream) -> list[TokenChunk] | None:
        """Return the next chunks of a stream, None at its end; a caller who leaves ends it, or lets it drain."""
        if not live.drains:
            return await live.next_chunks()
        reading = asyncio.ensure_future(live.next_chunks())
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            live.drain_after(reading)
            raise

    def headers(self, answer: Tokens | Embeddings) -> dict[str, str]:
        """Return what tells what happened to a whole answer."""
        told = {"x-spillway-deployment": answer.deployment, "x-spillway-attempts": str(answer.attempts)}
        if answer.cost_usd is not None:
            told["x-spillway-cost-usd"] = f"{pico_to_usd(self._gate.spent_pico):.12f}".rstrip("0").rstrip(".")
        return told

    async def _run(self, *, stream: bool) -> object:
        note = self.note
        note.errand = errand = await self._cluster.errand(
            self.model, self.request, stream=stream, tenant=self._caller.name, gate=self._gate
        )
        note.errand_id = self.request.idempotency_id
        try:
            return await errand.run()
        finally:
            # Attempts may have cost something although nobody was answered.
            note.cost_pico = self._gate.spent_pico

    def _took(self, usage: Usage | None) -> None:
        self.note.usage = usage
        self.note.cost_pico = self._gate.spent_pico


def admitted(
    gateway: Gateway,
    caller: Caller,
    exchange: Exchange,
    note: Note,
    model: str | None,
    request: GenerateRequest,
) -> Visit:
    """Let a request in: model, wishes, the key's limits and cap. It must be entered at once.

    Raises:
        InferenceError: it is refused.
    """
    if not isinstance(model, str) or not model:
        raise BadRequest("model is missing", param="model")
    if len(model) > 512:
        raise ModelNotFound("no deployment or group has so long a name")
    caller.check_model(model)
    wishes = read_wishes(exchange.headers)
    try:
        priority = caller.priority(wishes.priority)
    except ValueError as error:
        raise BadRequest(f"x-spillway-priority: {error}", param="x-spillway-priority") from None
    wanted = (priority, wishes.timeout_s, wishes.fallback, wishes.max_cost_usd)
    if wanted != (request.priority, request.timeout_s, request.fallback, request.max_cost_usd):
        request = msgspec.structs.replace(
            request,
            priority=priority,
            timeout_s=wishes.timeout_s,
            fallback=wishes.fallback,
            max_cost_usd=wishes.max_cost_usd,
        )
    answers = request.inputs is None and not request.counts
    permit = caller.admit(understood(input_bound, request), request.max_tokens if answers else 0)
    return Visit(gateway, caller, exchange, note, model, request, permit)
