"""A worker of a run: a Cluster in a process of Ray's, asked in bundles."""

from __future__ import annotations

import asyncio
import os
import pickle
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from spillway.core.clock import clock_of
from spillway.core.errors import ConfigError, InferenceError
from spillway.ray.gate import FarGate
from spillway.ray.messages import (
    Answered,
    Ask,
    Attempted,
    Begun,
    Broke,
    Failed,
    Granted,
    News,
    Order,
    Plan,
    Refused,
    Requested,
    Reread,
    Room,
    Tripped,
    Withdraw,
)
from spillway.ray.secrets import Variables
from spillway.remote.circuit_breaker import BreakerEvent, CircuitBreakerHandle
from spillway.runtime.cluster import Cluster
from spillway.runtime.config import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from spillway.remote.engine.metrics import AttemptRecord, RequestRecord

HEARTBEAT_S = 1.0
"""After so long without news `tell` returns without any."""

_ticket: ContextVar[int | None] = ContextVar("ticket", default=None)


class LineWorker:
    """The class of the Ray actor; one driver calls it, `take` and `tell` one at a time each.

    It reads no file and keeps nothing: what it knows goes to the driver, and ends with it.
    """

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._variables: Variables | None = None
        self._news: list[News] = []
        self._bell = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._gates: dict[int, FarGate] = {}
        self._unlisten: list[Callable[[], None]] = []
        self._now: Callable[[], float] = float

    async def begin(self, plan: Plan) -> Begun:
        """Make ready; called once, before anything else."""
        self._now = clock_of(asyncio.get_running_loop())
        self._variables = Variables(plan.secrets, environment())
        deployments = pickle.loads(plan.deployments)  # noqa: S301 - from the driver, as is all that Ray brings
        try:
            cluster = Cluster(deployments, environ=self._variables, observers=[self], store=plan.store)  # type: ignore[arg-type] # a Store
            await cluster.start()
        except ConfigError as error:
            return Begun(pid=os.getpid(), trouble=str(error))
        self._variables.on_lookup(partial(self._say, Reread()))
        self._cluster = cluster
        for name in cluster.deployments():
            breaker = cluster.deployment(name).circuit_breaker()
            self._unlisten.append(breaker.subscribe(partial(self._tripped, name, breaker)))
            self._unlisten.append(breaker.on_room(partial(self._say, Room(name))))
        metrics = cluster.metrics().per_deployment
        return Begun(pid=os.getpid(), priced={name: each.cost_usd is not None for name, each in metrics.items()})

    async def take(self, orders: list[Order]) -> None:
        """Take a bundle of orders."""
        for order in orders:
            if isinstance(order, Ask):
                answering = self._tasks[order.ticket] = asyncio.create_task(self._answer(order))
                answering.add_done_callback(partial(self._over, order.ticket))
            elif isinstance(order, Granted):
                if (gate := self._gates.get(order.ticket)) is not None:
                    gate.grant(order.pico)
            elif isinstance(order, Refused):
                if (gate := self._gates.get(order.ticket)) is not None:
                    gate.refuse(order.error)
            elif isinstance(order, Withdraw):
                if (task := self._tasks.get(order.ticket)) is not None:
                    task.cancel()
            elif self._variables is not None:
                self._variables.tell(order.values)

    async def tell(self) -> tuple[float, list[News]]:
        """Return what has happened since the last call, and the clock that its instants are of; waits for something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await self._bell.wait()
        self._bell.clear()
        news, self._news = self._news, []
        return self._now(), news

    async def end(self) -> None:
        """Cancel what is under way and close the connections."""
        for task in self._tasks.values():
            task.cancel()
        for unlisten in self._unlisten:
            unlisten()
        if self._cluster is not None:
            await self._cluster.aclose()

    # The Cluster's observer.

    def on_attempt(self, record: AttemptRecord) -> None:
        """Pass it on."""
        if (ticket := _ticket.get()) is not None:
            self._say(Attempted(ticket, record))

    def on_request(self, record: RequestRecord) -> None:
        """Pass it on."""
        if (ticket := _ticket.get()) is not None:
            self._say(Requested(ticket, record))

    # Answering.

    async def _answer(self, ask: Ask) -> None:
        ticket = ask.ticket
        _ticket.set(ticket)
        gate = self._gates[ticket] = FarGate(ticket, self._say)
        cluster = self._cluster
        if cluster is None:
            raise RuntimeError("the worker has not begun")
        try:
            answer = await cluster.submit(
                ask.name,
                ask.request,
                priority=ask.priority,
                shift_early=ask.shift_early,
                gate=gate,
                stream=ask.stream,
            )
        except InferenceError as error:
            self._say(Failed(ticket, error))
        except Exception as error:  # noqa: BLE001 - the driver decides what becomes of it
            self._say(Broke(ticket, f"{type(error).__name__}: {error}"))
        else:
            self._say(Answered(ticket, answer))

    def _over(self, ticket: int, task: asyncio.Task[None]) -> None:
        del self._tasks[ticket]
        self._gates.pop(ticket, None)
        if task.cancelled():
            self._say(Failed(ticket, None))

    def _tripped(self, name: str, breaker: CircuitBreakerHandle, event: BreakerEvent) -> None:
        self._say(Tripped(name, event, breaker.retry_after()))

    def _say(self, news: News) -> None:
        self._news.append(news)
        self._bell.set()

    def __repr__(self) -> str:
        return f"<LineWorker {len(self._tasks)} under way>"
