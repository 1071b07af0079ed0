"""A real LiteLLM proxy, driven through the litellm and the openai runtimes."""

from __future__ import annotations

import msgspec
import proxy as proxies
import pytest
from judging import CITY

import spillway
from spillway import LiteLlmConfig, OpenAiConfig, Secret

pytestmark = pytest.mark.xdist_group("litellm-proxy")

TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
RUNTIMES = {"litellm": LiteLlmConfig, "openai": OpenAiConfig}
HELLO = "Hello from the proxy."


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with proxies.running(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    return request.param


def cluster_of(proxy, model, runtime="litellm", *, key=proxies.MASTER_KEY, **options):
    config = RUNTIMES[runtime](endpoint=f"{proxy.url}/v1", api_key=Secret(key), **options)
    retry = spillway.RetryPolicy(max_retries=0)
    deployment = spillway.Deployment(name="m", model=model, runtime=runtime, runtime_config=config, retry=retry)
    return spillway.Cluster([deployment], environ={})


async def whole_and_streamed(cluster, prompt="Say hello", **asked):
    whole = await cluster.generate("m", prompt, **asked)
    async with cluster.stream("m", prompt, **asked) as stream:
        chunks = [chunk async for chunk in stream]
        return whole, stream.tokens, chunks


async def failed(cluster, *, stream=False):
    with pytest.raises(spillway.InferenceError) as error:
        if stream:
            async for _ in cluster.stream("m", "hi"):
                pass
        else:
            await cluster.generate("m", "hi")
    return error.value


async def test_an_answer_is_the_same_whole_and_streamed(proxy, runtime):
    async with cluster_of(proxy, "gpt-4o-mini", runtime) as cluster:
        whole, streamed, chunks = await whole_and_streamed(cluster)
        assert whole.text == streamed.text == HELLO
        assert whole.finish_reason == streamed.finish_reason == "stop"
        assert sum(1 for chunk in chunks if chunk.text_delta) > 1
        assert whole.usage.output_tokens > 0
        assert whole.cost_usd > 0
        assert whole.request_id
        assert cluster.metrics().per_deployment["m"].succeeded == 2


@pytest.mark.parametrize("model", ["sim-openai", "sim-claude"])
async def test_so_are_tools_of_a_provider_behind_it(proxy, runtime, model):
    async with cluster_of(proxy, model, runtime) as cluster:
        whole, streamed, _ = await whole_and_streamed(cluster, tools=[TOOL], tool_choice="required")
        (call,) = whole.tool_calls
        assert (call.name, whole.finish_reason) == ("weather", "tool_calls")
        assert msgspec.json.decode(call.arguments).keys() == {"city", "days"}
        assert [(c.id, c.name, msgspec.json.decode(c.arguments)) for c in streamed.tool_calls] == [
            (call.id, call.name, msgspec.json.decode(call.arguments))
        ]
        after = [
            {"role": "user", "content": "hi"},
            whole.message(),
            {"role": "tool", "tool_call_id": call.id, "content": "dry"},
        ]
        assert (await cluster.generate("m", after, tools=[TOOL])).text


async def test_thinking_behind_it_is_told_signed_and_goes_back(proxy, runtime):
    async with cluster_of(proxy, "sim-claude", runtime) as cluster:
        asked = {"max_tokens": 4096, "extra": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
        whole, streamed, _ = await whole_and_streamed(cluster, **asked)
        assert whole.reasoning
        assert streamed.reasoning == whole.reasoning
        (block,) = whole.extra["thinking_blocks"]
        (same,) = streamed.extra["thinking_blocks"]
        assert block["signature"]
        assert {name: same[name] for name in ("type", "thinking", "signature")} == {
            name: block[name] for name in ("type", "thinking", "signature")
        }
        history = [{"role": "user", "content": "hi"}, streamed.message(), {"role": "user", "content": "on"}]
        assert (await cluster.generate("m", history, **asked)).text


async def test_what_it_says_of_the_cost_counts_where_no_price_is_known(proxy):
    async with cluster_of(proxy, "of-the-house") as cluster:
        tokens = await cluster.generate("m", "hi")
        assert tokens.cost_usd == float(tokens.about["response_cost"]) > 0
    async with cluster_of(proxy, "priceless") as cluster:
        tokens = await cluster.generate("m", "hi")
        assert tokens.cost_usd is None
        assert "response_cost" not in (tokens.about or {})


async def test_vectors(proxy, runtime):
    async with cluster_of(proxy, "embedder", runtime) as cluster:
        embeddings = await cluster.embed("m", "a word")
        assert embeddings.vectors == ((0.25, -0.5),)


async def test_tags_cache_controls_and_a_deadline_are_taken(proxy):
    async with cluster_of(proxy, "gpt-4o-mini", tags=("team-a", "batch")) as cluster:
        tokens = await cluster.generate(
            "m",
            "hi",
            timeout_s=60.0,
            extra={"cache": {"no-cache": True}},
            extra_headers={"cache-control": "no-cache", "x-litellm-tags": "more"},
        )
        assert tokens.text == HELLO


async def test_a_session_is_rebuilt_while_it_is_there(proxy):
    async with cluster_of(proxy, "gpt-4o-mini") as cluster:
        await cluster.generate("m", "hi")
        await cluster.deployment("m").rebuild_session()
        assert (await cluster.generate("m", "hi")).text == HELLO


@pytest.mark.parametrize(("runtime", "code"), [("litellm", "unauthorized_upstream"), ("openai", "bad_request")])
async def test_a_key_it_does_not_know(proxy, runtime, code):
    async with cluster_of(proxy, "gpt-4o-mini", runtime, key="sk-not-it") as cluster:
        assert (await failed(cluster)).code == code


@pytest.mark.parametrize(("runtime", "code"), [("litellm", "model_not_found"), ("openai", "bad_request")])
async def test_a_model_it_does_not_know(proxy, runtime, code):
    async with cluster_of(proxy, "nonesuch", runtime) as cluster:
        assert (await failed(cluster)).code == code


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        ("limited", "rate_limited", "gateway"),
        ("failing", "server_error", "gateway"),
        ("overflowing", "context_length_exceeded", "gateway"),
        ("nowhere", "server_error", "upstream"),
        ("sim-429", "rate_limited", "upstream"),
        ("sim-insufficient-quota", "quota_exhausted", "upstream"),
        ("sim-500", "server_error", "upstream"),
        ("sim-503", "server_error", "upstream"),
        ("sim-401", "forbidden_upstream", "upstream"),
        ("sim-403", "forbidden_upstream", "upstream"),
        ("sim-content-filter", "content_filtered", "upstream"),
        ("sim-context-length", "context_length_exceeded", "upstream"),
    ],
)
async def test_whose_fault_it_is(proxy, model, code, reason, stream):
    async with cluster_of(proxy, model) as cluster:
        error = await failed(cluster, stream=stream)
        assert (error.code, error.reason) == (code, reason), error.body
        assert error.provider == "litellm"


async def test_a_provider_that_breaks_behind_it_interrupts_the_stream(proxy):
    async with cluster_of(proxy, "sim-error-event-mid-stream") as cluster:
        error = await failed(cluster, stream=True)
        assert error.code == "stream_interrupted"
        assert error.partial.text
        assert error.__cause__.code == "server_error"
