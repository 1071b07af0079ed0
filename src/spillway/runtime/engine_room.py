"""The life of a Cluster's engines: built on one loop at the first use, priced, run under actors, ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spillway.core.actor import ActorRef, ActorSystem
from spillway.core.errors import Backpressure
from spillway.remote.engine import Call, EngineMsg, Observer, RemoteEngineCoreActor
from spillway.remote.worker import RemoteWorkerActor, answer
from spillway.runtime.assembly import Assembly
from spillway.runtime.pricing import price_engines
from spillway.runtime.routing import Router, RouteTarget

if TYPE_CHECKING:
    from pathlib import Path

    from spillway.core.options import Deployment
    from spillway.core.ports import RunnerFactory
    from spillway.stores.sqlite import SqliteState


class EngineRoom:
    """Everything of a Cluster that lives on an event loop.

    Attributes:
        started: whether requests may come.
        closed: whether it has ended, or never will begin.
        router: the routes over its engines; None before the first use.
        state: what outlives it; None before the first use, and where nothing does.

    Invariants: it belongs to the loop that ran when it was first used, and to no other.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        runners: Mapping[str, RunnerFactory],
        environ: Mapping[str, str],
        *,
        observers: Sequence[Observer],
        drain_s: float,
        state: Path | None = None,
    ) -> None:
        self._state_path = state
        self.state: SqliteState | None = None
        self._assembly = Assembly(deployments, runners, environ)
        self._observers = list(observers)
        self._drain_s = drain_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._system: ActorSystem | None = None
        self._actors: dict[str, list[ActorRef[EngineMsg]]] = {}
        self._starting: asyncio.Task[None] | None = None
        self.router: Router | None = None
        self.started = False
        self.closed = False

    def assemble(self) -> Router:
        """Return the routes; the engines are built if this is the first use.

        Raises:
            ConfigError: a secret is missing, a runtime is unknown, or the state file can't be used.
        """
        if self.router is None:
            self._loop = asyncio.get_running_loop()
            engines = self._assembly.build(self._loop, self.open_state())
            for engine in engines:
                engine.observers.extend(self._observers)
            self.router = Router(engines)
        return self.router

    def open_state(self) -> SqliteState | None:
        """Return what outlives it; the file is opened if this is the first use, and written once it has started.

        Raises:
            ConfigError: the state file can't be used.
        """
        if self._state_path is not None and self.state is None and not self.closed:
            from spillway.stores.sqlite import SqliteState  # noqa: PLC0415 - SQLite only where it is used

            self.state = SqliteState(self._state_path)
        return self.state

    async def start(self) -> None:
        """Build the engines, look prices up and start the actors, once for all who ask.

        Raises:
            Backpressure: it is closed.
            ConfigError: see `assemble`; or a cap has no price to count with.
        """
        if self.closed:
            raise refused()
        self.assemble()
        if self.started:
            return
        if self._starting is None:
            self._starting = asyncio.create_task(self._bring_up())
        await asyncio.shield(self._starting)

    def routes(self) -> Router:
        """Return the routes for a request on the running loop.

        Raises:
            Backpressure: it is closed.
            RuntimeError: it runs on another loop.
        """
        if self.closed:
            raise refused()
        router = self.router
        if router is None or asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this Cluster runs on another event loop; make one Cluster for each loop")
        return router

    async def actors(self, name: str) -> list[ActorRef[EngineMsg]]:
        """Return the actors of a deployment's engines."""
        await self.start()
        return self._actors[name]

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell `observer` of every attempt and every request from now on; returns how to stop that."""
        engines = [] if self.router is None else self.router.every()
        told = [self._observers, *(engine.observers for engine in engines)]
        for observers in told:
            observers.append(observer)

        def stop() -> None:
            for observers in told:
                if observer in observers:
                    observers.remove(observer)

        return stop

    async def aclose(self) -> None:
        """Refuse what waits, let what runs finish for `drain_s` seconds, close the connections; may be called twice."""
        if self.closed:
            return
        self.closed = True
        if self._starting is not None:
            await asyncio.wait({self._starting})
        if self.router is not None:
            await asyncio.gather(*(e.aclose(self._drain_s) for e in self.router.every()))
        if self._system is not None:
            await self._system.aclose()
        if self.state is not None:
            await self.state.aclose()

    @property
    def limiters(self) -> Mapping[str, Any]:
        """The limiters' actors by deployment or limit group."""
        return self._assembly.limiters

    async def _bring_up(self) -> None:
        router = self.assemble()
        await price_engines(router.every())
        if self.state is not None:
            self.state.start()
        system = ActorSystem()
        system.start()
        for name, entries in router.entries.items():
            answerer = _answerer(router.route(name))
            for key, engine in enumerate(entries):
                actor = RemoteEngineCoreActor(engine, answer=answerer, workers=RemoteWorkerActor)
                label = name.replace("/", "-") + (f"#{key + 1}" if key else "")
                self._actors.setdefault(name, []).append(system.spawn(actor, label))
        self._system = system
        self.started = True


def refused() -> Backpressure:
    """Return what a closed Cluster answers."""
    return Backpressure("the Cluster is closed", reason="closed")


def _answerer(route: tuple[RouteTarget, ...]) -> Any:
    async def whole(call: Call) -> Any:
        return await answer(call, route)

    return whole
