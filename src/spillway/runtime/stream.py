"""The stream a caller reads: chunk by chunk, closed however the caller leaves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from spillway.remote.worker import LiveStream, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from spillway.core.reply import TokenChunk, Tokens
    from spillway.remote.engine import Call
    from spillway.remote.worker import Target


class TokenStream(AsyncIterator["TokenChunk"]):
    """An answer as it comes: an async iterator of `TokenChunk` and an async context manager.

    The request is sent when the first chunk is asked for. Ends only at the provider's terminal marker; a break after
    the first content raises `StreamInterrupted` with what came in `partial`, before it the request is retried.

    Cancellation: closed early, dropped, or its task cancelled, it cancels the upstream request within 100 ms.
    """

    __slots__ = ("__weakref__", "_begin", "_chunks", "_live", "_next", "_over", "_tokens")

    def __init__(self, begin: Callable[[], Awaitable[tuple[Call, Sequence[Target]]]]) -> None:
        self._begin: Callable[[], Awaitable[tuple[Call, Sequence[Target]]]] | None = begin
        self._live: LiveStream | None = None
        self._chunks: list[TokenChunk] = []
        self._next = 0
        self._over = False
        self._tokens: Tokens | None = None

    @property
    def tokens(self) -> Tokens | None:
        """The whole answer with usage and cost, once the stream is at its end; None before."""
        return self._tokens

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TokenChunk:
        """Return the next chunk.

        Raises:
            InferenceError: the request failed before its first content.
            StreamInterrupted: the stream broke after it.
        """
        place = self._next
        chunks = self._chunks
        if place < len(chunks):
            self._next = place + 1
            return chunks[place]
        if self._over:
            raise StopAsyncIteration
        live = self._live or await self._open()
        try:
            fresh = await live.next_chunks()
        except BaseException:
            self._over = True
            raise
        if fresh is None:
            self._over = True
            self._tokens = live.tokens
            raise StopAsyncIteration
        self._chunks = fresh
        self._next = 1
        return fresh[0]

    async def aclose(self) -> None:
        """End it early; nothing more is read and the provider's stream is cancelled. May be called twice."""
        self._over = True
        self._begin = None
        self._chunks = []
        self._next = 0
        if self._live is not None:
            await self._live.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _open(self) -> LiveStream:
        begin, self._begin = self._begin, None
        if begin is None:
            raise StopAsyncIteration
        try:
            call, route = await begin()
            live = await answer(call, route)
        except BaseException:
            self._over = True
            raise
        if not isinstance(live, LiveStream):
            raise TypeError("a streamed call came back whole")
        self._live = live
        if self._over:
            # It was closed from elsewhere while it opened.
            await live.aclose()
            raise StopAsyncIteration
        return live

    def __del__(self) -> None:
        live = self._live
        if live is not None and not self._over:
            try:
                live.loop.call_soon_threadsafe(live.abandon)
            except RuntimeError:
                return

    def __repr__(self) -> str:
        state = "over" if self._over else "waiting" if self._live is None else "open"
        return f"<TokenStream {state}>"
