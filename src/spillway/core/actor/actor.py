"""What an actor is, and how others hold on to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from spillway.core.errors import ConfigError, InferenceError

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a crashed actor starts again: after `initial_backoff_s * 2**n`, n the crashes before it in the window.

    Attributes:
        max_backoff_s: the longest wait.
        max_restarts: so many restarts in any `window_s`; the next crash ends the actor and crashes its parent.
    """

    initial_backoff_s: float = 0.1
    max_backoff_s: float = 10.0
    max_restarts: int = 5
    window_s: float = 60.0

    def backoff(self, crashes: int) -> float:
        """Return the seconds to wait after so many crashes in the window, the present one not counted."""
        return float(min(self.max_backoff_s, self.initial_backoff_s * 2.0 ** min(crashes, 64)))


class ActorRef(Protocol[M_contra]):
    """An actor as others see it, wherever it lives."""

    @property
    def name(self) -> str:
        """Its path: the names of its parents and its own, joined by `/`."""
        ...

    def tell(self, message: M_contra) -> None:
        """Put `message` into the mailbox.

        Raises:
            Backpressure: the mailbox is full (`reason="mailbox_full"`) or the actor ends (`reason="shutting_down"`).
        """
        ...

    async def ask(self, message: M_contra, timeout_s: float = 5.0) -> Any:
        """Return what the handler returns for `message`, or raise what it raises.

        Raises:
            Backpressure: as for `tell`, and when the actor ends before it answers.
            Timeout: no answer within `timeout_s` (`reason="ask"`).

        Cancellation: a message not yet taken leaves the mailbox at once; one being handled is handled to its end and
        its answer is dropped. A timeout does the same.
        """
        ...


class ActorContext(Protocol):
    """What an actor may ask of the place it runs in."""

    @property
    def ref(self) -> ActorRef[Any]:
        """The actor's own reference."""
        ...

    def spawn(self, actor: Actor[M], name: str) -> ActorRef[M]:
        """Start `actor` as a child; see `ActorSystem.spawn`."""
        ...

    async def stop_child(self, name: str, drain_s: float = 5.0) -> None:
        """End the child called `name` in order; see `ActorSystem.stop`."""
        ...


class Actor(ABC, Generic[M]):
    """State and a mailbox; subclass it and write `receive`. Messages are msgspec structs.

    Errors of `receive` go to the asker. Those in `answers` are answers and nothing else happens; any other exception is
    a crash: the message is lost, the children are stopped, and after a backoff `on_restart` makes the state good again.
    The mailbox keeps what is in it, and takes more, meanwhile.

    Invariants: hooks and `receive` of one actor never run at the same time.
    """

    mailbox_capacity: ClassVar[int] = 1024
    restart_policy: ClassVar[RestartPolicy] = RestartPolicy()
    answers: ClassVar[tuple[type[Exception], ...]] = (InferenceError, ConfigError)

    context: ActorContext
    """Set before `on_start`."""

    @abstractmethod
    async def receive(self, message: M) -> Any:
        """Handle one message; what it returns is the answer to an `ask`."""

    async def on_start(self) -> None:
        """Run once before the first message; children are spawned here."""

    async def on_restart(self, cause: Exception) -> None:  # noqa: ARG002 - for those who care what it was
        """Make the state good again after a crash; the children are gone. By default, start anew."""
        await self.on_start()

    async def on_stop(self) -> None:
        """Run once at the end, after the children's, if it ever started; it has a second."""
