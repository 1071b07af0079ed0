"""One deployment of a running Cluster, for those who operate it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.clock import wall_now
from spillway.core.request import GenerateRequest, Prompt, as_messages
from spillway.remote.cost import CostEstimate, input_bound, pico_to_usd
from spillway.remote.engine import Drain, EngineMsg, Resize
from spillway.runtime.metrics import DeploymentMetrics, measure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spillway.core.actor import ActorRef
    from spillway.core.options import Deployment
    from spillway.remote.circuit_breaker import CircuitBreakerHandle
    from spillway.remote.cost import CostLedger
    from spillway.remote.engine import Engine, WorkerSlot
    from spillway.remote.rate_limit import RateLimiterHandle


class Deployed:
    """A view of one deployment: its policies' handles and an operator's actions."""

    __slots__ = ("_actor", "_engine")

    def __init__(self, engine: Engine, actor: Callable[[], Awaitable[ActorRef[EngineMsg]]]) -> None:
        self._engine = engine
        self._actor = actor

    @property
    def name(self) -> str:
        """Its name."""
        return self._engine.name

    @property
    def options(self) -> Deployment:
        """The options it was made with."""
        return self._engine.deployment

    def circuit_breaker(self) -> CircuitBreakerHandle:
        """Return the breaker, shared by replicas and the members of its limit group."""
        return self._engine.gates.breaker

    def rate_limiter(self) -> RateLimiterHandle:
        """Return the limiter, shared by replicas and the members of its limit group."""
        return self._engine.gates.limiter

    def budget(self) -> CostLedger | None:
        """Return the ledger of its budget, None without one."""
        return self._engine.gates.ledger

    def workers(self) -> list[WorkerSlot]:
        """Return the slots of all replicas."""
        return self._engine.slots()

    def healthy(self) -> bool:
        """Return whether a request sent now would be let through by breaker, provider and credential."""
        return self._engine.healthy()

    def metrics(self) -> DeploymentMetrics:
        """Return its counters."""
        return measure(self._engine)

    def estimate_cost(self, prompt: Prompt, *, max_tokens: int | None = None) -> CostEstimate:
        """Return the most a request can cost: an upper bound of its input and the longest answer allowed.

        Raises:
            BadRequest: the prompt is neither text nor messages.
        """
        gates = self._engine.gates
        tokens = input_bound(GenerateRequest(messages=as_messages(prompt)))
        output = gates.output_limit if max_tokens is None else max_tokens
        pico = None if gates.prices is None else gates.prices.estimate(tokens, output, wall_now())
        return CostEstimate(
            input_tokens=tokens, max_output_tokens=output, cost_usd=None if pico is None else pico_to_usd(pico)
        )

    async def rebuild_session(self) -> None:
        """Read the secret again and build a new client; what is in flight keeps the old one.

        Raises:
            InferenceError: the secret can't be read; the old session stays.
        """
        await self._engine.rebuild_session(None)

    async def resize(self, workers: int) -> int:
        """Have so many workers in each replica's pool; nothing that runs is ended. Returns the slots in service.

        Raises:
            ValueError: it is less than one.
        """
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers!r}")
        actor = await self._actor()
        count: int = await actor.ask(Resize(workers=workers))
        return count

    async def drain(self, seconds: float = 30.0) -> None:
        """Take no more requests, refuse what waits, let what runs finish for so long, then cancel it."""
        actor = await self._actor()
        await actor.ask(Drain(seconds=seconds), timeout_s=seconds + 10.0)

    def __repr__(self) -> str:
        return f"<Deployed {self._engine!r} {self.circuit_breaker()!r}>"
