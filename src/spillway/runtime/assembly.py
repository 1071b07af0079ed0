"""From options to engines: the only place that puts the parts of a deployment together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
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
    from spillway.runtime.live_traffic import LiveTraffic
    from spillway.stores.shared import Sharing
    from spillway.stores.sqlite import SqliteState

_AZURE = "azure"
_AZURE_BURST_S = 1.0
_CACHE_READS_ARE_FREE = "anthropic"


_PolicyKey = tuple[bool, str, int]
"""Whether it is a limit group's, its name or the deployment's, the entry of the key pool."""

_Policies = tuple[RateLimiterActor | StrictRateLimiterActor, CircuitBreakerHandle]


class _Kept:
    """What of a deployment outlives its engines: what it has spent, learned and counted."""

    __slots__ = ("journal", "ledger", "metrics", "output_p95", "quota")

    def __init__(self) -> None:
        self.ledger: CostLedger | None = None
        self.journal: SpendJournal | None = None
        self.quota = RetryQuota()
        self.output_p95 = OutputP95()
        self.metrics = EngineMetrics()


class Assembly:
    """Builds the engines of one Cluster on one loop, anew when deployments change.

    A limiter and a breaker belong to a name, or to a limit group, and an entry of a key pool; a budget, a retry quota
    and counters belong to a name. Engines that are built for the same name later have the same ones.

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
        self._sharing: Sharing | None = None
        self._live: LiveTraffic | None = None
        self.deployments = tuple(deployments)
        self._factories = dict(runners)
        self._environ = MaskedVariables(environ)
        self._store = MemoryStore()
        self._kept: dict[str, _Kept] = {}
        self._policies: dict[_PolicyKey, _Policies] = {}
        _check_together(self.deployments, runners)

    def build(
        self, loop: asyncio.AbstractEventLoop, state: SqliteState | None = None, sharing: Sharing | None = None
    ) -> list[Engine]:
        """Return one engine for each deployment, and for each entry of its key pool if it has one.

        The engines of a pool share budget, retry quota and metrics; limiter and breaker are each one's own, by its
        position, and workers and queue are divided among them.

        Args:
            state: what was spent before, and where spend is written down from now on.
            sharing: this process's part in what it shares with others; None: it shares nothing.

        Raises:
            ConfigError: a runtime is unknown, a secret is missing.
        """
        self._state = state
        self._sharing = sharing
        if sharing is not None:
            from spillway.runtime.live_traffic import LiveTraffic  # noqa: PLC0415 - only where something is shared

            self._live = LiveTraffic(sharing)
        return [engine for deployment in self.deployments for engine in self.engines_of(deployment, loop)]

    def engines_of(self, deployment: Deployment, loop: asyncio.AbstractEventLoop) -> list[Engine]:
        """Return new engines of one deployment, behind the policies that its name has had before.

        Raises:
            ConfigError: a runtime is unknown, a secret is missing.
        """
        keys = self._keys(deployment)
        options = self.shares(deployment)
        pool = [[self._runner(deployment, key) for _ in range(deployment.replicas)] for key in range(keys)]
        kept = self._keep(deployment, loop)
        engines = []
        for key, runners in enumerate(pool):
            limiter, breaker = self._limiter_and_breaker(deployment, key, runners[0], loop)
            gates = Gates(
                deployment.name,
                limiter=limiter,
                breaker=breaker,
                ledger=None if deployment.budget is None else kept.ledger,
                quota=kept.quota,
                prices=None,
                output_p95=kept.output_p95,
                output_limit=0,
                limits=deployment.rate_limits,
                cached_input_is_free=runners[0].runtime_kind == _CACHE_READS_ARE_FREE,
            )
            gates.journal = kept.journal
            engine = Engine(options, runners, gates, loop)
            engine.metrics = kept.metrics
            if self._live is not None and engine.pool.leftover is not None:
                self._live.join(_shared_name(deployment, key), engine.pool.leftover)
            engines.append(engine)
        return engines

    def shares(self, deployment: Deployment) -> Deployment:
        """Return the options of each engine of a deployment: the keys of a pool divide its workers and its queue."""
        keys, serving = self._keys(deployment), deployment.serving
        if keys == 1:
            return deployment
        share = msgspec.structs.replace(
            serving,
            max_concurrent=-(-serving.max_concurrent // keys),
            queue_capacity=-(-serving.queue_capacity // keys),
        )
        return msgspec.structs.replace(deployment, serving=share)

    # Changing.

    @contextmanager
    def trial(self, deployments: Iterable[Deployment]) -> Iterator[None]:
        """Forget what is made within, and keep the deployments of before, if it ends in an error.

        Raises:
            ConfigError: the deployments don't fit together.
        """
        after = tuple(deployments)
        _check_together(after, ())
        before = dict(self._kept), dict(self._policies)
        try:
            yield
        except BaseException:
            self._kept, self._policies = before
            raise
        self.deployments = after

    def turn(
        self, before: Deployment | None, after: Deployment, engines: Iterable[Engine], leaving: Iterable[Engine] = ()
    ) -> None:
        """Have the policies of a deployment follow its new options; what they have counted stays.

        Args:
            before: its options until now; None: its name was not in use.
            engines: those that have the new options.
            leaving: those that end what they have begun under the old ones.
        """
        engines = tuple(engines)
        everyone = (*engines, *leaving)
        limits = after.rate_limits or RateLimits()
        for key in range(self._keys(after)):
            actor, breaker = self._policies[_policy_key(after, key)]
            if after.circuit_breaker != breaker.config:
                breaker.configure(after.circuit_breaker)
            if before is not None and before.rate_limits == after.rate_limits:
                continue
            limiter = actor.handle()
            for engine in everyone:
                if engine.gates.limiter is limiter:
                    engine.gates.have_limits(limits, configured=limits)
            limiter.set_limits(_as_judged(limits, engines[0].kind))
        kept = self._kept[after.name]
        if kept.ledger is not None and (before is None or before.budget != after.budget):
            kept.ledger.set_budget(after.budget, self._past(after.name))
        if before is None or (before.budget, before.provider_model) != (after.budget, after.provider_model):
            self._journal(after, kept)
            for engine in engines:
                engine.gates.journal = kept.journal

    def _keep(self, deployment: Deployment, loop: asyncio.AbstractEventLoop) -> _Kept:
        """Return what a deployment of this name has had before, or begin it: a budget with what was spent before."""
        known = self._kept.get(deployment.name)
        kept = _Kept() if known is None else known
        if deployment.budget is not None and kept.ledger is None:
            # A copy: what it replaces is there again if nothing comes of it.
            kept = copy(kept)
            kept.ledger = self._ledger(deployment, loop)
            for age_s, pico in self._past(deployment.name):
                kept.ledger.charge(pico, age_s=age_s)
        if kept is not known:
            self._journal(deployment, kept)
            self._kept[deployment.name] = kept
        return kept

    def _ledger(self, deployment: Deployment, loop: asyncio.AbstractEventLoop) -> CostLedger:
        """Return the ledger of a budget: this Cluster's own, or its part in one that it shares."""
        if self._sharing is None:
            return CostLedger(deployment.budget, clock=clock_of(loop))
        journal = "" if self._state is None else str(self._state.identity)
        return self._sharing.budgets.ledger(f"deployments:{deployment.name}", deployment.budget, journal=journal)

    def _past(self, name: str) -> Sequence[tuple[float, int]]:
        return () if self._state is None else self._state.spent("deployment", name).get(name, ())

    def _journal(self, deployment: Deployment, kept: _Kept) -> None:
        if self._state is not None:
            windows = () if kept.ledger is None else kept.ledger.snapshot().windows
            cap = min((window.cap_pico for window in windows), default=None)
            kept.journal = self._state.journal(deployment.name, deployment.provider_model, cap)

    def _keys(self, deployment: Deployment) -> int:
        return 1 if deployment.name in self._factories else _keys_of(deployment)

    def _runner(self, deployment: Deployment, key: int) -> ModelRunner:
        factory = self._factories.get(deployment.name)
        if factory is not None:
            return factory(deployment)
        from spillway.providers.registry import make_runner  # noqa: PLC0415 - HTTP and providers only where used

        return make_runner(deployment, environ=self._environ, key=key)

    def _limiter_and_breaker(
        self, deployment: Deployment, key: int, runner: ModelRunner, loop: asyncio.AbstractEventLoop
    ) -> tuple[RateLimiterHandle, CircuitBreakerHandle]:
        policies = self._policies.get(_policy_key(deployment, key))
        if policies is None:
            limiter = self._limiter_actor(deployment, key, runner, loop)
            breaker = self._breaker(deployment, key, loop)
            policies = self._policies[_policy_key(deployment, key)] = limiter, breaker
        return policies[0].handle(), policies[1]

    def _breaker(self, deployment: Deployment, key: int, loop: asyncio.AbstractEventLoop) -> CircuitBreakerHandle:
        name, config = _policy_name(deployment, key), deployment.circuit_breaker
        if self._sharing is None:
            return CircuitBreakerHandle(name, config, clock=clock_of(loop))
        return self._sharing.breakers.share(_shared_name(deployment, key), name, config)

    @property
    def limiters(self) -> Mapping[str, RateLimiterActor | StrictRateLimiterActor]:
        """The limiters' actors by deployment or limit group."""
        used = {_policy_key(d, key): _policy_name(d, key) for d in self.deployments for key in range(self._keys(d))}
        return {name: self._policies[key][0] for key, name in used.items() if key in self._policies}

    def _limiter_actor(
        self, deployment: Deployment, key: int, runner: ModelRunner, loop: asyncio.AbstractEventLoop
    ) -> RateLimiterActor | StrictRateLimiterActor:
        limits = _as_judged(deployment.rate_limits or RateLimits(), runner.runtime_kind)
        options: dict[str, Any] = {"clock": clock_of(loop), "gives_back": runner.runtime_kind != _AZURE}
        sharing, name = self._sharing, _shared_name(deployment, key)
        if limits.strict:
            node, store = ("here", self._store) if sharing is None else (sharing.node, sharing.exact)
            return StrictRateLimiterActor(node, limits, store=store, key=name, **options)
        if sharing is None:
            return RateLimiterActor(_policy_name(deployment, key), limits, **options)
        return RateLimiterActor(sharing.node, limits, store=sharing.approximate, key=name, **options)


def _policy_key(deployment: Deployment, key: int) -> _PolicyKey:
    return bool(deployment.limit_group), deployment.limit_group or deployment.name, key


def _policy_name(deployment: Deployment, key: int) -> str:
    """Return the name of the limiter and the breaker of an entry of a deployment's key pool."""
    name = deployment.limit_group or deployment.name
    return f"{name}#{key + 1}" if key else name


def _shared_name(deployment: Deployment, key: int) -> str:
    """Return the name in a store of what an entry of a deployment's key pool shares: a group's is nobody else's."""
    whose = "limit_group" if deployment.limit_group else "deployment"
    return f"{whose} {deployment.limit_group or deployment.name}#{key + 1}"


def _as_judged(limits: RateLimits, kind: str) -> RateLimits:
    """Return limits in the spans that a provider judges them by."""
    if kind == _AZURE and limits.burst_s == RateLimits().burst_s:
        return msgspec.structs.replace(limits, burst_s=_AZURE_BURST_S)
    return limits


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
