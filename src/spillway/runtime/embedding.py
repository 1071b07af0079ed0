"""Inputs to embed, cut into requests that a provider takes, and their answers put together again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from spillway.core.clock import new_id
from spillway.core.errors import InferenceError
from spillway.core.reply import Embeddings, Usage
from spillway.remote.cost import input_bound
from spillway.runtime.calling import call_of
from spillway.runtime.errand import Errand

if TYPE_CHECKING:
    from spillway.core.request import GenerateRequest
    from spillway.remote.engine import SpendGate
    from spillway.runtime.routing import RouteTarget

Inputs = Sequence[str | Sequence[int]]

MOST_INPUTS = 2_048
"""Inputs that a provider takes at once unless its runner says otherwise (`most_inputs`)."""

MOST_BYTES = 300_000
"""UTF-8 bytes, an upper bound of tokens, that one request carries: OpenAI's limit for all its inputs together."""


class EmbeddingErrand:
    """A request for vectors on its way through the engines, as one request for each batch that a provider takes.

    Made by `Cluster.errand`; `run` is awaited once. What may be asked of an `Errand` may be asked of it: sums over its
    batches, and of the times the longest.

    Raises:
        BadRequest: a keyword of the request is wrong.
    """

    __slots__ = ("_errands", "input_bound")

    def __init__(
        self,
        request: GenerateRequest,
        route: Sequence[RouteTarget],
        tenant: str,
        gate: SpendGate | None = None,
        *,
        refuses_late: bool = False,
    ) -> None:
        runners = [runner for target in route for engine in target.members for runner in engine.runners]
        most = min(getattr(runner, "most_inputs", MOST_INPUTS) for runner in runners)
        runs = list(batches(request.inputs or (), most))
        parts = [request] if len(runs) == 1 else list(_parts(request, runs))
        self._errands: list[Errand] = []
        for part in parts:
            call = call_of(part, route, tenant)
            call.gate = gate
            call.refuses_late = refuses_late
            self._errands.append(Errand(call, route))
        self.input_bound = sum(errand.input_bound for errand in self._errands)

    async def run(self) -> Embeddings:
        """Return one vector for each input.

        Raises:
            InferenceError: of the first batch that failed; the others are cancelled.
        """
        errands = self._errands
        if len(errands) == 1:
            return cast("Embeddings", await errands[0].run())
        try:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(errand.run()) for errand in errands]
        except BaseExceptionGroup as group:
            # Not `except*`: what is raised there comes out wrapped in another group.
            failed, others = group.split(InferenceError)
            if failed is None or others is not None:
                raise
            raise _first_of(failed) from None
        return joined([cast("Embeddings", task.result()) for task in asked])

    @property
    def attempts(self) -> int:
        """How many attempts were sent."""
        return sum(errand.attempts for errand in self._errands)

    @property
    def plain(self) -> None:
        """Observers were told of all its attempts."""

    @property
    def retries(self) -> int:
        """Attempts that repeated a failed one."""
        return sum(errand.retries for errand in self._errands)

    @property
    def queued_s(self) -> float:
        """Seconds that the batch which waited longest spent waiting for a slot and a permit."""
        return max(errand.queued_s for errand in self._errands)

    @property
    def upstream_s(self) -> float:
        """Seconds that the batch which took longest spent in attempts that have ended."""
        return max(errand.upstream_s for errand in self._errands)

    @property
    def fell_back(self) -> bool:
        """Whether another deployment was asked than the ones that it was for."""
        return any(errand.fell_back for errand in self._errands)

    def __repr__(self) -> str:
        return f"<EmbeddingErrand batches {len(self._errands)} attempts {self.attempts}>"


def _parts(request: GenerateRequest, runs: Sequence[Inputs]) -> Iterator[GenerateRequest]:
    """Yield one request for each batch, the first under the request's own id; each with its share of the cap."""
    whole = input_bound(request)
    for at, run in enumerate(runs):
        part = msgspec.structs.replace(
            request, inputs=run, idempotency_id=new_id() if at else request.idempotency_id or new_id()
        )
        if request.max_cost_usd is not None:
            share = request.max_cost_usd * input_bound(part) / whole
            part = msgspec.structs.replace(part, max_cost_usd=share)
        yield part


def _first_of(group: BaseExceptionGroup[InferenceError]) -> InferenceError:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def batches(inputs: Inputs, most: int) -> Iterator[Inputs]:
    """Yield runs of `inputs`, each at most `most` long and, but for a single input, within `MOST_BYTES`."""
    start, size = 0, 0
    for at, each in enumerate(inputs):
        length = len(each.encode("utf-8", "surrogatepass")) if isinstance(each, str) else len(each)
        if at > start and (at - start == most or size + length > MOST_BYTES):
            yield inputs[start:at]
            start, size = at, 0
        size += length
    yield inputs[start:]


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Return the answers to consecutive batches as one; a sum of which one part is unknown is unknown."""
    if len(parts) == 1:
        return parts[0]
    costs = [part.cost_usd for part in parts]
    usages = [part.usage for part in parts]
    return Embeddings(
        vectors=tuple(vector for part in parts for vector in part.vectors),
        usage=None if None in usages else Usage(input_tokens=sum(usage.input_tokens for usage in usages if usage)),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        cost_estimated=any(part.cost_estimated for part in parts),
        deployment=parts[0].deployment,
        attempts=sum(part.attempts for part in parts),
        request_id=parts[0].request_id,
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )
