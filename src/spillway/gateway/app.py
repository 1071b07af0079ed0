"""The gateway as an ASGI app: which door a request goes through, and what becomes of an error on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spillway.core.clock import LoopInSight, loop_clock
from spillway.core.errors import InferenceError, InvalidApiKey
from spillway.gateway.admin import Console
from spillway.gateway.callers import Caller, Callers
from spillway.gateway.doors import UNSEEN, Door, door_of
from spillway.gateway.exchange import CallerGone, Exchange, Receive, Scope, Send
from spillway.gateway.heads import Hosts, Unfit, is_from_foreign_page
from spillway.gateway.operator import Operator
from spillway.gateway.refusals import Refusal, refusal_of
from spillway.gateway.seeing.counting import RequestCounts
from spillway.gateway.timing import Timing
from spillway.gateway.visit import Note

if TYPE_CHECKING:
    from spillway.core.secrets import Secret
    from spillway.gateway.served import Listener
    from spillway.runtime.cluster import Cluster
    from spillway.runtime.project import GatewayKey

_logger = logging.getLogger("spillway.gateway")
_ANTHROPIC = "/v1/messages"

TOLD_TOGETHER_S = 0.02
"""How long the record of a request waits for others, where many are under way; to tell many at once is cheaper."""

_MANY = 8
_MOST_UNTOLD = 256


class Gateway:
    """The ASGI app.

    Args:
        cluster: answers.
        keys: gateway keys and their secrets; none: open to everybody who reaches it.
        admin_key: opens the operator's doors; None: they are open to loopback only.
        listeners: told of every request after its end.
        name: what metrics and logs call the whole.
        hosts: beside those of loopback, the names that a `Host` header may have; None: any.

    Attributes:
        draining: whether it is about to stop; it is not ready then, and still answers.
        in_flight: requests that have begun and not ended.
        console: the operator's side.
        reloader: reads the project file again; it raises ConfigError for a bad one and then has changed nothing.
        doors: further routes of this gateway alone, by their exact path.
        demo: what the dashboard is told of a demonstration; None: it is none.
        counts: of all that have ended, for `/metrics`.
    """

    def __init__(
        self,
        cluster: Cluster,
        keys: Iterable[tuple[GatewayKey, Secret]] = (),
        *,
        admin_key: Secret | None = None,
        listeners: Sequence[Listener] = (),
        name: str = "spillway",
        hosts: Iterable[str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.hosts = Hosts(hosts)
        self.console = Console(self, UNSEEN)
        self.reloader: Callable[[], Awaitable[Any]] | None = None
        self.doors: dict[str, Door] = {}
        self.demo: dict[str, Any] | None = None
        self.name = name
        self.counts = RequestCounts()
        self.listeners: list[Listener] = [self.counts, self.console, *listeners]
        self.operator = Operator(admin_key)
        self.draining = False
        self.in_flight = 0
        self._keys = tuple(keys)
        self._callers: Callers | None = None
        self._untold: list[Note] = []
        self._loop = LoopInSight()
        self._timing: Timing | None = None

    @property
    def callers(self) -> Callers:
        """Who may ask; made on the loop that serves."""
        if self._callers is None:
            self._callers = Callers(self._keys, loop_clock(), self.cluster.state, self.cluster.sharing)
        return self._callers

    def change_keys(self, keys: Iterable[tuple[GatewayKey, Secret]], admin_key: Secret | None) -> None:
        """Have these keys from now on; who keeps the name keeps windows and spend, what is under way goes on.

        Raises:
            ConfigError: two keys are the same; nothing has changed.
        """
        self._keys = tuple(keys)
        self.callers.replace(self._keys)
        self.operator = Operator(admin_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send, self._timed()))
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise TypeError(f"no {scope['type']} here")

    def _timed(self) -> Timing:
        loop, timing = self._loop(), self._timing
        if timing is None or timing.loop is not loop:
            timing = self._timing = Timing(loop)
        return timing

    def ready(self) -> bool:
        """Return whether some deployment can serve and it is not about to stop."""
        cluster = self.cluster
        return not self.draining and any(cluster.deployment(name).healthy() for name in cluster.deployments())

    async def begin(self) -> None:
        """Start the Cluster, and answer as one with the other gateways that share its store.

        Raises:
            ConfigError: something of the configuration is wrong.
        """
        _ = self.callers  # what is wrong with the keys is said before anybody is served
        await self.cluster.start()
        sharing = self.cluster.sharing
        if sharing is not None and self.console.fellows is None:
            from spillway.gateway.together import Fellows  # noqa: PLC0415 - only where something is shared

            self.console.follow()
            self.console.fellows = Fellows(self, sharing)

    async def aclose(self) -> None:
        """Tell of what has ended, leave the other gateways, and close the Cluster."""
        self.tell_all()
        if self.console.fellows is not None:
            await self.console.fellows.aclose()
        await self.cluster.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.begin()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, exchange: Exchange) -> None:
        self.in_flight += 1
        if exchange.path.startswith(_ANTHROPIC):
            exchange.extra_headers["request-id"] = exchange.request_id
        note = Note(exchange)
        try:
            await self._route(exchange, note)
        except CallerGone:
            note.left()
        except Unfit as unfit:
            exchange.hang_up()
            await self._refuse(exchange, note, Refusal(status=unfit.status, code="bad_request", message=unfit.message))
        except InferenceError as error:
            note.failed(error)
            await self._refuse(exchange, note, refusal_of(error))
        except asyncio.CancelledError:
            note.left()
            raise
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            refusal = Refusal(status=500, code="server_error", message="the gateway failed")
            await self._refuse(exchange, note, refusal)
        finally:
            self.in_flight -= 1
            note.ended()
            self._tell(note)

    async def _route(self, exchange: Exchange, note: Note) -> None:
        exchange.check_head()
        self.hosts.check(exchange.headers)
        path = exchange.path
        door = door_of(path) or self.doors.get(path)
        if door is not None:
            note.door = door.name
            caller = None
            if door.access == "caller":
                caller = self._identify(exchange, note)
            elif door.access == "operator":
                self.operator.check(exchange)
            if exchange.method not in door.methods:
                await self._no_method(exchange, note, ", ".join(door.methods))
                return
            await door.serve(self, caller, exchange, note)
        else:
            self._identify(exchange, note)
            refusal = Refusal(status=404, code="not_found", message=f"no route {path[:200]!r}")
            await self._refuse(exchange, note, refusal)

    def _identify(self, exchange: Exchange, note: Note) -> Caller:
        caller = self.callers.identify(exchange.headers, exchange.repeated)
        if self.callers.open and is_from_foreign_page(exchange.headers):
            raise InvalidApiKey("no key is asked for here, so web pages of other origins are not let in")
        note.caller = caller.name
        return caller

    async def _no_method(self, exchange: Exchange, note: Note, allowed: str) -> None:
        refusal = Refusal(
            status=405,
            code="bad_request",
            message=f"{exchange.method} is not for {exchange.path}",
            headers={"allow": allowed},
        )
        await self._refuse(exchange, note, refusal)

    async def _refuse(self, exchange: Exchange, note: Note, refusal: Refusal) -> None:
        note.refused(refusal)
        if exchange.unread:
            exchange.hang_up()
        if exchange.begun or exchange.gone:
            return
        body = refusal.anthropic(exchange.request_id) if exchange.path.startswith(_ANTHROPIC) else refusal.openai()
        try:
            await exchange.answer_json(refusal.status, body, refusal.headers)
        except CallerGone:
            return

    def _tell(self, note: Note) -> None:
        untold = self._untold
        untold.append(note)
        if self.in_flight < _MANY or len(untold) >= _MOST_UNTOLD:
            self.tell_all()
        elif len(untold) == 1:
            self._loop().call_later(TOLD_TOGETHER_S, self.tell_all)

    def tell_all(self) -> None:
        """Tell the listeners of all requests that have ended, in that order."""
        untold, self._untold = self._untold, []
        for note in untold:
            record = note.served()
            for listener in self.listeners:
                try:
                    listener.on_served(record)
                except Exception:
                    _logger.exception("a listener failed")
