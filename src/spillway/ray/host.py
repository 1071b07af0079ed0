"""The Ray actor that an actor of ours lives in: its mailbox, its supervision, its answers."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec

from spillway.core.actor import Actor, ActorRef, ActorSystem
from spillway.core.clock import sleep
from spillway.core.errors import Backpressure
from spillway.ray.connection import load_ray

if TYPE_CHECKING:
    from spillway.core.actor.mailbox import LocalRef

_ROOM_S = 0.005
_EVER_S = 1e8
_FETCH_S = 1.0


class Told(msgspec.Struct, frozen=True):
    """A message that nobody waits for the answer of."""

    message: Any


class Asked(msgspec.Struct, frozen=True):
    """A message whose answer is fetched by its number."""

    number: int
    message: Any


class Dropped(msgspec.Struct, frozen=True):
    """Nobody waits for that answer any more."""

    number: int


class Outcome(msgspec.Struct, frozen=True):
    """What came of a message: an answer, an error, or an answer that is itself awaited, by its number.

    Attributes:
        ended: whether the actor takes no more messages.
    """

    answer: Any = None
    error: BaseException | None = None
    later: int | None = None
    ended: bool = False


class ActorHost:
    """The class of the Ray actor.

    Args:
        factory: makes the actor, in this process.
        name: of the actor.
    """

    def __init__(self, factory: Callable[[], Actor[Any]], name: str) -> None:
        self._factory = factory
        self._name = name
        self._system = ActorSystem(name)
        self._ref: LocalRef[Any] | None = None
        self._asks: dict[tuple[str, int], asyncio.Task[Any]] = {}
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._count = 0
        self._broken: Exception | None = None

    async def deliver(self, sender: str, bundle: list[Told | Asked | Dropped]) -> BaseException | None:
        """Put messages into the mailbox in their order, waiting for room; return why it takes no more, if it does not.

        Args:
            sender: the reference that sends them.
        """
        try:
            ref = self._living()
        except Exception as error:  # noqa: BLE001 - those who ask are told
            self._broken = _portable(error)
            return None
        refused: BaseException | None = None
        for each in bundle:
            if isinstance(each, Dropped):
                task = self._asks.pop((sender, each.number), None)
                if task is not None:
                    task.cancel()
                continue
            while ref.is_full:
                await sleep(_ROOM_S)
            if isinstance(each, Told):
                try:
                    ref.tell(each.message)
                except Backpressure as error:
                    refused = error
            else:
                self._asks[sender, each.number] = asyncio.create_task(self._ask(ref, each.message))
                # Its first step puts the message into the mailbox.
                await sleep(0)
        return refused

    async def outcome(self, sender: str, number: int) -> Outcome:
        """Return what came of an ask that was delivered."""
        task = self._asks.get((sender, number))
        if self._broken is not None:
            return Outcome(error=self._broken)
        if task is None:
            return Outcome(error=Backpressure(f"actor {self._name} has begun anew", reason="shutting_down"))
        try:
            return cast("Outcome", await asyncio.shield(task))
        except asyncio.CancelledError:
            if task.cancelled():
                return Outcome(error=Backpressure(f"actor {self._name}: nobody waits for it", reason="dropped"))
            raise
        finally:
            self._asks.pop((sender, number), None)

    async def later(self, number: int) -> Outcome:
        """Return what an awaited answer came to."""
        return await _outcome(self._awaited.pop(number))

    async def stop(self, drain_s: float) -> None:
        """End the actor in order, and the process once the answers are fetched; never returns."""
        await self._system.aclose(drain_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FETCH_S):
                while self._asks:
                    await sleep(_ROOM_S)
        load_ray().actor.exit_actor()

    def _living(self) -> LocalRef[Any]:
        if self._ref is None:
            ref: ActorRef[Any] = self._system.spawn(self._factory(), self._name)
            self._ref = cast("LocalRef[Any]", ref)
        return self._ref

    async def _ask(self, ref: LocalRef[Any], message: Any) -> Outcome:
        outcome = await _outcome(ref.ask(message, timeout_s=_EVER_S))
        if ref.is_closed:
            return msgspec.structs.replace(outcome, ended=True)
        if inspect.isawaitable(outcome.answer):
            self._count += 1
            self._awaited[self._count] = asyncio.ensure_future(outcome.answer)
            return Outcome(later=self._count)
        return outcome

    def __repr__(self) -> str:
        return f"<ActorHost {self._name}>"


async def _outcome(awaitable: Any) -> Outcome:
    try:
        return Outcome(answer=await awaitable)
    except Exception as error:  # noqa: BLE001 - the asker gets it
        return Outcome(error=_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error that can travel: itself, if it can."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
