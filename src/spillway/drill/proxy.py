"""The link between a node and the store: a TCP proxy that can be cut, slowed down, made a black hole, and healed.

flowing     what comes is passed on
slow        each piece is passed on after a while, in order
black hole  connections are taken and stay, nothing is passed on; what came is passed on when it heals
cut         connections are reset, and so is every new one
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from spillway.core.clock import sleep

HOST = "127.0.0.1"
_PIECE = 65536


class Link:
    """Listens on a loopback port of its own and passes everything on to a Unix socket.

    Args:
        target: the socket; it need not exist yet.

    Attributes:
        port: where it listens; 0 before `start`.
        state: see the module.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay_s = 0.0
        self.state = "flowing"
        self.port = 0

    def __repr__(self) -> str:
        return f"<Link {self.state}, {len(self._handlers)} connections>"

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        """End every connection and stop listening; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._reset_all()
        handlers = list(self._handlers)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()

    def cut(self) -> None:
        """Reset every connection, and each new one, until it is healed."""
        self.heal()
        self.state = "cut"
        self._reset_all()

    def swallow(self) -> None:
        """Pass nothing on until it is healed; connections stay."""
        self.heal()
        self.state = "black hole"
        self._flows.clear()

    def slow(self, delay_s: float) -> None:
        """Pass everything on `delay_s` seconds late until it is healed."""
        self.heal()
        self.state = "slow"
        self._delay_s = delay_s

    def heal(self) -> None:
        """Pass on what comes, and what was held back."""
        self.state = "flowing"
        self._delay_s = 0.0
        self._flows.set()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._handlers.add(task)
        self._writers.add(writer)
        try:
            if self.state != "cut":
                await self._serve(reader, writer)
        except OSError:
            pass  # one side has gone, or was never there: the other is told the same way
        finally:
            self._handlers.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        up_reader, up_writer = await asyncio.open_unix_connection(str(self._target))
        self._writers.add(up_writer)
        pumps = [asyncio.create_task(self._pump(reader, up_writer)), asyncio.create_task(self._pump(up_reader, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(up_writer)
            up_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self._delay_s:
                    await sleep(self._delay_s)
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
        await self._flows.wait()
