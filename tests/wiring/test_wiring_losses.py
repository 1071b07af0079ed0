"""A field that the provider has no counterpart for: refused, or left out with a word, as the deployment says."""

import logging

import pytest

import spillway
from spillway.sim import SimConfig, Simulator


def claude(sim, **options):
    config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-ant-test"))
    return spillway.Cluster([spillway.Deployment(name="claude-haiku-4-5", runtime_config=config, **options)])


@pytest.mark.option("unsupported")
async def test_what_can_not_be_carried_is_refused_or_left_out_and_told(caplog):
    caplog.set_level(logging.WARNING, "spillway.providers")
    async with Simulator(SimConfig(seed=1)) as sim:
        async with claude(sim) as strict:
            with pytest.raises(spillway.BadRequest, match="seed"):
                await strict.generate("claude-haiku-4-5", "Say hello", seed=7)
            assert sim.stats()["asked"] == 0
        async with claude(sim, unsupported="warn") as lenient:
            for _ in range(2):
                answer = await lenient.generate("claude-haiku-4-5", "Say hello", seed=7)
                assert answer.text
                assert [warning.partition(":")[0] for warning in answer.warnings] == ["seed"]
            async with lenient.stream("claude-haiku-4-5", "Say hello", seed=7) as stream:
                assert [chunk async for chunk in stream]
            assert [warning.partition(":")[0] for warning in stream.tokens.warnings] == ["seed"]
            plain = await lenient.generate("claude-haiku-4-5", "Say hello")
            assert plain.warnings == ()
    told = [record.message for record in caplog.records if "leaves out" in record.message]
    assert len(told) == 1 and "claude-haiku-4-5" in told[0] and "seed" in told[0]
