"""A worker as the driver knows it: what it was asked, what is on its way to it, what it has told."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import clock_of
from spillway.core.errors import InferenceError
from spillway.ray.errand import Errand, WorkerLostError
from spillway.ray.messages import (
    Answered,
    Attempted,
    Begun,
    Broke,
    Granted,
    News,
    Order,
    Plan,
    Refused,
    Requested,
    Reread,
    Room,
    Settled,
    Tripped,
    Wants,
    Withdraw,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.ray.far_breaker import FarBreaker
    from spillway.remote.engine import Observer

SILENT_S = 30.0
"""A worker that has not told anything for so long, not even that there is nothing to tell, is given up."""

START_S = 120.0
_END_S = 2.0

_logger = logging.getLogger("spillway.ray")


class FarWorker:
    """One life of a worker.

    Args:
        number: of its place; a worker that takes the place of a lost one has the same.
        actor: the handle of the Ray actor, a `LineWorker`.
        observers: told of what happened there, with instants of this process's clock.
        breakers: of all deployments, by name.
        reread: called when it looked up a secret again, since a provider did not take it.

    Attributes:
        errands: what it was asked and has not answered, by ticket.
        open_circuits: deployments whose breaker is open there.
        idle: set while it has nothing under way.
        apart: it is given nothing but what is meant for it alone.
    """

    def __init__(
        self,
        number: int,
        ray: Any,
        actor: Any,
        *,
        observers: Sequence[Observer],
        breakers: dict[str, FarBreaker],
        reread: Callable[[], None],
    ) -> None:
        self.number = number
        self.errands: dict[int, Errand] = {}
        self.open_circuits: set[str] = set()
        self.pid = 0
        self.gone = self.apart = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._ray = ray
        self._actor = actor
        self._observers = observers
        self._breakers = breakers
        self._reread = reread
        self._waiting: dict[int, Callable[[], None]] = {}
        self._orders: list[Order] = []
        self._bell = asyncio.Event()
        self._clock = clock_of(asyncio.get_running_loop())
        self._ahead = math.inf

    async def begin(self, plan: Plan) -> Begun:
        """Have it make ready.

        Raises:
            WorkerLostError: it did not.
        """
        try:
            async with asyncio.timeout(START_S):
                begun: Begun = await self._actor.begin.remote(plan)
        except (TimeoutError, self._ray.exceptions.RayError) as error:
            raise WorkerLostError(_first_line(error)) from error
        self.pid = begun.pid
        return begun

    def hand(self, errand: Errand) -> None:
        """Have it answer a request."""
        self.errands[errand.ask.ticket] = errand
        self.idle.clear()
        self.order(errand.ask)

    def withdraw(self, ticket: int) -> None:
        """Tell it that nobody waits for a request any more; it still tells what that came to."""
        if ticket in self.errands:
            self.order(Withdraw(ticket))

    def order(self, order: Order) -> None:
        """Tell it something."""
        self._orders.append(order)
        self._bell.set()

    async def serve(self) -> None:
        """Carry orders and news until it is lost.

        Raises:
            WorkerLostError: it is; all that it was asked has been told so.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed())
                tasks.create_task(self._hear())
        except ExceptionGroup as group:
            raise WorkerLostError(_first_line(group.exceptions[0])) from group
        finally:
            self.gone = True
            for errand in list(self.errands.values()):
                self._forget(errand)
                errand.lost()
            for breaker in self._breakers.values():
                breaker.forget(self.number)

    async def end(self) -> None:
        """Have it close its connections, and end its process."""
        with suppress(TimeoutError, self._ray.exceptions.RayError):
            async with asyncio.timeout(_END_S):
                await self._actor.end.remote()
        self.kill()

    def kill(self) -> None:
        """End its process at once."""
        with suppress(Exception):
            self._ray.kill(self._actor)

    async def _feed(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            orders, self._orders = self._orders, []
            async with asyncio.timeout(SILENT_S):
                await self._actor.take.remote(orders)

    async def _hear(self) -> None:
        while True:
            async with asyncio.timeout(SILENT_S):
                told_at, news = await self._actor.tell.remote()
            # What took least time on its way tells best how far the clocks are apart.
            ahead = self._ahead = min(self._ahead, self._clock() - told_at)
            for each in news:
                try:
                    self._take(each, ahead)
                except Exception:
                    _logger.exception("what a worker tells can't be taken: %r", type(each))

    def _take(self, news: News, ahead: float) -> None:
        if isinstance(news, (Tripped, Room)):
            self._take_breaker(news, ahead)
            return
        if isinstance(news, Reread):
            self._reread()
            return
        errand = self.errands.get(news.ticket)
        if errand is None:
            return
        if isinstance(news, Wants):
            self._grant(errand, news.deployment, news.pico)
        elif isinstance(news, Settled):
            errand.settle(news.pico)
        elif isinstance(news, Attempted):
            record = msgspec.structs.replace(news.record, at=news.record.at + ahead)
            errand.attempted(record, self._observers)
        elif isinstance(news, Requested):
            errand.requested(msgspec.structs.replace(news.record, at=news.record.at + ahead), self._observers)
        else:
            self._forget(errand)
            if isinstance(news, Answered):
                errand.answered(news.answer)
            elif isinstance(news, Broke):
                errand.failed(RuntimeError(news.message))
            elif news.error is None:
                errand.failed(WorkerLostError("withdrawn"))
            else:
                errand.failed(news.error)

    def _take_breaker(self, news: Tripped | Room, ahead: float) -> None:
        breaker = self._breakers[news.deployment]
        if isinstance(news, Room):
            breaker.has_room()
            return
        event = msgspec.structs.replace(news.event, at=news.event.at + ahead)
        breaker.take(self.number, event, retry_at=event.at + news.retry_after_s)
        if event.state.name == "OPEN":
            self.open_circuits.add(news.deployment)
        else:
            self.open_circuits.discard(news.deployment)

    def _grant(self, errand: Errand, deployment: str, pico: int) -> None:
        ticket = errand.ask.ticket
        try:
            granted = errand.reserve(deployment, pico)
        except InferenceError as error:
            self._stop_waiting(ticket)
            self.order(Refused(ticket, error))
            return
        if granted:
            self._stop_waiting(ticket)
            self.order(Granted(ticket, pico))
        elif ticket not in self._waiting and errand.gate is not None:
            self._waiting[ticket] = errand.gate.on_room(lambda: self._room(errand))

    def _room(self, errand: Errand) -> None:
        if errand.wants is not None:
            self._grant(errand, *errand.wants)

    def _stop_waiting(self, ticket: int) -> None:
        stop = self._waiting.pop(ticket, None)
        if stop is not None:
            stop()

    def _forget(self, errand: Errand) -> None:
        self.errands.pop(errand.ask.ticket, None)
        if not self.errands:
            self.idle.set()
        self._stop_waiting(errand.ask.ticket)

    def __repr__(self) -> str:
        return f"<FarWorker {self.number} pid {self.pid} {len(self.errands)} under way>"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
