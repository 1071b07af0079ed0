"""One connection to a Redis, made anew when it breaks; what it knows of the Redis behind it."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from spillway.core.errors import ConfigError, NetworkError
from spillway.stores.shared.port import PATIENCE_S, ScriptCall

SCRIPTS = ("gossip", "limits")


class RedisLink:
    """Runs scripts, many in one round trip, on one connection.

    Args:
        url: `redis://` or `rediss://`.

    Attributes:
        run: the id of the Redis process that answers, another one after it was restarted; empty before the first try.
        lost: whether the last try failed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._pool: ConnectionPool = ConnectionPool.from_url(
                url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, max_connections=1
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"store: {error}") from None
        self._sources = {name: _source(name) for name in SCRIPTS}
        self._hashes: dict[str, str] = {}
        self._connection: AbstractConnection | None = None
        self._using = asyncio.Lock()
        self.run = ""
        self.lost = False

    async def open(self) -> str:
        """Connect where that is not done, and return `run`.

        Raises:
            NetworkError: the store did not answer within 0.25 s.
        """
        try:
            async with self._using, asyncio.timeout(PATIENCE_S):
                await self._connected()
        except (TimeoutError, RedisError, OSError) as error:
            raise await self._broke(error) from error
        return self.run

    async def run_scripts(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts in one round trip and return their answers in order.

        Raises:
            NetworkError: the store did not answer within 0.25 s; which scripts have run is not known.

        Cancellation: the connection is given up.
        """
        try:
            async with self._using, asyncio.timeout(PATIENCE_S):
                connection = await self._connected()
                return await self._exchange(connection, calls)
        except (TimeoutError, RedisError, OSError) as error:
            raise await self._broke(error) from error
        except asyncio.CancelledError:
            await self._drop()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _exchange(self, connection: AbstractConnection, calls: Sequence[ScriptCall]) -> list[Any]:
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", self._hashes[name], len(keys), *keys, argument) for name, keys, argument in calls
        ]
        await connection.send_packed_command(connection.pack_commands(commands))
        answers = []
        for _ in calls:
            try:
                answers.append(await connection.read_response(disable_decoding=True))
            except ResponseError as error:
                answers.append(error)
        for at, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                await self._load(connection)
                answers[at] = (await self._exchange(connection, [calls[at]]))[0]
            elif isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _connected(self) -> AbstractConnection:
        known = self._connection
        if known is not None and known.is_connected:
            return known
        fresh: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # says no types
        self._connection = fresh
        await fresh.connect()  # type: ignore[no-untyped-call] # says no types
        await fresh.send_command("INFO", "server")
        info = await fresh.read_response()
        text = info.decode() if isinstance(info, bytes) else str(info)
        self.run = next(line[7:].strip() for line in text.splitlines() if line.startswith("run_id:"))
        await self._load(fresh)
        self.lost = False
        return fresh

    async def _load(self, connection: AbstractConnection) -> None:
        for name, source in self._sources.items():
            await connection.send_command("SCRIPT", "LOAD", source)
            found = await connection.read_response()
            self._hashes[name] = found.decode() if isinstance(found, bytes) else str(found)

    async def _broke(self, error: BaseException) -> NetworkError:
        await self._drop()
        self.lost = True
        return NetworkError(f"the store did not answer: {type(error).__name__}", reason="store")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def __repr__(self) -> str:
        return f"<RedisLink {'lost' if self.lost else self.run[:8] or 'not connected'}>"


def _source(name: str) -> str:
    return importlib.resources.files("spillway.stores.redis").joinpath(f"{name}.lua").read_text()
