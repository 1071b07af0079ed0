"""What the simulator adds to OpenAI's routes: both APIs, several answers and calls, refusals, sound, counts."""

import json

import pytest
from simtools import KEY

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def chat_tool(name):
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


def flat_tool(name):
    return {"type": "function", "name": name, "parameters": SCHEMA, "strict": False}


@pytest.fixture
async def post(start):
    simulator, asker = await start(seed=4)

    async def send(body, path="/v1/responses", headers=None):
        headers = headers or {"Authorization": f"Bearer {KEY}"}
        body = {"model": "gpt-6-luna", **body}
        async with asker.session.post(simulator.url + path, json=body, headers=headers) as response:
            raw = await response.read()
            return response.status, raw

    send.simulator = simulator
    return send


async def whole(post, body, path="/v1/responses"):
    status, raw = await post(body, path)
    assert status == 200, raw
    return json.loads(raw)


async def events(post, body, path="/v1/responses"):
    _, raw = await post({**body, "stream": True}, path)
    blocks = raw.decode().removesuffix("\n\n").split("\n\n")
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


BODIES = {
    "text": {"input": "hello"},
    "messages": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
    "calls": {"input": "call f and g", "tools": [flat_tool("f"), flat_tool("g")]},
    "thoughts": {"input": "x", "reasoning": {"effort": "low", "summary": "auto"}},
    "refusal": {"input": "decline to answer"},
    "search": {"input": "x", "tools": [{"type": "web_search"}]},
    "cut": {"input": "in 20 words", "max_output_tokens": 5},
    "custom": {"input": "call h", "tools": [{"type": "custom", "name": "h"}]},
    "logprobs": {"input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/v1/responses", "/openai/v1/responses", "/openai/responses"])
async def test_a_responses_last_event_is_the_whole_response(post, name, path):
    unary = await whole(post, BODIES[name], path)
    told = await events(post, BODIES[name], path)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
    assert told[-1]["type"] == f"response.{unary['status']}"
    assert told[-1]["response"] == unary
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == unary["output"]
    deltas = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
    texts = [part["text"] for item in done if item["type"] == "message" for part in item["content"] if "text" in part]
    assert deltas == "".join(texts)


async def test_a_limit_leaves_a_response_incomplete(post):
    cut = await whole(post, BODIES["cut"])
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert cut["usage"]["output_tokens"] == 5


async def test_several_calls_have_reasoning_of_their_own(post):
    body = {**BODIES["calls"], "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    output = (await whole(post, body))["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call", "reasoning", "function_call"]
    assert len({item["id"] for item in output}) == 4
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "1"}
        for item in output
        if "call_id" in item
    ]
    history = [{"role": "user", "content": "call f and g"}, *output, *results]
    assert (await whole(post, {**body, "input": history}))["output"][-1]["type"] == "message"


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x", "messages": []},
        {"input": "x", "n": 2},
        {"input": "x", "stream_options": {"include_usage": True}},
        {"input": "x", "tools": [chat_tool("f")]},
        {"input": "x", "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"input": []},
        {"input": [{"role": "tool", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        {"input": [{"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAAAA"}]},
        {"input": [{"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "forged"}]},
        {"input": "x", "text": {"format": {"type": "json_schema", "json_schema": {}}}},
    ],
)
async def test_what_the_responses_api_refuses(post, body):
    status, raw = await post(body)
    assert status == 400
    assert json.loads(raw)["error"]["type"] == "invalid_request_error"


async def test_input_tokens_are_counted_at_openai_only(post):
    counted = await whole(post, {"input": "12345678"}, "/v1/responses/input_tokens")
    assert counted == {"object": "response.input_tokens", "input_tokens": 2}
    assert post.simulator.stats()["billed_usd"] == 0
    assert (await post({"input": "x"}, "/openai/v1/responses/input_tokens"))[0] == 404


CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


async def test_answers_of_several_differ_and_the_first_is_the_one(post):
    one, three = await whole(post, HELLO, CHAT), await whole(post, {**HELLO, "n": 3}, CHAT)
    texts = [choice["message"]["content"] for choice in three["choices"]]
    assert texts[0] == one["choices"][0]["message"]["content"]
    assert len(set(texts)) == 3
    assert three["usage"]["completion_tokens"] == sum(len(text.split()) for text in texts)
    assert (await post({**HELLO, "n": 129}, CHAT))[0] == 400


@pytest.mark.parametrize(
    ("words", "called"),
    [("call f", ["f"]), ("call g and f", ["g", "f"]), ("call f, call g", ["f", "g"]), ("f and g", [])],
)
async def test_several_calls_of_one_answer(post, words, called):
    body = {"messages": [{"role": "user", "content": words}], "tools": [chat_tool("f"), chat_tool("g")]}
    message = (await whole(post, body, CHAT))["choices"][0]["message"]
    assert [call["function"]["name"] for call in message.get("tool_calls", ())] == called
    alone = (await whole(post, {**body, "parallel_tool_calls": False}, CHAT))["choices"][0]["message"]
    assert len(alone.get("tool_calls", ())) == min(1, len(called))


async def test_refusals_sound_tiers_and_caches(post):
    refused = (await whole(post, {"messages": [{"role": "user", "content": "decline to answer"}]}, CHAT))["choices"][0]
    assert (refused["message"]["content"], refused["finish_reason"]) == (None, "stop")
    assert refused["message"]["refusal"].startswith("I'm sorry")
    spoken = (await whole(post, {**HELLO, "modalities": ["text", "audio"]}, CHAT))["choices"][0]["message"]
    assert spoken["content"] is None
    assert spoken["audio"]["transcript"]
    assert (await whole(post, {**HELLO, "service_tier": "fast"}, CHAT))["service_tier"] == "priority"
    long = {"messages": [{"role": "user", "content": "x" * 64}], "prompt_cache_key": "k"}
    assert (await whole(post, long, CHAT))["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 8,
        "cache_write_tokens": 4,
        "audio_tokens": 0,
    }


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": "https://x"},
        {"type": "input_audio", "input_audio": {"data": "x"}},
        {"type": "file", "file": {"filename": "x"}},
        {"type": "input_text", "text": "x"},
        "x",
    ],
)
async def test_parts_that_the_provider_does_not_take(post, part):
    assert (await post({"messages": [{"role": "user", "content": [part]}]}, CHAT))[0] == 400


async def test_media_weigh_the_same():
    from spillway.sim.ask import MEDIA_TOKENS
    from spillway.sim.wire.dialect import Route
    from spillway.sim.wire.openai_ask import read

    parts = [
        {"type": "image_url", "image_url": {"url": "https://x"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file_1"}},
    ]
    ask = read({"model": "m", "messages": [{"role": "user", "content": parts}]}, Route(action="generate"), "openai")
    assert ask.input_tokens == 3 * MEDIA_TOKENS


async def test_a_log_probability_for_each_token_and_none_unasked(post):
    body = {**HELLO, "logprobs": True, "top_logprobs": 2}
    choice = (await whole(post, body, CHAT))["choices"][0]
    assert "".join(row["token"] for row in choice["logprobs"]["content"]) == choice["message"]["content"]
    assert all(len(row["top_logprobs"]) == 2 for row in choice["logprobs"]["content"])
    assert (await whole(post, HELLO, CHAT))["choices"][0]["logprobs"] is None
    assert (await post({**HELLO, "top_logprobs": 2}, CHAT))[0] == 400
