"""The life of a Cluster's engines: built on one loop at the first use, priced, run under actors, ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from spillway.core.actor import ActorRef, ActorSystem
from spillway.core.clock import LoopInSight, clock_of, sleep
from spillway.core.errors import Backpressure
from spillway.remote.engine import Call, EngineMsg, Observer, RemoteEngineCoreActor
from spillway.remote.worker import RemoteWorkerActor, answer
from spillway.runtime.assembly import Assembly
from spillway.runtime.pricing import price_engines, prices_of, put_prices
from spillway.runtime.routing import Router
from spillway.runtime.turnover import Reconfigured, Turnover

if TYPE_CHECKING:
    from pathlib import Path

    from spillway.core.options import Deployment
    from spillway.core.ports import RunnerFactory
    from spillway.remote.engine import Engine
    from spillway.stores.shared import Sharing, Store
    from spillway.stores.sqlite import SqliteState


class EngineRoom:
    """Everything of a Cluster that lives on an event loop.

    Attributes:
        started: whether requests may come.
        closed: whether it has ended, or never will begin.
        router: the routes over its engines; None before the first use.
        state: what outlives it; None before the first use, and where nothing does.
        sharing: its part in what processes share; None before the first use, and where nothing is shared.

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
        store: Store | None = None,
    ) -> None:
        self._state_path = state
        self._store = store
        self.sharing: Sharing | None = None
        self.state: SqliteState | None = None
        self._assembly = Assembly(deployments, runners, environ)
        self._observers = list(observers)
        self._drain_s = drain_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._system: ActorSystem | None = None
        self._actors: dict[str, list[ActorRef[EngineMsg]]] = {}
        self._labels: dict[Engine, str] = {}
        self._turning = asyncio.Lock()
        self._turns = 0
        self._leaving: set[Engine] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self.router: Router | None = None
        self.started = False
        self._loop_in_sight = LoopInSight()
        self.closed = False

    def assemble(self) -> Router:
        """Return the routes; the engines are built if this is the first use.

        Raises:
            ConfigError: a secret is missing, a runtime is unknown, or the state file can't be used.
        """
        if self.router is None:
            self._loop = asyncio.get_running_loop()
            engines = self._assembly.build(self._loop, self.open_state(), self.open_sharing())
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

    def open_sharing(self) -> Sharing | None:
        """Return its part in what processes share; it begins with the first use on the running loop."""
        if self._store is not None and self.sharing is None and not self.closed:
            from spillway.stores.shared import Sharing  # noqa: PLC0415 - only where something is shared

            with suppress(RuntimeError):
                self.sharing = Sharing(self._store, clock_of(asyncio.get_running_loop()))
        return self.sharing

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
        if router is None or self._loop_in_sight() is not self._loop:
            raise RuntimeError("this Cluster runs on another event loop; make one Cluster for each loop")
        return router

    async def actors(self, name: str) -> list[ActorRef[EngineMsg]]:
        """Return the actors of a deployment's engines."""
        await self.start()
        return self._actors[name]

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell `observer` of every attempt and every request from now on; returns how to stop that."""
        for observers in self._told():
            observers.append(observer)

        def stop() -> None:
            # Engines that were made since have taken the observers over.
            for observers in self._told():
                if observer in observers:
                    observers.remove(observer)

        return stop

    def _told(self) -> list[list[Observer]]:
        engines = [] if self.router is None else self.router.every()
        return [self._observers, *(engine.observers for engine in engines)]

    async def aclose(self) -> None:
        """Refuse what waits, let what runs finish for `drain_s` seconds, close the connections; may be called twice."""
        if self.closed:
            return
        self.closed = True
        if self._starting is not None:
            await asyncio.wait({self._starting})
        for task in self._farewells:
            task.cancel()
        if self.router is not None:
            engines = {*self.router.every(), *self._leaving}
            await asyncio.gather(*(e.aclose(self._drain_s) for e in engines))
        if self._farewells:
            await asyncio.wait(self._farewells)
        if self._system is not None:
            await self._system.aclose()
        if self.sharing is not None:
            await self.sharing.aclose()
        if self.state is not None:
            await self.state.aclose()

    @property
    def limiters(self) -> Mapping[str, Any]:
        """The limiters' actors by deployment or limit group."""
        return self._assembly.limiters

    async def reconfigure(self, deployments: Iterable[Deployment]) -> Reconfigured:
        """Have these deployments from now on; see `Cluster.reconfigure`."""
        after = tuple(deployments)
        await self.start()
        async with self._turning:
            router = self.routes()
            turnover = Turnover(self._assembly.deployments, after)
            fresh: dict[str, list[Engine]] = {}
            with self._assembly.trial(after):
                try:
                    for name in (*turnover.added, *turnover.replaced):
                        fresh[name] = self._assembly.engines_of(turnover.after[name], asyncio.get_running_loop())
                    await price_engines(engine for engines in fresh.values() for engine in engines)
                    priced = [
                        (engine, await prices_of(turnover.after[name], engine.kind))
                        for name in turnover.followed
                        for engine in router.entries[name]
                    ]
                    if self.closed:
                        raise refused()
                except BaseException:
                    await asyncio.gather(*(e.aclose() for engines in fresh.values() for e in engines))
                    raise
                for engine, facts in priced:
                    put_prices(engine, facts)
                self._turn(router, turnover, fresh)
            return turnover.told()

    def _turn(self, router: Router, turnover: Turnover, fresh: Mapping[str, Sequence[Engine]]) -> None:
        """Put the new engines and options in place, all between two awaits."""
        for name in (*turnover.followed, *turnover.added, *turnover.replaced):
            before, after = turnover.before.get(name), turnover.after[name]
            old = router.entries.get(name, ())
            for engine in () if name in fresh else old:
                engine.deployment = self._assembly.shares(after)
            self._assembly.turn(before, after, fresh.get(name, old), old if name in fresh else ())
            for engine in fresh.get(name, ()):
                engine.observers.extend(self._observers)
        gone = {name: router.entries[name] for name in (*turnover.removed, *turnover.replaced)}
        for name, engines in gone.items():
            del self._actors[name]
            self._leaving.update(engines)
        self.router = Router(
            engine for name in turnover.after for engine in fresh.get(name, router.entries.get(name, ()))
        )
        self._turns += 1
        self._spawn(fresh)
        if gone:
            linger_s = max(deployment.timeouts.total_timeout_s for deployment in turnover.before.values())
            leaving = [engine for engines in gone.values() for engine in engines]
            task = asyncio.get_running_loop().create_task(self._see_off(leaving, linger_s))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)

    async def _see_off(self, engines: Sequence[Engine], linger_s: float) -> None:
        """End engines that no new request finds, once every request that may still find them has ended."""
        if self._system is not None:
            for engine in engines:
                await self._system.stop(self._labels.pop(engine))
        await sleep(linger_s)
        await asyncio.gather(*(engine.aclose(self._drain_s) for engine in engines))
        self._leaving.difference_update(engines)

    async def _bring_up(self) -> None:
        router = self.assemble()
        await price_engines(router.every())
        if self.state is not None:
            self.state.start()
        if self.sharing is not None:
            await self.sharing.start()
        system = ActorSystem()
        system.start()
        self._system = system
        self._spawn(router.entries)
        self.started = True

    def _spawn(self, entries: Mapping[str, Sequence[Engine]]) -> None:
        """Start an actor for each of these engines."""
        if self._system is None:
            return
        again = f"~{self._turns}" if self._turns else ""
        for name, engines in entries.items():
            for key, engine in enumerate(engines):
                actor = RemoteEngineCoreActor(engine, answer=self._answerer(name), workers=RemoteWorkerActor)
                label = name.replace("/", "-") + (f"#{key + 1}" if key else "") + again
                self._actors.setdefault(name, []).append(self._system.spawn(actor, label))
                self._labels[engine] = label

    def _answerer(self, name: str) -> Any:
        async def whole(call: Call) -> Any:
            return await answer(call, self.routes().route(name))

        return whole


def refused() -> Backpressure:
    """Return what a closed Cluster answers."""
    return Backpressure("the Cluster is closed", reason="closed")
