"""Tool calls: forced, or asked for in words; the same arguments unary and streamed."""

import json

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
OPENAI = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
ANTHROPIC = {"tools": [{"name": "weather", "input_schema": SCHEMA}]}
GEMINI = {"tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}]}


async def test_openai_calls_the_tool_it_is_told_to(start):
    _, asker = await start()
    unary = (await asker.ask("openai", "please call weather", **OPENAI)).json["choices"][0]
    (call,) = unary["message"]["tool_calls"]
    assert unary["finish_reason"] == "tool_calls"
    assert unary["message"]["content"] is None
    assert set(json.loads(call["function"]["arguments"])) == {"city", "days"}
    events = (await asker.ask("openai", "please call weather", stream=True, **OPENAI)).events
    deltas = [
        part for event in events[:-2] for choice in event["choices"] for part in choice["delta"].get("tool_calls", [])
    ]
    assert deltas[0]["id"] == call["id"]
    assert "".join(part["function"].get("arguments", "") for part in deltas) == call["function"]["arguments"]
    usage = (await asker.ask("openai", "please call weather", **OPENAI)).json["usage"]
    assert events[-2]["usage"] == usage


async def test_a_forced_choice_calls_and_none_never_does(start):
    _, asker = await start()
    named = {"type": "function", "function": {"name": "weather"}}
    forced = (await asker.ask("openai", **OPENAI, tool_choice=named)).json["choices"][0]
    assert forced["message"]["tool_calls"]
    assert forced["finish_reason"] == "stop"
    required = (await asker.ask("openai", **OPENAI, tool_choice="required")).json["choices"][0]
    assert required["finish_reason"] == "tool_calls"
    never = (await asker.ask("openai", "call weather", **OPENAI, tool_choice="none")).json["choices"][0]
    assert never["message"]["content"]
    assert (await asker.ask("openai", **OPENAI)).json["choices"][0]["message"]["content"]


async def test_anthropic_tool_use(start):
    _, asker = await start()
    unary = (await asker.ask("anthropic", "call weather", **ANTHROPIC)).json
    (block,) = unary["content"]
    assert (block["type"], unary["stop_reason"]) == ("tool_use", "tool_use")
    events = (await asker.ask("anthropic", "call weather", stream=True, **ANTHROPIC)).events
    pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == block["input"]


async def test_anthropic_thinking_comes_first_and_signed(start):
    _, asker = await start()
    thinking = {"thinking": {"type": "adaptive"}}
    unary = (await asker.ask("anthropic", **thinking)).json
    assert [block["type"] for block in unary["content"]] == ["thinking", "text"]
    events = (await asker.ask("anthropic", stream=True, **thinking)).events
    starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    kinds = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert starts == ["thinking", "text"]
    assert kinds.index("signature_delta") < kinds.index("text_delta")
    assert sorted(event["index"] for event in events if event["type"] == "content_block_stop") == [0, 1]
    assert unary["usage"]["output_tokens"] == len(kinds) - 1


async def test_gemini_function_call_comes_whole(start):
    _, asker = await start()
    unary = (await asker.ask("gemini", "call weather", **GEMINI)).json["candidates"][0]
    (part,) = unary["content"]["parts"]
    events = (await asker.ask("gemini", "call weather", stream=True, **GEMINI)).events
    assert events[0]["candidates"][0]["content"]["parts"] == [part]
    assert unary["finishReason"] == events[-1]["candidates"][0]["finishReason"] == "STOP"
    assert set(part["functionCall"]["args"]) == {"city", "days"}


async def test_a_tool_result_ends_the_calls(start):
    _, asker = await start()
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "call weather"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ]
    answer = (await asker.ask("openai", messages=messages, **OPENAI)).json["choices"][0]
    assert answer["message"]["content"]
    assert answer["finish_reason"] == "stop"


async def test_a_schema_is_answered_in_its_shape(start):
    _, asker = await start()
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    content = (await asker.ask("openai", response_format=wanted)).json["choices"][0]["message"]["content"]
    assert set(json.loads(content)) == {"city", "days"}


async def test_stop_sequences_cut(start):
    _, asker = await start()
    whole = (await asker.ask("anthropic", "in 40 words")).json["content"][0]["text"]
    # the stop sequence is part of the question, so the text is another one: take it from the cut answer's own
    cut = (await asker.ask("anthropic", "in 40 words", stop_sequences=["."])).json
    assert "." in whole
    assert "." not in cut["content"][0]["text"]
    assert (cut["stop_reason"], cut["stop_sequence"]) == ("stop_sequence", ".")
