"""One connection to a Redis, made anew when it breaks; what it knows of the Redis behind it."""

from __future__ import annotations

import asyncio
import importlib.resources
import re
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from spillway.core.errors import ConfigError, NetworkError
from spillway.stores.redis.address import address_of
from spillway.stores.shared.port import PATIENCE_S, ScriptCall

SCRIPTS = ("breakers", "budgets", "gossip", "limits", "notices", "presence")

_CONNECT_S = 1.0
"""Seconds that a lost store has to take a new connection, over TLS and from afar, once it is said that it is lost."""


class RedisLink:
    """Runs scripts, many in one round trip, on one connection.

    Args:
        url: see `address_of`.

    Attributes:
        run: the id of the Redis process that answers, another one after it was restarted; empty before the first try.
        lost: whether the last try failed.

    Raises:
        ConfigError: the URL is not one. What it says is not repeated: there may be a password in it.
    """

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        try:
            self._pool: ConnectionPool = ConnectionPool.from_url(
                self._address.url, socket_timeout=_CONNECT_S, socket_connect_timeout=_CONNECT_S, max_connections=1
            )
            self._pool.make_connection()  # type: ignore[no-untyped-call] # says no types
        except (ValueError, TypeError, RedisError):
            raise ConfigError("the store's URL has an option, a port or a database that is none") from None
        self._sources = {name: _source(name) for name in SCRIPTS}
        self._hashes: dict[str, str] = {}
        self._connection: AbstractConnection | None = None
        self._using = asyncio.Lock()
        self.run = ""
        self.lost = False

    async def open(self) -> str:
        """Connect where that is not done, and return `run`.

        Raises:
            NetworkError: the store did not answer within 0.25 s; within 1 s, once it is lost.
        """
        try:
            async with self._using, asyncio.timeout(_CONNECT_S if self.lost else PATIENCE_S):
                await self._connected()
        except (TimeoutError, RedisError, OSError) as error:
            raise await self._broke(error) from error
        except asyncio.CancelledError:
            await self._drop()
            raise
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
                answers = await self._exchange(connection, calls)
        except (TimeoutError, RedisError, OSError) as error:
            raise await self._broke(error) from error
        except asyncio.CancelledError:
            await self._drop()
            raise
        self.lost = False
        return answers

    async def alive(self) -> bool:
        """Return False when the Redis has closed the connection since it was used."""
        connection = self._connection
        if connection is None or self._using.locked():
            return True
        try:
            # Nothing is asked, so there is nothing to read but the end.
            return connection.is_connected and not await connection.can_read()
        except (RedisError, OSError):
            return False

    async def aclose(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _exchange(self, connection: AbstractConnection, calls: Sequence[ScriptCall]) -> list[Any]:
        answers = await _ask(
            connection, [("EVALSHA", self._hashes[name], len(keys), *keys, argument) for name, keys, argument in calls]
        )
        for at, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                await self._greet(connection)
                answers[at] = (await self._exchange(connection, [calls[at]]))[0]
            elif isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _connected(self) -> AbstractConnection:
        known = self._connection
        if known is not None and known.is_connected:
            return known
        place: dict[str, Any] = {}
        if self._address.sentinels:
            place["host"], place["port"] = await self._ask_sentinels()
        fresh = self._connect_to(**place)
        self._connection = fresh
        await fresh.connect()  # type: ignore[no-untyped-call] # says no types
        if place:
            (role,) = await _ask(fresh, [("ROLE",)])
            if not isinstance(role, list) or _text(role[0]) != "master":
                raise RedisError("it is not the master any more")
        await self._greet(fresh)
        return fresh

    async def _greet(self, connection: AbstractConnection) -> None:
        """Learn which Redis it is and bring the scripts, in one round trip."""
        loads = [("SCRIPT", "LOAD", source) for source in self._sources.values()]
        answers = await _ask(connection, [("INFO", "server"), *loads])
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        info, *hashes = answers
        self.run = next(line[7:].strip() for line in _text(info).splitlines() if line.startswith("run_id:"))
        self._hashes = {name: _text(sha) for name, sha in zip(self._sources, hashes, strict=True)}

    async def _ask_sentinels(self) -> tuple[str, int]:
        """Return where the master is, by the first sentinel that knows."""
        trouble: BaseException = RedisError("no sentinel knows the master")
        address = self._address
        for host, port in address.sentinels:
            login = {"username": address.sentinel_user or None, "password": address.sentinel_password or None}
            connection = self._connect_to(host=host, port=port, db=0, **login)
            try:
                async with asyncio.timeout(PATIENCE_S / 2):
                    await connection.connect()  # type: ignore[no-untyped-call] # says no types
                    (found,) = await _ask(connection, [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master)])
            except (TimeoutError, RedisError, OSError) as error:
                trouble = error
            else:
                if isinstance(found, list):
                    return _text(found[0]), int(found[1])
            finally:
                await connection.disconnect(nowait=True)
        raise trouble

    def _connect_to(self, **place: Any) -> AbstractConnection:
        connection: AbstractConnection = self._pool.connection_class(**{**self._pool.connection_kwargs, **place})
        return connection

    async def _broke(self, error: BaseException) -> NetworkError:
        await self._drop()
        self.lost = True
        words = self._without_login(str(error))
        said = f"{type(error).__name__}: {words}" if words else type(error).__name__
        return NetworkError(f"the store did not answer: {said}", reason="store")

    def _without_login(self, words: str) -> str:
        """Return what a Redis said on one line, and without what the URL has of names and passwords."""
        known = self._pool.connection_kwargs
        address = self._address
        for part in (known.get("username"), known.get("password"), address.sentinel_user, address.sentinel_password):
            if part:
                words = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "***", words)
        return " ".join(words.split())

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def __repr__(self) -> str:
        return f"<RedisLink {'lost' if self.lost else self.run[:8] or 'not connected'}>"


async def _ask(connection: AbstractConnection, commands: list[tuple[Any, ...]]) -> list[Any]:
    """Return the answers to commands that go out together; an error is an answer."""
    await connection.send_packed_command(connection.pack_commands(commands))
    answers = []
    for _ in commands:
        try:
            answers.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            answers.append(error)
    return answers


def _text(said: Any) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)


def _source(name: str) -> str:
    return importlib.resources.files("spillway.stores.redis").joinpath(f"{name}.lua").read_text()
