"""Many workers as one: who asks them sees a Cluster."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import clock_of, sleep
from spillway.core.errors import BadRequest, ConfigError
from spillway.core.options import Deployment
from spillway.core.priority import Priority
from spillway.core.request import GenerateRequest
from spillway.ray.commons import exactly, start_commons
from spillway.ray.errand import Errand, WorkerLostError
from spillway.ray.far_breaker import FarBreaker
from spillway.ray.far_worker import FarWorker
from spillway.ray.line_worker import LineWorker
from spillway.ray.messages import Ask, NewSecrets, Plan
from spillway.ray.secrets import SecretReader
from spillway.ray.tally import Tally
from spillway.remote.engine import Observer, SpendGate
from spillway.runtime.config import environment
from spillway.runtime.metrics import ClusterMetrics, DeploymentMetrics
from spillway.runtime.store import MEMORY, store_at

if TYPE_CHECKING:
    from spillway.core.reply import Embeddings, Tokens
    from spillway.stores.shared import Store

MOST_WORKERS = 16
"""One driver hardly feeds more."""

FIRST_WORKER_S = 60.0
"""Seconds within which a first worker must be ready."""

_SUSPECT_AFTER = 2
"""A request that so many workers were lost with is tried once more, at a worker that has nothing else."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_SETTLE_S = 2.0
_SECRETS_S = 1.0

_logger = logging.getLogger("spillway.ray")


def workers_that_fit(ray: Any, most: int | None = None) -> int:
    """Return how many workers a cluster has room for: one for each free CPU, at least one, at most 16 or `most`."""
    free = int(ray.available_resources().get("CPU", 0))
    return max(1, min(free, MOST_WORKERS, MOST_WORKERS if most is None else most))


class WorkerPool:
    """Clusters in worker processes of Ray, asked as one; limits, budgets and circuits are the same for all.

    Order: a request goes to the worker with the fewest under way, one whose circuit is closed before others. It is sent
    again, to another worker, when its worker is lost; what was set aside for it then counts as spent. One with which
    two workers were lost is tried alone: only a request that kills its worker is refused.

    Args:
        deployments: all that may be asked.
        observers: told of every attempt and request, as those of a Cluster; the instants are of this process's clock.
        ray: the module, connected; see `connected`.
        workers: how many; each takes one CPU.
        environ: where secrets are read, here and never at a worker; default: the process's environment.
        store: where they share it; `memory`: an actor of Ray's holds it for as long as this pool is there, and every
            limit is strict.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        observers: Sequence[Observer] = (),
        *,
        ray: Any,
        workers: int,
        environ: Mapping[str, str] | None = None,
        store: str | Store = MEMORY,
    ) -> None:
        self.workers = workers
        self._ray = ray
        self._reader = SecretReader(deployments, environment() if environ is None else environ)
        self._names = [each.name for each in deployments]
        self._store = store_at(store)
        self._tally = Tally()
        self._observers = (self._tally, *observers)
        self._tickets = itertools.count(1)
        self._alive: list[FarWorker] = []
        self._here = asyncio.Condition()
        self._suspecting = asyncio.Lock()
        self._breakers: dict[str, FarBreaker] = {}
        self._priced: dict[str, bool] = {}
        self._plan: Plan | None = None
        self._tending: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None
        self._doubted = asyncio.Event()
        self._commons: Any = None

    # Asking.

    async def submit(
        self,
        name: str,
        request: GenerateRequest,
        *,
        priority: Priority | None = None,
        shift_early: bool = True,
        gate: SpendGate | None = None,
        stream: bool = False,
    ) -> Tokens | Embeddings:
        """Return the whole answer to one request; see `Cluster.submit`.

        Raises:
            BadRequest: `worker_lost`: three workers were lost with it, the last of them with nothing else under way.

        Cancellation: cancels the request at the provider too, and waits up to 2 s to hear what it cost.
        """

        async def answer_of(worker: FarWorker) -> Tokens | Embeddings:
            ask = Ask(
                ticket=next(self._tickets),
                name=name,
                request=request,
                priority=priority,
                shift_early=shift_early,
                stream=stream,
            )
            errand = Errand(ask, gate, copy_context())
            worker.hand(errand)
            try:
                return await asyncio.shield(errand.outcome)
            except asyncio.CancelledError:
                worker.withdraw(ask.ticket)
                await asyncio.wait([errand.outcome], timeout=_SETTLE_S)
                errand.lost()
                _retrieve(errand.outcome)
                raise

        for _ in range(_SUSPECT_AFTER):
            with suppress(WorkerLostError):
                return await answer_of(await self._one_for(name))
        async with self._suspecting, self._one_alone(name) as worker:
            try:
                return await answer_of(worker)
            except WorkerLostError:
                raise BadRequest(
                    f"{_SUSPECT_AFTER + 1} workers were lost with this request, the last with nothing else to do",
                    deployment=name,
                    reason="worker_lost",
                ) from None

    async def _one_for(self, name: str) -> FarWorker:
        async with self._here:
            while not (free := [each for each in self._alive if not each.apart]):
                await self._here.wait()
            return min(free, key=lambda each: (name in each.open_circuits, len(each.errands)))

    @asynccontextmanager
    async def _one_alone(self, name: str) -> AsyncIterator[FarWorker]:
        """Give a worker that has nothing under way, and is given nothing else meanwhile."""
        while True:
            worker = await self._one_for(name)
            worker.apart = True
            try:
                await worker.idle.wait()
                if not worker.gone:
                    yield worker
                    return
            finally:
                worker.apart = False
                async with self._here:
                    self._here.notify_all()

    # Looking.

    def deployment(self, name: str) -> FarDeployment:
        """Return one deployment."""
        return FarDeployment(self, name)

    def deployments(self) -> list[str]:
        """Return the names of all deployments."""
        return list(self._names)

    def metrics(self) -> ClusterMetrics:
        """Return the counters of all deployments, over all workers and all their lives."""
        return ClusterMetrics(per_deployment={name: self.measure(name) for name in self._names})

    def measure(self, name: str) -> DeploymentMetrics:
        """Return the counters of one deployment."""
        asked = sum(errand.ask.name == name for worker in self._alive for errand in worker.errands.values())
        breaker = self.breaker(name).state.name
        return self._tally.measure(name, priced=self._priced.get(name, True), busy=asked, breaker=breaker)

    def breaker(self, name: str) -> FarBreaker:
        """Return the breaker of one deployment."""
        if name not in self._breakers:
            self._breakers[name] = FarBreaker(clock_of(asyncio.get_running_loop()))
        return self._breakers[name]

    def pids(self) -> list[int]:
        """Return the process ids of the workers that are there, on whatever machine."""
        return [worker.pid for worker in self._alive]

    # Life.

    async def start(self) -> None:
        """Start the workers, and return when the first is ready; may be called again.

        Raises:
            ConfigError: a secret is missing, a runtime is unknown, a cap has no price, or no worker comes up.
        """
        if self._tending is not None:
            return
        secrets = await self._reader.read()
        deployments = self._reader.deployments
        if self._store is None:
            self._store = self._commons = start_commons(self._ray)
            deployments = exactly(deployments)
        self._plan = Plan(pickle.dumps(deployments), secrets, self._store)
        for name in self._names:
            self.breaker(name)
        self._tending = asyncio.create_task(self._tend())
        try:
            async with asyncio.timeout(FIRST_WORKER_S), self._here:
                await self._here.wait_for(lambda: self._alive or self._trouble is not None)
        except TimeoutError:
            total = int(self._ray.cluster_resources().get("CPU", 0))
            raise ConfigError(
                f"--ray: no worker came up within {FIRST_WORKER_S:g} s; the cluster has {total} CPUs, "
                f"{self._ray.available_resources().get('CPU', 0):g} of them free"
            ) from None
        if self._trouble is not None:
            raise self._trouble

    async def aclose(self) -> None:
        """End the workers; may be called twice."""
        tending, self._tending = self._tending, None
        if tending is None:
            return
        tending.cancel()
        with suppress(asyncio.CancelledError):
            await tending
        commons, self._commons = self._commons, None
        if commons is not None:
            commons.end()

    async def _tend(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.workers):
                tasks.create_task(self._fill(number))
            tasks.create_task(self._renew_secrets())

    async def _fill(self, number: int) -> None:
        """Keep one worker's place filled."""
        clock = clock_of(asyncio.get_running_loop())
        pause = _FIRST_PAUSE_S
        while self._trouble is None:
            began = clock()
            worker = FarWorker(
                number,
                self._ray,
                self._spawn(),
                observers=self._observers,
                breakers=self._breakers,
                reread=self._doubted.set,
            )
            try:
                await self._live(worker)
            except WorkerLostError as error:
                _logger.warning("a worker is lost (process %d): %s", worker.pid, error)
                worker.kill()
            except BaseException:
                await asyncio.shield(worker.end())
                raise
            pause = _FIRST_PAUSE_S if clock() - began > _LONGEST_PAUSE_S else min(2 * pause, _LONGEST_PAUSE_S)
            await sleep(pause)

    async def _live(self, worker: FarWorker) -> None:
        assert self._plan is not None  # noqa: S101 - `start` has made it
        begun = await worker.begin(self._plan)
        if begun.trouble:
            async with self._here:
                self._trouble = ConfigError(begun.trouble)
                self._here.notify_all()
            worker.kill()
            return
        self._priced.update(begun.priced)
        async with self._here:
            self._alive.append(worker)
            self._here.notify_all()
        try:
            await worker.serve()
        finally:
            self._alive.remove(worker)

    def _spawn(self) -> Any:
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")
        return kind(LineWorker).remote()

    async def _renew_secrets(self) -> None:
        """Read the secrets again whenever a worker looks for others, and tell all what has changed."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            with suppress(ConfigError):
                secrets = await self._reader.read()
                if self._plan is not None and secrets != self._plan.secrets:
                    self._plan.secrets = secrets
                    for worker in self._alive:
                        worker.order(NewSecrets(secrets))
            await sleep(_SECRETS_S)

    def __repr__(self) -> str:
        return f"<WorkerPool {len(self._alive)}/{self.workers} workers>"


class FarDeployment(msgspec.Struct, frozen=True):
    """One deployment of a pool."""

    pool: WorkerPool
    name: str

    def circuit_breaker(self) -> FarBreaker:
        """Return its breaker, that of all workers."""
        return self.pool.breaker(self.name)

    def trouble(self) -> str:
        """Return nothing: what keeps a request back is known at its worker."""
        return ""

    def metrics(self) -> DeploymentMetrics:
        """Return its counters."""
        return self.pool.measure(self.name)


def _retrieve(outcome: asyncio.Future[Any]) -> None:
    if outcome.done() and not outcome.cancelled():
        outcome.exception()
