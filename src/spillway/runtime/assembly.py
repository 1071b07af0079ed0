"""From options to engines: the only place that puts the parts of a deployment together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import clock_of
from spillway.core.errors import ConfigError
from spillway.core.options import CircuitBreakerConfig, Deployment, RateLimits
from spillway.remote.circuit_breaker import CircuitBreakerHandle
from spillway.remote.cost import CostLedger, OutputP95
from spillway.remote.engine import Engine, Gates
from spillway.remote.rate_limit import RateLimiterActor, RateLimiterHandle, StrictRateLimiterActor
from spillway.remote.retry import RetryQuota
from spillway.stores.memory import MemoryStore

if TYPE_CHECKING:
    from spillway.core.ports import ModelRunner, RunnerFactory

_AZURE_BURST_S = 1.0
_CACHE_READS_ARE_FREE = "anthropic"

_Shared = tuple[RateLimits | None, CircuitBreakerConfig, RateLimiterHandle, CircuitBreakerHandle]


class Assembly:
    """Builds the engines of one Cluster on one loop.

    Args:
        deployments: their options; names are unique.
        runners: a runner factory for some deployments' names, instead of the provider's.
        environ: where secrets that come from the environment are read.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        runners: Mapping[str, RunnerFactory],
        environ: Mapping[str, str],
    ) -> None:
        self._deployments = tuple(deployments)
        self._factories = dict(runners)
        self._environ = environ
        self._store = MemoryStore()
        self._shared: dict[str, _Shared] = {}
        self.limiters: dict[str, RateLimiterActor | StrictRateLimiterActor] = {}
        self._check_names()

    def build(self, loop: asyncio.AbstractEventLoop) -> list[Engine]:
        """Return one engine for each deployment.

        Raises:
            ConfigError: a runtime is unknown, a secret is missing, members of a limit group differ.
        """
        return [self._engine(deployment, loop) for deployment in self._deployments]

    def _engine(self, deployment: Deployment, loop: asyncio.AbstractEventLoop) -> Engine:
        runners = [self._runner(deployment) for _ in range(deployment.replicas)]
        limiter, breaker = self._limiter_and_breaker(deployment, runners[0], loop)
        gates = Gates(
            deployment.name,
            limiter=limiter,
            breaker=breaker,
            ledger=None if deployment.budget is None else CostLedger(deployment.budget, clock=clock_of(loop)),
            quota=RetryQuota(),
            prices=None,
            output_p95=OutputP95(),
            output_limit=0,
            limits=deployment.rate_limits,
            cached_input_is_free=runners[0].runtime_kind == _CACHE_READS_ARE_FREE,
        )
        return Engine(deployment, runners, gates, loop)

    def _runner(self, deployment: Deployment) -> ModelRunner:
        factory = self._factories.get(deployment.name)
        if factory is not None:
            return factory(deployment)
        from spillway.providers.registry import make_runner  # noqa: PLC0415 - HTTP and providers only where used

        return make_runner(deployment, environ=self._environ)

    def _limiter_and_breaker(
        self, deployment: Deployment, runner: ModelRunner, loop: asyncio.AbstractEventLoop
    ) -> tuple[RateLimiterHandle, CircuitBreakerHandle]:
        limits, breaker_config = deployment.rate_limits, deployment.circuit_breaker
        group = deployment.limit_group
        if group and group in self._shared:
            first_limits, first_config, limiter, breaker = self._shared[group]
            if (first_limits, first_config) != (limits, breaker_config):
                raise ConfigError(
                    f"deployment {deployment.name!r}: limit_group {group!r} has members with other rate_limits or "
                    "circuit_breaker settings; they must be equal"
                )
            return limiter, breaker
        key = group or deployment.name
        actor = self._limiter_actor(key, limits, runner, loop)
        self.limiters[key] = actor
        limiter = actor.handle()
        breaker = CircuitBreakerHandle(key, breaker_config, clock=clock_of(loop))
        if group:
            self._shared[group] = (limits, breaker_config, limiter, breaker)
        return limiter, breaker

    def _limiter_actor(
        self, key: str, limits: RateLimits | None, runner: ModelRunner, loop: asyncio.AbstractEventLoop
    ) -> RateLimiterActor | StrictRateLimiterActor:
        if limits is None:
            limits = RateLimits()
        azure = runner.runtime_kind == "azure"
        options: dict[str, Any] = {"clock": clock_of(loop), "gives_back": not azure}
        if azure and limits.burst_s == RateLimits().burst_s:
            limits = msgspec.structs.replace(limits, burst_s=_AZURE_BURST_S)
        if limits.strict:
            return StrictRateLimiterActor(key, limits, store=self._store, **options)
        return RateLimiterActor(key, limits, **options)

    def _check_names(self) -> None:
        seen: set[str] = set()
        for deployment in self._deployments:
            if deployment.name in seen:
                raise ConfigError(f"two deployments are named {deployment.name!r}")
            seen.add(deployment.name)
        for deployment in self._deployments:
            if deployment.group in seen and deployment.group != deployment.name:
                raise ConfigError(f"group {deployment.group!r} has the name of a deployment")
