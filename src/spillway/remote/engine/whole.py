"""The end of an attempt that gave a whole answer, and that answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.reply import Embeddings, Tokens
from spillway.remote.cost import pico_to_usd
from spillway.remote.engine.ending import let_go
from spillway.remote.engine.settle import settle_success

if TYPE_CHECKING:
    from spillway.core.building import TokensBuilder
    from spillway.core.ports import RunHandle
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine
    from spillway.remote.engine.grant import Grant

Answer = Tokens | Embeddings
"""What a request that is not streamed ends in."""


def conclude(
    engine: Engine,
    call: Call,
    grant: Grant,
    handle: RunHandle,
    built: TokensBuilder,
    started: float,
    first_content_at: float,
) -> Answer:
    """Settle the attempt, let its handle go and return the answer."""
    cost, estimated = settle_success(engine, call, grant, built, started, first_content_at)
    let_go(engine, handle)
    cost_usd = None if cost is None else pico_to_usd(cost)
    request_id = getattr(handle, "request_id", "") or call.request.idempotency_id
    if call.request.inputs is not None:
        return Embeddings(
            vectors=getattr(handle, "vectors", None) or (),
            usage=built.usage,
            cost_usd=cost_usd,
            cost_estimated=estimated,
            deployment=engine.name,
            attempts=call.attempts,
            request_id=request_id,
            warnings=getattr(handle, "warnings", ()),
        )
    return built.build(
        cost_usd=cost_usd,
        cost_estimated=estimated,
        deployment=engine.name,
        attempts=call.attempts,
        request_id=request_id,
        warnings=getattr(handle, "warnings", ()),
        raw=getattr(handle, "raw", b""),
        wire=getattr(handle, "wire", ""),
    )
