"""`GET /metrics`: Prometheus's door, for the operator."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from spillway.gateway.refusals import Refusal

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def metrics(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """Answer with every metric, as OpenMetrics where that is asked for.

    Of all gateways that answer as one. They are read between two requests and written out in a thread, one scrape at a
    time: streams go on meanwhile.
    """
    try:
        from spillway.telemetry.prometheus import expose  # noqa: PLC0415 - an extra, which a mounted app may lack
    except ModuleNotFoundError:
        refusal = Refusal(status=501, code="server_error", message="/metrics needs the extra: spillway[gateway]")
        note.refused(refusal)
        await exchange.answer_json(refusal.status, refusal.openai())
        return
    async with gateway.counts.scraping:
        fellows = gateway.console.fellows
        accept, process = exchange.headers.get("accept", ""), None
        if fellows is None:
            readings = gateway.counts.read(gateway)
        else:
            seen = await fellows.look()
            readings, process = seen.readings(), seen.process()
        text, kind = await asyncio.to_thread(partial(expose, readings, accept, process=process))
    await exchange.answer(200, text, {"cache-control": "no-store"}, kind.encode())
