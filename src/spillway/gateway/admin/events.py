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
    seen, noted = console.recent.count, console.journal.count
    await exchange.write(_event("hello", _hello(console)))
    state_at = console.now()
    while not leaving.done():
        now = console.now()
        frames = b""
        told = console.journal.since(noted) if console.journal.count > noted else []
        if told or now >= state_at:
            newest = console.history.values(now, console.epoch, buckets=2)
            frames += _event("state", {**console.state(), "history": newest})
            state_at = now + STATE_EVERY_S
        if console.recent.count > seen:
            count = console.recent.count
            rows = console.recent.since(seen, console.epoch)
            frames += _event("requests", {"missed": count - seen - len(rows), "requests": rows})
            seen = count
        if told:
            frames += _event("journal", told)
            noted = console.journal.count
        if frames:
            await exchange.write(frames)
        if gateway.draining:
            await exchange.write(_event("bye", {"reason": "the gateway is about to stop"}))
            await exchange.end()
            return
        await asyncio.wait({leaving}, timeout=TICK_S)


def _hello(console: Console) -> dict[str, Any]:
    now, epoch = console.now(), console.epoch
    return {
        "version": spillway.__version__,
        "history": console.history.values(now, epoch),
        "requests": console.recent.since(0, epoch),
        "journal": console.journal.since(0),
    }


def _event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"
