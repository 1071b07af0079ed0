"""The gateway as a process of its own: granian on one event loop, from the first check to the last request's end.

Several workers are such processes each, under a parent that serves nobody; see `workers`.

start   file, bind and secrets are right or one line says what is not; the port is claimed; the providers are reached
        for, which asks them nothing; engines are built
serve   SIGHUP, and the operator's door, read the project file again
stop    SIGTERM or Ctrl-C: not ready, no new connection; what runs finishes, for 30 s; a second signal ends it at once
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from spillway.core.clock import sleep
from spillway.core.errors import ConfigError
from spillway.gateway.app import Gateway
from spillway.gateway.binding import Bind, claim, read_bind
from spillway.gateway.collecting import settle_down
from spillway.gateway.credentials import Credentials, careless, read_credentials
from spillway.gateway.one_core import threads_wait_their_turn
from spillway.gateway.reaching import unreachable
from spillway.gateway.reloading import Reloader, check_open, hosts_of
from spillway.gateway.room import connections
from spillway.gateway.seeing.eyes import Eyes, looking_on
from spillway.gateway.seeing.lines import lifecycle, log_circuits
from spillway.gateway.stopping import DRAIN_S, Stop, drain
from spillway.gateway.workers import Parent
from spillway.gateway.workers.line import UP
from spillway.runtime.cluster import Cluster
from spillway.runtime.config import environment
from spillway.runtime.loops import new_event_loop
from spillway.runtime.store import MEMORY, WITHOUT, shown_store, store_of
from spillway.stores.sqlite.serving_lock import ServingLock

if TYPE_CHECKING:
    from spillway.gateway.workers import Line
    from spillway.runtime.project import ProjectFile
    from spillway.stores.shared import Store

HEADER_TIMEOUT_MS = 10_000
_LAST_BYTES_S = 2.0
_LISTEN_LOOK_S = 0.01

Say = Callable[[str, str], None]


def serve(project: ProjectFile, *, bind: str, workers: int, say: Say, worker: Sequence[str] = ()) -> int:
    """Run the gateway of a project file until SIGTERM or Ctrl-C, and return the exit code.

    Args:
        bind: `HOST:PORT`; port 0 picks a free one.
        workers: how many processes serve.
        say: prints a line of a kind.
        worker: the command of one of several; its `Errand` is its last argument.

    Raises:
        ConfigError: it can't be run so.
    """
    if workers > 1 and project.cluster.store == MEMORY:
        raise ConfigError('--workers above 1 needs [cluster] store = "redis://…": limits and budgets would multiply')
    place = read_bind(bind)
    check_open(project, place)
    bound = claim(place)
    if workers == 1:
        return run_gateway(Running(project, bound, say))
    store_of(project)
    # Held by the parent, so that its workers, and nobody else, write to the file.
    lock = ServingLock(Path(project.cluster.state)) if project.cluster.state else None
    try:
        with looking_on(environment(), sys.stderr, traces=False), asyncio.Runner() as runner:
            parent = Parent(workers, worker, config=str(project.path), bind=bound, say=say)
            return runner.run(parent.run())
    finally:
        if lock is not None:
            lock.release()


def run_gateway(running: Running) -> int:
    """Run one gateway in this process to its end, and return the exit code.

    Raises:
        ConfigError: it can't be run so.
    """
    with looking_on(environment(), sys.stderr) as eyes, asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(running.run(eyes))


class Running:
    """The life of one process that serves.

    Args:
        bind: where it listens, the port included.
        say: prints a line of a kind.
        line: to the parent, where it is one of several workers.
        store: what is shared through, instead of what the project file names.

    Attributes:
        ended: requests that did not finish in time at the end.
    """

    def __init__(
        self, project: ProjectFile, bind: Bind, say: Say, *, line: Line | None = None, store: Store | None = None
    ) -> None:
        self._project = project
        self._store = store
        self._eyes = Eyes()
        self._unfollow: Callable[[], None] = lambda: None
        self._bind = bind
        self._say = say
        self._line = line
        self._stop = Stop()
        self._reload_asked = asyncio.Event()
        self.ended = 0

    async def run(self, eyes: Eyes) -> int:
        """Serve until a signal, and return the exit code."""
        self._eyes = eyes
        loop = asyncio.get_running_loop()
        self._stop.listen(loop)
        if self._line is not None:
            self._line.stop_without_parent(loop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
        credentials = await self._unless_stopped(read_credentials(self._project, environment()))
        if credentials is not None:
            gateway = self._gateway(credentials)
            try:
                await self._serve(gateway, credentials)
            finally:
                await gateway.aclose()
        return self._stop.exit_code

    def _gateway(self, credentials: Credentials) -> Gateway:
        project = self._project
        cluster = Cluster(
            project.deployments,
            observers=self._eyes.observers,
            state=project.cluster.state or None,
            store=self._store or store_of(project),
        )
        return Gateway(
            cluster,
            credentials.keys,
            admin_key=credentials.admin_key,
            listeners=self._eyes.listeners,
            name=project.cluster.name,
            hosts=hosts_of(project, self._bind),
        )

    async def _serve(self, gateway: Gateway, credentials: Credentials) -> None:
        doubts = await self._unless_stopped(unreachable(self._project.deployments))
        for doubt in (*careless(self._project), *(doubts or ())):
            self._say("warning", doubt)
        if doubts is None or await self._unless_stopped(_started(gateway)) is None:
            return
        sharing = gateway.cluster.sharing
        if sharing is not None and sharing.lost:
            self._say("warning", f"the store {shown_store(self._project)} does not answer: {WITHOUT}")
        self._follow_circuits(gateway)
        gateway.reloader = Reloader(
            gateway,
            self._project,
            credentials,
            bind=self._bind,
            environ=environment(),
            then=lambda: self._reloaded(gateway),
        )
        settle_down()
        with threads_wait_their_turn():
            server = self._server(gateway)
            serving = asyncio.ensure_future(server.serve())
            listens = await self._unless_stopped(self._listens())
        if listens is not None:
            self._greet(gateway)
            if self._line is not None:
                self._line.say(UP, str(os.getpid()))
        reloading = asyncio.ensure_future(self._reload_when_asked(gateway.reloader))
        stopping = asyncio.ensure_future(self._stop.asked.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        reloading.cancel()
        await asyncio.wait({reloading})
        if serving.done():
            await serving
            raise ConfigError(f"the server on {self._bind} has ended")
        await self._end(gateway, server, serving)

    def _follow_circuits(self, gateway: Gateway) -> None:
        """Log the changes of all circuits there are now, each once."""
        self._unfollow()
        self._unfollow = log_circuits(gateway.cluster)

    def _reloaded(self, gateway: Gateway) -> None:
        self._follow_circuits(gateway)
        settle_down()

    async def _listens(self) -> bool:
        """Return once connections are taken."""
        while True:
            try:
                _, writer = await asyncio.open_connection(self._bind.address, self._bind.port)
            except OSError:
                await sleep(_LISTEN_LOOK_S)
            else:
                writer.close()
                return True

    async def _end(self, gateway: Gateway, server: Server, serving: asyncio.Future[None]) -> None:
        gateway.draining = True
        server.stop()  # type: ignore[no-untyped-call] # granian says nothing of its types
        count = gateway.in_flight
        lifecycle("draining", in_flight=count)
        within = f"; {count} under way, at most {DRAIN_S:g} s" if count else ""
        self._say("stopping", f"no new connections{within}; a second signal ends it at once")
        ended = self.ended = await drain(gateway, self._stop)
        gateway.tell_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_BYTES_S):
                await serving
        lifecycle("stopped", ended=ended)
        self._say("stopped", f"{ended} had to be ended" if ended else "all have finished")

    async def _reload_when_asked(self, reloader: Reloader) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            try:
                told = await reloader()
            except ConfigError as error:
                self._say("error", f"{error}; the old configuration stays")
            else:
                lifecycle("reloaded", told=str(told))
                self._say("reloaded", str(told))

    def _server(self, gateway: Gateway) -> Server:
        return Server(
            gateway,
            self._bind.address,
            self._bind.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=1024,
            backpressure=connections(),
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
            log_enabled=False,
        )

    def _greet(self, gateway: Gateway) -> None:
        url, project = self._bind.url, self._project
        keys = len(gateway.callers.every)
        callers = f"{keys} gateway key{'s' * (keys != 1)}" if keys else "no gateway key: open to this machine"
        operators = "with the admin key" if project.gateway.admin_key is not None else "from this machine only"
        lifecycle("serving", cluster=project.cluster.name, bind=str(self._bind))
        self._say("serving", f"{url}/v1 (on {self._bind}), {len(project.deployments)} deployments; {callers}")
        self._say("dashboard", f"{url}/dashboard, {operators}")

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what `work` comes to, None if a signal ends it before."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.asked.wait())
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not doing.done():
            doing.cancel()
            with suppress(asyncio.CancelledError):
                await doing
            return None
        return doing.result()


async def _started(gateway: Gateway) -> bool:
    """Build the engines; what is wrong with the keys is said too."""
    await gateway.begin()
    return True
