"""One deployment's engine as an actor that can live in a process of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from spillway.core.clock import clock_of
from spillway.core.errors import ConfigError
from spillway.remote.engine import RemoteEngineCoreActor
from spillway.remote.worker import RemoteWorkerActor, answer
from spillway.runtime.assembly import Assembly
from spillway.runtime.config import environment
from spillway.runtime.pricing import price_engines
from spillway.runtime.routing import Router
from spillway.stores.shared import Sharing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spillway.core.options import Deployment
    from spillway.remote.engine.call import Call
    from spillway.stores.shared import Store


class EngineActor(RemoteEngineCoreActor):
    """A `RemoteEngineCoreActor` that makes its own engine; it understands the same messages.

    Args:
        deployment: with one key; it falls back to nobody.
        environ: where its secret is read; default: the environment of the process that it lives in.
        store: through which it shares limits with others; None: it has them for itself.

    Raises:
        ConfigError: a secret is missing, a runtime is unknown, it has a key pool.
    """

    def __init__(
        self, deployment: Deployment, *, environ: Mapping[str, str] | None = None, store: Store | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._sharing = None if store is None else Sharing(store, clock_of(loop))
        assembly = Assembly((deployment,), {}, environment() if environ is None else environ)
        engines = assembly.build(loop, sharing=self._sharing)
        if len(engines) != 1:
            raise ConfigError(f"deployment {deployment.name!r}: an engine's actor has one key, not {len(engines)}")
        self._router = Router(engines)
        super().__init__(engines[0], answer=partial(self._whole, deployment.name), workers=RemoteWorkerActor)

    async def on_start(self) -> None:
        """Look its price up, then start the actors of its pools."""
        await price_engines([self._engine])
        if self._sharing is not None:
            await self._sharing.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Close its connections, and give back what it holds."""
        await self._engine.aclose(0.0)
        if self._sharing is not None:
            await self._sharing.aclose()

    async def _whole(self, name: str, call: Call) -> Any:
        return await answer(call, self._router.route(name))
