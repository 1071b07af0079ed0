"""Answers as their reader gets them: whole, or read by read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from operator import length_hint
from typing import Protocol

from spillway.core.errors import InferenceError, ServerError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.reply import TokenChunk
from spillway.providers.hiding import hide
from spillway.remote.http import HttpResponse
from spillway.remote.session import SessionSnapshot
from spillway.remote.sse import RawEvent, SseDecoder

LINGER_S = 0.1
"""How long the end of the bytes is waited for after a stream's terminal marker, to reuse the connection."""

MOST_HELD = 16 * 1024 * 1024
"""Bytes of frames that are kept for a reader who does not take them, such as those before the first content."""

Vectors = tuple[tuple[float, ...], ...]


class StreamWire(Protocol):
    """The state of one streamed answer: events in, chunks out.

    It may have `join_texts()`: from then on the texts of all events that are taken at once become one chunk. It is
    called for an answer whose frames are passed on and whose chunks are only counted.
    """

    @property
    def finished(self) -> bool:
        """Whether the provider's terminal marker was seen."""
        ...

    @property
    def answer_id(self) -> str:
        """The provider's id of the answer, `""` as long as none came; stands in where no header has one."""
        ...

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `(name, data)` events carry; raises InferenceError with what came before in `out`."""
        ...

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; raises InferenceError unless the answer is complete.

        Args:
            residue: what was in no event, such as the body of an error.
            unended: the event that lacks only its blank line, if there is one: it may be the terminal marker.
        """
        ...


class WholeAnswer:
    """The `RunHandle` of an answer that is in; `vectors` is set for embeddings."""

    __slots__ = ("_chunks", "chunks", "limits_seen", "raw", "request_id", "vectors", "warnings", "wire")

    def __init__(
        self,
        chunks: list[TokenChunk],
        request_id: str,
        limits_seen: LimitsSeen | None,
        vectors: Vectors | None = None,
        *,
        raw: bytes = b"",
        warnings: tuple[str, ...] = (),
        wire: str = "",
    ) -> None:
        self.chunks = chunks
        self._chunks: list[TokenChunk] | None = chunks
        self.request_id = request_id
        self.limits_seen = limits_seen
        self.vectors = vectors
        self.raw = raw
        self.warnings = warnings
        self.wire = wire

    def __aiter__(self) -> AsyncIterator[list[TokenChunk]]:
        return self

    async def __anext__(self) -> list[TokenChunk]:
        chunks, self._chunks = self._chunks, None
        if chunks is None:
            raise StopAsyncIteration
        return chunks

    async def aclose(self) -> None:
        """Drop what was not read."""
        self._chunks = None

    def abort(self) -> None:
        """Drop what was not read."""
        self._chunks = None

    def __repr__(self) -> str:
        return f"<WholeAnswer {self.request_id} {'read' if self._chunks is None else 'unread'}>"


class StreamedAnswer:
    """The `RunHandle` of an answer on its way.

    Invariants: gives response and lease back exactly once: at the end, at an error, or when it is closed.
    """

    __slots__ = (
        "_decoder",
        "_failure",
        "_frames",
        "_held",
        "_kind",
        "_lease",
        "_request_id",
        "_response",
        "_wire",
        "limits_seen",
        "warnings",
        "wire",
    )

    def __init__(
        self,
        kind: str,
        response: HttpResponse,
        lease: SessionSnapshot,
        wire: StreamWire,
        request_id: str,
        limits_seen: LimitsSeen | None,
        warnings: tuple[str, ...] = (),
        *,
        relays: str = "",
    ) -> None:
        self._kind = kind
        self._response: HttpResponse | None = response
        self._lease = lease
        self._wire = wire
        self._decoder = SseDecoder(keep_unknown=True)
        self._failure: InferenceError | None = None
        self._request_id = request_id
        self.limits_seen = limits_seen
        self.warnings = warnings
        self.wire = relays
        self._frames: list[RawEvent] = []
        self._held = 0
        join: Callable[[], None] | None = getattr(wire, "join_texts", None)
        if relays and join is not None:
            join()

    @property
    def request_id(self) -> str:
        """The provider's id of the request, else of the answer once that has begun."""
        return self._request_id or self._wire.answer_id

    def take_frames(self) -> list[RawEvent]:
        """Return the events that came since this was last called; none unless it relays.

        What is no UTF-8 in them is U+FFFD, as it is for every reader of server-sent events.
        """
        frames, self._frames, self._held = self._frames, [], 0
        for at, (name, data) in enumerate(frames):
            if not data.isascii():
                frames[at] = (name, data.decode("utf-8", "replace").encode())
        return frames

    def __aiter__(self) -> AsyncIterator[list[TokenChunk]]:
        return self

    async def __anext__(self) -> list[TokenChunk]:
        response = self._response
        if response is None:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            raise StopAsyncIteration
        out: list[TokenChunk] = []
        try:
            if self._wire.finished:
                await _read_to_end(response)
                self.abort()
                raise StopAsyncIteration
            data = await response.read_some()
            if data:
                events = self._decoder.feed_data(data)
                if events:
                    if self.wire:
                        self._relay(events, out, len(data))
                    else:
                        self._wire.take(events, out)
                return out
            residue = self._decoder.residue
            unended = self._decoder.feed_data(b"\n\n")
            self._wire.end(residue, unended, out)
            if self.wire:
                self._frames += unended
        except InferenceError as error:
            self.abort()
            if error.provider is None:
                error.provider = self._kind
            error.sent = True
            hide(error, self._lease.secrets)
            if not out:
                raise
            self._failure = error
            return out
        except BaseException:
            self.abort()
            raise
        self.abort()
        if not out:
            raise StopAsyncIteration
        return out

    def _relay(self, events: list[RawEvent], out: list[TokenChunk], size: int) -> None:
        """Take events, and keep those that the wire took without objecting; what it left is behind the end."""
        watched = _Watched(events)
        objected = 1
        try:
            self._wire.take(watched, out)
            objected = 0
        finally:
            taken = len(watched) - length_hint(watched.left) - objected
            watched.left = _SPENT  # it would hold the list that holds it
            self._keep(events if taken == len(events) else events[:taken], size, idle=not out)

    def _keep(self, events: list[RawEvent], size: int, *, idle: bool) -> None:
        """Keep events for `take_frames`; of those that carry nothing, one ping after the other is one."""
        if idle:
            frames = self._frames
            before = [*frames[-1:], *events] if frames else [_NO_EVENT, *events]
            events = [event for event, last in zip(events, before, strict=False) if event != last]
        self._frames += events
        self._held += size if events else 0
        if self._held > MOST_HELD:
            raise ServerError(
                f"more than {MOST_HELD} bytes came that nobody took", reason="event_too_large", retryable=False
            )

    async def aclose(self) -> None:
        """Close the upstream request; its socket too, unless the answer was read to its end."""
        self.abort()

    def abort(self) -> None:
        """Close it now, without waiting for anything."""
        response, self._response = self._response, None
        if response is not None:
            response.abort()
            self._lease.release()

    def __repr__(self) -> str:
        state = "closed" if self._response is None else "finished" if self._wire.finished else "open"
        return f"<StreamedAnswer {self._kind} {self.request_id} {state}>"


_NO_EVENT: RawEvent = (None, b"")
_SPENT: Iterator[RawEvent] = iter(())


class _Watched(list[RawEvent]):
    """Events that tell how many of them were taken."""

    __slots__ = ("left",)

    def __init__(self, events: list[RawEvent]) -> None:
        super().__init__(events)
        self.left: Iterator[RawEvent] = iter(events)

    def __iter__(self) -> Iterator[RawEvent]:
        self.left = super().__iter__()
        return self.left


async def _read_to_end(response: HttpResponse) -> None:
    """Read what follows a terminal marker, so that the connection can be reused; not for long, and whatever it is."""
    timer = asyncio.get_running_loop().call_later(LINGER_S, response.abort)
    try:
        while await response.read_some():
            pass
    except InferenceError:
        return
    finally:
        timer.cancel()
