"""The public runner suite, over every runtime and variant, against the simulator."""

from __future__ import annotations

import pytest
from runtimes import RUNTIMES, runner_of

from spillway.sim import SimConfig, Simulator
from spillway.testing import RUNNER_CHECKS, RunnerSubject

ANOTHER_MODEL = {"extra.model": {"extra": {"model": "another"}}}
REFUSES = {
    "anthropic": {"extra.n": {"extra": {"n": 2}}, "seed": {"seed": 1}, "extra.logprobs": {"extra": {"logprobs": True}}}
}


@pytest.mark.parametrize("check", RUNNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_runner(runtime, check):
    async with Simulator(SimConfig(seed=1)) as simulator:
        refuses = ANOTHER_MODEL | REFUSES.get(runtime, {})
        await check(RunnerSubject(lambda: runner_of(runtime, simulator.url), simulator.stats, refuses=refuses))
