"""Gemini through the Cluster, against a simulator that holds its callers to the rules: signatures, parts, limits."""

import base64
import json

import pytest

import spillway
from spillway import GeminiConfig, Secret
from spillway.sim import SimConfig, Simulator

KEY = Secret("sk-test")
NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"


def tool(name):
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def cluster_of(sim, model=NEW, *, vertex=False, **options):
    where = {"variant": "vertex", "project": "p", "region": "eu"} if vertex else {}
    config = GeminiConfig(endpoint=sim.url, api_key=KEY, **where)
    return spillway.Cluster([spillway.Deployment(name=model, runtime_config=config, **options)], environ={})


async def said(cluster, model, messages, *, stream, **options):
    if not stream:
        return await cluster.generate(model, messages, **options)
    async with cluster.stream(model, messages, **options) as live:
        async for _ in live:
            pass
        return live.tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vertex", [False, True])
@pytest.mark.parametrize("model", [OLD, NEW, "gemini-4-argon"])
async def test_parallel_and_sequential_calls_go_on_because_their_signatures_come_back(model, vertex, stream):
    tools = [tool("weather"), tool("traffic"), tool("book")]
    asked = "call weather and call traffic, then call book"
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim, model, vertex=vertex) as cluster:
        messages = [{"role": "user", "content": asked}]
        names = []
        for _ in range(3):
            answer = await said(cluster, model, messages, stream=stream, tools=tools)
            messages.append(json.loads(json.dumps(answer.message())))  # as a caller keeps it
            names.append([call.name for call in answer.tool_calls])
            signed = [call.extra is not None for call in answer.tool_calls]
            assert signed == [at == 0 for at in range(len(signed))]
            messages += [
                {"role": "tool", "tool_call_id": c.id, "content": f"{c.name}: fine"} for c in answer.tool_calls
            ]
        assert names == [["weather", "traffic"], ["book"], []]
        assert answer.text
        assert ("extra_content" in messages[-1]) == (model != OLD)
        messages.append({"role": "user", "content": "thanks"})
        assert (await said(cluster, model, messages, stream=stream, tools=tools)).text
        assert sim.stats()["by_status"] == {"200": 4}


async def test_a_signature_that_is_lost_is_stood_in_for_and_one_that_is_changed_is_refused():
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim) as cluster:
        messages = [{"role": "user", "content": "call weather"}]
        answer = await cluster.generate(NEW, messages, tools=[tool("weather")])
        result = {"role": "tool", "tool_call_id": answer.tool_calls[0].id, "content": "sunny"}
        call = {key: value for key, value in answer.message()["tool_calls"][0].items() if key != "extra_content"}
        lost = [*messages, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
        assert (await cluster.generate(NEW, lost, tools=[tool("weather")])).text
        call["extra_content"] = {"google": {"thought_signature": base64.b64encode(b"x").decode()}}
        with pytest.raises(spillway.BadRequest, match="Thought signature is not valid"):
            await cluster.generate(NEW, lost, tools=[tool("weather")])


@pytest.mark.parametrize("stream", [False, True])
async def test_images_are_answered_shown_and_sent_back(stream):
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim) as cluster:
        messages = [{"role": "user", "content": "draw a cat in 9 words"}]
        answer = await said(cluster, NEW, messages, stream=stream, extra={"modalities": ["text", "image"]})
        (image,) = answer.extra["images"]
        assert image["type"] == "image_url"
        assert base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
        assert len(answer.text.split()) == 9
        messages += [answer.message(), {"role": "user", "content": "and a dog"}]
        again = await said(cluster, NEW, messages, stream=stream)
        assert again.usage.input_tokens > 258


async def test_media_go_inline_by_address_and_in_tool_results():
    png = "data:image/png;base64," + base64.b64encode(b"png").decode()
    content = [
        {"type": "text", "text": "what are these"},
        {"type": "image_url", "image_url": {"url": png}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA"}},
        {"type": "file", "file": {"file_id": "files/abc"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
    ]
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim) as cluster:
        answer = await cluster.generate(NEW, [{"role": "user", "content": content}])
        assert answer.usage.input_tokens == 7 * 258 + 4
        messages = [{"role": "user", "content": "call weather"}]
        called = await cluster.generate(NEW, messages, tools=[tool("weather")])
        shown = [{"type": "text", "text": "a map"}, {"type": "image_url", "image_url": {"url": png}}]
        result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": shown}
        assert (await cluster.generate(NEW, [*messages, called.message(), result], tools=[tool("weather")])).text


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_with_log_probabilities_and_thoughts(stream):
    extra = {"n": 3, "logprobs": True, "top_logprobs": 2, "include_thoughts": True}
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim) as cluster:
        answer = await said(cluster, NEW, "Say something", stream=stream, extra=extra)
        assert [one.index for one in answer.choices] == [0, 1, 2]
        assert len({one.text for one in answer.choices}) == 3
        assert answer.choices[0].text == answer.text
        for one in answer.choices:
            tokens = one.logprobs["content"]
            assert "".join(token["token"] for token in tokens) == one.text
            assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in tokens)
            assert one.reasoning
        assert answer.about["model"] == NEW
        assert answer.about["native_finish_reason"] == "STOP"
        assert set(answer.about["other_candidates"]) == {"1", "2"}
        words = sum(len(one.text.split()) + len(one.reasoning.split()) for one in answer.choices)
        assert answer.usage.output_tokens == words


@pytest.mark.parametrize("stream", [False, True])
async def test_searching_and_running_code_show_their_sources_and_their_steps(stream):
    tools = [{"googleSearch": {}}, {"codeExecution": {}}]
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim) as cluster:
        messages = [{"role": "user", "content": "search and run code"}]
        answer = await said(cluster, NEW, messages, stream=stream, tools=tools)
        (source,) = answer.extra["annotations"]
        assert source["type"] == "url_citation"
        assert source["url_citation"]["url"] == "https://example.com/simulated"
        assert source["url_citation"]["end_index"] == len(answer.text)
        assert answer.about["grounding_metadata"]["webSearchQueries"]
        assert [next(iter(part)) for part in answer.extra["native_parts"]] == ["executableCode", "codeExecutionResult"]
        messages += [answer.message(), {"role": "user", "content": "thanks"}]
        again = await said(cluster, NEW, messages, stream=stream, tools=tools)
        assert again.text
        assert [warning.partition(":")[0] for warning in again.warnings] == ["messages[1].annotations"]


async def test_arguments_that_vertex_streams_are_put_together():
    asked = {"toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": True}}}
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim, vertex=True) as cluster:
        options = {"tools": [tool("weather"), tool("traffic")], "extra": asked}
        whole = await said(cluster, NEW, "call weather and call traffic", stream=False, **options)
        streamed = await said(cluster, NEW, "call weather and call traffic", stream=True, **options)
        assert [call.arguments for call in streamed.tool_calls] == [call.arguments for call in whole.tool_calls]
        assert json.loads(whole.tool_calls[0].arguments).keys() == {"city", "days"}
        assert streamed.finish_reason == whole.finish_reason == "tool_calls"


@pytest.mark.parametrize("vertex", [False, True])
@pytest.mark.parametrize("model", ["gemini-embedding-001", "text-embedding-005"])
async def test_embeddings_come_in_as_many_requests_as_the_provider_wants(model, vertex):
    texts = [f"text {number}" for number in range(251)]
    most = (1 if model.startswith("gemini") else 250) if vertex else 100
    async with Simulator(SimConfig(seed=5)) as sim:
        async with cluster_of(sim, model, vertex=vertex, runtime="gemini") as cluster:
            found = await cluster.embed(model, texts, dimensions=3, extra={"taskType": "RETRIEVAL_QUERY"})
            assert [len(vector) for vector in found.vectors] == [3] * 251
            assert found.vectors[7] == (await cluster.embed(model, [texts[7]], dimensions=3)).vectors[0]
            assert sim.stats()["asked"] == -(-251 // most) + 1
            assert found.usage.input_tokens == 2 * 151 + 2 * 100
            with pytest.raises(spillway.BadRequest, match=r"inputs\[0\]"):
                await cluster.embed(model, [[1, 2, 3]])


@pytest.mark.parametrize("vertex", [False, True])
async def test_counted_tokens_are_those_of_the_answers_usage(vertex):
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how long is this"}]
    async with Simulator(SimConfig(seed=5)) as sim, cluster_of(sim, vertex=vertex) as cluster:
        options = {"tools": [tool("weather")]}
        counted = await cluster.count_tokens(NEW, messages, **options)
        assert counted == (await cluster.generate(NEW, messages, **options)).usage.input_tokens
