"""The gateway as an ASGI app: which door a request goes through, and what becomes of an error on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from spillway.core.clock import loop_clock, new_id
from spillway.core.errors import InferenceError
from spillway.core.secrets import Secret
from spillway.gateway.callers import Caller, Callers
from spillway.gateway.doors.chat import chat
from spillway.gateway.doors.embeddings import embeddings
from spillway.gateway.exchange import CallerGone, Exchange, Receive, Scope, Send, TooLarge
from spillway.gateway.refusals import Refusal, refusal_of
from spillway.runtime.project import GatewayKey

if TYPE_CHECKING:
    from spillway.core.secrets import Secret
    from spillway.runtime.cluster import Cluster

_logger = logging.getLogger("spillway.gateway")
_ANTHROPIC = "/v1/messages"

Door = Callable[["Cluster", Caller, Exchange], Awaitable[None]]

_DOORS: dict[str, Door] = {"/v1/chat/completions": chat, "/v1/embeddings": embeddings}
_NOBODY = GatewayKey(name="open", key=Secret("-"), max_priority="critical")


class Gateway:
    """The ASGI app.

    Args:
        cluster: answers.
        keys: gateway keys and their secrets; none: open to everybody who reaches it.
    """

    def __init__(self, cluster: Cluster, keys: Iterable[tuple[GatewayKey, Secret]] = ()) -> None:
        self.cluster = cluster
        self._keys = tuple(keys)
        self._callers: Callers | None = None
        self._nobody: Caller | None = None
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send, _request_id(scope)))
        else:
            raise TypeError(f"no {scope['type']} here")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.cluster.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.cluster.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)
        except CallerGone:
            return
        except asyncio.CancelledError:
            raise
        except TooLarge:
            await self._refuse(exchange, Refusal(status=413, code="bad_request", message="the body is too large"))
        except InferenceError as error:
            await self._refuse(exchange, refusal_of(error))
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            await self._refuse(exchange, Refusal(status=500, code="server_error", message="the gateway failed"))

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        door = _DOORS.get(path)
        if door is not None:
            if exchange.method != "POST":
                await self._no_method(exchange, "POST")
                return
            await door(self.cluster, self._identify(exchange), exchange)
        elif path == "/healthz":
            await exchange.answer_json(200, {"status": "ok"})
        elif path == "/readyz":
            ready = self._ready()
            await exchange.answer_json(200 if ready else 503, {"status": "ready" if ready else "not ready"})
        elif path == "/v1/models":
            if exchange.method not in {"GET", "HEAD"}:
                await self._no_method(exchange, "GET")
                return
            await self._models(exchange, self._identify(exchange))
        else:
            self._identify(exchange)
            await self._refuse(exchange, Refusal(status=404, code="not_found", message=f"no route {path[:200]!r}"))

    def _ready(self) -> bool:
        cluster = self.cluster
        return not self.draining and any(cluster.deployment(name).healthy() for name in cluster.deployments())

    async def _models(self, exchange: Exchange, caller: Caller) -> None:
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "spillway"}
            for name in self.cluster.names()
            if caller.may_ask(name)
        ]
        await exchange.answer_json(200, {"object": "list", "data": rows})

    def _identify(self, exchange: Exchange) -> Caller:
        if self._callers is None or self._nobody is None:
            clock = loop_clock()
            self._callers, self._nobody = Callers(self._keys, clock), Caller(_NOBODY, clock)
        return self._callers.identify(exchange.headers, exchange.repeated, self._nobody)

    async def _no_method(self, exchange: Exchange, allowed: str) -> None:
        refusal = Refusal(
            status=405,
            code="bad_request",
            message=f"{exchange.method} is not for {exchange.path}",
            headers={"allow": allowed},
        )
        await self._refuse(exchange, refusal)

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        if exchange.begun or exchange.gone:
            return
        body = refusal.anthropic(exchange.request_id) if exchange.path.startswith(_ANTHROPIC) else refusal.openai()
        try:
            await exchange.answer_json(refusal.status, body, refusal.headers)
        except CallerGone:
            return


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if (
            name.lower() == b"x-request-id"
            and 0 < len(value) <= 128
            and value.isascii()
            and value.decode().isprintable()
        ):
            return str(value.decode())
    return f"req_{new_id()}"
