"""A demonstration's own route: breaks a simulated provider, and mends it. A gateway that is none does not have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from spillway.core.errors import BadRequest
from spillway.gateway.admin.bodies import read
from spillway.gateway.admin.doors import keeps_out
from spillway.gateway.doors.door import Door
from spillway.runtime.config_errors import near, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

PATH = "/admin/demo"


class DemoAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Break a provider, or mend it."""

    provider: str
    action: Literal["break", "mend"] = "break"


class Demonstration:
    """Simulated providers that an operator may break.

    Args:
        providers: their names.
        have_broken: makes exactly these fail from now on.
    """

    def __init__(self, providers: Collection[str], have_broken: Callable[[Collection[str]], None]) -> None:
        self._providers = tuple(providers)
        self._have_broken = have_broken
        self._broken: set[str] = set()

    def join(self, gateway: Gateway) -> None:
        """Give a gateway the route `POST /admin/demo`, and its dashboard the buttons."""
        gateway.doors[PATH] = Door("admin", self._serve, access="operator")
        self._show(gateway)

    async def _serve(self, gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
        if await keeps_out(exchange, note):
            return
        ask = await read(exchange, DemoAsk)
        name = ask.provider
        if name not in self._providers:
            hint = near(name, self._providers) or f"known: {', '.join(self._providers)}"
            raise BadRequest(f"no provider {quoted(name)} ({hint})", param="provider")
        if ask.action == "break":
            self._broken.add(name)
        else:
            self._broken.discard(name)
        self._have_broken(self._broken)
        did = f"provider {name} {'broken: it answers 503' if ask.action == 'break' else 'mended'}"
        self._show(gateway)
        gateway.console.journal.did(exchange.peer or "unknown", "", did)
        gateway.console.changed()
        await exchange.answer_json(200, {"did": did})

    def _show(self, gateway: Gateway) -> None:
        gateway.demo = {"providers": {name: name in self._broken for name in self._providers}}

    def __repr__(self) -> str:
        return f"<Demonstration broken: {', '.join(sorted(self._broken)) or 'none'}>"
