"""What the simulated LiteLLM proxy and Google's two spellings show to a raw client."""

from spillway.sim.wire.camel import in_camel_case


async def test_liveliness_needs_no_key(start):
    simulator, asker = await start(valid_keys=frozenset())
    async with asker.session.get(f"{simulator.url}/litellm/health/liveliness") as response:
        assert (response.status, await response.text()) == (200, '"I\'m alive!"')
    assert simulator.stats()["asked"] == 0


async def test_a_whole_answer_has_its_cost_and_a_stream_has_none(start):
    _, asker = await start()
    whole = await asker.ask("litellm")
    assert float(whole.headers["x-litellm-response-cost"]) > 0
    assert whole.json["usage"]["cache_read_input_tokens"] == 0
    assert "x-litellm-response-cost" not in (await asker.ask("litellm", stream=True)).headers


async def test_reasoning_is_told_and_signed_where_a_claude_is_behind(start):
    _, asker = await start()
    plain = (await asker.ask("litellm", reasoning_effort="low")).json["choices"][0]["message"]
    assert plain["reasoning_content"]
    assert "thinking_blocks" not in plain
    asked = {"model": "claude-haiku-4-5", "reasoning_effort": "low"}
    signed = (await asker.ask("litellm", **asked)).json["choices"][0]["message"]
    (block,) = signed["thinking_blocks"]
    assert block["thinking"] == signed["reasoning_content"]
    events = (await asker.ask("litellm", stream=True, **asked)).events[:-1]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == block["thinking"]
    fragments = [piece for delta in deltas for piece in delta.get("thinking_blocks", ())]
    assert [piece["signature"] for piece in fragments if piece.get("signature")] == [block["signature"]]


async def test_its_limiter_names_the_reset(start):
    _, asker = await start()
    refused = await asker.ask("litellm", fault="429-retry-after=3")
    assert refused.headers["reset_at"].endswith(" UTC")
    assert f"Limit resets at: {refused.headers['reset_at']}" in refused.json["error"]["message"]


async def test_google_takes_both_spellings(start):
    _, asker = await start()
    loud = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    same = {"generation_config": {"thinking_config": {"include_thoughts": True}}}
    first, second = [(await asker.ask("gemini", **how)).json for how in (loud, same)]
    assert first["candidates"] == second["candidates"]
    assert any(part.get("thought") for part in first["candidates"][0]["content"]["parts"])


def test_what_a_caller_named_keeps_its_spelling():
    schema = {"properties": {"my_city": {"type": "string"}}}
    said = {"function_declarations": [{"name": "f_g", "parameters_json_schema": schema}], "args": {"a_b": 1}}
    assert in_camel_case(said) == {
        "functionDeclarations": [{"name": "f_g", "parametersJsonSchema": schema}],
        "args": {"a_b": 1},
    }
