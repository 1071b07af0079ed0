"""The simulator as a server: one loopback port that speaks every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from aiohttp import web

from spillway.sim import control
from spillway.sim.clock import Clock, WallClock, wall_now
from spillway.sim.config import SimConfig
from spillway.sim.exchange import Exchange
from spillway.sim.google_tokens import TokenDesk
from spillway.sim.scenario import Scenario
from spillway.sim.wire.dialect import Dialect

BACKLOG = 4096
GRACE_S = 0.1


class Simulator:
    """A provider simulator; an async context manager that listens while it is open.

    Args:
        config: Its settings.
        clock: Monotonic seconds for limits, phases and the log; the loop's unless given.
        wall: Wall time for the headers that quote it.
        dialects: A third party's `Dialect` for each path at which one is spoken, before the built-in ones.
    """

    def __init__(
        self,
        config: SimConfig | None = None,
        *,
        clock: Clock | None = None,
        wall: WallClock = wall_now,
        dialects: Mapping[str, Dialect] = MappingProxyType({}),
    ) -> None:
        self.config = config or SimConfig()
        self._clock = clock
        self._wall = wall
        self._dialects = dict(dialects)
        self._closing = asyncio.Event()
        self._exchange: Exchange | None = None
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._host = ""
        self._port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on `host` and `port`; 0 picks a free one.

        Raises:
            RuntimeError: It was started before.
            OSError: The port is taken.
        """
        if self._exchange is not None:
            raise RuntimeError("a simulator starts once")
        loop = asyncio.get_running_loop()
        self._exchange = Exchange(
            self.config,
            clock=self._clock or loop.time,
            wall=self._wall,
            closing=self._closing,
            dialects=self._dialects,
        )
        self._web = web.Server(self._handle, request_factory=self._request, handler_cancellation=True, access_log=None)
        self._listener = await loop.create_server(self._web, host, port, backlog=BACKLOG, reuse_address=True)
        self._host = host
        self._port = int(self._listener.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        """Stop listening, end every stall, drop every connection. Idempotent."""
        self._closing.set()
        listener, self._listener = self._listener, None
        server, self._web = self._web, None
        if listener is not None:
            listener.close()
        if server is not None:
            server.pre_shutdown()
            await server.shutdown(GRACE_S)
        if listener is not None:
            await listener.wait_closed()

    async def __aenter__(self) -> Self:
        if self._exchange is None:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._closing.is_set() else f"on {self.url}" if self._listener else "not started"
        return f"<Simulator {state}>"

    @property
    def port(self) -> int:
        """The port it listens on, 0 before `start`."""
        return self._port

    @property
    def url(self) -> str:
        """Its root, without a slash at the end; a dialect's own prefix comes after it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def stats(self, *, prompts: bool = False, log: bool = False) -> dict[str, Any]:
        """Return what GET /sim/stats answers."""
        return self._open().stats.snapshot(prompts=prompts, log=log)

    def reset(self) -> None:
        """Clear statistics and limits and start the scenario's time again."""
        self._open().reset()

    def set_valid_keys(self, keys: frozenset[str] | None) -> None:
        """Accept only `keys` from now on, None for any that is not empty."""
        self._open().valid_keys = keys

    @property
    def tokens(self) -> TokenDesk:
        """Google's token endpoints: what they handed out, and ways to let them fail."""
        return self._open().tokens

    def set_scenario(self, scenario: Scenario | Mapping[str, Any]) -> None:
        """Inject the faults of `scenario` from now on; its time goes on from the start or the last reset."""
        self._open().scenario = scenario if isinstance(scenario, Scenario) else Scenario.from_table(dict(scenario))

    def _open(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("the simulator is not started")
        return self._exchange

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = self._open()
        if request.path.startswith("/sim/"):
            return await control.handle(exchange, request)
        return await exchange.handle(request)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self.config.max_body_bytes,
        )
