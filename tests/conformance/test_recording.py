"""A runner that is being recorded does all that a runner must: the recorder changes nothing on its way through."""

import pytest

from spillway.core.options import Deployment
from spillway.core.secrets import Secret
from spillway.providers.openai import OpenAiConfig
from spillway.providers.registry import make_runner
from spillway.sim import SimConfig, Simulator
from spillway.testing import Cassette
from spillway.testing.runner_conformance import RUNNER_CHECKS, RunnerSubject


@pytest.mark.parametrize("check", RUNNER_CHECKS, ids=lambda check: check.__name__)
async def test_runner(check, tmp_path):
    async with Simulator(SimConfig(seed=1)) as simulator:
        config = OpenAiConfig(endpoint=f"{simulator.url}/v1", api_key=Secret("sk-test-1"))
        deployment = Deployment(name="gpt-4o-mini", runtime_config=config)
        with Cassette(tmp_path / "c.jsonl") as cassette:
            await check(RunnerSubject(lambda: make_runner(deployment, environ={}), simulator.stats))
            assert cassette.recording
    with Cassette(tmp_path / "c.jsonl") as cassette:
        asked = simulator.stats()["asked"]
        assert (
            bool(cassette.unused) == bool(asked) and cassette.unused <= asked
        )  # a dead connection is tried again below
