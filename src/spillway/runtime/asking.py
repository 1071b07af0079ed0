"""What a Cluster is asked: whole answers, streams, many at once, vectors, counts."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from spillway.core.clock import new_id
from spillway.core.errors import InferenceError
from spillway.core.priority import Priority
from spillway.core.request import GenerateRequest, Prompt, as_inputs, as_messages
from spillway.remote.engine import Call, SpendGate
from spillway.remote.worker import LiveStream, answer
from spillway.runtime.calling import call_of
from spillway.runtime.embedding import EmbeddingErrand
from spillway.runtime.errand import Errand
from spillway.runtime.mapping import Mapper
from spillway.runtime.routing import RouteTarget
from spillway.runtime.stream import TokenStream

if TYPE_CHECKING:
    from spillway.core.reply import Embeddings, Tokens
    from spillway.remote.engine.whole import Answer
    from spillway.runtime.engine_room import EngineRoom

Item = TypeVar("Item")


class Asking:
    """The asking half of a Cluster.

    Args:
        room: holds the engines, and starts them on first use.
    """

    def __init__(self, room: EngineRoom) -> None:
        self._room = room

    async def generate(
        self,
        name: str,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        reasoning_effort: str | None = None,
        extra: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        max_cost_usd: float | None = None,
        fallback: bool = True,
        tenant: str = "",
    ) -> Tokens:
        """Return the whole answer of deployment or group `name` to `prompt`.

        Args:
            prompt: a user's text, or OpenAI-shaped messages.
            extra: fields of the provider, passed on as they are.
            timeout_s: the deadline for everything: waits, attempts, fallbacks.
            max_cost_usd: refuse when the estimate is above it.
            fallback: whether other deployments may be asked.
            tenant: requests of one class share fairly between tenants.

        Raises:
            InferenceError: see the error tree; nothing was lost or answered twice.

        Cancellation: cancels the request at the provider too.
        """
        request = GenerateRequest(
            messages=as_messages(prompt),
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
            seed=seed,
            tools=tools,
            tool_choice=tool_choice,
            response_format=response_format,
            reasoning_effort=reasoning_effort,
            extra=extra,
            extra_headers=extra_headers,
            priority=priority,
            timeout_s=timeout_s,
            max_cost_usd=max_cost_usd,
            fallback=fallback,
            idempotency_id=new_id(),
        )
        if not self._room.started:
            await self._room.start()
        route = self._room.routes().route(name)
        call = call_of(request, route, tenant)
        return cast("Tokens", await answer(call, route))

    async def submit(
        self,
        name: str,
        request: GenerateRequest,
        *,
        priority: Priority | None = None,
        timeout_s: float | None = None,
        max_cost_usd: float | None = None,
        fallback: bool | None = None,
        shift_early: bool = True,
        tenant: str = "",
        gate: SpendGate | None = None,
        stream: bool = False,
    ) -> Answer:
        """Return the whole answer to a request that is already built.

        The keywords of `generate` that it takes as well stand in for the request's own where they are not None.

        Args:
            shift_early: whether a long predicted wait goes to a fallback at once.
            gate: the caller's own cap on spending.
            stream: ask the provider for a stream and put it together.
        """
        if not self._room.started:
            await self._room.start()
        route = self._room.routes().route(name)
        anew = {"priority": priority, "timeout_s": timeout_s, "max_cost_usd": max_cost_usd, "fallback": fallback}
        request = msgspec.structs.replace(request, **{k: v for k, v in anew.items() if v is not None})
        call = call_of(request, route, tenant, stream=stream)
        call.may_shift_early = shift_early
        call.gate = gate
        result = await answer(call, route)
        if isinstance(result, LiveStream):
            while await result.next_chunks() is not None:
                pass
            result = result.whole()
        return result

    async def errand(
        self,
        name: str,
        request: GenerateRequest,
        *,
        stream: bool,
        tenant: str = "",
        gate: SpendGate | None = None,
    ) -> Errand | EmbeddingErrand:
        """Return a request that is already built as an errand to be run, and to be looked at while and after it runs.

        One for vectors goes out as several requests where the provider takes no more at once.
        It is refused at once where it would wait beyond its deadline.

        Raises:
            ModelNotFound: there is no deployment or group `name`.
            BadRequest: a keyword of the request is wrong.
        """
        if not self._room.started:
            await self._room.start()
        route = self._room.routes().route(name)
        if request.inputs is not None:
            return EmbeddingErrand(request, route, tenant, gate, refuses_late=True)
        call = call_of(request, route, tenant, stream=stream)
        call.gate = gate
        call.refuses_late = True
        return Errand(call, route)

    async def embed(
        self,
        name: str,
        inputs: str | Sequence[str] | Sequence[Sequence[int]],
        *,
        dimensions: int | None = None,
        extra: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        max_cost_usd: float | None = None,
        fallback: bool = True,
        tenant: str = "",
    ) -> Embeddings:
        """Return one vector for each input, in order; the other keywords are those of `generate`.

        More inputs than the provider takes at once go out as several requests, at the same time.

        Args:
            inputs: a text, texts, or lists of token numbers; none of them empty.
            dimensions: how long the vectors are to be.
            max_cost_usd: refuse when the estimate of all inputs is above it.

        Raises:
            InferenceError: as in `generate`; of several batches the first that failed, the others are cancelled.
        """
        if not self._room.started:
            await self._room.start()
        route = self._room.routes().route(name)
        request = GenerateRequest(
            inputs=as_inputs(inputs),
            dimensions=dimensions,
            extra=extra,
            extra_headers=extra_headers,
            priority=priority,
            timeout_s=timeout_s,
            max_cost_usd=max_cost_usd,
            fallback=fallback,
            idempotency_id=new_id(),
        )
        return await EmbeddingErrand(request, route, tenant).run()

    async def count_tokens(
        self,
        name: str,
        prompt: Prompt,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Return how many input tokens the provider counts in `prompt`; nothing is generated or billed.

        Raises:
            BadRequest: the provider counts no tokens.
            InferenceError: as in `generate`.
        """
        request = GenerateRequest(
            messages=as_messages(prompt),
            tools=tools,
            extra=extra,
            extra_headers=extra_headers,
            timeout_s=timeout_s,
            counts=True,
            fallback=False,
            idempotency_id=new_id(),
        )
        counted = await self.submit(name, request)
        return counted.usage.input_tokens if counted.usage is not None else 0

    def stream(
        self,
        name: str,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        reasoning_effort: str | None = None,
        extra: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        max_cost_usd: float | None = None,
        fallback: bool = True,
        tenant: str = "",
    ) -> TokenStream:
        """Return the answer as a stream of `TokenChunk`; the keywords are those of `generate`.

        Raises:
            BadRequest: the prompt is neither text nor messages.
        """
        request = GenerateRequest(
            messages=as_messages(prompt),
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
            seed=seed,
            tools=tools,
            tool_choice=tool_choice,
            response_format=response_format,
            reasoning_effort=reasoning_effort,
            extra=extra,
            extra_headers=extra_headers,
            priority=priority,
            timeout_s=timeout_s,
            max_cost_usd=max_cost_usd,
            fallback=fallback,
            idempotency_id=new_id(),
        )

        async def begin() -> tuple[Call, tuple[RouteTarget, ...]]:
            if not self._room.started:
                await self._room.start()
            route = self._room.routes().route(name)
            return call_of(request, route, tenant, stream=True), route

        return TokenStream(begin)

    async def map(
        self, name: str, items: Iterable[Item] | AsyncIterable[Item], **options: Any
    ) -> AsyncIterator[tuple[Item, Tokens | InferenceError]]:
        """Yield `(item, answer or error)` for each item, in order of completion.

        Args:
            items: prompts, each a text or messages; read at most `max_concurrent + queue_capacity` ahead.
            options: keywords of `generate`.

        Cancellation: leaving the iteration early cancels what is in flight.
        """
        if not self._room.started:
            await self._room.start()
        members = self._room.routes().route(name)[0].members
        concurrency = sum(m.deployment.serving.max_concurrent * m.deployment.replicas for m in members)
        capacity = sum(m.deployment.serving.queue_capacity for m in members)

        async def ask(item: Any) -> Tokens:
            return await self.generate(name, item, **options)

        async for pair in Mapper(ask, concurrency=concurrency, ahead=concurrency + capacity).run(items):
            yield pair
