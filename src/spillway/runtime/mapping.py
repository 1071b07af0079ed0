"""Many requests at once: any iterable in, answers out in the order they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from spillway.core.errors import InferenceError
from spillway.core.reply import Tokens

Item = TypeVar("Item")


class Mapper:
    """Feeds items to `ask` with bounded concurrency and bounded reading ahead.

    Args:
        ask: answers one item.
        concurrency: items that are asked at once.
        ahead: items that may have been read and not yet handed out.

    Invariants: what was read is either handed out once or, when the reader leaves, cancelled.
    """

    def __init__(self, ask: Callable[[Any], Awaitable[Tokens]], *, concurrency: int, ahead: int) -> None:
        self._ask = ask
        self._concurrency = concurrency
        self._ahead = max(ahead, concurrency)
        self._outstanding = 0
        self._done: deque[tuple[Any, Tokens | InferenceError]] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reading = asyncio.Lock()
        self._exhausted = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def run(
        self, items: Iterable[Item] | AsyncIterable[Item]
    ) -> AsyncIterator[tuple[Item, Tokens | InferenceError]]:
        """Yield `(item, answer or error)` in order of completion."""
        own: AsyncGenerator[Item, None] | None = None
        if isinstance(items, AsyncIterable):
            source = aiter(items)
        else:
            source = own = _from_iterable(items)
        self._spawn(source)
        try:
            while True:
                while self._done:
                    self._outstanding -= 1
                    self._room.set()
                    yield self._done.popleft()
                if self._failure is not None:
                    raise self._failure
                if not self._tasks:
                    return
                self._changed.clear()
                await self._changed.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            if own is not None:
                await own.aclose()

    def _spawn(self, source: AsyncIterator[Any]) -> None:
        task = asyncio.create_task(self._work(source))
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
        self._changed.set()

    async def _work(self, source: AsyncIterator[Any]) -> None:
        while True:
            async with self._reading:
                while self._outstanding >= self._ahead and not self._exhausted:
                    self._room.clear()
                    await self._room.wait()
                if self._exhausted:
                    return
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    self._exhausted = True
                    return
                self._outstanding += 1
            if len(self._tasks) < self._concurrency:
                self._spawn(source)
            result: Tokens | InferenceError
            try:
                result = await self._ask(item)
            except InferenceError as error:
                result = error
            self._done.append((item, result))
            self._changed.set()


async def _from_iterable(items: Iterable[Item]) -> AsyncGenerator[Item, None]:
    for item in items:
        yield item
