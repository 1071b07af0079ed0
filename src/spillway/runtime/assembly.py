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
from spillway.remote.engine import Engine, EngineMetrics, Gates
from spillway.remote.rate_limit import RateLimiterActor, RateLimiterHandle, StrictRateLimiterActor
from spillway.remote.retry import RetryQuota
from spillway.runtime.routing import unknown_name
from spillway.stores.memory import MemoryStore

if TYPE_CHECKING:
    from spillway.core.ports import ModelRunner, RunnerFactory
    from spillway.core.spend_journal import SpendJournal
    from spillway.stores.sqlite import SqliteState

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
        self._state: SqliteState | None = None
        self._deployments = tuple(deployments)
        self._factories = dict(runners)
        self._environ = MaskedVariables(environ)
        self._store = MemoryStore()
        self._shared: dict[tuple[str, int], tuple[RateLimiterHandle, CircuitBreakerHandle]] = {}
        self.limiters: dict[str, RateLimiterActor | StrictRateLimiterActor] = {}
        _check_together(self._deployments, runners)

    def build(self, loop: asyncio.AbstractEventLoop, state: SqliteState | None = None) -> list[Engine]:
        """Return one engine for each deployment, and for each entry of its key pool if it has one.

        The engines of a pool share budget, retry quota and metrics; limiter and breaker are each one's own, by its
        position, and workers and queue are divided among them.

        Args:
            state: what was spent before, and where spend is written down from now on.

        Raises:
            ConfigError: a runtime is unknown, a secret is missing.
        """
        self._state = state
        return [engine for deployment in self._deployments for engine in self._engines(deployment, loop)]

    def _engines(self, deployment: Deployment, loop: asyncio.AbstractEventLoop) -> list[Engine]:
        keys = 1 if deployment.name in self._factories else _keys_of(deployment)
        ledger = None if deployment.budget is None else CostLedger(deployment.budget, clock=clock_of(loop))
        journal = self._remember(deployment, ledger)
        quota, output_p95, metrics = RetryQuota(), OutputP95(), EngineMetrics()
        serving = deployment.serving
        share = msgspec.structs.replace(
            serving,
            max_concurrent=-(-serving.max_concurrent // keys),
            queue_capacity=-(-serving.queue_capacity // keys),
        )
        options = deployment if keys == 1 else msgspec.structs.replace(deployment, serving=share)
        engines = []
        for key in range(keys):
            runners = [self._runner(deployment, key) for _ in range(deployment.replicas)]
            limiter, breaker = self._limiter_and_breaker(deployment, key, runners[0], loop)
            gates = Gates(
                deployment.name,
                limiter=limiter,
                breaker=breaker,
                ledger=ledger,
                quota=quota,
                prices=None,
                output_p95=output_p95,
                output_limit=0,
                limits=deployment.rate_limits,
                cached_input_is_free=runners[0].runtime_kind == _CACHE_READS_ARE_FREE,
            )
            gates.journal = journal
            engine = Engine(options, runners, gates, loop)
            engine.metrics = metrics
            engines.append(engine)
        return engines

    def _remember(self, deployment: Deployment, ledger: CostLedger | None) -> SpendJournal | None:
        """Charge a budget with what was spent before, and return where the deployment's spend is written down."""
        state = self._state
        if state is None:
            return None
        cap = None
        if ledger is not None:
            for age_s, pico in state.spent("deployment", deployment.name).get(deployment.name, ()):
                ledger.charge(pico, age_s=age_s)
            cap = min((window.cap_pico for window in ledger.snapshot().windows), default=None)
        return state.journal(deployment.name, deployment.provider_model, cap)

    def _runner(self, deployment: Deployment, key: int) -> ModelRunner:
        factory = self._factories.get(deployment.name)
        if factory is not None:
            return factory(deployment)
        from spillway.providers.registry import make_runner  # noqa: PLC0415 - HTTP and providers only where used

        return make_runner(deployment, environ=self._environ, key=key)

    def _limiter_and_breaker(
        self, deployment: Deployment, key: int, runner: ModelRunner, loop: asyncio.AbstractEventLoop
    ) -> tuple[RateLimiterHandle, CircuitBreakerHandle]:
        group = deployment.limit_group
        if group and (group, key) in self._shared:
            return self._shared[group, key]
        name = group or deployment.name
        if key:
            name = f"{name}#{key + 1}"
        actor = self._limiter_actor(name, deployment.rate_limits, runner, loop)
        self.limiters[name] = actor
        limiter = actor.handle()
        breaker = CircuitBreakerHandle(name, deployment.circuit_breaker, clock=clock_of(loop))
        if group:
            self._shared[group, key] = limiter, breaker
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


def _keys_of(deployment: Deployment) -> int:
    """Return how many keys a deployment takes turns with."""
    given = None if deployment.runtime_config is None else deployment.runtime_config.api_key
    return len(given) if isinstance(given, tuple) else 1


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
