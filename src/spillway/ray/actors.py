"""Actors in a Ray cluster, behind the same reference as those of this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from spillway.core.actor import Actor
from spillway.core.clock import new_id
from spillway.core.errors import Backpressure, ConfigError, Timeout
from spillway.ray.connection import load_ray
from spillway.ray.host import ActorHost, Asked, Dropped, Outcome, Told

M = TypeVar("M")

_CALLS = 10_000
"""Asks that may be under way at once; each holds no thread."""


class RemoteActor(Generic[M]):
    """An `ActorRef` to an actor in a process of Ray's; it may be sent to other processes of the same Ray cluster.

    Messages of one reference arrive in the order they were sent. They leave in bundles: at most as many as the mailbox
    holds wait here while that is full. What Ray can't pickle can't be sent.

    When the process of the actor ends, what was in its mailbox is lost and those who asked are told; Ray starts it
    again as often as its `restart_policy` says, with a new actor from its factory.

    Args:
        host: the handle of the Ray actor.
        name: the actor's.
        capacity: of its mailbox.
    """

    def __init__(self, host: Any, name: str, capacity: int) -> None:
        self._ray = load_ray()
        self._host = host
        self._name = name
        self._capacity = capacity
        self._sender = new_id()
        self._outbox: deque[Told | Asked | Dropped] = deque()
        self._sent: dict[int, asyncio.Future[None]] = {}
        self._pumping: asyncio.Task[None] | None = None
        self._ended: Backpressure | None = None
        self._asked = 0

    @property
    def name(self) -> str:
        """See `ActorRef.name`."""
        return self._name

    def tell(self, message: M) -> None:
        """See `ActorRef.tell`; that the actor has ended may come out one message late."""
        self._post(Told(message))

    async def ask(self, message: M, timeout_s: float = 5.0) -> Any:
        """See `ActorRef.ask`; an answer that is awaitable there is one here."""
        self._asked += 1
        number = self._asked
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._post(Asked(number, message))
        self._sent[number] = sent
        try:
            async with asyncio.timeout(timeout_s):
                await sent
                outcome: Outcome = await self._call(self._host.outcome.remote(self._sender, number))
        except (TimeoutError, asyncio.CancelledError) as error:
            self._drop(number)
            if isinstance(error, TimeoutError):
                late = f"actor {self._name} did not answer within {timeout_s:g} s"
                raise Timeout(late, reason="ask") from None
            raise
        finally:
            self._sent.pop(number, None)
        if outcome.ended and self._ended is None:
            self._ended = self._gone("stopped")
        if outcome.error is not None:
            raise outcome.error
        if outcome.later is not None:
            return asyncio.ensure_future(self._later(outcome.later))
        return outcome.answer

    async def stop(self, drain_s: float = 5.0) -> None:
        """End the actor in order, as `ActorSystem.stop` does, and its process; for all who have a reference to it."""
        while self._pumping is not None:
            await asyncio.wait([self._pumping])
        self._ended = self._ended or self._gone("stopped")
        with suppress(self._ray.exceptions.RayError):
            await self._host.stop.remote(drain_s)

    def _post(self, item: Told | Asked | Dropped) -> None:
        if self._ended is not None:
            raise self._gone("stopped")
        if len(self._outbox) >= self._capacity:
            raise Backpressure(f"the mailbox of actor {self._name} is full", reason="mailbox_full")
        self._outbox.append(item)
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            while self._outbox:
                bundle = list(self._outbox)
                self._outbox.clear()
                await self._carry(bundle)
        finally:
            self._pumping = None

    async def _carry(self, bundle: list[Told | Asked | Dropped]) -> None:
        trouble: BaseException | None = None
        try:
            refused = await self._call(self._host.deliver.remote(self._sender, bundle))
            self._ended = self._ended or refused
        except Exception as error:  # noqa: BLE001 - told to those who asked
            trouble = error
        for each in bundle:
            sent = self._sent.get(each.number) if isinstance(each, Asked) else None
            if sent is None or sent.done():
                continue
            if trouble is None:
                sent.set_result(None)
            else:
                sent.set_exception(trouble)
                # Whoever asked may have left meanwhile.
                sent.exception()

    async def _call(self, reference: Any) -> Any:
        try:
            return await reference
        except self._ray.exceptions.ActorDiedError as error:
            self._ended = self._gone("stopped")
            raise self._gone("stopped") from error
        except self._ray.exceptions.RayActorError as error:
            raise self._gone("restarting") from error

    async def _later(self, number: int) -> Any:
        outcome: Outcome = await self._call(self._host.later.remote(number))
        if outcome.error is not None:
            raise outcome.error
        return outcome.answer

    def _drop(self, number: int) -> None:
        for each in self._outbox:
            if isinstance(each, Asked) and each.number == number:
                self._outbox.remove(each)
                return
        with suppress(Backpressure):
            self._post(Dropped(number))

    def _gone(self, state: str) -> Backpressure:
        return Backpressure(f"actor {self._name} is {state}", reason="shutting_down")

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteActor, (self._host, self._name, self._capacity)

    def __repr__(self) -> str:
        state = "stopped" if self._ended is not None else "remote"
        return f"<ActorRef {self._name} {state} outbox {len(self._outbox)}/{self._capacity}>"


def spawn(factory: Callable[[], Actor[M]], name: str, *, num_cpus: float = 0, **options: Any) -> RemoteActor[M]:
    """Start an actor in a process of the Ray cluster that this one is connected to.

    It ends with `RemoteActor.stop`, or when the process that has started it ends.

    Args:
        factory: makes it, there; it is pickled, so that it may hold no `Secret`: have it read one where it is.
        name: its name.
        num_cpus: what it takes of the cluster; `options` are further ones of Ray's actors.

    Raises:
        ConfigError: Ray is not installed or not connected, or the factory can't be pickled.
        ValueError: the name is empty or has a slash.
    """
    if not name or "/" in name:
        raise ValueError(f"{name!r} can't name an actor: it is empty or has a slash")
    ray = load_ray()
    if not ray.is_initialized():
        raise ConfigError(f"actor {name}: this process is not connected to a Ray cluster")
    kind = getattr(factory, "func", factory)
    capacity, policy = (
        (kind.mailbox_capacity, kind.restart_policy)
        if isinstance(kind, type) and issubclass(kind, Actor)
        else (Actor.mailbox_capacity, Actor.restart_policy)
    )
    remote = ray.remote(num_cpus=num_cpus, max_restarts=policy.max_restarts, max_concurrency=_CALLS, **options)
    try:
        host = remote(ActorHost).remote(factory, name)
    except TypeError as error:
        raise ConfigError(f"actor {name}: its factory can't be sent: {error.__cause__ or error}") from None
    return RemoteActor(host, name, capacity)
