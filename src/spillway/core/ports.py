"""The ports: what the remote core asks of a provider's runtime, and what that gets from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, runtime_checkable

import msgspec

from spillway.core.limits_seen import LimitsSeen
from spillway.core.reply import TokenChunk
from spillway.core.request import GenerateRequest


class ExecuteBatch(msgspec.Struct):
    """One attempt, as a runner gets it.

    Attributes:
        request: what to ask.
        deadline: monotonic seconds of the loop's clock by which the whole call must be over.
        attempt: 0 for the first attempt of the request.
        stream: whether the answer is to be streamed.
        on_sent: to be called once the last byte of the body is written; a runner that never calls it is taken to
            have sent it when `execute` returns.
    """

    request: GenerateRequest
    deadline: float
    attempt: int = 0
    stream: bool = False
    on_sent: Callable[[], None] | None = None


@runtime_checkable
class RunHandle(Protocol):
    """An answer on its way: an async iterator of lists of chunks that arrived together.

    An empty list means that bytes came which carry nothing (a ping): it proves life and nothing else.

    It may have these attributes, all optional: `request_id` (str), `limits_seen` (`LimitsSeen`, from the headers of
    this answer), `vectors` (of an embeddings request, one for each input), `warnings` (what of the request was left
    out, a line each), `raw` (the body of a whole answer), `chunks` (all of an answer that is in: they need not be
    waited for), `abort()` (a synchronous close, for when no task can await).

    Where it answers the `NativeBody` of a request: `wire` (whose words they are, as `NativeBody.wire`; empty where it
    does not), and of a stream `take_frames()`, which returns the events that came since it was last called, as pairs of
    name (None for none) and data. Such a stream also gives an empty list of chunks for a read that has frames alone.
    """

    def __aiter__(self) -> AsyncIterator[list[TokenChunk]]: ...

    async def __anext__(self) -> list[TokenChunk]:
        """Return the chunks of the next read; StopAsyncIteration only after the provider's terminal marker."""
        ...

    async def aclose(self) -> None:
        """Close the upstream request; a cut stream's socket is closed within 100 ms. May be called twice.

        It is called after the end of the answer too, unless the handle has `abort`.
        """
        ...


@runtime_checkable
class ModelRunner(Protocol):
    """A provider behind one deployment.

    `execute` raises `InferenceError`s only (and `CancelledError` through); it neither retries nor waits for limits.
    """

    @property
    def runtime_kind(self) -> str:
        """`openai`, `anthropic`, `gemini`, `litellm` or a third party's name; the metrics' label."""
        ...

    @property
    def transport_kind(self) -> str:
        """How it reaches the provider, e.g. `http`."""
        ...

    @property
    def rate_limits(self) -> LimitsSeen | None:
        """The limits that the newest answer's headers told of, or None."""
        ...

    async def execute(self, batch: ExecuteBatch) -> RunHandle:
        """Send one attempt and return once the answer's head is in (unary runners may return once all is in)."""
        ...

    async def rebuild_session(self, cause: BaseException | None) -> None:
        """Read the credential again and build a new client; what is in flight keeps the old one.

        Raises:
            Unauthorized: the source still yields the credential that was refused.
        """
        ...


RunnerFactory = Callable[[Any], ModelRunner]
"""`factory(deployment) -> ModelRunner`. A runner may have `async aclose()`; it is awaited when the Cluster closes."""
