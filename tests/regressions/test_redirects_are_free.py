"""An endpoint that had moved answered 301 to every request, and each cost the deployment's budget a whole answer.

What an attempt cost was taken to be nothing only from status 400 on; a redirect, which is never followed and answers
nothing, was paid for as if the model had been at work. A budget ran out without one token from the provider.
"""

import pytest

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer


@pytest.mark.parametrize("stream", [False, True])
async def test_redirect_costs_nothing(stream):
    moved = answer(b"", 301, {"location": "https://elsewhere.test/v1"})
    async with ByteServer([Do.READ, moved] * 2) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret("sk-test")),
            runtime="openai",
            pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
            budget=spillway.Budget(max_spend_per_day_usd=0.001),
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:
            for _ in range(2):
                with pytest.raises(spillway.ServerError) as caught:
                    if stream:
                        async for _ in cluster.stream("m", "Say hello", max_tokens=400):
                            pass
                    else:
                        await cluster.generate("m", "Say hello", max_tokens=400)
                assert caught.value.reason == "redirect"
            metrics = cluster.metrics().per_deployment["m"]
            assert (metrics.attempts, metrics.usage_rows, metrics.cost_usd) == (2, 0, 0.0)
            assert cluster.deployment("m").budget().snapshot().spent_pico == 0
