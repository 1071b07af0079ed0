"""The simulator's own routes, under /sim: statistics, reset, keys, scenario."""

from __future__ import annotations

import msgspec
from aiohttp import web

from spillway.sim.exchange import Exchange
from spillway.sim.scenario import Scenario, ScenarioError
from spillway.sim.wire.dialect import JSON


class KeysBody(msgspec.Struct, forbid_unknown_fields=True):
    """The keys that are valid from now on, null for any."""

    valid: list[str] | None


async def handle(exchange: Exchange, request: web.BaseRequest) -> web.Response:
    """Answer a request under /sim."""
    route = f"{request.method} {request.path}"
    if route == "GET /sim/stats":
        query = request.query
        return _json(exchange.stats.snapshot(prompts=query.get("prompts") == "1", log=query.get("log") == "1"))
    if route == "POST /sim/reset":
        exchange.reset()
        return _json({"ok": True})
    if route == "POST /sim/keys":
        return await _keys(exchange, request)
    if route == "POST /sim/scenario":
        return await _scenario(exchange, request)
    return _json({"error": f"no such route: {route}"}, status=404)


async def _keys(exchange: Exchange, request: web.BaseRequest) -> web.Response:
    try:
        body = msgspec.json.decode(await request.read(), type=KeysBody)
    except msgspec.DecodeError as error:
        return _json({"error": str(error)}, status=400)
    exchange.valid_keys = None if body.valid is None else frozenset(body.valid)
    return _json({"ok": True})


async def _scenario(exchange: Exchange, request: web.BaseRequest) -> web.Response:
    try:
        body = msgspec.json.decode(await request.read(), type=dict)
        exchange.scenario = Scenario.from_table(body)
    except (msgspec.DecodeError, ScenarioError) as error:
        return _json({"error": str(error)}, status=400)
    return _json({"ok": True})


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), headers={"Content-Type": JSON})
