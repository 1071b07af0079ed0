"""The public runner suite, over every runtime and variant, against the simulator."""

from __future__ import annotations

import pytest
from runtimes import RUNTIMES, runner_of

from spillway.sim import SimConfig, Simulator
from spillway.testing import RUNNER_CHECKS, RunnerSubject
from spillway.testing.runner_probe import ask

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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_the_simulator_gives_the_suite_several_calls_to_look_at(runtime, stream):
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]
    async with Simulator(SimConfig(seed=1)) as simulator:
        runner = runner_of(runtime, simulator.url)
        outcome = await ask(runner, stream=stream, tools=tools, prompt="call a and b, yes call b")
        await runner.aclose()
    assert [call.name for call in outcome.tokens.tool_calls] == ["a", "b"]
