"""What the adapter adds to aiohttp's connections: they know their past, and their pool hands out sound ones only."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import istr

from spillway.core.clock import monotonic
from spillway.remote.http.glance import Whole, at_a_glance

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection

    from spillway.remote.http.head import Head

    Idle = deque[tuple[Connection, float]]

_END = b"\r\n\r\n"
_LENGTH = istr("content-length")


class Wire(ResponseHandler):
    """One connection.

    Attributes:
        exchanges: requests it has been taken for, the present one included.
        heard: whether any byte came since it was taken for the present one.
        broken: whether what came can't be parsed.
        lost: what ended it, None if it ended in order or lives.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.exchanges = 0
        self.heard = False
        self.broken = False
        self.lost: BaseException | None = None
        self._no_body = False
        self._first: asyncio.Future[Whole | None] | None = None
        self._seen_whole = False
        self._framed = False
        self._chunked = False
        self._left: int | None = None
        self._before: StreamReader | None = None

    def begin(self, *, no_body: bool) -> asyncio.Future[Whole | None]:
        """Take it for one more request, whose answer has no body whatever its head says.

        Returns:
            What is done with the first bytes that come, or when none will: the answer where it is seen at a glance,
            else None, and then it is to be had from `read`.
        """
        self.exchanges += 1
        self.heard = self._seen_whole = False
        self._no_body = no_body
        self._parser = None
        first = self._first = self._loop.create_future()
        if self._tail:
            early, self._tail = self._tail, b""
            self.data_received(early)
        return first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have every write go out at once as far as it can, so that an empty buffer means that all is sent."""
        super().connection_made(transport)
        # Of TLS the buffer counts as full when it has reached the limit, else when it has passed it.
        high = 0 if transport.get_extra_info("ssl_object") is None else 1
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=high, low=0)

    @property
    def sound(self) -> bool:
        """Whether it can take another request."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        # Without a parser nothing else can be left over.
        return not (self._should_close if self._seen_whole else self.should_close)

    async def drained(self) -> None:
        """Return once all that was written is sent.

        Raises:
            aiohttp.ClientConnectionError: the connection ended before.
        """
        await self._drain_helper()

    def data_received(self, data: bytes) -> None:
        """Take what came in; what comes after the end of the answer is dropped and ends the connection's use.

        The head goes to the parser on its own: if it and rubbish after a whole answer came together, aiohttp would
        lose the answer over the rubbish.
        """
        if not data or not self.exchanges:
            super().data_received(data)  # a paused parser goes on, or it is kept until there is one
            return
        if not self.heard:
            self.heard = True
            end = data.find(_END) + 4
            whole = at_a_glance(data, end) if end > 3 and not self._no_body else None
            self._answer(whole)
            if whole is not None:
                self._seen_whole = True
                return
            self._begin_to_parse()
            if end > 3:
                super().data_received(data[:end] if end < len(data) else data)
                self._frame()
                if end == len(data) or self._exception is not None:
                    self._check()
                    return
                data = data[end:]
        elif self._seen_whole:
            self.force_close()
            return
        elif self._over():
            self.force_close()
        left = self._left
        if left is not None:
            if len(data) > left:
                data = data[:left]
                self.force_close()
            self._left = left - len(data)
        super().data_received(data)
        if not self._framed:
            self._frame()
        self._check()
        if self._chunked and not _END.endswith(data[-4:]) and self._over():
            self.force_close()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 # aiohttp's
        """Go on reading if that was paused; aiohttp asks for it after every piece that it hands out."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remember why, which aiohttp tells in words only."""
        self.lost = exc
        super().connection_lost(exc)
        self._answer(None)

    def _answer(self, whole: Whole | None) -> None:
        """Tell who waits for the first bytes."""
        first, self._first = self._first, None
        if first is not None and not first.done():
            first.set_result(whole)

    def _begin_to_parse(self) -> None:
        """Have what comes from here on parsed."""
        self._framed = False
        self._left = None
        self._before = self._payload
        self.set_response_params(skip_payload=self._no_body, read_until_eof=True, auto_decompress=False)

    def _over(self) -> bool:
        """Whether the body of this request's answer is at its end."""
        payload = self._payload
        return payload is not None and payload is not self._before and payload is not EMPTY_PAYLOAD and payload.is_eof()

    def _frame(self) -> None:
        """Learn from the head, once it is parsed, how the end of the body is told."""
        if not self._buffer:
            return
        (message, payload), _ = self._buffer[-1]
        if message.code < 200:
            return
        self._framed = True
        self._chunked = message.chunked
        length = message.headers.get(_LENGTH)
        self._left = None if length is None else int(length) - payload.total_bytes

    def _check(self) -> None:
        """Tell the reader of a body that the rest can't be parsed; aiohttp tells only who waits for a head."""
        if self._exception is None or self.broken:
            return
        self.broken = True
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError("it can't be parsed"))


class Connector(aiohttp.TCPConnector):
    """A pool that hands out no connection on which bytes were left over, and on demand none that was used before.

    Where connections are not limited it keeps those that wait for their next request itself: aiohttp's books of who
    holds which cost more than the look at a connection does.
    """

    def __init__(self, *, keepalive_s: float, **options: Any) -> None:
        super().__init__(keepalive_timeout=keepalive_s, **options)
        self._factory = cast("Any", functools.partial(Wire, loop=self._loop))
        self._keepalive_s = keepalive_s
        self._idle: dict[ConnectionKey, Idle] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def take_idle(self, head: Head) -> Connection | None:
        """Return a connection that waits for requests with this head, None when there is none."""
        idle = head.idle
        if idle is None:
            idle = head.idle = self._idle.setdefault(head.request.connection_key, deque())
        earliest = monotonic() - self._keepalive_s
        while idle:
            connection, since = idle.popleft()
            if since >= earliest and _is_sound(connection):
                return connection
            connection.close()
        return None

    async def take(self, head: Head, timeout: aiohttp.ClientTimeout, *, unused: bool) -> Connection:  # noqa: ASYNC109 # aiohttp's
        """Return a connection for requests with this head where none was idle.

        Args:
            timeout: of which `connect` counts.
            unused: it must have served no request yet.
        """
        held: list[Connection] = []
        try:
            while True:
                connection = await self.connect(head.request, [], timeout)
                wire = cast("Wire", connection.protocol)
                if not wire.exchanges:
                    return connection
                if wire.should_close:
                    connection.close()
                elif unused:
                    held.append(connection)
                else:
                    return connection
        finally:
            for spare in held:
                spare.release()

    def give_back(self, connection: Connection, head: Head) -> None:
        """Take a connection back on which the answer to a request with this head is in."""
        idle = head.idle
        if idle is None or self._limit or self._closed or not _is_sound(connection):
            connection.release()
            return
        idle.append((connection, monotonic()))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keepalive_s, self._sweep)

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        try:
            await super().close(abort_ssl=abort_ssl)
        finally:
            for idle in self._idle.values():
                while idle:
                    idle.popleft()[0].close()

    def _sweep(self) -> None:
        """Close what has waited too long, or was closed by the peer."""
        earliest = monotonic() - self._keepalive_s
        for idle in self._idle.values():
            for _ in range(len(idle)):
                connection, since = idle.popleft()
                if since > earliest and _is_sound(connection):
                    idle.append((connection, since))
                else:
                    connection.close()
        left = any(self._idle.values())
        self._sweeper = self._loop.call_later(self._keepalive_s, self._sweep) if left else None


def _is_sound(connection: Connection) -> bool:
    """Return whether a connection can take another request."""
    wire: Any = connection.protocol
    return wire is not None and wire.sound
