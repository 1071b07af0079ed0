"""The facade: deployments in, answers out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from spillway.core.errors import Backpressure, BadRequest, ConfigError, InferenceError
from spillway.core.request import Prompt
from spillway.remote.engine import Observer
from spillway.runtime.asking import Asking
from spillway.runtime.config import environment, load
from spillway.runtime.deployed import Deployed
from spillway.runtime.engine_room import EngineRoom, refused
from spillway.runtime.loops import LoopThread
from spillway.runtime.metrics import NOTHING_YET, ClusterMetrics, measure
from spillway.runtime.store import store_at, store_of

if TYPE_CHECKING:
    from types import TracebackType

    from spillway.core.options import Deployment
    from spillway.core.ports import RunnerFactory
    from spillway.core.reply import Tokens
    from spillway.remote.engine import Engine
    from spillway.runtime.turnover import Reconfigured
    from spillway.stores.shared import Sharing, Store
    from spillway.stores.sqlite import SqliteState

Item = TypeVar("Item")


class Cluster(Asking):
    """All deployments of a program, behind one door.

    It starts on first use, on the event loop that is running then, and belongs to that loop. Use it as an async context
    manager, or end it with `aclose()`; `generate_sync` and `map_sync` run it on a loop of its own and are ended by
    `close()`.

    Args:
        deployments: at least one; names are unique.
        runners: `{"name": factory}` puts a `ModelRunner` of the caller's own behind a deployment.
        environ: where secrets `from_env` are read; default: the process's environment.
        observers: told of every attempt and every request.
        drain_s: how long closing waits for what runs.
        state: an SQLite file in which spend outlives the process; None: nothing does. One process at a
            time uses it, with its children.
        store: where limits, budgets and circuits are shared with other processes: the URL of a Redis (extra `redis`) or
            a `Store`; `memory`: they are this Cluster's own.

    Raises:
        ConfigError: names clash, a fallback names nothing, members of a limit group differ. Secrets are read at the
            first use.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        *,
        runners: Mapping[str, RunnerFactory] | None = None,
        environ: Mapping[str, str] | None = None,
        observers: Sequence[Observer] = (),
        drain_s: float = 0.0,
        state: str | Path | None = None,
        store: str | Store = "memory",
    ) -> None:
        self._deployments = tuple(deployments)
        if not self._deployments:
            raise ConfigError("a Cluster needs at least one deployment")
        room = EngineRoom(
            self._deployments,
            runners or {},
            environment() if environ is None else environ,
            observers=observers,
            drain_s=drain_s,
            state=None if state is None else Path(state),
            store=store_at(store),
        )
        super().__init__(room)
        self._thread: LoopThread | None = None
        self._threading = threading.Lock()

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Self:
        """Return a Cluster of the deployments in a `spillway.toml`.

        Raises:
            ConfigError: the file is wrong; one line that names file, line, key and the nearest valid key.
        """
        project = load(path)
        if "store" not in options:
            options["store"] = store_of(project)
        return cls(project.deployments, **options)

    # Asking without an event loop.

    def generate_sync(self, name: str, prompt: Prompt, **options: Any) -> Tokens:
        """Do as `generate` without an event loop; for scripts and notebooks."""
        return self._in_thread().run(lambda: self.generate(name, prompt, **options))

    def map_sync(
        self, name: str, items: Iterable[Item], **options: Any
    ) -> Iterator[tuple[Item, Tokens | InferenceError]]:
        """Do as `map` without an event loop; for scripts and notebooks."""
        thread = self._in_thread()
        answers = self.map(name, items, **options)

        async def step() -> tuple[Item, Tokens | InferenceError] | None:
            return await anext(answers, None)

        try:
            while (pair := thread.run(step)) is not None:
                yield pair
        finally:
            with suppress(Backpressure):
                thread.run(answers.aclose)  # type: ignore[attr-defined] # an async generator has it

    # Looking and operating.

    def deployment(self, name: str) -> Deployed:
        """Return the handle of one deployment.

        Raises:
            ModelNotFound: there is none of that name.
            RuntimeError: no event loop is running and the Cluster has not started.
        """
        router = self._room.assemble()
        entries = router.entries.get(name)
        if entries is None:
            router.route(name)
            members = ", ".join(m.name for m in router.route(name)[0].members)
            raise BadRequest(f"{name!r} is a group; its deployments are: {members}")

        options = next(each for each in self._deployments if each.name == name)
        return Deployed(options, entries, partial(self._room.actors, name), router.every)

    def deployments(self) -> list[str]:
        """Return the names of all deployments."""
        return [d.name for d in self._deployments]

    def names(self) -> list[str]:
        """Return every name that can be asked for: deployments, then groups."""
        groups = dict.fromkeys(d.group for d in self._deployments if d.group)
        return list(dict.fromkeys([*self.deployments(), *groups]))

    def engines(self) -> Mapping[str, Sequence[Engine]]:
        """Return the engines of each deployment, one for each entry of its key pool; none before the first use.

        For collectors of metrics, which read them on the Cluster's loop and change nothing.
        """
        router = self._room.router
        return {} if router is None else dict(router.entries)

    def metrics(self) -> ClusterMetrics:
        """Return the counters of all deployments."""
        router = self._room.router
        if router is None:
            return ClusterMetrics(per_deployment=dict.fromkeys(self.deployments(), NOTHING_YET))
        return ClusterMetrics(per_deployment={name: measure(entries) for name, entries in router.entries.items()})

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell `observer` of every attempt and every request from now on; returns how to stop that."""
        return self._room.observe(observer)

    @property
    def state(self) -> SqliteState | None:
        """What outlives it; None where nothing does. It may be asked for before the start.

        Raises:
            ConfigError: the state file can't be used.
        """
        return self._room.open_state()

    @property
    def sharing(self) -> Sharing | None:
        """Its part in what processes share; None where nothing is shared, and before the first use on a loop."""
        return self._room.open_sharing()

    # Life.

    async def reconfigure(self, deployments: Iterable[Deployment]) -> Reconfigured:
        """Have these deployments from now on, instead of those that it has.

        Who keeps the name keeps limit windows, spend, breaker, retry quota and counters, under the new options. What is
        under way goes on with what it began with: deployments that go, or whose connections or slots change, serve
        what they have to its end. A budget that is new begins with what the state file knows, without one with nothing.

        Raises:
            ConfigError: as at construction and at the start; nothing has changed then.
            Backpressure: it is closed.
        """
        after = tuple(deployments)
        if not after:
            raise ConfigError("a Cluster needs at least one deployment")
        told = await self._room.reconfigure(after)
        self._deployments = after
        return told

    async def start(self) -> None:
        """Build the engines and look prices up; done by the first use otherwise.

        Raises:
            ConfigError: a secret is missing, a runtime is unknown, or a cap has no price to count with.
        """
        await self._room.start()

    async def aclose(self) -> None:
        """Stop: refuse what waits, let what runs finish for `drain_s` seconds, close the connections."""
        await self._room.aclose()

    def close(self) -> None:
        """End a Cluster that was used through the synchronous doors."""
        with self._threading:
            thread, self._thread = self._thread, None
            if thread is None:
                self._room.closed = self._room.closed or not self._room.started
        if thread is not None:
            thread.close()

    async def __aenter__(self) -> Self:
        await self._room.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._in_thread().run(self._room.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _in_thread(self) -> LoopThread:
        with self._threading:
            if self._thread is None:
                if self._room.closed:
                    raise refused()
                if self._room.started:
                    raise RuntimeError("this Cluster runs on an event loop already; await `generate` there")
                self._thread = LoopThread(self._room.aclose)
            return self._thread

    def __repr__(self) -> str:
        state = "closed" if self._room.closed else "running" if self._room.started else "not started"
        return f"<Cluster {state}: {', '.join(self.deployments())}>"
