"""`GET /v1/models` and `GET /v1/models/{name}`: what the caller's key may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.errors import ModelNotFound

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

_ROOT = "/v1/models/"


async def models(gateway: Gateway, caller: Caller, exchange: Exchange, _note: Note) -> None:
    """List deployments and groups."""
    rows = [_row(name) for name in gateway.cluster.names() if caller.may_ask(name)]
    await exchange.answer_json(200, {"object": "list", "data": rows})


async def model(gateway: Gateway, caller: Caller, exchange: Exchange, _note: Note) -> None:
    """Tell of one deployment or group; its name may have slashes.

    Raises:
        ModelNotFound: there is none of that name, or not for this key.
    """
    name = exchange.path.removeprefix(_ROOT)
    caller.check_model(name)
    if name not in gateway.cluster.names():
        raise ModelNotFound(f"no deployment or group {name[:200]!r}")
    await exchange.answer_json(200, _row(name))


def _row(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "spillway"}
