"""The one task that keeps a process's part of the shared state and the store's together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from spillway.core.errors import NetworkError
from spillway.stores.redis.connection import RedisConnection, ScriptCall

_logger = logging.getLogger("spillway.store")

SYNC_S = 0.1
"""Seconds between two syncs while there is something to tell."""

HEARTBEAT_S = 3.0
"""Seconds between two syncs when there is nothing to tell but that this process lives."""


class Part(Protocol):
    """Something of this process that is synced with the store; its methods are called on the loop, between awaits."""

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for what the next sync brings."""
        ...

    @property
    def due(self) -> bool:
        """Whether there is anything to tell."""
        ...

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return what to run."""
        ...

    def end(self, answer: Any) -> None:
        """Take the answer."""
        ...

    def failed(self) -> None:
        """Take note that it is not known whether it was run."""
        ...


class Syncing:
    """Runs all parts' scripts in one round trip, as soon as somebody waits and as seldom as is enough otherwise.

    Args:
        connection: to the store.
        clock: monotonic seconds of the loop.
    """

    def __init__(self, connection: RedisConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._parts: list[Part] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounds = 0
        self._waiters: list[asyncio.Future[bool]] = []
        self._closing = False

    def add(self, part: Part) -> None:
        """Sync `part` from now on."""
        self._parts.append(part)
        self.wake()

    def wake(self) -> None:
        """Sync at once: somebody waits."""
        if self._task is None and not self._closing:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._wake.set()

    async def synced(self, timeout_s: float) -> bool:
        """Return once a sync that began from now on has ended: whether it reached the store."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.wake()
        try:
            async with asyncio.timeout(None if timeout_s == float("inf") else timeout_s):
                return await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def aclose(self) -> None:
        """Give everything back and stop."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self._sync(leaving=True)
        await self._connection.aclose()

    async def _run(self) -> None:
        last = -float("inf")
        while True:
            self._wake.clear()
            if self._waiters or any(part.urgent for part in self._parts):
                pass
            elif any(part.due for part in self._parts):
                await self._rest(last + SYNC_S - self._clock())
            else:
                await self._rest(last + HEARTBEAT_S - self._clock())
            last = self._clock()
            if not await self._sync():
                await self._rest(SYNC_S)

    async def _rest(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _sync(self, *, leaving: bool = False) -> bool:
        waiters, self._waiters = self._waiters, []
        parts = list(self._parts)
        reached = False
        began = 0
        try:
            run = await self._connection.open()
            calls = []
            for part in parts:
                calls.append(part.begin(run, leaving=leaving))
                began += 1
            answers = await self._connection.run_scripts(calls)
            for part, answer in zip(parts, answers, strict=True):
                part.end(answer)
            reached = True
        except NetworkError as error:
            if not leaving:
                _logger.warning("%s", error)
        finally:
            if not reached:
                for part in parts[:began] if began else parts:
                    part.failed()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(reached)
        return reached
