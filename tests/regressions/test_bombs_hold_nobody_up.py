"""A stream of nothing but compressed comments stopped everybody, and no deadline ended it.

A packet of gzip can expand to a thousand times its size. It was expanded step by step, but the loop got no turn between
two steps: the memory stayed small, and every other request of the process stood still until the bomb was through.
"""

import asyncio
import gzip

import pytest

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer


@pytest.mark.parametrize(
    ("kind", "piece", "times", "wanted"),
    [
        ("text/event-stream", (b": " + b"x" * 4000 + b"\n\n") * 300, 2000, spillway.Timeout),
        ("application/json", b" " * (1 << 20), 80, spillway.ServerError),
    ],
    ids=["stream", "whole"],
)
async def test_others_run_while_a_bomb_goes_off(kind, piece, times, wanted):
    bomb = answer(gzip.compress(piece) * times, headers={"content-type": kind, "content-encoding": "gzip"})
    async with ByteServer([Do.READ, bomb, Do.STALL]) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime="openai",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret("sk-test")),
            retry=spillway.RetryPolicy(max_retries=0),
            pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:

            async def ask():
                if kind == "application/json":
                    await cluster.generate("m", "Say hello", timeout_s=20.0)
                else:
                    async for _ in cluster.stream("m", "Say hello", timeout_s=1.0):
                        pass

            task = asyncio.ensure_future(ask())
            turns = 0
            while not task.done():
                await asyncio.sleep(0)
                turns += 1
            with pytest.raises(wanted):
                await task
            assert turns > 100
