"""The engine of one deployment: its queue, its slots, and the dispatch of one to the other."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from spillway.core.alarms import Alarms
from spillway.core.clock import clock_of
from spillway.core.errors import Backpressure, InferenceError
from spillway.remote.engine.credential import CredentialState
from spillway.remote.engine.drain_rate import DrainRate
from spillway.remote.engine.ending import PAUSED, SHUTTING_DOWN, no_room, raise_if_too_long
from spillway.remote.engine.forecast import refuse_if_late
from spillway.remote.engine.gates import OWN_MONEY
from spillway.remote.engine.grant import Grant
from spillway.remote.engine.held_back import HeldBack
from spillway.remote.engine.leftover import AGAIN_S, Leftover
from spillway.remote.engine.metrics import EngineMetrics, Observers
from spillway.remote.engine.pool import SlotPool
from spillway.remote.engine.waiting_room import SeatLostError, WaitingRoom
from spillway.remote.queue import PriorityRequest, RequestQueue

if TYPE_CHECKING:
    from spillway.core.options import Deployment
    from spillway.core.ports import ModelRunner
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.gates import Gates
    from spillway.remote.engine.slot import WorkerSlot

_LONGEST_NAP_S = 60.0
_LEAVING_S = 5.0
_SLOT = "slot"

_BEFORE_ALL = -(2**62)
"""Sequence numbers from here on are for those that never waited: the queue was empty, so all that wait came later."""


class Engine:
    """Serves one deployment: admits requests, queues them by priority, hands slots and permits to them.

    A request leaves the queue when a slot and everything its gates ask for are free at the same instant; the head of
    the queue waits for that, no worker does. All state changes happen between two awaits.

    Args:
        deployment: its options.
        runners: one runner for each replica.
        gates: limiter, breaker, budget and prices, possibly shared with other engines.
        loop: the loop it lives on.

    Attributes:
        alarms: the timers of its requests.
        pool: its slots.
        blocked_on: what the head of the queue lacked last.
    """

    def __init__(
        self, deployment: Deployment, runners: Sequence[ModelRunner], gates: Gates, loop: asyncio.AbstractEventLoop
    ) -> None:
        serving = deployment.serving
        self.deployment = deployment
        self.name = deployment.name
        self.runners = self._open_runners = tuple(runners)
        self.kind = self.runners[0].runtime_kind
        self.endpoint = getattr(deployment.runtime_config, "endpoint", None) or ""
        self.gates = gates
        self.loop = loop
        self.clock = clock_of(loop)
        self.alarms = Alarms(loop)
        self.queue = RequestQueue(serving.queue_capacity, aging_s=serving.priority_aging_s)
        self.metrics = EngineMetrics()
        self.observers = Observers()
        self.last_success_at: float | None = None
        self.credential = CredentialState(self.clock)
        self._room = WaitingRoom(self.queue, loop)
        self._held_back = HeldBack(self.queue, self.pump)
        self._never_waited = itertools.count(_BEFORE_ALL)
        self.pool = SlotPool(self.runners, serving.max_concurrent, Leftover(gates))
        self._drain_rate = DrainRate(self.clock())
        self.blocked_on = _SLOT
        self._pump_timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self.drains = 0
        self._closing = self.paused = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._chores: set[asyncio.Task[Any]] = set()
        self._unsubscribe = gates.on_room(self.pump)

    # What others ask about it.

    @property
    def busy(self) -> int:
        """Requests in a slot."""
        return self.pool.busy

    @property
    def served(self) -> int:
        """Requests that have left its slots."""
        return self.pool.served

    @property
    def accepting(self) -> bool:
        """Whether it takes new requests."""
        return not (self._closing or self.paused)

    def slots(self) -> list[WorkerSlot]:
        """Return its slots, those retired and still busy included."""
        return self.pool.slots()

    def load(self) -> float:
        """Return requests in flight and waiting, per unit of weight."""
        return (self.pool.busy + len(self.queue)) / self.deployment.weight

    def healthy(self) -> bool:
        """Whether a request sent here now would be let through by breaker, provider and credential."""
        return (
            not (self._closing or self.paused)
            and self.credential.refused is None
            and self.gates.breaker.would_admit()
            and not (self.gates.limiter.blocked_for() > 0 or self.gates.limiter.trouble())
        )

    def drain_rate(self) -> float:
        """Return how many requests leave its slots per second."""
        return self._drain_rate.per_second(self.clock())

    # Admission.

    def try_admit(self, call: Call) -> Grant | None:
        """Return a grant if `call` can be sent at once, None if it must wait.

        Raises:
            InferenceError: a refusal; nothing was taken.
        """
        if self._closing or self.paused:
            raise self.refusal(SHUTTING_DOWN if self._closing else PAUSED)
        if self.credential.refused is not None:
            raise self.credential.refusal()
        self.gates.admit(call)
        free = self.pool.free
        if free and not self.queue and not self._room and not self.pool.keeps_from(call, self.clock()):
            verdict = self.gates.reserve(call, free[0])
            if isinstance(verdict, Grant):
                self.pool.take(call, self.clock())
                self._idle.clear()
                # A place in another deployment's queue is none in this one's.
                call.entry = None
                return verdict
        return None

    async def wait_for_grant(self, call: Call, *, not_before: float = 0.0, returning: bool = False) -> Grant:
        """Queue `call` and return its grant.

        Args:
            not_before: the loop's seconds before which it is not to be sent.
            returning: it had a seat before and keeps its sequence number; a full queue does not refuse it.

        Raises:
            Backpressure: no room, or no dispatch within `queue_timeout_s`, or the engine is closing.
            RateLimited: only the permit lacked within `queue_timeout_s`.
            InferenceError: it can't be sent before its deadline, and its caller wants to be told at once.
            BudgetExceeded: only the money lacked within `queue_timeout_s`, where spending is throttled.
            Timeout: its deadline passed, `reason="queue"` if it was never sent.

        Cancellation: frees its seat at once; a grant that came in the same instant is given back.
        """
        if self.paused:
            raise self.refusal(PAUSED)
        began = self.clock()
        if returning:
            call.watch.guard(call.deadline, "deadline")
        else:
            call.watch.guard_sooner_of(call.deadline, began + self.deployment.serving.queue_timeout_s, "queue_timeout")
            refuse_if_late(self, call)
            if self._room.is_full and not self._room.takes_a_seat(call, self._turned_away):
                await self._wait_for_room(call)
        call.lacks_own, entry = False, call.entry
        if entry is None or not returning:
            entry = call.entry = PriorityRequest(
                call, priority=call.priority, not_before=not_before, tenant=call.tenant, cost=max(1, call.input_bound)
            )
        entry.not_before = not_before
        if returning:
            if not entry.seq:
                entry.seq, entry.waits_since = next(self._never_waited), call.started
            self.queue.requeue(entry, self.clock())
        else:
            self.queue.push(entry, self.clock())
        try:
            while True:
                call.waiter = self.loop.create_future()
                call.watch.wait_on(call.waiter)
                self.pump()
                try:
                    return await call.waiter
                except SeatLostError:
                    await self._room.wait(call, first=True)
                    self.queue.requeue(entry, self.clock())
        except InferenceError:
            raise
        except BaseException as caught:
            self._withdraw(entry, call.waiter)
            if isinstance(caught, asyncio.CancelledError):
                raise_if_too_long(call, self)
            raise
        finally:
            call.watch.wait_on(None)
            call.waiter = None
            waited = self.clock() - began
            call.queued_s += waited
            self.metrics.queue_wait.record(waited)

    async def _wait_for_room(self, call: Call) -> None:
        if self.deployment.serving.on_capacity_exhausted != "queue":
            raise self.refusal("full")
        try:
            await self._room.wait(call)
        except asyncio.CancelledError:
            raise_if_too_long(call, self)
            raise

    def _turned_away(self) -> Exception:
        waits = self.deployment.serving.on_capacity_exhausted == "queue"
        return SeatLostError() if waits else self.refusal("full")

    def _withdraw(self, entry: PriorityRequest, waiter: asyncio.Future[Grant] | None) -> None:
        self.queue.cancel(entry)
        if waiter is not None and waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            grant = waiter.result()
            grant.undo()
            self.give_back(grant.slot)
        self._held_back.passed(entry.payload)
        self._room.offer()
        self.pump()

    # Dispatch.

    def pump(self) -> None:
        """Hand out slots and permits until the head of the queue must wait; safe to call at any time."""
        if self._pumping:
            return
        self._pumping = True
        try:
            nap = self._dispatch()
        finally:
            self._pumping = False
        if self._pump_timer is not None:
            self._pump_timer.cancel()
            self._pump_timer = None
        if nap is not None and nap != math.inf:
            self._pump_timer = self.loop.call_later(min(max(nap, 0.0), _LONGEST_NAP_S), self.pump)

    def _dispatch(self) -> float | None:
        queue = self.queue
        free = self.pool.free
        nap = None
        while free:
            now = self.clock()
            entry = queue.peek(now)
            if entry is None:
                ready_at = queue.next_ready(now)
                nap = None if ready_at is None else ready_at - now
                break
            call: Call = entry.payload
            waiter = call.waiter
            if waiter is None or waiter.done() or call.deadline <= now:
                # Its own timer ends it, or has.
                queue.cancel(entry)
                continue
            if self._held_back.goes_behind(entry, call):
                continue
            if self.pool.keeps_from(call, now):
                self.blocked_on, nap = _SLOT, AGAIN_S
                break
            try:
                if self.credential.refused is not None:
                    raise self.credential.refusal()
                verdict = self.gates.reserve(call, free[0])
            except InferenceError as refusal:
                queue.cancel(entry)
                waiter.set_exception(refusal)
                self._held_back.passed(call)
                continue
            if not isinstance(verdict, Grant):
                if self.gates.lacks == OWN_MONEY:
                    self._held_back.hold(entry, call)
                    continue
                self.blocked_on = self.gates.lacks
                # One whose time comes meanwhile may be ahead of the head, and need what the head does not.
                nap = min(verdict, queue.next_change - now)
                break
            queue.pop(now)
            self.pool.take(call, now)
            self._idle.clear()
            waiter.set_result(verdict)
            self._held_back.passed(call)
        else:
            self.blocked_on = _SLOT
        self._room.offer()
        return nap

    def give_back(self, slot: WorkerSlot) -> None:
        """Free the slot of a request that has ended and wake the next."""
        now = self.clock()
        self.pool.give_back(slot, now)
        self._drain_rate.count(now)
        if self.pool.busy == 0:
            self._idle.set()
        if self.queue:
            self.pump()

    async def rebuild_session(self, cause: BaseException | None) -> None:
        """Have every replica read the credential again and build a new client; what is in flight keeps the old one.

        Raises:
            InferenceError: a replica could not.
        """
        for runner in self.runners:
            await runner.rebuild_session(cause)
        self.credential.refused = None
        self.pump()

    # Size and end.

    def resize(self, workers: int, *, pool: int | None = None) -> None:
        """Have so many slots in one replica's pool, or in each, from now on; nothing that runs is ended.

        Raises:
            ValueError: it is less than one.
        """
        self.pool.resize(workers, pool=pool)
        self.pump()

    def pause(self) -> None:
        """Take nobody until `paused` is False again, send away who waits; what runs goes on."""
        self.paused = True
        self._send_away(self.queue.drain(), PAUSED)

    def chore(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` (the closing or draining of a stream nobody holds) as a task the engine owns."""
        task = self.loop.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def aclose(self, drain_s: float = 0.0) -> None:
        """Stop: refuse what waits, let what runs finish for `drain_s` seconds, then end it. May be called again."""
        self._closing = True
        self._send_away(self.queue.close(), SHUTTING_DOWN)
        await self._settle_down(drain_s)
        self._unsubscribe()
        if self._pump_timer is not None:
            self._pump_timer.cancel()
            self._pump_timer = None
        runners, self._open_runners = self._open_runners, ()
        for runner in runners:
            closer = getattr(runner, "aclose", None)
            if closer is not None:
                await closer()

    def _send_away(self, waiting: Sequence[PriorityRequest], reason: str) -> None:
        for entry in waiting:
            waiter = entry.payload.waiter
            if waiter is not None and not waiter.done():
                waiter.set_exception(self.refusal(reason))
        self._room.close(lambda: self.refusal(reason))

    async def _settle_down(self, drain_s: float) -> None:
        await self._all_left(drain_s)
        here = asyncio.current_task()
        ours = {task for task in self._chores if task is not here}
        for task in ours:
            task.cancel()
        for call in self.pool.calls():
            call.watch.interrupt(SHUTTING_DOWN)
        await self._all_left(_LEAVING_S)
        if ours:
            await asyncio.wait(ours, timeout=_LEAVING_S)

    async def _all_left(self, within_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), within_s)

    # Errors it raises itself.

    def refusal(self, reason: str) -> Backpressure:
        """Return what a caller gets for whom there is no room, or no time left, to wait or to run."""
        return no_room(self, reason)

    def __repr__(self) -> str:
        state = "closing" if self._closing else "paused" if self.paused else "serving"
        return (
            f"<Engine {self.name} {state} busy {self.pool.busy}/{self.pool.in_service()} "
            f"queued {len(self.queue)}/{self.queue.capacity}>"
        )
