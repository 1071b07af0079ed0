"""What processes share, kept by an actor of Ray's: a store for those who have no Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.errors import NetworkError
from spillway.core.options import Deployment
from spillway.ray.connection import load_ray
from spillway.stores.commons import Commons
from spillway.stores.shared.port import PATIENCE_S, ScriptCall, StoreSettings

if TYPE_CHECKING:
    from spillway.stores.shared import StoreLink


class CommonsActor:
    """The class of the Ray actor: a `Commons` that answers calls, one after the other.

    It is started again when its process ends, with nothing in it and under another run id.
    """

    def __init__(self, settings: StoreSettings) -> None:
        context = load_ray().get_runtime_context()
        self._commons = Commons(settings, reborn=context.was_current_actor_reconstructed)

    async def run(self) -> str:
        """Return the id of its life."""
        return self._commons.run

    async def run_scripts(self, run: str, calls: Sequence[ScriptCall]) -> list[bytes] | None:
        """Run scripts and return their answers, or None when it lives under another id than `run`."""
        return self._commons.run_scripts(calls) if run == self._commons.run else None

    def __repr__(self) -> str:
        return f"<CommonsActor {self._commons!r}>"


class RayStore:
    """A `Store` in an actor of Ray's; it may be sent to other processes of the same Ray cluster.

    Args:
        actor: the handle of a `CommonsActor`.
        settings: see `StoreSettings`.
    """

    def __init__(self, actor: Any, settings: StoreSettings) -> None:
        self._actor = actor
        self.settings = settings

    def connect(self) -> StoreLink:
        """Return a way of one's own to it."""
        return RayLink(self._actor)

    def end(self) -> None:
        """End the actor, and forget what it kept."""
        load_ray().kill(self._actor)

    def __reduce__(self) -> tuple[Any, ...]:
        return RayStore, (self._actor, self.settings)

    def __repr__(self) -> str:
        return f"<RayStore {self.settings.name}>"


class RayLink:
    """One process's way to the actor; see `StoreLink`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._errors = load_ray().exceptions
        self.run = ""
        self.lost = False

    async def open(self) -> str:
        """Return the id of the store's life.

        Raises:
            NetworkError: it did not answer within 0.25 s.
        """
        if not self.run:
            self.run = await self._ask(self._actor.run.remote())
        return self.run

    async def run_scripts(self, calls: Sequence[ScriptCall]) -> list[bytes]:
        """Run scripts in one round trip and return their answers in order.

        Raises:
            NetworkError: it did not answer within 0.25 s, or has been started again; which have run is not known.
        """
        run = await self.open()
        answers: list[bytes] | None = await self._ask(self._actor.run_scripts.remote(run, calls))
        if answers is None:
            self.run = ""
            raise NetworkError("the store has been started again", reason="store")
        return answers

    async def alive(self) -> bool:
        """Return True: that the actor has ended comes out when it is asked."""
        return True

    async def aclose(self) -> None:
        """Leave the store."""

    async def _ask(self, reference: Any) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await reference
        except (TimeoutError, self._errors.RayError) as error:
            self.lost = True
            self.run = ""
            raise NetworkError(f"the store did not answer: {type(error).__name__}", reason="store") from error
        self.lost = False
        return answer

    def __repr__(self) -> str:
        return f"<RayLink {'lost' if self.lost else self.run[:8] or 'not connected'}>"


def exactly(deployments: Sequence[Deployment]) -> tuple[Deployment, ...]:
    """Return deployments whose limits hold exactly over all processes: asking an actor nearby costs little."""
    return tuple(
        each
        if each.rate_limits is None or each.rate_limits.strict
        else msgspec.structs.replace(each, rate_limits=msgspec.structs.replace(each.rate_limits, strict=True))
        for each in deployments
    )


def start_commons(ray: Any, settings: StoreSettings | None = None, **more: Any) -> RayStore:
    """Start an actor that keeps what processes share, and return the store that it is.

    It takes no CPU and ends with the process that has started it.

    Args:
        ray: the module, connected.
        settings: see `StoreSettings`; they may be given by keyword.
    """
    settings = StoreSettings(**more) if settings is None else settings
    kind = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)
    return RayStore(kind(CommonsActor).remote(settings), settings)
