"""One request and its answer on a connection: bytes out, the head of the answer in, the connection back at the end.

aiohttp opens, secures and parses; its own way of sending makes a task and some thirty objects a request. An answer that
came whole in one read is seen at a glance, without its parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

if TYPE_CHECKING:
    from aiohttp.connector import Connection

    from spillway.remote.http.head import Head
    from spillway.remote.http.wire import Connector, Wire

_PIECE = 256 * 1024
_NO_HEADERS: Mapping[str, str] = {}


class Exchange:
    """One request, over all of its tries, and its answer.

    Attributes:
        wire: the connection it was last sent on.
        transport: that connection's, which `wire` forgets when it closes.
        sent: whether it has been handed to the operating system wholly.
        over: whether its connection is out of its hands: the answer is in to its end, or was given up.
        status: of the answer, 0 before one came.
        whole: the answer's body where all of it came at once; None: it is to be read from `content`.
        content: the answer's body otherwise.

    Invariants: each connection it was given goes back to its pool or is closed, once; while some of the request is
        unsent, and a task of its own writes that, it is closed.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_head",
        "_on_sent",
        "_own",
        "_pool",
        "_writer",
        "content",
        "headers",
        "over",
        "sent",
        "status",
        "transport",
        "whole",
        "wire",
    )

    def __init__(self, body: bytes, on_sent: Callable[[], None] | None, own: bytes = b"") -> None:
        self._body = body
        self._own = own
        self._on_sent = on_sent
        self._connection: Connection | None = None
        self._head: Head
        self._pool: Connector
        self._writer: asyncio.Task[None] | None = None
        self.wire: Wire | None = None
        self.transport: asyncio.Transport | None = None
        self.sent = False
        self.over = False
        self.status = 0
        self.headers = _NO_HEADERS
        self.whole: bytes | None = None
        self.content: StreamReader = EMPTY_PAYLOAD

    async def run(self, connection: Connection, head: Head, pool: Connector) -> None:
        """Send it over `connection` of `pool`; return once the head of the answer is in.

        A connection on which something else than an answer came does not go back.
        """
        self._connection = connection
        self._head = head
        self._pool = pool
        wire = self.wire = cast("Wire", connection.protocol)
        self.transport = wire.transport
        self.over = False
        first = wire.begin(no_body=head.method == "HEAD")
        self._send(head)
        whole = await first
        if whole is not None:
            self.status = 200
            self.headers, self.whole = whole
            self._ended()
            return
        while True:
            message, content = await wire.read()
            status = message.code
            if not 100 <= status <= 199 or status == 101:
                break
        self.status = status
        self.headers = message.headers
        self.content = content
        if 200 <= status <= 599:
            content.on_eof(self._ended)

    def abort(self) -> None:
        """Close the connection now, unless it is out of its hands; what was not read of the answer is lost."""
        content = self.content
        if content.exception() is None:
            content.set_exception(aiohttp.ClientConnectionError("closed before its end"))
        if self.over:
            return
        self.over = True
        if self.transport is not None:
            # What the peer does not take any more would keep the socket open as long as there is some of it left.
            self.transport.abort()
        if self._writer is not None:
            self._writer.cancel()
        if self._connection is not None:
            self._connection.close()

    def _send(self, head: Head) -> None:
        """Hand it to the operating system, the part that is not taken at once to a task."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return  # the wire tells whoever reads from it why
        body = self._body
        rest = None
        if len(body) <= _PIECE:
            transport.write(head.with_body(body, self._own))
        else:
            transport.write(head.for_length(len(body), self._own))
            rest = memoryview(body)
        if rest is None and not transport.get_write_buffer_size():
            self._note_sent()
        else:
            self._writer = asyncio.get_running_loop().create_task(self._write(cast("Wire", self.wire), transport, rest))
            self._writer.add_done_callback(self._written)

    @staticmethod
    async def _write(wire: Wire, transport: asyncio.Transport, rest: memoryview | None) -> None:
        await wire.drained()
        if rest is not None:
            for start in range(0, len(rest), _PIECE):
                transport.write(rest[start : start + _PIECE])
                await wire.drained()

    def _written(self, writer: asyncio.Task[None]) -> None:
        self._writer = None
        if writer.cancelled() or writer.exception() is not None:
            if self.transport is not None:
                self.transport.abort()
            if self.over and self._connection is not None:
                self._connection.close()
            return
        self._note_sent()
        if self.over and self._connection is not None:
            self._pool.give_back(self._connection, self._head)

    def _note_sent(self) -> None:
        if not self.sent:
            self.sent = True
            if self._on_sent is not None:
                self._on_sent()

    def _ended(self) -> None:
        """Give the connection back: the answer is in."""
        if self.over:
            return
        self.over = True
        if self._writer is not None:
            self._writer.cancel()
        elif self._connection is not None:
            self._pool.give_back(self._connection, self._head)
