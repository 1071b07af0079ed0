"""What the adapter adds to aiohttp below its session: connections that know their past, bodies that know they left."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, istr

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_PIECE = 256 * 1024
_BODY_HEADERS = CIMultiDict({"content-type": "application/json"})
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
        self._framed = False
        self._chunked = False
        self._left: int | None = None
        self._before: StreamReader | None = None

    def begin(self) -> None:
        """Take it for one more request."""
        self.exchanges += 1
        self.heard = False
        self._framed = False
        self._left = None
        self._before = self._payload

    def data_received(self, data: bytes) -> None:
        """Take what came in; what comes after the end of the answer is dropped and ends the connection's use.

        The head goes to the parser on its own: if it and rubbish after a whole answer came together, aiohttp would
        lose the answer over the rubbish.
        """
        if not data:
            super().data_received(data)  # a paused parser goes on
            return
        if not self.heard:
            self.heard = True
            end = data.find(_END) + 4
            if end > 3:
                super().data_received(data[:end] if end < len(data) else data)
                self._frame()
                if end == len(data) or self._exception is not None:
                    self._check()
                    return
                data = data[end:]
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

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remember why, which aiohttp tells in words only."""
        self.lost = exc
        super().connection_lost(exc)

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
    """A pool that hands out no connection on which bytes were left over, and on demand none that was used before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("Any", functools.partial(Wire, loop=self._loop))

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's
    ) -> Connection:
        """Return a connection for `req`; its body learns which."""
        body = cast("Body", req.body)
        held: list[Connection] = []
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                wire = cast("Wire", connection.protocol)
                if not wire.exchanges:
                    break
                if wire.should_close:
                    connection.close()
                elif body.wire is not None:
                    held.append(connection)
                else:
                    break
        finally:
            for spare in held:
                spare.release()
        wire.begin()
        body.wire = wire
        body.transport = wire.transport
        return connection


class Body(aiohttp.Payload):
    """The body of one request, all of its tries.

    Attributes:
        wire: the connection it was last given to.
        transport: that connection's, which `wire` forgets when it closes.
        sent: whether it has been handed to the operating system wholly.
    """

    _autoclose = True

    def __init__(self, value: bytes, on_sent: Callable[[], None] | None) -> None:
        # The parent builds headers for each instance, which costs more than everything else here.
        self._value = value
        self._size = len(value)
        self._headers = _BODY_HEADERS
        self._on_sent = on_sent
        self.wire: Wire | None = None
        self.transport: asyncio.Transport | None = None
        self.sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text."""
        return cast("bytes", self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write it all; return, and say so, when the last byte has left this process."""
        try:
            await self._write(writer)
        except BaseException:
            # What the peer does not take any more would keep the socket open as long as there is some of it left.
            if self.transport is not None:
                self.transport.abort()
            raise
        if not self.sent:
            self.sent = True
            if self._on_sent is not None:
                self._on_sent()

    async def _write(self, writer: AbstractStreamWriter) -> None:
        value = self._value
        if len(value) <= _PIECE:
            await writer.write(value)
        else:
            view = memoryview(value)
            for start in range(0, len(value), _PIECE):
                await writer.write(view[start : start + _PIECE])
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.set_write_buffer_limits(high=0)
            await writer.drain()
            if not transport.is_closing():
                transport.set_write_buffer_limits()
