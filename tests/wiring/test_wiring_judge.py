"""A limit as a provider judges it: never refused, and nearly all of it used."""

import asyncio
import math
import random

import msgspec
import pytest
from stage import Reply, deployment, now, perform

import spillway
from spillway import RateLimits, Serving, Usage
from spillway.sim import WindowJudge
from spillway.testing import ScriptedRunner

MINUTES = 4


@pytest.mark.parametrize(("burst_s", "window_s"), [(60.0, 60.0), (10.0, 10.0)])
@pytest.mark.parametrize(
    "limits",
    [
        RateLimits(requests_per_minute=600),
        RateLimits(tokens_per_minute=60_000),
        RateLimits(requests_per_minute=600, tokens_per_minute=60_000),
    ],
)
def test_no_refusal_by_a_provider_of_the_same_limit_and_nearly_all_of_it_is_used(burst_s, window_s, limits):
    """Sends are jittered by up to 300 ms; each request reserves more tokens than it comes to."""
    chance = random.Random(7)
    judge = WindowJudge(limits.requests_per_minute, limits.tokens_per_minute, window_s=window_s)
    refused, admitted = [], []
    runner = JudgedRunner(
        chance, lambda tokens: (admitted if judge.arrive(now(), tokens).allowed else refused).append(tokens)
    )

    async def test(world):
        over = now() + 60.0 * MINUTES

        async def keep_asking():
            while now() < over:
                try:
                    await world.ask(prompt="abcd", max_tokens=90, timeout_s=over - now())
                except spillway.Timeout:
                    return

        await asyncio.gather(*(keep_asking() for _ in range(150)))

    perform(
        test,
        deployments=[
            deployment(
                rate_limits=msgspec.structs.replace(limits, burst_s=burst_s),
                serving=Serving(max_concurrent=150, queue_timeout_s=1e5),
            )
        ],
        scripts={"m": runner},
    )
    assert refused == []
    shares = [
        len(admitted) / (limits.requests_per_minute or math.inf),
        sum(admitted) / (limits.tokens_per_minute or math.inf),
    ]
    assert max(shares) >= 0.98 * MINUTES


class JudgedRunner(ScriptedRunner):
    """Answers of 80 to 110 tokens, each told of the moment its body is on the wire."""

    def __init__(self, chance, on_arrival):
        super().__init__(self._reply)
        self._chance = chance
        self._on_arrival = on_arrival
        self._tokens = 0

    def _reply(self, _batch):
        return Reply(
            usage=Usage(input_tokens=20, output_tokens=self._tokens - 20),
            send_delay_s=self._chance.uniform(0.0, 0.3),
            delay_s=0.05,
        )

    async def execute(self, batch):
        tokens = self._tokens = self._chance.randrange(80, 111)
        told = batch.on_sent

        def sent():
            told()
            self._on_arrival(tokens)

        batch.on_sent = sent
        return await super().execute(batch)
