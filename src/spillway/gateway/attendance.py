"""Whether anybody is there to take an answer: a caller may leave, or stop taking what is sent.

Either cancels the task that makes the answer, and with it the request at the provider. That costs one timer a request
and, of a request that is not answered at once, one wait for the caller's leaving; nothing a piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Self

from spillway.gateway.patience import Patience

if TYPE_CHECKING:
    from types import TracebackType

    from spillway.core.alarms import Timer
    from spillway.gateway.timing import Timing

WRITE_TIMEOUT_S = 30.0
"""How long a caller may take no byte of an answer."""

KEEP_ALIVE_S = 15.0
"""How long a stream whose head is out may be silent before a sign of life is sent."""

LISTEN_AFTER_S = 0.06
"""From when on a caller's leaving is waited for; what is answered sooner is not worth it."""

_LOOK_S = 5.0
_NEVER = float("inf")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class CallerGone(Exception):
    """The caller has left; nobody is there to be answered."""


class Attendance:
    """Watches over one exchange while its answer is made; a context manager for the task that makes it.

    On the way out the cancellation that it asked for is raised as `CallerGone`; one that somebody else asked for stays.

    Args:
        receive: ASGI's; called once the body was read, and by nobody else from then on.
        send: ASGI's.
        timing: of the running loop.

    Attributes:
        gone: whether the caller has left, or took nothing for `WRITE_TIMEOUT_S`.
        keep_alive: what is sent after `KEEP_ALIVE_S` of silence; empty: nothing.
        waited_s: seconds in which a piece was on its way out.
    """

    __slots__ = (
        "_before",
        "_breath",
        "_leaving",
        "_loop",
        "_receive",
        "_send",
        "_since",
        "_struck",
        "_task",
        "_timer",
        "_timing",
        "_writes",
        "gone",
        "keep_alive",
        "waited_s",
    )

    def __init__(self, receive: Receive, send: Send, timing: Timing) -> None:
        self._receive = receive
        self._send = send
        self._loop = timing.loop
        self._timing = timing
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._struck = False
        self._timer: Timer | None = None
        self._leaving: asyncio.Future[MutableMapping[str, Any]] | None = None
        self._breath: asyncio.Task[None] | None = None
        self._writes = 0  # pieces that are on their way out
        self._since = 0.0  # when one of them began or ended last
        self.gone = False
        self.keep_alive = b""
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("an answer is made by a task")
        self._task = task
        self._before = task.cancelling()
        self._timer = self._timing.soon.call_at(self._loop.time() + LISTEN_AFTER_S, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        leaving = self._leaving
        if leaving is not None and not leaving.done():
            leaving.remove_done_callback(self._heard)
            leaving.cancel()
        if self._breath is not None:
            self._breath.cancel()
        if self._struck and task is not None:
            only_ours = task.uncancel() <= self._before
            if only_ours and kind is asyncio.CancelledError:
                raise CallerGone from None

    async def put(self, message: MutableMapping[str, Any], then: MutableMapping[str, Any] | None = None) -> None:
        """Send one message, and another one after it.

        Raises:
            CallerGone: the caller has left, or takes nothing.
        """
        if self.gone:
            raise CallerGone
        try:
            if self._task is None:
                with Patience(self._loop.time() + WRITE_TIMEOUT_S, self._loop, self._timing.late):
                    await self._send(message)
                    if then is not None:
                        await self._send(then)
                return
            began = self._since = self._loop.time()
            self._writes += 1
            try:
                await self._send(message)
                if then is not None:
                    await self._send(then)
            finally:
                self._writes -= 1
                self._since = self._loop.time()
                self.waited_s += self._since - began
        except (TimeoutError, OSError):
            self.gone = True
            raise CallerGone from None

    def _look(self) -> None:
        """See whether it is time for something, and when to look again."""
        if self._leaving is None:
            self._listen()
        now = self._loop.time()
        due = self._since + WRITE_TIMEOUT_S if self._writes else _NEVER
        if due <= now:
            self._strike()
            return
        if self.keep_alive and not self._writes and self._since + KEEP_ALIVE_S <= now:
            self._breath = self._loop.create_task(self._breathe())
        self._timer = self._loop.call_at(min(due, now + _LOOK_S), self._look)

    def _listen(self) -> None:
        self._leaving = asyncio.ensure_future(self._receive())
        self._leaving.add_done_callback(self._heard)

    def _heard(self, leaving: asyncio.Future[MutableMapping[str, Any]]) -> None:
        if leaving.cancelled():
            return
        if leaving.exception() is None and leaving.result()["type"] != "http.disconnect":
            self._listen()
            return
        self._strike()

    def _strike(self) -> None:
        self.gone = True
        if self._task is not None and not self._struck:
            self._struck = True
            self._task.cancel()

    async def _breathe(self) -> None:
        try:
            await self.put({"type": "http.response.body", "body": self.keep_alive, "more_body": True})
        except CallerGone:
            self._strike()

    def __repr__(self) -> str:
        state = "gone" if self.gone else "idle" if self._task is None else "writing" if self._writes else "watching"
        return f"<Attendance {state}>"
