"""The one task that keeps a process's part of the shared state and the store's together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from spillway.core.clock import sleep
from spillway.core.errors import NetworkError
from spillway.stores.shared.port import PATIENCE_S, ScriptCall, StoreLink

_logger = logging.getLogger("spillway.store")

_INSTANT_S = 1e-6
"""What is nearer than this is now: a timer may be set for no later than the present instant."""

_AGAIN_S = 0.1
"""Seconds between two tries to reach a store that is lost."""

_LOOK_S = 0.05
"""Seconds between two looks at whether the way to the store has ended."""


class Part(Protocol):
    """Something of this process that is synced with the store; its methods are called on the loop, between awaits."""

    def next_sync(self) -> float:
        """Return the instant at which it wants to be synced, which may have passed."""
        ...

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return what to run; `end` or `failed` follows.

        Args:
            run: the id of the store's process.
            leaving: this process ends, and gives everything back.
        """
        ...

    def end(self, answer: Any) -> None:
        """Take the answer."""
        ...

    def failed(self) -> None:
        """Take note that the store was not reached; a script that was begun may have run."""
        ...


class Syncing:
    """Syncs each part when it wants that, those that want it at the same time in one round trip.

    Args:
        link: to the store.
        clock: monotonic seconds of the loop.
    """

    def __init__(self, link: StoreLink, clock: Callable[[], float]) -> None:
        self._link = link
        self.clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: list[Part] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[bool]] = []
        self._closing = False

    @property
    def lost(self) -> bool:
        """Whether the store was not reached at the last try."""
        return self._link.lost

    def add(self, part: Part) -> None:
        """Sync `part` from now on."""
        self._parts.append(part)
        self.wake()

    def wake(self) -> None:
        """Look again at when each part wants to be synced; may be called in any thread once a part was added."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        elif not _runs_here(self._loop):
            # A loop that is closed has nothing left to sync.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.wake)
            return
        if self._task is None and not self._closing:
            self._task = self._loop.create_task(self._run())
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
            self._wake.set()
            # A sync that is cut off would look like a store that is lost.
            await asyncio.wait({self._task}, timeout=PATIENCE_S)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self._sync(self._parts, leaving=True)
        await self._link.aclose()

    async def _run(self) -> None:
        whole = True
        while not self._closing:
            self._wake.clear()
            now = self.clock()
            due = [part for part in self._parts if part.next_sync() <= now + _INSTANT_S]
            if not whole or self._warned or (self._waiters and not due):
                # All learn that the store is lost, or answers again.
                due = self._parts
            if not due:
                whole = await self._rest(min((part.next_sync() for part in self._parts), default=now + 1.0) - now)
                continue
            whole = True
            if not await self._sync(due):
                await sleep(_AGAIN_S)

    async def _rest(self, seconds: float) -> bool:
        """Return when something is due, or wanted; False when the way to the store has ended."""
        until = self.clock() + seconds
        while (left := until - self.clock()) > _INSTANT_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._wake.wait()
                    return True
            if not await self._link.alive():
                return False
        return True

    async def _sync(self, parts: list[Part], *, leaving: bool = False) -> bool:
        waiters, self._waiters = self._waiters, []
        reached = False
        try:
            run = await self._link.open()
            answers = await self._link.run_scripts([part.begin(run, leaving=leaving) for part in parts])
            for part, answer in zip(parts, answers, strict=True):
                part.end(answer)
            reached = True
            if self._warned:
                self._warned = False
                _logger.warning("the store answers again")
        except NetworkError as error:
            if not (leaving or self._warned):
                self._warned = True
                _logger.warning("%s", error)
        except Exception:
            # Whoever waits for a sync must not wait for ever because one part of it is wrong.
            _logger.exception("what is shared could not be synced")
        finally:
            if not reached:
                for part in parts:
                    part.failed()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(reached)
        return reached

    _warned = False


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
