"""Vectors and counts through the Cluster: every policy applies, batches are put together, nothing is lost."""

import asyncio

import pytest
from stage import NEVER_OPENS, PRICE, deployment

import spillway
from spillway.core.reply import TokenChunk, Usage
from spillway.providers.answers import WholeAnswer
from spillway.sim import SimConfig, Simulator
from spillway.testing import run_virtual


class Embedder:
    """A runner whose vector of a text is its length; what `fails` picks ends in the error it returns."""

    runtime_kind = transport_kind = "scripted"
    rate_limits = None

    def __init__(self, *, most_inputs=3, fails=lambda inputs: None, delay_s=0.0, usage=True):
        self.most_inputs = most_inputs
        self.batches = []
        self.cancelled = 0
        self._fails, self._delay_s, self._usage = fails, delay_s, usage

    async def execute(self, batch):
        inputs = batch.request.inputs
        self.batches.append(inputs)
        try:
            await asyncio.sleep(self._delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        error = self._fails(inputs)
        if error is not None:
            raise error
        chunks = [TokenChunk(usage=Usage(input_tokens=sum(map(len, inputs))))] if self._usage else []
        return WholeAnswer(chunks, "id", None, tuple((float(len(each)),) for each in inputs))

    async def rebuild_session(self, cause):
        raise AssertionError("nothing to rebuild")


def embedding(runner, inputs, *, deployed=None, **options):
    async def main():
        deployments = [deployment("m", circuit_breaker=NEVER_OPENS, **(deployed or {}))]
        async with spillway.Cluster(deployments, runners={"m": lambda _: runner}, environ={}) as cluster:
            return await cluster.embed("m", inputs, **options), cluster.metrics().per_deployment["m"]

    return run_virtual(main())


def test_batches_go_out_together_and_come_back_in_order():
    runner = Embedder(delay_s=1.0)
    texts = ["x" * n for n in range(1, 9)]
    found, metrics = embedding(runner, texts)
    assert found.vectors == tuple((float(n),) for n in range(1, 9))
    assert sorted(map(len, runner.batches)) == [2, 3, 3]
    assert (found.usage.input_tokens, found.attempts, metrics.input_tokens, metrics.succeeded) == (36, 3, 36, 3)
    assert found.cost_usd == pytest.approx(36 * PRICE.input_per_mtok_usd / 1e6)
    assert not found.cost_estimated


def test_one_text_and_token_numbers_are_inputs_too():
    assert embedding(Embedder(), "hello")[0].vectors == ((5.0,),)
    assert embedding(Embedder(), [1, 2, 3])[0].vectors == ((3.0,),)
    assert embedding(Embedder(), [[1, 2], [3]])[0].vectors == ((2.0,), (1.0,))


@pytest.mark.parametrize("inputs", [[], "", [""], ["a", ""], [["a"]], 3, None, [1.5]])
def test_what_can_not_be_embedded_is_a_bad_request(inputs):
    runner = Embedder()
    with pytest.raises(spillway.BadRequest, match="inputs"):
        embedding(runner, inputs)
    assert runner.batches == []


def test_a_batch_that_fails_is_retried_alone():
    failing = iter([spillway.ServerError("down", status=503)])
    runner = Embedder(fails=lambda inputs: next(failing, None) if "b" in inputs else None)
    found, metrics = embedding(runner, ["a", "aa", "aaa", "b"])
    assert [vector[0] for vector in found.vectors] == [1.0, 2.0, 3.0, 1.0]
    assert (len(runner.batches), found.attempts, metrics.retried) == (3, 3, 1)


def test_a_batch_that_fails_for_good_ends_the_others():
    runner = Embedder(fails=lambda inputs: spillway.BadRequest("no", status=400) if "b" in inputs else None)
    slow = Embedder(delay_s=5.0)
    slow._fails = runner._fails
    with pytest.raises(spillway.BadRequest, match="no"):
        embedding(slow, ["a", "aa", "aaa", "b"])
    assert len(slow.batches) == 2


def test_a_cap_on_the_cost_is_each_requests():
    runner = Embedder()
    with pytest.raises(spillway.BudgetExceeded):
        embedding(runner, ["x" * 1000], max_cost_usd=1e-6)
    assert runner.batches == []


def test_usage_that_is_not_told_is_estimated():
    found, metrics = embedding(Embedder(usage=False), ["x" * 40])
    assert found.usage is None and found.cost_estimated and metrics.usage_rows == 1


def test_a_token_limit_counts_the_inputs_and_no_output():
    async def main():
        limits = spillway.RateLimits(tokens_per_minute=300)
        runner = Embedder(most_inputs=1, delay_s=1.0)
        async with spillway.Cluster(
            [deployment("m", rate_limits=limits)], runners={"m": lambda _: runner}, environ={}
        ) as cluster:
            began = asyncio.get_running_loop().time()
            await cluster.embed("m", ["x" * 50] * 4)
            assert asyncio.get_running_loop().time() - began < 1.5, "all four fit at once"

    run_virtual(main())


async def test_counting_costs_nothing_and_takes_no_tokens():
    async with Simulator(SimConfig(seed=1)) as sim:
        config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-ant-test"))
        limits = spillway.RateLimits(requests_per_minute=10, tokens_per_minute=5)
        claude = spillway.Deployment(name="claude-haiku-4-5", runtime_config=config, rate_limits=limits)
        async with spillway.Cluster([claude]) as cluster:
            counted = await cluster.count_tokens("claude-haiku-4-5", "Say hello to everybody in this room")
            assert counted > 5
            metrics = cluster.metrics().per_deployment["claude-haiku-4-5"]
            assert (metrics.cost_usd, metrics.usage_rows, metrics.succeeded) == (0.0, 0, 1)
            used = cluster.deployment("claude-haiku-4-5").rate_limiter().snapshot()
            assert (used.requests.used, used.tokens.used) == (1, 0)


@pytest.mark.parametrize("runtime", ["anthropic", "gemini", "openai"])
async def test_counting_is_free_at_the_provider_too(runtime):
    configs = {
        "anthropic": ("claude-haiku-4-5", spillway.AnthropicConfig, ""),
        "gemini": ("gemini-2.5-flash", spillway.GeminiConfig, ""),
        "openai": ("gpt-4o-mini", spillway.OpenAiConfig, "/v1"),
    }
    name, config, path = configs[runtime]
    async with Simulator(SimConfig(seed=1)) as sim:
        options = config(endpoint=f"{sim.url}{path}", api_key=spillway.Secret("sk-test"))
        async with spillway.Cluster([spillway.Deployment(name=name, runtime_config=options)]) as cluster:
            counted = await cluster.count_tokens(name, "Say hello to everybody")
            assert counted > 0
            assert sim.stats()["billed_usd"] == 0
            answer = await cluster.generate(name, "Say hello to everybody")
            assert answer.usage.input_tokens == counted
            assert sim.stats()["billed_usd"] == pytest.approx(answer.cost_usd)
