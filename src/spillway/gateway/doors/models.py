"""`GET /v1/models`: what the caller's key may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def models(gateway: Gateway, caller: Caller, exchange: Exchange, _note: Note) -> None:
    """List deployments and groups."""
    rows = [
        {"id": name, "object": "model", "created": 0, "owned_by": "spillway"}
        for name in gateway.cluster.names()
        if caller.may_ask(name)
    ]
    await exchange.answer_json(200, {"object": "list", "data": rows})
