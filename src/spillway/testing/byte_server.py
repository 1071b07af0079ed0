"""A server on loopback that says exactly what a script says, byte by byte, and remembers what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Self, cast

import msgspec

from spillway.core.clock import sleep


class Do(Enum):
    """A step of a script that is not bytes and not a pause.

    READ waits for one more whole request, READ_HEAD for the head of the one that READ waits for; DEAF stops reading
    from the socket, HEAR goes on with it; FIN closes in order, RST resets, STALL waits until the client has gone.
    """

    READ = "read"
    READ_HEAD = "read_head"
    DEAF = "deaf"
    HEAR = "hear"
    FIN = "fin"
    RST = "rst"
    STALL = "stall"


class Sliced(msgspec.Struct, frozen=True):
    """Bytes that leave in pieces of `size`, `gap_s` seconds apart."""

    data: bytes
    size: int = 1
    gap_s: float = 0.0


class Flood(msgspec.Struct, frozen=True):
    """Bytes that are sent over and over until the client has gone."""

    data: bytes


Step = bytes | float | Do | Sliced | Flood | asyncio.Event
"""Bytes are sent, a number is a pause in seconds, an event is waited for."""

_NAP_S = 0.01
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def answer(body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return an HTTP/1.1 answer whose length is given by content-length."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Return an HTTP/1.1 answer in chunks, one for each piece; without `end` the last chunk is missing."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(map(chunk, pieces)) + (b"0\r\n\r\n" if end else b"")


def chunk(piece: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


class Conversation(asyncio.Protocol):
    """One connection: plays its script and keeps what it received.

    Attributes:
        received: every byte the client sent.
        gone: set once the connection is over, whoever ended it.
        gone_at: the loop's time of that.
        error: how it ended, None if in order.
    """

    def __init__(self, script: Sequence[Step], spawn: Callable[[Conversation], None]) -> None:
        self.script = script
        self.received = bytearray()
        self.gone = asyncio.Event()
        self.gone_at: float | None = None
        self.error: BaseException | None = None
        self.transport: asyncio.Transport
        self._spawn = spawn
        self._news = asyncio.Event()
        self._seen = 0

    @property
    def requests(self) -> list[bytes]:
        """The bodies of the whole requests that came so far."""
        bodies, at = [], 0
        while (end := self._request_end(at)) is not None:
            bodies.append(bytes(self.received[self.received.index(b"\r\n\r\n", at) + 4 : end]))
            at = end
        return bodies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to play."""
        self.transport = cast("asyncio.Transport", transport)
        self._spawn(self)

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self._news.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note when and how the client left."""
        self.gone_at = asyncio.get_running_loop().time()
        self.error = exc
        self.gone.set()
        self._news.set()

    async def gone_within(self, seconds: float) -> bool:
        """Return whether the client has gone after `seconds`, waited in short naps.

        A machine that stands still in one of them has stood still for both sides, and is not held against the client.
        """
        for _ in range(round(seconds / _NAP_S)):
            if self.gone.is_set():
                return True
            await sleep(_NAP_S)
        return self.gone.is_set()

    async def play(self) -> None:
        """Do the script, once; then wait until the client has gone."""
        for step in self.script:
            if self.gone.is_set():
                return
            await self._do(step)
        await self.gone.wait()

    async def _do(self, step: Step) -> None:
        match step:
            case bytes():
                self.transport.write(step)
            case Sliced():
                for at in range(0, len(step.data), step.size):
                    self.transport.write(step.data[at : at + step.size])
                    await sleep(step.gap_s)
            case Flood():
                while not self.gone.is_set():
                    if self.transport.get_write_buffer_size() < 1 << 20:
                        self.transport.write(step.data)
                    await sleep(0)
            case asyncio.Event():
                await step.wait()
            case Do():
                await self._act(step)
            case _:
                await sleep(step)

    async def _act(self, step: Do) -> None:
        if step in {Do.READ, Do.READ_HEAD}:
            await self._read(whole=step is Do.READ)
        elif step is Do.DEAF:
            self.transport.pause_reading()
        elif step is Do.HEAR:
            self.transport.resume_reading()
        else:
            if step is Do.FIN:
                self.transport.close()
            elif step is Do.RST:
                self.reset()
            await self.gone.wait()

    def reset(self) -> None:
        """End the connection with a RST."""
        raw: socket.socket = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _read(self, *, whole: bool) -> None:
        while not self.gone.is_set():
            if whole and (end := self._request_end(self._seen)) is not None:
                self._seen = end
                return
            if not whole and self.received.find(b"\r\n\r\n", self._seen) >= 0:
                return
            self._news.clear()
            await self._news.wait()

    def _request_end(self, start: int) -> int | None:
        at = self.received.find(b"\r\n\r\n", start)
        if at < 0:
            return None
        length = _LENGTH.search(self.received, start, at)
        end = at + 4 + (int(length[1]) if length else 0)
        return end if end <= len(self.received) else None


class ByteServer:
    """Listens on loopback while it is entered; its nth connection plays the nth script, later ones the last.

    Args:
        scripts: one sequence of steps for each connection.
        tls: speak TLS with this context.

    Attributes:
        conversations: one for each connection so far, in order.
    """

    def __init__(self, *scripts: Sequence[Step], tls: ssl.SSLContext | None = None) -> None:
        self.scripts = scripts
        self.conversations: list[Conversation] = []
        self.port = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """An address of this server."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for conversation in self.conversations:
            conversation.transport.abort()
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(c.gone.wait() for c in self.conversations))
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def conversation(self, number: int = 0) -> Conversation:
        """Return the nth connection, waiting for it to be made."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.conversations) > number)
        return self.conversations[number]

    def _accept(self) -> Conversation:
        return Conversation(self.scripts[0] if self.scripts else (), self._play)

    def _play(self, conversation: Conversation) -> None:
        number = min(len(self.conversations), len(self.scripts) - 1)
        conversation.script = self.scripts[number] if self.scripts else ()
        self.conversations.append(conversation)
        self._tasks.add(asyncio.get_running_loop().create_task(self._run(conversation)))

    async def _run(self, conversation: Conversation) -> None:
        async with self._arrived:
            self._arrived.notify_all()
        await conversation.play()

    def __repr__(self) -> str:
        ended = sum(c.gone.is_set() for c in self.conversations)
        return f"<ByteServer :{self.port} connections {len(self.conversations)} ended {ended}>"
