"""One deployment of a running Cluster, for those who operate it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spillway.core.clock import wall_now
from spillway.core.errors import InferenceError
from spillway.core.options import RateLimits
from spillway.core.request import GenerateRequest, Prompt, as_messages
from spillway.remote.cost import CostEstimate, cost_bound, input_bound, output_bound, pico_to_usd
from spillway.remote.engine import Drain, EngineMsg, Resize
from spillway.runtime.metrics import DeploymentMetrics, measure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from spillway.core.actor import ActorRef
    from spillway.core.options import Deployment
    from spillway.remote.circuit_breaker import CircuitBreakerHandle
    from spillway.remote.cost import CostLedger
    from spillway.remote.engine import Engine, WorkerSlot
    from spillway.remote.rate_limit import RateLimiterHandle


class Deployed:
    """A view of one deployment: its policies' handles and an operator's actions.

    Each entry of a key pool has a breaker and a limiter of its own, by its position from 0.
    """

    __slots__ = ("_actors", "_engine", "_entries", "_everyone", "_options")

    def __init__(
        self,
        options: Deployment,
        entries: Sequence[Engine],
        actors: Callable[[], Awaitable[list[ActorRef[EngineMsg]]]],
        everyone: Callable[[], Sequence[Engine]],
    ) -> None:
        self._options = options
        self._entries = entries
        self._engine = entries[0]
        self._actors = actors
        self._everyone = everyone

    @property
    def name(self) -> str:
        """Its name."""
        return self._engine.name

    @property
    def options(self) -> Deployment:
        """The options it was made with."""
        return self._options

    @property
    def runtime(self) -> str:
        """The kind of its runtime."""
        return self._engine.kind

    @property
    def keys(self) -> int:
        """How many keys it takes turns with."""
        return len(self._entries)

    def circuit_breaker(self, key: int = 0) -> CircuitBreakerHandle:
        """Return the breaker of a key, shared by replicas and the members of its limit group."""
        return self._entries[key].gates.breaker

    def rate_limiter(self, key: int = 0) -> RateLimiterHandle:
        """Return the limiter of a key, shared by replicas and the members of its limit group."""
        return self._entries[key].gates.limiter

    def budget(self) -> CostLedger | None:
        """Return the ledger of its budget, None without one."""
        return self._engine.gates.ledger

    def workers(self) -> list[WorkerSlot]:
        """Return the slots of all replicas and keys."""
        return [slot for engine in self._entries for slot in engine.slots()]

    def healthy(self) -> bool:
        """Return whether a request sent now would be let through by breaker, provider and credential."""
        return any(engine.healthy() for engine in self._entries)

    def trouble(self) -> str:
        """Return why its limits let nothing through although none is full; empty: that is not so."""
        return self.rate_limiter().trouble()

    def metrics(self) -> DeploymentMetrics:
        """Return its counters."""
        return measure(self._entries)

    def estimate_cost(self, prompt: Prompt, *, max_tokens: int | None = None) -> CostEstimate:
        """Return the most a request can cost: an upper bound of its input and the longest answer allowed.

        Neither is above what the model takes or answers, where that is published.

        Raises:
            BadRequest: the prompt is neither text nor messages.
        """
        gates = self._engine.gates
        request = GenerateRequest(messages=as_messages(prompt), max_tokens=max_tokens)
        prices = gates.prices
        tokens, output = input_bound(request), output_bound(request, gates.output_limit, most=gates.output_most)
        if prices is None:
            return CostEstimate(input_tokens=tokens, max_output_tokens=output, cost_usd=None)
        pico = cost_bound(request, prices, input_tokens=tokens, output_tokens=output, when=wall_now())
        most = tokens if prices.max_input is None else min(tokens, prices.max_input)
        return CostEstimate(input_tokens=most, max_output_tokens=output, cost_usd=pico_to_usd(pico))

    async def rebuild_session(self) -> None:
        """Read every secret again and build new clients; what is in flight keeps the old ones.

        Raises:
            InferenceError: the first of the secrets that can't be read; that key's old session stays, the others of
                its pool are new.
        """
        failure: InferenceError | None = None
        for engine in self._entries:
            try:
                await engine.rebuild_session(None)
            except InferenceError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def resize(self, workers: int) -> int:
        """Have so many workers in each replica's pool; nothing that runs is ended. Returns the slots in service.

        Several keys divide them, with at least one each.

        Raises:
            ValueError: it is less than one.
        """
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers!r}")
        share = Resize(workers=-(-workers // self.keys))
        return sum([await actor.ask(share) for actor in await self._actors()])

    def pause(self) -> None:
        """Take it out of service until `resume`: it takes nobody, sends away who waits, and finishes what runs.

        Those that it sends away are asked of other members of its group, or of its fallbacks.
        """
        for engine in self._entries:
            engine.pause()

    def resume(self) -> None:
        """Put it back into service; it does nothing after `drain`."""
        for engine in self._entries:
            engine.paused = False

    @property
    def paused(self) -> bool:
        """Whether it was taken out of service."""
        return self._engine.paused

    def limits(self) -> RateLimits:
        """Return the limits in force; those in `options` unless others were set."""
        return self._engine.gates.limits

    def set_limits(self, limits: RateLimits) -> list[str]:
        """Have other limits from now on; what was sent before keeps counting where there was a limit.

        They hold for every deployment of its limit group.

        Returns:
            The names of the others for which they hold.
        """
        limiters = {id(engine.gates.limiter): engine.gates.limiter for engine in self._entries}
        configured = self._options.rate_limits or RateLimits()
        for limiter in limiters.values():
            limiter.set_limits(limits)
        sharing = [engine for engine in self._everyone() if id(engine.gates.limiter) in limiters]
        for engine in sharing:
            engine.gates.have_limits(limits, configured=configured)
            engine.pump()
        return sorted({engine.name for engine in sharing} - {self.name})

    async def drain(self, seconds: float = 30.0) -> None:
        """Take no more requests, refuse what waits, let what runs finish for so long, then cancel it."""
        asks = [actor.ask(Drain(seconds=seconds), timeout_s=seconds + 10.0) for actor in await self._actors()]
        await asyncio.gather(*asks)

    def __repr__(self) -> str:
        return f"<Deployed {self._engine!r} {self.circuit_breaker()!r}>"
