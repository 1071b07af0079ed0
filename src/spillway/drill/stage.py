"""Everything that a scenario plays with: a store, a provider, nodes, a clock, and a record of what was done."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

import aiohttp

from spillway.core.clock import loop_clock, sleep, wall_now
from spillway.drill.found import Event
from spillway.drill.load import Load
from spillway.drill.nodes import MODEL, BatchNode, GatewayNode, Node, node_of
from spillway.drill.plan import BLACK_HOLE, CUT, DELAY, DELAY_S, KILL, LOSE_STORE, PAUSE, Fault
from spillway.drill.provider import Provider
from spillway.drill.sizes import Size
from spillway.drill.store import Store

Say = Callable[[str], None]
AnyNode = TypeVar("AnyNode", bound=Node)

LATENCY_S = 0.02
"""The provider's."""

_LOOK_S = 0.005
_PEAK = 2.4
"""How many times faster than on average requests may come."""


class Setting:
    """What all scenarios of a drill have in common.

    Args:
        folder: an empty one.
        environ: what programs find in their environment.
        size: see there.
        seed: decides plans and answers.
        store: that all scenarios use, one after the other; it runs.
        say: shows a line of progress.
    """

    def __init__(
        self, folder: Path, environ: Mapping[str, str], *, size: Size, seed: int, store: Store, say: Say
    ) -> None:
        self.folder = folder
        self.environ = environ
        self.store = store
        self.size = size
        self.seed = seed
        self.say = say


class Stage(Generic[AnyNode]):
    """The cast of one scenario, all of it running.

    Attributes:
        size: how large it is.
        store, provider, nodes, session: who is there.
        events: what was done and seen, in the order of its end.
    """

    def __init__(
        self,
        setting: Setting,
        provider: Provider,
        nodes: Sequence[AnyNode],
        session: aiohttp.ClientSession,
    ) -> None:
        self.size = setting.size
        self.say = setting.say
        self.store = setting.store
        self.provider = provider
        self.nodes = nodes
        self.session = session
        self.events: list[Event] = []
        self._clock = loop_clock()
        self._zero = self._clock()
        self._wall_zero = wall_now()
        self._stalled_s = 0.0

    async def begin(self) -> None:
        """Let the scenario's time, and the provider's with it, begin."""
        before = self._clock()
        await self.provider.reset(self.session)
        self._zero = (before + self._clock()) / 2
        self._wall_zero = wall_now() - timedelta(seconds=self.now())
        self._stalled_s = 0.0
        self.events.clear()

    def now(self) -> float:
        """Return the seconds since the scenario's beginning."""
        return self._clock() - self._zero

    def instant(self, wall: str) -> float:
        """Return the seconds between the scenario's beginning and a wall time, as nodes write it into their logs."""
        return (datetime.fromisoformat(wall) - self._wall_zero).total_seconds()

    async def until(self, at_s: float) -> None:
        """Wait for an instant."""
        await sleep(at_s - self.now())

    async def watch(self) -> None:
        """Note how late this process gets its turn, until cancelled: a machine that stalls measures nothing well."""
        while True:
            before = self._clock()
            await sleep(_LOOK_S)
            self._stalled_s = max(self._stalled_s, self._clock() - before - _LOOK_S)

    def stalls(self) -> dict[str, str]:
        """Return a remark on that."""
        return {"the machine stalled for at most": f"{self._stalled_s * 1000:.0f} ms"}

    def record(self, what: str, *, from_s: float | None = None, at_s: float | None = None, kind: str = "") -> None:
        """Write down what is over now, or was at `at_s`; it lasted from `from_s` on, or was an instant."""
        to_s = self.now() if at_s is None else at_s
        self.events.append(Event(from_s=to_s if from_s is None else from_s, to_s=to_s, kind=kind, what=what))

    async def arrivals(self) -> dict[int, list[float]]:
        """Return when requests arrived at the provider, by node."""
        told = await self.provider.told(self.session)
        found: dict[int, list[float]] = {node.number: [] for node in self.nodes}
        for arrival in told.log:
            found[node_of(arrival.key)].append(arrival.t)
        return found

    # What goes wrong.

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Have all faults happen, each at its time from now on; returns when the last is over."""
        began = self.now()
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                tasks.create_task(self._suffer(fault, began))

    async def _suffer(self, fault: Fault, began: float) -> None:
        await self.until(began + fault.at_s)
        from_s = self.now()
        self.say(str(fault))
        undo = self._break(fault)
        try:
            await sleep(fault.for_s)
        finally:
            mended = undo()
        if mended is not None:
            await mended
        self.record(str(fault), from_s=from_s, kind=fault.kind)

    def _break(self, fault: Fault) -> Callable[[], Awaitable[None] | None]:
        """Let it happen; returns what mends it again."""
        if fault.kind == LOSE_STORE:
            self.store.kill()
            return self.store.start
        node = self.nodes[fault.node - 1]
        if fault.kind == KILL:
            node.kill()
            return node.start
        if fault.kind == PAUSE:
            node.pause()
            return node.resume
        if fault.kind == CUT:
            node.link.cut()
        elif fault.kind == BLACK_HOLE:
            node.link.swallow()
        elif fault.kind == DELAY:
            node.link.slow(DELAY_S)
        return node.link.heal


def slots(size: Size) -> int:
    """Return how many requests a node may send at once.

    As many as use up the limit, and not many more: the provider has to keep up, or it would see what came in one
    window in the next.
    """
    return math.ceil(_PEAK * size.limit / size.window_s * LATENCY_S / size.nodes)


def load_on(stage: Stage[GatewayNode], *, max_tokens: int = 16) -> Load:
    """Return clients for all gateways of a stage."""
    return Load(
        stage.session,
        lambda: [node.url for node in stage.nodes],
        model=MODEL,
        clock=stage.now,
        max_tokens=max_tokens,
    )


@asynccontextmanager
async def _cast(
    setting: Setting, kind: type[AnyNode], name: str, options: str, latency_s: float
) -> AsyncIterator[Stage[AnyNode]]:
    folder = setting.folder / name
    folder.mkdir()
    provider = Provider(folder, setting.environ, seed=setting.seed, latency_s=latency_s)
    nodes: list[AnyNode] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            await provider.start()
            for number in range(1, setting.size.nodes + 1):
                nodes.append(
                    kind(
                        number,
                        folder,
                        store=setting.store.socket,
                        provider=provider.url,
                        options=options,
                        environ=setting.environ,
                        cluster=f"drill-{name}",
                        size=setting.size,
                    )
                )
                await nodes[-1].prepare()
            stage = Stage(setting, provider, nodes, session)
            watching = asyncio.create_task(stage.watch())
            try:
                yield stage
            finally:
                watching.cancel()
                await asyncio.wait({watching})
        finally:
            await asyncio.gather(*(node.stop() for node in nodes), return_exceptions=True)
            await provider.stop()


@asynccontextmanager
async def gateways(
    setting: Setting, name: str, options: str, *, latency_s: float = LATENCY_S
) -> AsyncIterator[Stage[GatewayNode]]:
    """Have gateways that can all be asked; nothing of them is left afterwards.

    Args:
        name: of the scenario.
        options: tables of the deployment, in TOML.
        latency_s: the provider's.
    """
    async with _cast(setting, GatewayNode, name, options, latency_s) as stage:
        setting.say(f"starting the simulator and {setting.size.nodes} gateways")
        await asyncio.gather(*(node.start() for node in stage.nodes))
        await stage.begin()
        yield stage


@asynccontextmanager
async def batches(
    setting: Setting, name: str, options: str, *, latency_s: float = LATENCY_S
) -> AsyncIterator[Stage[BatchNode]]:
    """Have batch processes that have not been started; nothing of them is left afterwards."""
    async with _cast(setting, BatchNode, name, options, latency_s) as stage:
        setting.say(f"starting the simulator and {setting.size.nodes} batch processes")
        await stage.begin()
        yield stage
