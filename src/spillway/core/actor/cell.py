"""The task around one actor: takes messages, restarts after crashes, ends in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from spillway.core.actor.actor import Actor, ActorRef
from spillway.core.actor.mailbox import Envelope, LocalRef, Mailbox

M = TypeVar("M")

STOP_GRACE_S = 1.0
"""How long `on_stop`, and a cancelled handler, may take."""

_CANCELS = 3
"""How often a handler that swallows cancellation is cancelled before it is given up."""

_logger = logging.getLogger("spillway.actor")


class Children:
    """The actors under one parent.

    Args:
        path: the parent's path; empty at the top.
        escalate: called with the child's path and its last crash once it has used up its restarts.
    """

    def __init__(self, path: str, escalate: Callable[[str, Exception], None]) -> None:
        self._path = path
        self._escalate = escalate
        self._cells: dict[str, Cell] = {}

    def spawn(self, actor: Actor[M], name: str) -> ActorRef[M]:
        """Start the task of `actor`."""
        if not name or "/" in name:
            raise ValueError(f"{name!r} can't name an actor: it is empty or has a slash")
        if name in self._cells:
            raise ValueError(f"there is an actor {name!r} already")
        path = f"{self._path}/{name}" if self._path else name
        cell = Cell(actor, path, gone=lambda: self._cells.pop(name, None), escalate=self._escalate)
        self._cells[name] = cell
        return LocalRef(cell.mailbox)

    async def stop(self, names: Iterable[str], deadline: float) -> None:
        """End these children: drained until `deadline`, cancelled after it."""
        cells = [self._cells[name] for name in names if name in self._cells]
        for cell in cells:
            cell.close(deadline)
        await _end(cells, deadline)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._cells))

    def __len__(self) -> int:
        return len(self._cells)


class Cell:
    """One actor with its mailbox, children and task; the actor's `ActorContext`.

    Args:
        gone: called once when the task is over.
        escalate: called with the last crash when the restarts are used up.
    """

    def __init__(
        self,
        actor: Actor[Any],
        path: str,
        *,
        gone: Callable[[], Any],
        escalate: Callable[[str, Exception], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._actor = actor
        self._escalate = escalate
        self._gone = gone
        self._children = Children(path, self._child_failed)
        self._closing = asyncio.Event()
        self._deadline = 0.0
        self._crashes: deque[float] = deque()
        self._child_crash: Exception | None = None
        self._started = False
        self._winding_down = False
        self._finished = False
        self.mailbox = Mailbox(path, actor.mailbox_capacity)
        actor.context = self
        self.task = self._loop.create_task(self._run(), name=f"actor {path}")
        self.task.add_done_callback(self._over)

    @property
    def ref(self) -> ActorRef[Any]:
        """See `ActorContext.ref`."""
        return LocalRef(self.mailbox)

    def spawn(self, actor: Actor[M], name: str) -> ActorRef[M]:
        """See `ActorContext.spawn`."""
        if self._winding_down:
            raise RuntimeError(f"actor {self.mailbox.name} ends and can't have new children")
        return self._children.spawn(actor, name)

    async def stop_child(self, name: str, drain_s: float = 5.0) -> None:
        """See `ActorContext.stop_child`."""
        await self._children.stop((name,), self._loop.time() + drain_s)

    def close(self, deadline: float) -> None:
        """Take no more messages; what is in the mailbox is handled first, the children end after it."""
        if not self._closing.is_set():
            self._deadline = deadline
            self._closing.set()
            if self.mailbox.state != "failed":
                self.mailbox.state = "stopping"
            self.mailbox.close()

    async def _run(self) -> None:
        try:
            await self._live()
        finally:
            self.mailbox.fail_all()
            await self._wind_down()

    async def _live(self) -> None:
        crash: Exception | None = None
        while True:
            try:
                await self._hook(crash)
                await self._serve()
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is its crash
                crash = error
            else:
                return
            if not await self._back_off(crash):
                return

    async def _hook(self, crash: Exception | None) -> None:
        if crash is None or not self._started:
            await self._actor.on_start()
            self._started = True
        else:
            await self._actor.on_restart(crash)
        if not self._closing.is_set():
            self.mailbox.state = "running"

    async def _serve(self) -> None:
        """Handle messages until the mailbox is closed and empty; raise what crashes the actor."""
        mailbox = self.mailbox
        while True:
            if self._child_crash is not None:
                crash, self._child_crash = self._child_crash, None
                raise crash
            envelope = mailbox.take()
            if envelope is not None:
                await self._handle(envelope)
            elif self._closing.is_set():
                return
            else:
                await mailbox.wait()

    async def _handle(self, envelope: Envelope) -> None:
        try:
            answer = await self._actor.receive(envelope.message)
        except asyncio.CancelledError as error:
            if _cancelled():
                envelope.fail(self.mailbox.ended())
                raise
            crash = RuntimeError("the handler awaited something that was cancelled")
            envelope.fail(crash)
            raise crash from error
        except self._actor.answers as error:
            if envelope.answer is None:
                _logger.warning("actor %s: %r of a message that nobody asked about", self.mailbox.name, error)
            envelope.fail(error)
        except BaseException as error:
            envelope.fail(error)
            raise
        else:
            envelope.reply(answer)
        if _cancelled():
            # The handler swallowed it.
            raise asyncio.CancelledError

    async def _back_off(self, crash: Exception) -> bool:
        """Stop the children and wait; False when the actor is not to start again."""
        if self._closing.is_set():
            _logger.warning("actor %s crashed while it ended", self.mailbox.name, exc_info=crash)
            return False
        now = self._loop.time()
        policy = self._actor.restart_policy
        while self._crashes and self._crashes[0] + policy.window_s <= now:
            self._crashes.popleft()
        crashes = len(self._crashes)
        if crashes >= policy.max_restarts:
            self.mailbox.state = "failed"
            _logger.error("actor %s crashed too often, giving up", self.mailbox.name, exc_info=crash)
            self._escalate(self.mailbox.name, crash)
            return False
        self._crashes.append(now)
        delay = policy.backoff(crashes)
        _logger.warning("actor %s crashed, starting again in %g s", self.mailbox.name, delay, exc_info=crash)
        self.mailbox.state = "restarting"
        await self._children.stop(self._children, now)
        self._child_crash = None
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return True
        return False

    async def _wind_down(self) -> None:
        self._winding_down = True
        now = self._loop.time()
        deadline = now if _cancelled() else max(self._deadline, now)
        try:
            await self._children.stop(self._children, deadline)
        finally:
            if self._started:
                try:
                    async with asyncio.timeout_at(max(deadline, self._loop.time()) + STOP_GRACE_S):
                        await self._actor.on_stop()
                except Exception:
                    _logger.exception("on_stop of actor %s failed", self.mailbox.name)

    def _child_failed(self, path: str, error: Exception) -> None:
        crash = RuntimeError(f"actor {path} crashed too often")
        crash.__cause__ = error
        self._child_crash = crash
        self.mailbox.wake()

    def _over(self, task: asyncio.Task[None]) -> None:
        # Also the way out of a task that was cancelled before its first step, whose `finally` never ran.
        self.finish()
        if not task.cancelled():
            task.exception()

    def finish(self) -> None:
        """Fail what is still in the mailbox and leave the parent; may be called again."""
        if self._finished:
            return
        self._finished = True
        if self.mailbox.state != "failed":
            self.mailbox.state = "stopped"
        self.mailbox.fail_all()
        self._gone()


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _end(cells: list[Cell], deadline: float) -> None:
    """Wait for the tasks of `cells` until `deadline`, then cancel them; being cancelled means the deadline is now."""
    loop = asyncio.get_running_loop()
    pending = {cell.task for cell in cells}
    interrupted: asyncio.CancelledError | None = None
    for _ in range(_CANCELS + 1):
        if not pending:
            break
        try:
            await asyncio.wait(pending, timeout=max(0.0, deadline - loop.time()))
        except asyncio.CancelledError as error:
            interrupted = error
        pending = {task for task in pending if not task.done()}
        for task in pending:
            task.cancel()
        deadline = loop.time() + STOP_GRACE_S
    for cell in cells:
        if cell.task.done():
            cell.finish()
        else:
            _logger.error("actor %s does not end when it is cancelled", cell.mailbox.name)
    if interrupted is not None:
        raise interrupted
