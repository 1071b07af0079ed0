"""A Redis as a process: on a Unix socket, keeping nothing on disk, so that a killed one comes back empty."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from spillway.core.clock import loop_clock, sleep
from spillway.core.errors import ConfigError
from spillway.drill.processes import DrillError, Program

_STARTS_WITHIN_S = 15.0
_LOOK_S = 0.005


def find_redis() -> str:
    """Return the path of redis-server.

    Raises:
        ConfigError: there is none.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigError("redis-server is missing: apt install redis-server, or wherever your system has it")
    return found


class Store:
    """The store that the nodes share.

    Attributes:
        socket: where it listens.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.socket = folder / "redis.sock"
        argv = [find_redis(), "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        argv += ["--daemonize", "no", "--dir", str(folder)]
        self._program = Program("redis-server", argv, folder / "redis.log", environ=environ, priority=-10)

    async def start(self) -> None:
        """Start it, empty, unless it runs; it answers when this returns.

        Raises:
            DrillError: it does not start.
        """
        if not self._program.running:
            self._program.start()
        clock = loop_clock()
        until = clock() + _STARTS_WITHIN_S
        while not await self._answers():
            if not self._program.running or clock() > until:
                raise DrillError(f"redis-server did not start: {self._program.last_words()}")
            await sleep(_LOOK_S)

    async def ask(self, *words: str) -> bytes:
        """Send a command that is answered by one piece, and return that as it is.

        Raises:
            OSError: it does not run.
        """
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            sent = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            writer.write(f"*{len(words)}\r\n{sent}".encode())
            answer = await reader.readline()
            if answer.startswith(b"$"):
                answer = await reader.readexactly(int(answer[1:]) + 2)
            return answer
        finally:
            writer.transport.abort()

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        self._program.kill()

    async def stop(self) -> None:
        """End it."""
        await self._program.stop()

    async def _answers(self) -> bool:
        try:
            return (await self.ask("PING")).startswith(b"+PONG")
        except (OSError, asyncio.IncompleteReadError):
            return False
