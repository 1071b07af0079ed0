"""From options to engines: the only place that puts the parts of a deployment together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import clock_of
from spillway.core.errors import ConfigError
from spillway.core.masked import MaskedVariables
from spillway.core.options import Deployment, RateLimits
from spillway.remote.circuit_breaker import CircuitBreakerHandle
from spillway.remote.cost import CostLedger, OutputP95
from spillway.remote.engine import Engine, Gates
from spillway.remote.rate_limit import RateLimiterActor, RateLimiterHandle, StrictRateLimiterActor
from spillway.remote.retry import RetryQuota
from spillway.runtime.routing import unknown_name
from spillway.stores.memory import MemoryStore

if TYPE_CHECKING:
    from spillway.core.ports import ModelRunner, RunnerFactory

_AZURE_BURST_S = 1.0
_CACHE_READS_ARE_FREE = "anthropic"


class Assembly:
    """Builds the engines of one Cluster on one loop.

    Args:
        deployments: their options; names are unique.
        runners: a runner factory for some deployments' names, instead of the provider's.
        environ: where secrets that come from the environment are read.

    Raises:
        ConfigError: names clash, a fallback names nothing, members of a limit group differ.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        runners: Mapping[str, RunnerFactory],
        environ: Mapping[str, str],
    ) -> None:
        self._deployments = tuple(deployments)
        self._factories = dict(runners)
        self._environ = MaskedVariables(environ)
        self._store = MemoryStore()
        self._shared: dict[str, tuple[RateLimiterHandle, CircuitBreakerHandle]] = {}
        self.limiters: dict[str, RateLimiterActor | StrictRateLimiterActor] = {}
        _check_together(self._deployments, runners)

    def build(self, loop: asyncio.AbstractEventLoop) -> list[Engine]:
        """Return one engine for each deployment.

        Raises:
            ConfigError: a runtime is unknown, a secret is missing.
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
        group = deployment.limit_group
        if group and group in self._shared:
            return self._shared[group]
        key = group or deployment.name
        actor = self._limiter_actor(key, deployment.rate_limits, runner, loop)
        self.limiters[key] = actor
        limiter = actor.handle()
        breaker = CircuitBreakerHandle(key, deployment.circuit_breaker, clock=clock_of(loop))
        if group:
            self._shared[group] = limiter, breaker
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


def _check_together(deployments: Sequence[Deployment], runners: Iterable[str]) -> None:
    """Refuse what deployments are wrong about each other."""
    named: dict[str, Deployment] = {}
    for deployment in deployments:
        if not isinstance(deployment, Deployment):
            raise TypeError(f"a Cluster is made of Deployments, not of {deployment!r}")
        if deployment.name in named:
            raise ConfigError(f"two deployments are named {deployment.name!r}")
        named[deployment.name] = deployment
    for name in runners:
        if name not in named:
            raise ConfigError(f"runners: {unknown_name(name, named)}")
    groups = {d.group for d in deployments if d.group}
    sharing: dict[str, Deployment] = {}
    for deployment in deployments:
        where = f"deployment {deployment.name!r}"
        if deployment.group in named and deployment.group != deployment.name:
            raise ConfigError(f"group {deployment.group!r} has the name of a deployment")
        for name in deployment.fallback:
            if name not in named and name not in groups:
                raise ConfigError(f"{where} falls back to {unknown_name(name, {*named, *groups})}")
        if deployment.limit_group:
            first = sharing.setdefault(deployment.limit_group, deployment)
            if (first.rate_limits, first.circuit_breaker) != (deployment.rate_limits, deployment.circuit_breaker):
                raise ConfigError(
                    f"{where}: limit_group {deployment.limit_group!r} has members with other rate_limits or "
                    "circuit_breaker settings; they must be equal"
                )
