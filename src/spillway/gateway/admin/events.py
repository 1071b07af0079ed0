"""`GET /admin/events`: the state once a second and each request as it ends, as server-sent events.

hello      once: the version, the last 15 minutes, the last requests, the journal
state      each second and after each entry: deployments, keys, the gateway; the newest buckets of the 15 minutes
requests   those that ended since, at most four times a second, at most as many as are kept
journal    what operators and circuits did since
bye        the gateway is about to stop
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

import spillway
from spillway.gateway.admin.doors import keeps_out, refuse
from spillway.gateway.admin.news import AloneNews, NewsTogether
from spillway.gateway.refusals import Refusal

if TYPE_CHECKING:
    from spillway.gateway.admin.console import Console
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

MOST_READERS = 32
TICK_S = 0.25
STATE_EVERY_S = 1.0
RETRY_AFTER_S = 5

_encode = msgspec.json.Encoder().encode


async def events(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """Stream the state until the reader leaves, falls behind, or the gateway stops.

    Nothing is queued for a reader: it is sent what is new when it has taken what was sent, so that one who falls behind
    misses requests and costs no memory. One who takes nothing for as long as an answer may wait is cut.
    """
    if await keeps_out(exchange, note):
        return
    console = gateway.console
    if console.readers >= MOST_READERS:
        message = f"{console.readers} readers are looking already"
        headers = {"retry-after": str(RETRY_AFTER_S)}
        await refuse(exchange, note, Refusal(status=503, code="too_many_readers", message=message, headers=headers))
        return
    await exchange.body()
    console.readers += 1
    leaving = asyncio.ensure_future(exchange.left())
    try:
        console.follow()
        await exchange.begin_events({})
        await _tell(gateway, console, exchange, leaving)
    finally:
        console.readers -= 1
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _tell(gateway: Gateway, console: Console, exchange: Exchange, leaving: asyncio.Future[None]) -> None:
    news = AloneNews(console) if console.fellows is None else NewsTogether(console, console.fellows)
    await exchange.write(_event("hello", {"version": spillway.__version__, **await news.hello()}))
    state_at = console.now()
    while not leaving.done():
        now = console.now()
        await news.look()
        frames = b""
        told = news.entries()
        if told or now >= state_at:
            frames += _event("state", {**news.state(), "history": news.newest()})
            state_at = now + STATE_EVERY_S
        requests = news.requests()
        if requests is not None:
            frames += _event("requests", requests)
        if told:
            frames += _event("journal", told)
        if frames:
            await exchange.write(frames)
        if gateway.draining:
            await exchange.write(_event("bye", {"reason": "the gateway is about to stop"}))
            await exchange.end()
            return
        await asyncio.wait({leaving}, timeout=TICK_S)


def _event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"
