"""`GET /healthz` and `GET /readyz`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def alive(_gateway: Gateway, _caller: None, exchange: Exchange, _note: Note) -> None:
    """Answer that the process runs."""
    await exchange.answer_json(200, {"status": "ok"})


async def ready(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """Answer whether some deployment can serve."""
    if gateway.ready():
        await exchange.answer_json(200, {"status": "ready"})
    else:
        note.outcome = "not_ready"
        await exchange.answer_json(503, {"status": "not ready"}, {"retry-after": "1"})
