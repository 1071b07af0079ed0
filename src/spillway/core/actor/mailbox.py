"""A bounded mailbox and the reference that fills it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Generic, TypeVar

from spillway.core.errors import Backpressure, Timeout

M = TypeVar("M")


class Envelope:
    """A message on its way and, if somebody asked, the future of the answer."""

    __slots__ = ("answer", "message")

    def __init__(self, message: Any, answer: asyncio.Future[Any] | None = None) -> None:
        self.message = message
        self.answer = answer

    def reply(self, value: Any) -> None:
        """Answer, if somebody still waits."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, if somebody still waits."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


class Mailbox:
    """First in, first out, at most `capacity` messages.

    Attributes:
        state: what the actor does, in a word.
    """

    __slots__ = ("_closed", "_envelopes", "_idle", "capacity", "name", "state")

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self.state = "starting"
        self._closed = False
        self._envelopes: deque[Envelope] = deque()
        self._idle: asyncio.Future[None] | None = None

    def put(self, envelope: Envelope) -> None:
        """Take a message in, or raise Backpressure."""
        if self._closed:
            raise self.ended()
        if len(self._envelopes) >= self.capacity:
            raise Backpressure(f"the mailbox of actor {self.name} is full", reason="mailbox_full")
        self._envelopes.append(envelope)
        self.wake()

    @property
    def room(self) -> int:
        """How many messages it takes now."""
        return 0 if self._closed else self.capacity - len(self._envelopes)

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    def withdraw(self, envelope: Envelope) -> None:
        """Take a message out again, if it is still there."""
        try:
            self._envelopes.remove(envelope)
        except ValueError:
            return

    def take(self) -> Envelope | None:
        """Return the oldest message, or None."""
        return self._envelopes.popleft() if self._envelopes else None

    async def wait(self) -> None:
        """Return on the next `wake`; for the one task of the actor."""
        self._idle = asyncio.get_running_loop().create_future()
        try:
            await self._idle
        finally:
            self._idle = None

    def wake(self) -> None:
        """End a `wait`."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def close(self) -> None:
        """Take nothing more in; what is inside stays."""
        self._closed = True
        self.wake()

    def fail_all(self) -> None:
        """Close it and fail every ask inside."""
        self.close()
        while self._envelopes:
            self._envelopes.popleft().fail(self.ended())

    def ended(self) -> Backpressure:
        """Return the error of a message that will not be handled any more."""
        return Backpressure(f"actor {self.name} is {self.state}", reason="shutting_down")

    def __len__(self) -> int:
        return len(self._envelopes)


class LocalRef(Generic[M]):
    """An `ActorRef` to an actor of this process; to be used on its loop's thread."""

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def name(self) -> str:
        """See `ActorRef.name`."""
        return self._mailbox.name

    @property
    def is_full(self) -> bool:
        """Whether its mailbox takes nothing now and will again."""
        return not self._mailbox.closed and self._mailbox.room <= 0

    @property
    def is_closed(self) -> bool:
        """Whether its mailbox takes nothing more."""
        return self._mailbox.closed

    def tell(self, message: M) -> None:
        """See `ActorRef.tell`."""
        self._mailbox.put(Envelope(message))

    async def ask(self, message: M, timeout_s: float = 5.0) -> Any:
        """See `ActorRef.ask`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        envelope = Envelope(message, answer)
        self._mailbox.put(envelope)
        late = Timeout(f"actor {self.name} did not answer within {timeout_s:g} s", reason="ask")
        timer = loop.call_later(timeout_s, envelope.fail, late)
        try:
            return await answer
        finally:
            timer.cancel()
            self._mailbox.withdraw(envelope)
            if answer.done() and not answer.cancelled():
                # An asker cancelled in the tick of a failing answer never gets to read it.
                answer.exception()

    def __repr__(self) -> str:
        box = self._mailbox
        return f"<ActorRef {box.name} {box.state} mailbox {len(box)}/{box.capacity}>"
