"""Server-sent events from bytes, by the WHATWG HTML standard (sections 9.2.5 and 9.2.6).

The rules work on bytes: no byte of a multi-byte character is a line end, a colon or a space, so that lines are cut
first and decoded after, and a character cut in two by the network is no case of its own.

A read is taken whole: carriage returns become line feeds, what is left of an event begun earlier goes line by line, the
run of complete events after it through `bytes.split`, and what is begun behind them line by line again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec

from spillway.core.errors import ServerError

_BOM = b"\xef\xbb\xbf"
_LF = 10
_CR = 13
_MAX_EVENT = 16 * 1024 * 1024
_MAX_RESIDUE = 64 * 1024
_MAX_RETRY_DIGITS = 18

RawEvent = tuple[bytes | None, bytes]
"""Name (None when the stream gave none) and data of one event, undecoded."""


class SseChunk(msgspec.Struct, frozen=True, gc=False):
    """One event.

    Attributes:
        event: its name, None when the stream gave none.
        data: its data lines, joined by line feeds.
        id: the last event id of the stream, `""` when there was none.
    """

    event: str | None
    data: str
    id: str = ""


class SseDecoder:
    """Turns the bytes of one stream into events, in whatever pieces they come.

    An event that lacks its blank line is never given out; invalid UTF-8 becomes U+FFFD.

    Args:
        max_event_bytes: the most bytes of data in one event, and of any other line.
        emit_dataless: give out an event that has a name and no data, which the standard drops.
        keep_unknown: keep lines that are no field of the standard for `residue`.

    Invariants: the events depend on the bytes alone, not on where they were cut.
    Complexity: linear in the bytes.
    """

    __slots__ = (
        "_begun",
        "_data",
        "_emit_dataless",
        "_error",
        "_event",
        "_id",
        "_keep_unknown",
        "_line",
        "_max",
        "_retry",
        "_size",
        "_skip_lf",
        "_unknown",
        "_unknown_size",
    )

    def __init__(
        self, max_event_bytes: int = _MAX_EVENT, *, emit_dataless: bool = False, keep_unknown: bool = False
    ) -> None:
        if max_event_bytes < 1:
            raise ValueError(f"max_event_bytes must be at least 1, not {max_event_bytes!r}")
        self._max = max_event_bytes
        self._emit_dataless = emit_dataless
        self._keep_unknown = keep_unknown
        self._begun = False  # whether the place of a byte order mark is behind us
        self._skip_lf = False  # whether a line feed now is the second half of a line end
        self._line = bytearray()  # the line that has not ended
        self._data: list[bytes] = []  # data lines of the event that has not ended
        self._size = 0  # their bytes, with a line feed for each
        self._event = b""
        self._id = ""
        self._retry: int | None = None
        self._unknown: list[bytes] = []
        self._unknown_size = 0
        self._error: ServerError | None = None

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream asked for, in milliseconds."""
        return self._retry

    @property
    def residue(self) -> bytes:
        """What came since the last event and is none: with `keep_unknown` unknown lines, and the unended line.

        At most 64 KiB. A provider that breaks off with a bare error body leaves it here.
        """
        return b"\n".join([*self._unknown, bytes(self._line[:_MAX_RESIDUE])])[:_MAX_RESIDUE]

    def feed(self, data: bytes) -> list[SseChunk]:
        """Return the events that `data` completes.

        Raises:
            ServerError: an event is too large (`reason="event_too_large"`). When others came before it in the same
                bytes these are returned, and the next call raises, as does each after it.
        """
        return self._decode(data, text=True)

    def feed_data(self, data: bytes) -> list[RawEvent]:
        """Return the same events undecoded, for those who parse the data anyway.

        Raises:
            ServerError: as from `feed`.
        """
        return self._decode(data, text=False)

    def check(self) -> None:
        """Raise the error of a stream that has failed.

        Raises:
            ServerError: as from `feed`.
        """
        if self._error is not None:
            raise self._error

    def _decode(self, data: bytes, *, text: bool) -> list[Any]:
        self.check()
        out: list[Any] = []
        try:
            self._take(data, out, text=text)
        except ServerError as error:
            self._error = error
            self._line.clear()
            self._data.clear()
            if not out:
                raise
        return out

    def _take(self, data: bytes, out: list[Any], *, text: bool) -> None:
        if not self._begun:
            data = self._without_bom(data)
            if not self._begun:
                return
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == _LF:
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data[-1] == _CR
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        if end == 0:
            self._hold(data)
            return
        lines = data[:end]
        if self._line:
            lines = bytes(self._line) + lines
            self._line.clear()
        self._take_lines(lines, out, text=text)
        if end < len(data):
            self._hold(data[end:])

    def _without_bom(self, data: bytes) -> bytes:
        data = bytes(self._line) + data
        self._line.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._line += data
            return b""
        self._begun = True
        return data.removeprefix(_BOM)

    def _hold(self, data: bytes) -> None:
        """Keep what has come of a line."""
        line = self._line
        line += data
        if self._size + len(line) > self._max:
            if line.startswith(b"data:"):
                self._limit(self._size + len(line) - (6 if line.startswith(b"data: ") else 5))
            elif not b"data:".startswith(line):
                self._limit(len(line))

    def _limit(self, size: int) -> None:
        if size > self._max:
            raise ServerError(
                f"an event of the stream is larger than {self._max} bytes", reason="event_too_large", retryable=False
            )

    def _take_lines(self, lines: bytes, out: list[Any], *, text: bool) -> None:
        """Take lines, the last of which has ended too."""
        start = 0
        if self._data or self._event:
            # The rest of an event begun by an earlier read, up to its blank line.
            if lines[0] != _LF:
                blank = lines.find(b"\n\n")
                if blank < 0:
                    self._take_fields(lines[:-1])
                    return
                self._take_fields(lines[:blank])
                start = blank + 1
            self._dispatch(out, text=text)
            start += 1
        end = lines.rfind(b"\n\n", start)
        if end >= 0:
            self._take_events(lines[start : end + 2], out, text=text)
            start = end + 2
        if start < len(lines):
            self._take_fields(lines[start:-1])

    def _take_events(self, block: bytes, out: list[Any], *, text: bool) -> None:
        """Take a run of events, of which none was begun before and the last has its blank line."""
        if block.startswith(b"data: ") and len(block) <= self._max:
            # If the line feeds are those between the parts and at the end, each part is one line of data.
            run = block[6:-2]
            parts = run.split(b"\n\ndata: ")
            if block.count(b"\n") == 2 * len(parts):
                self._forget_unknown()
                if text:
                    last = self._id
                    out += [SseChunk(None, part, last) for part in run.decode("utf-8", "replace").split("\n\ndata: ")]
                else:
                    out += [(None, part) for part in parts]
                return
        events = block.split(b"\n\n")
        events.pop()  # what is behind the last blank line: nothing, or one more blank line
        short = len(block) <= self._max
        for event in events:
            # The shapes that providers send are taken as a whole; anything else goes line by line.
            head, lf, data = event.partition(b"\n")
            if not lf:
                head, data = b"event: ", head
            if not short or head[:7] != b"event: " or data[:6] != b"data: " or b"\n" in data:
                self._take_fields(event)
                self._dispatch(out, text=text)
                continue
            if self._unknown:
                self._forget_unknown()
            name = head[7:]
            if text:
                title = name.decode("utf-8", "replace") if name else None
                out.append(SseChunk(title, data[6:].decode("utf-8", "replace"), self._id))
            else:
                out.append((name or None, data[6:]))

    def _take_fields(self, lines: bytes) -> None:
        """Take lines that belong to one event; an empty one can only stand before it."""
        for line in lines.split(b"\n"):
            name, colon, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if name == b"data":
                self._size += len(value) + 1
                self._limit(self._size - 1)
                self._data.append(value)
                continue
            self._limit(len(line))
            if name == b"event":
                self._event = value
            elif name == b"id":
                if b"\0" not in value:
                    self._id = value.decode("utf-8", "replace")
            elif name == b"retry":
                if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                    self._retry = int(value)
            elif self._keep_unknown and (name or not colon) and line and self._unknown_size < _MAX_RESIDUE:
                self._unknown.append(line[:_MAX_RESIDUE])
                self._unknown_size += len(line) + 1

    def _dispatch(self, out: list[Any], *, text: bool) -> None:
        """Take a blank line."""
        event, lines = self._event, self._data
        self._event = b""
        if not lines and not (event and self._emit_dataless):
            return
        data = lines[0] if len(lines) == 1 else b"\n".join(lines)
        lines.clear()
        self._size = 0
        self._forget_unknown()
        if text:
            name = event.decode("utf-8", "replace") if event else None
            out.append(SseChunk(name, data.decode("utf-8", "replace"), self._id))
        else:
            out.append((event or None, data))

    def _forget_unknown(self) -> None:
        self._unknown.clear()
        self._unknown_size = 0

    def __repr__(self) -> str:
        if self._error is not None:
            return "<SseDecoder failed>"
        begun = "in an event" if self._data or self._event or self._line else "between events"
        return f"<SseDecoder {begun}, {self._size + len(self._line)} bytes held>"


async def decode_sse_stream(
    stream: AsyncIterable[bytes],
    *,
    max_event_bytes: int = _MAX_EVENT,
    emit_dataless: bool = False,
) -> AsyncIterator[SseChunk]:
    """Yield the events of `stream` as they complete; what is unended at its end is dropped.

    Args:
        stream: the bytes in any pieces; whoever opened it closes it.
        max_event_bytes: as of `SseDecoder`.
        emit_dataless: as of `SseDecoder`.

    Raises:
        ServerError: an event is too large (`reason="event_too_large"`).
    """
    decoder = SseDecoder(max_event_bytes, emit_dataless=emit_dataless)
    async for data in stream:
        for event in decoder.feed(data):
            yield event
        decoder.check()
