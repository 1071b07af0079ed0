"""A cluster of scripted deployments in virtual time, and the check that nothing is held when it is over."""

import asyncio

import pytest

import spillway
from spillway.testing import ScriptedRunner, run_virtual

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


def deployment(name="m", **options):
    """A deployment with a price, so that no price list is read."""
    options.setdefault("pricing", PRICE)
    return spillway.Deployment(name=name, **options)


class World:
    """One cluster and the runners behind it."""

    def __init__(self, runners, deployments, **options):
        self.runners = runners
        self.cluster = spillway.Cluster(
            deployments,
            runners={name: (lambda _d, r=runner: r) for name, runner in runners.items()},
            environ={},
            **options,
        )

    def __getitem__(self, name):
        return self.runners[name]

    def holds_nothing(self):
        for name in self.cluster.deployments():
            engine = self.cluster._router.engines[name]
            assert engine.busy == 0, engine
            assert len(engine.queue) == 0, engine
            limiter = engine.gates.limiter.snapshot()
            assert limiter.concurrent == 0, limiter
            ledger = engine.gates.ledger
            assert ledger is None or ledger.snapshot().reserved_pico == 0, ledger
            assert self.runners[name].open == 0
            m = engine.metrics
            assert m.accepted == m.succeeded + m.failed + m.cancelled or m.fell_back or len(self.runners) > 1


@pytest.fixture
def play():
    """`play(test, script=..., **options)`: run `await test(world)` in virtual time on one deployment `m`, or several."""

    def run(test, script=("ok",), *, deployments=None, scripts=None, cluster=None, **options):
        if deployments is None:
            deployments = [deployment(**options)]
        scripts = scripts or {d.name: script for d in deployments}

        async def main():
            runners = {n: s if isinstance(s, ScriptedRunner) else ScriptedRunner(s) for n, s in scripts.items()}
            world = World(runners, deployments, **(cluster or {}))
            try:
                result = await test(world)
                await asyncio.sleep(0)
                if world.cluster._router is not None:
                    world.holds_nothing()
                return result
            finally:
                await world.cluster.aclose()

        return run_virtual(main())

    return run
