"""What the adapter adds to aiohttp's connections: they know their past, and their pool hands out sound ones only."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import istr

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection

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

    def begin(self, *, no_body: bool) -> None:
        """Take it for one more request, whose answer has no body whatever its head says."""
        self.exchanges += 1
        self.heard = False
        self._framed = False
        self._left = None
        self._before = self._payload
        self.set_response_params(skip_payload=no_body, read_until_eof=True, auto_decompress=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have every write go out at once as far as it can, so that an empty buffer means that all is sent."""
        super().connection_made(transport)
        # Of TLS the buffer counts as full when it has reached the limit, else when it has passed it.
        high = 0 if transport.get_extra_info("ssl_object") is None else 1
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=high, low=0)

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

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 # aiohttp's
        """Go on reading if that was paused; aiohttp asks for it after every piece that it hands out."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

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

    async def take(self, request: ClientRequest, timeout: aiohttp.ClientTimeout, *, unused: bool) -> Connection:  # noqa: ASYNC109 # aiohttp's
        """Return a connection for `request`.

        Args:
            timeout: of which `connect` counts.
            unused: it must have served no request yet.
        """
        held: list[Connection] = []
        try:
            while True:
                connection = await self.connect(request, [], timeout)
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
