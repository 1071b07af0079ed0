"""`GET /openapi.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.gateway.description import describe

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def openapi(_gateway: Gateway, _caller: Caller, exchange: Exchange, _note: Note) -> None:
    """Describe the routes that there are."""
    from spillway.gateway.doors import BRANCHES, DOORS  # noqa: PLC0415 # the table has this door in it

    await exchange.answer_json(200, describe(DOORS, BRANCHES))
