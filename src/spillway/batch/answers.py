"""Who answers the lines of a run: a Cluster in this process, or many elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spillway.core.options import Deployment
from spillway.core.priority import Priority
from spillway.core.request import GenerateRequest
from spillway.remote.circuit_breaker import BreakerEvent, CircuitState
from spillway.remote.engine import Observer, SpendGate
from spillway.runtime.metrics import ClusterMetrics, DeploymentMetrics

if TYPE_CHECKING:
    from spillway.core.reply import Embeddings, Tokens


class Breaker(Protocol):
    """What a run looks at of a circuit breaker; see `CircuitBreakerHandle`."""

    @property
    def state(self) -> CircuitState:
        """The present state."""
        ...

    def retry_after(self) -> float:
        """Return the seconds until it is worth asking again, 0 when a call would be let through now."""
        ...

    def on_room(self, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` when calls may pass sooner than `retry_after` said; returns how to stop that."""
        ...

    def subscribe(self, listener: Callable[[BreakerEvent], Any]) -> Callable[[], None]:
        """Call `listener` once for each change of state; returns how to stop that."""
        ...


class Answerer(Protocol):
    """One deployment, as a run looks at it."""

    def circuit_breaker(self) -> Breaker:
        """Return its breaker."""
        ...

    def trouble(self) -> str:
        """Return why its limits let nothing through although none is full; empty: that is not so, or not known here."""
        ...

    def metrics(self) -> DeploymentMetrics:
        """Return its counters; of one whose price is unknown, `cost_usd` is None."""
        ...


class Answers(Protocol):
    """All deployments of a run. A `Cluster` is one.

    Observers are told of an attempt or a request in the context of the task that awaits `submit`, and of all attempts
    of a request before that returns.
    """

    async def start(self) -> None:
        """Make ready.

        Raises:
            ConfigError: a secret is missing, a runtime is unknown, or a cap has no price to count with.
        """
        ...

    async def aclose(self) -> None:
        """Stop, and leave nothing behind; may be called twice."""
        ...

    async def submit(
        self,
        name: str,
        request: GenerateRequest,
        *,
        priority: Priority | None = None,
        shift_early: bool = True,
        gate: SpendGate | None = None,
        stream: bool = False,
    ) -> Tokens | Embeddings:
        """Return the whole answer to one request; see `Cluster.submit`.

        Cancellation: cancels the request at the provider too; what it cost is settled with `gate` before it raises.
        """
        ...

    def deployment(self, name: str) -> Answerer:
        """Return one deployment."""
        ...

    def deployments(self) -> list[str]:
        """Return the names of all deployments."""
        ...

    def metrics(self) -> ClusterMetrics:
        """Return the counters of all deployments."""
        ...


AnswersFactory = Callable[[Sequence[Deployment], Sequence[Observer]], Answers]
"""Makes them from the deployments of a run and those that are to be told of what happens."""
