"""The engine as an actor: configures and supervises; requests pass it by, on the synchronous path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.actor import Actor, ActorRef
from spillway.core.fitting import fit
from spillway.core.options import OnCapacityExhausted
from spillway.core.priority import Priority
from spillway.core.request import GenerateRequest
from spillway.remote.cost import input_bound
from spillway.remote.engine.call import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from spillway.core.reply import Tokens
    from spillway.remote.engine.core import Engine


class RemoteEngineConfig(msgspec.Struct, frozen=True):
    """The size of an engine.

    Attributes:
        worker_count: slots in each replica's pool.
    """

    queue_capacity: int = 1024
    worker_count: int = 8
    on_capacity_exhausted: OnCapacityExhausted = "queue"

    def __post_init__(self) -> None:
        fit(self)
        for name in ("queue_capacity", "worker_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class AddRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Answer a request; the ask returns a task whose result is its `Tokens`."""

    request: GenerateRequest
    priority: Priority = Priority.NORMAL
    timeout_s: float = 1800.0


class Resize(msgspec.Struct, frozen=True, kw_only=True):
    """Have so many workers in each pool; the ask returns the number of slots in service."""

    workers: int


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Take no more requests, refuse what waits, let what runs finish for so long, then cancel it."""

    seconds: float = 30.0


EngineMsg = AddRequest | Resize | Drain
"""What a RemoteEngineCoreActor understands."""


class RemoteEngineCoreActor(Actor[EngineMsg]):
    """Owns one engine: its size, its end, and the workers' actors under it.

    Args:
        engine: the engine.
        answer: brings a call to its whole answer.
        workers: makes the actor of one pool; called once for each replica.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        answer: Callable[[Call], Awaitable[Tokens]],
        workers: Callable[[Engine, int], Actor[Any]],
    ) -> None:
        self._engine = engine
        self._answer = answer
        self._make_worker = workers
        self._workers: Sequence[ActorRef[Any]] = ()

    @property
    def config(self) -> RemoteEngineConfig:
        """The size it was made with."""
        serving = self._engine.deployment.serving
        return RemoteEngineConfig(
            queue_capacity=serving.queue_capacity,
            worker_count=serving.max_concurrent,
            on_capacity_exhausted=serving.on_capacity_exhausted,
        )

    async def on_start(self) -> None:
        """Start the actor of each pool."""
        pools = range(len(self._engine.runners))
        self._workers = [self.context.spawn(self._make_worker(self._engine, pool), f"workers-{pool}") for pool in pools]

    async def receive(self, message: EngineMsg) -> Any:
        """Handle one message."""
        if isinstance(message, AddRequest):
            return self._add(message)
        if isinstance(message, Resize):
            for worker in self._workers:
                await worker.ask(message)
            return sum(not slot.retired for slot in self._engine.slots())
        await self._engine.aclose(message.seconds)
        return None

    def _add(self, message: AddRequest) -> asyncio.Task[Tokens]:
        engine = self._engine
        call = Call(
            message.request,
            loop=engine.loop,
            timeout_s=message.timeout_s,
            input_bound=input_bound(message.request),
            priority=message.priority,
        )
        return engine.chore(_awaited(self._answer(call)))


async def _awaited(answer: Awaitable[Tokens]) -> Tokens:
    return await answer
