"""A provider that broke off half its streams with an error event seemed to cost nothing.

An error that names a status of 400 and more was taken for a refusal, which is free. But an error event inside a stream
names one too, and what came before it was made, and is billed. Half an answer is paid as half an answer.
"""

import json

import pytest

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer


def event(**said):
    return b"data: %s\n\n" % json.dumps(said).encode()


async def test_content_before_an_error_event_is_paid():
    content = event(choices=[{"index": 0, "delta": {"content": "x" * 400}}])
    error = event(error={"type": "server_error", "message": "no"})
    whole = answer(content + error, headers={"content-type": "text/event-stream"})
    async with ByteServer([Do.READ, whole]) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret("sk-test")),
            runtime="openai",
            pricing=spillway.Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=2.0),
            budget=spillway.Budget(max_spend_per_day_usd=1.0),
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:
            with pytest.raises(spillway.StreamInterrupted) as caught:
                async for _ in cluster.stream("m", "Say hello", max_tokens=400):
                    pass
            assert caught.value.status == 500 and len(caught.value.partial.text) == 400
            metrics = cluster.metrics().per_deployment["m"]
            assert (metrics.usage_rows, metrics.output_tokens) == (1, 100)
            assert metrics.cost_usd == pytest.approx(100 * 2e-6)
            assert cluster.deployment("m").budget().snapshot().spent_pico == 200_000_000
