"""Anthropic through a Cluster, against a simulator that wants back what it signed."""

import json

import pytest

import spillway
from spillway.sim import SimConfig, Simulator

MODEL = "claude-opus-5-5"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"q": {}}}}}
    for name in ("weather", "time")
]
SEARCH = [{"type": "web_search_20260318", "name": "web_search"}]
MARK, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
DOCUMENT = {
    "type": "file",
    "file": {
        "file_data": "data:text/plain;base64,VGhlIGdyYXNzIGlzIGdyZWVuLg==",
        "filename": "grass.txt",
        "citations": {"enabled": True},
    },
}


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=6)) as simulator:
        yield simulator


def claude(sim, model=MODEL, *, options=None, **more):
    config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-ant-test"), **(options or {}))
    return spillway.Cluster([spillway.Deployment(name=model, runtime_config=config, **more)])


def user(content, **more):
    return {"role": "user", "content": content, **more}


def results(answer):
    return [{"role": "tool", "tool_call_id": call.id, "content": "42"} for call in answer.tool_calls]


async def streamed(cluster, *asked, **more):
    async with cluster.stream(MODEL, *asked, **more) as stream:
        async for _ in stream:
            pass
    return stream.tokens


@pytest.mark.parametrize("ask", [spillway.Cluster.generate, streamed], ids=["whole", "streamed"])
async def test_tools_are_called_while_thinking_turn_after_turn(sim, ask):
    """It works only when every signature goes back as it came: the simulator refuses anything else."""
    first = (MODEL,) if ask is not streamed else ()
    thinking = {"tools": TOOLS, "extra": {"thinking": {"type": "adaptive"}}, "max_tokens": 4000}
    async with claude(sim) as cluster:
        messages = [user("call weather, call time, and think in secret")]
        called = await ask(cluster, *first, messages, **thinking)
        assert [call.name for call in called.tool_calls] == ["weather", "time"]
        assert [block["type"] for block in called.extra["thinking_blocks"]] == ["thinking", "redacted_thinking"]
        assert called.reasoning == called.extra["thinking_blocks"][0]["thinking"]
        messages += [called.message(), *results(called)]
        said = await ask(cluster, *first, messages, **thinking)
        assert said.text
        assert said.finish_reason == "stop"
        messages += [said.message(), user("call time once more")]
        again = await ask(cluster, *first, messages, **thinking)
        messages += [again.message(), *results(again), user("and tell me")]
        assert (await ask(cluster, *first, messages, **thinking)).text

        forgotten = [dict(message) for message in messages]
        del forgotten[-3]["thinking_blocks"]
        with pytest.raises(spillway.BadRequest, match="Expected `thinking`"):
            await ask(cluster, *first, forgotten, **thinking)
        forgotten[-3]["thinking_blocks"] = [{**called.extra["thinking_blocks"][0], "signature": "other"}]
        with pytest.raises(spillway.BadRequest, match="Invalid `signature`"):
            await ask(cluster, *first, forgotten, **thinking)


async def test_a_turn_that_paused_goes_on_when_it_is_sent_back(sim):
    async with claude(sim) as cluster:
        messages = [user("search it and pause")]
        paused = await streamed(cluster, messages, tools=SEARCH)
        assert paused.finish_reason == "stop"
        assert paused.about["native_finish_reason"] == "pause_turn"
        messages.append(paused.message())
        found = await cluster.generate(MODEL, messages, tools=SEARCH)
        assert found.about["native_finish_reason"] == "end_turn"
        assert found.about["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
        assert [block["type"] for block in found.extra["server_blocks"]] == ["web_search_tool_result"]
        (cited,) = found.extra["annotations"]
        page = cited["url_citation"]
        assert page["url"].startswith("https://")
        assert found.text[page["start_index"] : page["end_index"]]
        messages += [found.message(), user("and more")]
        assert (await cluster.generate(MODEL, messages, tools=SEARCH)).text


async def test_documents_are_cited_and_images_seen(sim):
    async with claude(sim) as cluster:
        png = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        told = await cluster.generate(MODEL, [user([DOCUMENT, png, {"type": "text", "text": "What is it?"}])])
        (cited,) = told.extra["annotations"]
        assert cited["citation"]["cited_text"] == "The grass is green."
        assert cited["citation"]["document_title"] == "grass.txt"
        assert told.text[cited["start_index"] :] and cited["end_index"] == len(told.text)
        back = [user([DOCUMENT, png]), told.message(), user("And?")]
        assert (await cluster.generate(MODEL, back)).text
        with pytest.raises(spillway.BadRequest, match="image/bmp"):
            bmp = {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AAAA"}}
            await cluster.generate(MODEL, [user([bmp])])


@pytest.mark.parametrize(
    ("model", "micro_usd"),
    # USD per million tokens: input, cache read, write 5m, write 1h, output
    [("claude-opus-5-5", (4, 0.2, 5, 8, 20)), ("claude-opus-5", (5, 0.5, 6.25, 10, 25))],
)
async def test_cache_reads_and_both_rates_of_writes_cost_what_they_cost(sim, model, micro_usd):
    async with claude(sim, model) as cluster:

        def part(words, mark):
            return [{"type": "text", "text": words, "cache_control": mark}]

        system = {"role": "system", "content": part("s" * 4000, HOUR)}
        first = await cluster.generate(model, [system, user(part("u" * 400, MARK)), user("Say 7 words")], max_tokens=50)
        assert first.usage == spillway.Usage(
            input_tokens=1103, output_tokens=7, cache_write_tokens=1100, cache_write_1h_tokens=1000
        )
        turns = [system, user(part("u" * 400, MARK)), first.message(), user("Say 7 words", cache_control=MARK)]
        second = await cluster.generate(model, turns, max_tokens=50)
        words = -(-len(first.text) // 4)
        assert second.usage == spillway.Usage(
            input_tokens=1103 + words, output_tokens=7, cached_tokens=1100, cache_write_tokens=3 + words
        )
        plain, read, five, hour, out = (round(price * 10**6) for price in micro_usd)
        assert round(first.cost_usd * 10**12) == 3 * plain + 100 * five + 1000 * hour + 7 * out
        assert round(second.cost_usd * 10**12) == 1100 * read + (3 + words) * five + 7 * out
        assert await streamed_cost(cluster, model, turns) == second.cost_usd


async def streamed_cost(cluster, model, turns):
    async with cluster.stream(model, turns, max_tokens=50) as stream:
        async for _ in stream:
            pass
    return stream.tokens.cost_usd


async def test_tokens_are_counted_by_the_provider(sim):
    async with claude(sim) as cluster:
        asked = [user([DOCUMENT, {"type": "text", "text": "12345678"}])]
        counted = await cluster.count_tokens(
            MODEL, asked, tools=TOOLS, extra={"thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"}}
        )
        told = await cluster.generate(MODEL, asked, tools=TOOLS, extra={"thinking": {"type": "adaptive"}})
        assert counted == told.usage.input_tokens > 7
        assert sim.stats()["by_path"]["/v1/messages/count_tokens"] == 1


@pytest.mark.option("anthropic.beta")
async def test_beta_features_of_the_deployment_and_of_the_request_are_asked_for_together(sim):
    known, also, unknown = "files-api-2025-04-14", "fast-mode-2026-02-01", "nonsense-2020-01-01"
    async with claude(sim, options={"beta": (known,)}) as cluster:
        fast = {"extra": {"speed": "fast"}, "extra_headers": {"Anthropic-Beta": also}}
        assert (await cluster.generate(MODEL, "hello", **fast)).about["speed"] == "fast"
        with pytest.raises(spillway.BadRequest, match=unknown):
            await cluster.generate(MODEL, "hello", extra_headers={"anthropic-beta": unknown})
    async with claude(sim, options={"beta": (unknown,)}) as cluster:
        with pytest.raises(spillway.BadRequest, match=unknown):
            await cluster.generate(MODEL, "hello", extra_headers={"anthropic-beta": also})


async def test_sampling_is_for_the_old_version_and_effort_for_every_model(sim):
    async with claude(sim, options={"anthropic_version": "2023-06-01"}) as old:
        assert (await old.generate(MODEL, "hello", temperature=1.0)).text
    for model in (MODEL, "claude-haiku-4-5"):
        async with claude(sim, model) as cluster:
            assert bool((await cluster.generate(model, "hello", reasoning_effort="low")).text)
            with pytest.raises(spillway.BadRequest, match="temperature"):
                await cluster.generate(model, "hello", temperature=1.0)
    async with claude(sim, "claude-haiku-4-5") as cluster:
        assert (await cluster.generate("claude-haiku-4-5", "hello", reasoning_effort="low")).reasoning


async def test_a_refusal_midway_ends_the_stream_with_its_details(sim):
    async with claude(sim) as cluster:
        refused = await streamed(cluster, "refuse midway")
        assert refused.finish_reason == "content_filter"
        assert refused.text
        assert refused.about["stop_details"] == {"type": "refusal", "category": "cyber", "explanation": "simulated"}
        assert refused.about == (await cluster.generate(MODEL, "refuse midway")).about


async def test_what_is_known_of_an_answer_is_told(sim):
    async with claude(sim) as cluster:
        told = await cluster.generate(MODEL, "hello", stop="zzz", extra={"container": "c_1", "inference_geo": "us"})
        assert told.about == {
            "model": MODEL,
            "native_finish_reason": "end_turn",
            "container": {"id": "c_1", "expires_at": "2027-01-01T00:00:00Z"},
            "service_tier": "standard",
            "speed": "standard",
            "inference_geo": "us",
        }
        assert json.loads(told.raw)["id"].startswith("msg_")
