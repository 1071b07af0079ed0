"""The actors that `ACTOR_CHECKS` look at, and what is sent to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from spillway.core.actor import Actor, RestartPolicy
from spillway.core.clock import sleep
from spillway.core.errors import CircuitOpen, InferenceError, StreamInterrupted
from spillway.core.reply import FinishReason, Tokens, Usage


class Echo(msgspec.Struct, frozen=True):
    """Answer the value."""

    value: Any


class Note(msgspec.Struct, frozen=True):
    """Write the value down."""

    value: Any


class Notes(msgspec.Struct, frozen=True):
    """Answer what was written down, in its order."""


class Nap(msgspec.Struct, frozen=True):
    """Take so many seconds."""

    seconds: float


class Fail(msgspec.Struct, frozen=True):
    """Raise the error."""

    error: Exception


class Crash(msgspec.Struct, frozen=True):
    """Raise a RuntimeError, which is a crash."""

    message: str


class Cancel(msgspec.Struct, frozen=True):
    """Do nothing."""


class State(msgspec.Struct, frozen=True):
    """Answer a `ProbeState`."""


class ProbeState(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe has seen.

    Attributes:
        starts: times that it was started, crashes included.
        overlaps: messages that came while another was handled.
        naps: naps that were slept to their end.
    """

    starts: int
    overlaps: int
    naps: int


class ProbeActor(Actor[Any]):
    """Does what it is told, and remembers it over crashes."""

    restart_policy = RestartPolicy(initial_backoff_s=0.05)

    def __init__(self) -> None:
        self._notes: list[Any] = []
        self._starts = self._overlaps = self._naps = 0
        self._busy = False

    async def on_start(self) -> None:
        """Count."""
        self._starts += 1
        self._busy = False

    async def receive(self, message: Any) -> Any:
        """Do what the message says."""
        self._overlaps += self._busy
        self._busy = True
        try:
            return await self._do(message)
        finally:
            self._busy = False

    async def _do(self, message: Any) -> Any:
        match message:
            case Echo(value):
                return value
            case Note(value):
                self._notes.append(value)
            case Notes():
                return list(self._notes)
            case Nap(seconds):
                await sleep(seconds)
                self._naps += 1
            case Fail(error):
                raise error
            case Crash(text):
                raise RuntimeError(text)
            case State():
                return ProbeState(starts=self._starts, overlaps=self._overlaps, naps=self._naps)
        return None


class CrashingActor(ProbeActor):
    """Starts again once, no more."""

    restart_policy = RestartPolicy(initial_backoff_s=0.01, max_restarts=1)


class SmallActor(ProbeActor):
    """Has a small mailbox."""

    mailbox_capacity = 8


def every_error() -> Iterator[InferenceError]:
    """Yield an error of each class, with all of its fields set."""
    kinds = list(InferenceError.__subclasses__())
    while kinds:
        kind = kinds.pop(0)
        kinds += kind.__subclasses__()
        error = kind(
            "it went wrong",
            provider="openai",
            deployment="m",
            attempts=3,
            reason="why",
            retry_after=1.5,
            status=429,
            body='{"error": "ä"}',
            elapsed_s=0.25,
            limited_by="provider",
            retryable=not kind.retryable,
        )
        error.native = '{"type": "error"}'
        error.sent = True
        error.final = True
        error.history = (("m", "server_error", 0.5), ("n", "timeout", 1.0))
        error.refusal = CircuitOpen("the circuit is open", deployment="m", opened_at=1.0, retry_at=31.0)
        if isinstance(error, StreamInterrupted):
            error.partial = Tokens(
                text="half a sen",
                usage=Usage(input_tokens=3, output_tokens=4),
                finish_reason=FinishReason.LENGTH,
                deployment="m",
            )
        yield error


def fields_of(error: BaseException) -> dict[str, Any]:
    """Return the fields of an error, those of errors in them too."""
    return {
        name: (type(value), str(value), fields_of(value)) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
        if not name.startswith("__")
    }
