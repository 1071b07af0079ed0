"""Inputs to embed, cut into requests that a provider takes, and their answers put together again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from spillway.core.clock import new_id
from spillway.core.errors import InferenceError
from spillway.core.reply import Embeddings, Usage
from spillway.remote.worker import answer
from spillway.runtime.calling import call_of

if TYPE_CHECKING:
    from spillway.core.request import GenerateRequest
    from spillway.runtime.routing import RouteTarget

Inputs = Sequence[str | Sequence[int]]

MOST_INPUTS = 2_048
"""Inputs that a provider takes at once unless its runner says otherwise (`most_inputs`)."""

MOST_BYTES = 300_000
"""UTF-8 bytes, an upper bound of tokens, that one request carries: OpenAI's limit for all its inputs together."""


async def embed(request: GenerateRequest, route: Sequence[RouteTarget], tenant: str) -> Embeddings:
    """Return one vector for each input of `request`, which may take several requests.

    Raises:
        InferenceError: of the first batch that failed; the others are cancelled.
    """

    async def ask(inputs: Inputs) -> Embeddings:
        part = msgspec.structs.replace(request, inputs=inputs, idempotency_id=new_id())
        return cast("Embeddings", await answer(call_of(part, route, tenant), route))

    runners = [runner for target in route for engine in target.members for runner in engine.runners]
    most = min(getattr(runner, "most_inputs", MOST_INPUTS) for runner in runners)
    runs = list(batches(request.inputs or (), most))
    if len(runs) == 1:
        return await ask(runs[0])
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(run)) for run in runs]
    except* InferenceError as failed:
        raise _first_of(failed) from None
    return joined([task.result() for task in asked])


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
