"""One caller's request on its way through the gateway: who asks, what, how much of the key's limits it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from spillway.core.errors import BadRequest, ModelNotFound
from spillway.gateway.asked import read_wishes
from spillway.gateway.callers import KeyGate, of_key, settle
from spillway.gateway.exchange import CallerGone
from spillway.remote.cost import input_bound, pico_to_usd

if TYPE_CHECKING:
    from spillway.core.reply import Embeddings, Tokens, Usage
    from spillway.core.request import GenerateRequest
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.remote.engine import LiveStream
    from spillway.runtime.cluster import Cluster

T = TypeVar("T")


class Visit:
    """A request that was let in.

    Attributes:
        model: the deployment or group that is asked.
        request: with the wishes of its headers.
    """

    def __init__(
        self, cluster: Cluster, caller: Caller, exchange: Exchange, model: str, request: GenerateRequest
    ) -> None:
        self.model = model
        self.request = request
        self._cluster = cluster
        self._caller = caller
        self._exchange = exchange
        self._gate = KeyGate(caller.ledger)
        self._usage: Usage | None = None
        self._asked = False

    async def whole(self) -> Tokens | Embeddings:
        """Return the whole answer; a caller who leaves cancels it.

        Raises:
            InferenceError: nobody could answer.
            CallerGone: the caller has left.
        """
        self._asked = True
        work = self._cluster.submit(self.model, self.request, tenant=self._caller.name, gate=self._gate)
        answer = await self._unless_gone(work)
        self._usage = answer.usage
        return answer

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[LiveStream]:
        """Open the answer as a stream at its commit point; leaving closes it."""
        self._asked = True
        work = self._cluster.open(self.model, self.request, tenant=self._caller.name, gate=self._gate)
        live = await self._unless_gone(work)
        try:
            yield live
        finally:
            self._usage = live.so_far().usage
            await live.aclose()

    async def next_of(self, live: LiveStream) -> list | None:
        """Return the next chunks of a stream, None at its end; a caller who leaves ends it."""
        return await self._unless_gone(live.next_chunks())

    def headers(self, answer: Tokens | Embeddings) -> dict[str, str]:
        """Return what tells what happened to a whole answer."""
        told = {"x-spillway-deployment": answer.deployment, "x-spillway-attempts": str(answer.attempts)}
        if answer.cost_usd is not None:
            told["x-spillway-cost-usd"] = f"{pico_to_usd(self._gate.spent_pico):.12f}".rstrip("0").rstrip(".")
        return told

    async def _unless_gone(self, work: Awaitable[T]) -> T:
        """Return what `work` comes to, unless the caller leaves first: then it is cancelled."""
        doing = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._exchange.left())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise CallerGone
            return doing.result()
        finally:
            for task in (doing, leaving):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await task


@asynccontextmanager
async def admitted(
    cluster: Cluster, caller: Caller, exchange: Exchange, model: str | None, request: GenerateRequest
) -> AsyncIterator[Visit]:
    """Let a request in: model, wishes, the key's limits and cap; and settle what it came to.

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
    request = msgspec.structs.replace(
        request,
        priority=priority,
        timeout_s=wishes.timeout_s,
        fallback=wishes.fallback,
        max_cost_usd=wishes.max_cost_usd,
    )
    permit = caller.admit(input_bound(request) + (request.max_tokens or 0))
    visit = Visit(cluster, caller, exchange, model, request)
    try:
        yield visit
    except Exception as error:
        raise of_key(error) from error.__cause__  # type: ignore[arg-type] # what is not ours passes as it is
    finally:
        settle(permit, visit._usage, sent=visit._asked)  # noqa: SLF001 # its own module
