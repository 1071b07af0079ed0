"""The owner of every actor's task."""

from __future__ import annotations

import asyncio
from typing import Self, TypeVar

from spillway.core.actor.actor import Actor, ActorRef
from spillway.core.actor.cell import Children

M = TypeVar("M")


class ActorSystem:
    """Runs actors on the loop it was started on, and leaves none behind when it is closed.

    Use it with `async with`, or `start` and `aclose`; the first `spawn` starts it too.

    Args:
        name: what its repr is called.

    Attributes:
        failed: last crash of each top actor that used up its restarts, by name.
    """

    def __init__(self, name: str = "spillway") -> None:
        self._name = name
        self._children = Children("", self._child_failed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.failed: dict[str, Exception] = {}

    def start(self) -> None:
        """Bind to the running loop; may be called again on the same one.

        Raises:
            RuntimeError: it is closed, bound to another loop, or no loop runs.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError(f"actor system {self._name} is closed")
        if self._loop is not None and self._loop is not loop:
            raise RuntimeError(f"actor system {self._name} runs on another event loop")
        self._loop = loop

    def spawn(self, actor: Actor[M], name: str) -> ActorRef[M]:
        """Start `actor` under `name`; its `on_start` runs in its own task, messages wait for it.

        Raises:
            ValueError: the name is empty, has a slash, or is taken by a living actor.
            RuntimeError: as for `start`.
        """
        self.start()
        return self._children.spawn(actor, name)

    async def stop(self, name: str, drain_s: float = 5.0) -> None:
        """End one top actor and its children in order; nothing happens if there is none of that name.

        Order: its mailbox takes nothing more and is drained, then its children's likewise, then `on_stop`; what is
        left after `drain_s` is cancelled, and asks that are not answered fail with Backpressure.
        Cancellation: the rest is cancelled at once, then it raises.
        """
        await self._children.stop((name,), asyncio.get_running_loop().time() + drain_s)

    async def aclose(self, drain_s: float = 5.0) -> None:
        """End all actors as `stop` does, all at once, with one limit; may be called again."""
        self._closed = True
        await self._children.stop(self._children, asyncio.get_running_loop().time() + drain_s)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _child_failed(self, path: str, error: Exception) -> None:
        self.failed[path] = error

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._loop is not None else "new"
        failed = f" failed {len(self.failed)}" if self.failed else ""
        return f"<ActorSystem {self._name} {state} actors {len(self._children)}{failed}>"
