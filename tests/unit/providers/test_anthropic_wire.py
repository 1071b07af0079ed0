"""Anthropic's wire: bodies out, messages and events in."""

from __future__ import annotations

import json

import pytest

from spillway.core.building import TokensBuilder
from spillway.core.errors import BadRequest, InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.anthropic.runner import AnthropicWire
from spillway.providers.encoding import Losses

USER = ({"role": "user", "content": "hi"},)
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}


def wire(**options) -> AnthropicWire:
    return AnthropicWire(AnthropicConfig(**options), "claude-opus-5-5")


def body(*messages, stream=False, options=None, **fields) -> dict:
    request = GenerateRequest(messages=messages or USER, **fields)
    return json.loads(wire(**(options or {})).encode(request, Losses("anthropic"), stream=stream)[1])


def whole(body):
    return built(wire().decode(body)[0])


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def test_a_plain_request():
    assert body() == {
        "model": "claude-opus-5-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}],
    }
    assert body(max_tokens=7, stream=True)["max_tokens"] == 7
    assert body(stream=True)["stream"] is True


def test_url_and_headers():
    one = wire(endpoint="http://h:1/", beta=("a", "b"))
    assert one.encode(GenerateRequest(messages=USER), Losses("anthropic"), stream=True)[0] == "http://h:1/v1/messages"
    assert dict(one.headers(Secret("k"))) == {
        "content-type": "application/json",
        "x-api-key": "k",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
    }


def test_instructions_are_joined_and_turns_merged_and_what_is_empty_left_out():
    sent = body(
        said("system", "be brief"),
        said("developer", [{"type": "text", "text": "be kind"}]),
        said("user", "a"),
        said("user", [{"type": "text", "text": "b"}, {"type": "text", "text": ""}]),
        said("assistant", ""),
        said("assistant", None),
        said("user", "c"),
    )
    assert sent["system"] == "be brief\n\nbe kind"
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": piece} for piece in "abc"]}]


def test_cache_marks_are_kept():
    mark = {"type": "ephemeral", "ttl": "1h"}
    part = {"type": "text", "text": "long", "cache_control": mark}
    sent = body(said("system", [part]), said("user", [part]))
    assert sent["system"] == [part]
    assert sent["messages"][0]["content"] == [part]


def test_tools_calls_and_results_are_translated():
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"properties": {}}, "strict": True},
    }
    bare = {"type": "function", "function": {"name": "g"}}
    own = {"type": "web_search_20260318", "name": "web_search"}
    sent = body(
        said("user", "go"),
        said(
            "assistant", None, tool_calls=[CALL, {**CALL, "id": "call:2", "function": {"name": "g", "arguments": ""}}]
        ),
        {"role": "tool", "tool_call_id": "toolu_1", "content": "42"},
        {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "43"}], "name": "g"},
        said("user", "and?"),
        tools=[tool, bare, own],
        tool_choice="required",
        extra={"parallel_tool_calls": False},
    )
    assert sent["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        own,
    ]
    assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    calls, results = sent["messages"][1:]
    assert calls["content"][0] == {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.0}}
    assert calls["content"][1]["input"] == {}
    assert [block["type"] for block in results["content"]] == ["tool_result", "tool_result", "text"]
    assert results["content"][0] == {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}
    assert results["content"][1]["tool_use_id"] == calls["content"][1]["id"] == "call-3a-2"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choices(choice, expected):
    tool = {"type": "function", "function": {"name": "f"}}
    assert body(tools=[tool], tool_choice=choice)["tool_choice"] == expected


def test_allowed_tools_are_filtered():
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    sent = body(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in sent["tools"]] == ["g"]
    assert sent["tool_choice"] == {"type": "any"}


def test_sampling_goes_only_to_the_version_that_takes_it():
    old = {"anthropic_version": "2023-06-01"}
    sent = body(temperature=0.5, top_p=0.9, stop="x", options=old)
    assert (sent["temperature"], sent["top_p"], sent["stop_sequences"]) == (0.5, 0.9, ["x"])
    for field in ("temperature", "top_p"):
        with pytest.raises(BadRequest, match=f"{field}: .*anthropic_version = '2023-06-01'"):
            body(**{field: 1.0})


def test_schema_effort_and_user_are_translated():
    schema = {"type": "object", "additionalProperties": False}
    sent = body(
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        reasoning_effort="minimal",
        extra={"user": "u1", "thinking": {"type": "adaptive"}, "n": 1, "max_completion_tokens": 9},
    )
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    assert sent["metadata"] == {"user_id": "u1"}
    assert sent["thinking"] == {"type": "adaptive"}
    assert sent["max_tokens"] == 9
    assert "n" not in sent
    assert body(reasoning_effort="none")["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (said("user", [{"type": "image_url", "image_url": {"url": "https://x"}}]), r"messages\[0\].content\[0\]: "),
        (said("user", "x", name="bob"), r"messages\[0\].name"),
        (said("user", [{"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]), r"content\[0\].prompt_cache"),
        (said("critic", "x"), r"messages\[0\].role"),
        (said("user", None), r"messages\[0\].content"),
        (said("assistant", None, tool_calls=[{**CALL, "function": {"name": "f", "arguments": "{"}}]), r"tool_calls\[0\].function.arguments"),
        (said("assistant", None, tool_calls=[{"id": "x", "type": "custom", "custom": {}}]), r"tool_calls\[0\]"),
        ({"role": "tool", "content": "x"}, r"messages\[0\].tool_call_id"),
    ],
)  # fmt: skip
def test_what_a_message_can_not_carry_is_refused_by_place(message, place):
    with pytest.raises(BadRequest, match=place):
        body(message)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"seed": 1}, "seed"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"inputs": ("a",)}, "inputs"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, r"tools\[0\]"),
    ],
)
def test_what_a_request_can_not_carry_is_refused_by_name(fields, place):
    with pytest.raises(BadRequest, match=place):
        body(**fields)


def test_messages_that_say_nothing_are_refused():
    with pytest.raises(BadRequest, match="no message says anything"):
        body(said("system", "x"), said("user", ""))


WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "EqoB"},
        {"type": "text", "text": "ok", "citations": None},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        {"type": "something_new"},
    ],
    "usage": {
        "input_tokens": 12,
        "cache_creation_input_tokens": 2000,
        "cache_read_input_tokens": 8000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 500},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 31},
    },
}
USAGE = Usage(
    input_tokens=10012,
    output_tokens=50,
    cached_tokens=8000,
    cache_write_tokens=2000,
    cache_write_1h_tokens=500,
    reasoning_tokens=31,
)


def test_a_whole_message():
    tokens = whole(json.dumps(WHOLE, separators=(",", ":")).encode())
    assert (tokens.text, tokens.reasoning, tokens.finish_reason) == ("ok", "hm", FinishReason.TOOL_CALLS)
    assert [(c.id, c.name, c.arguments) for c in tokens.tool_calls] == [("toolu_1", "f", '{"a":1}')]
    assert tokens.usage == USAGE


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("pause_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("something_new", FinishReason.STOP),
    ],
)
def test_stop_reasons(stop, expected):
    answer = {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": stop}
    chunks, _ = wire().decode(json.dumps(answer).encode())
    assert len(chunks) == 1
    assert chunks[0].finish_reason is expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "empty"),
        (b"{", "malformed"),
        (b"{}", "schema"),
        (b'{"content":null,"stop_reason":"end_turn"}', "schema"),
        (b'{"content":[],"stop_reason":null}', "schema"),
        (b'{"content":"x","stop_reason":"end_turn"}', "schema"),
    ],
)
def test_an_answer_that_is_none(answer, reason):
    with pytest.raises(ServerError) as caught:
        wire().decode(answer)
    assert caught.value.reason == reason


def test_an_error_with_status_200_is_typed_by_its_body():
    with pytest.raises(ServerError) as caught:
        wire().decode(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert caught.value.status == 529


def events(*objects):
    return [(item["type"].encode(), json.dumps(item, separators=(",", ":")).encode()) for item in objects]


def taken(*objects):
    stream = wire().open_stream()
    out = []
    stream.take(events(*objects), out)
    return stream, out


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "content": [],
        "stop_reason": None,
        "usage": {**WHOLE["usage"], "output_tokens": 1, "output_tokens_details": None},
    },
}
STOP = {"type": "message_stop"}


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index, kind, **content):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def end(index):
    return {"type": "content_block_stop", "index": index}


def ended(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def test_a_stream_is_the_same_message_as_the_whole_answer():
    stream, out = taken(
        START,
        block(0, type="thinking", thinking="", signature=""),
        {"type": "ping"},
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="EqoB"),
        end(0),
        block(1, type="text", text=""),
        delta(1, "text_delta", text="o"),
        delta(1, "text_delta", text="k"),
        delta(1, "citations_delta", citation={}),
        end(1),
        block(2, type="server_tool_use", id="s", name="web_search", input={}),
        delta(2, "input_json_delta", partial_json='{"q":1}'),
        end(2),
        block(3, type="tool_use", id="toolu_1", name="f", input={}),
        delta(3, "input_json_delta", partial_json=""),
        delta(3, "input_json_delta", partial_json='{"a"'),
        delta(3, "input_json_delta", partial_json=":1}"),
        end(3),
        {"type": "something_new", "index": 9},
        ended("tool_use", output_tokens=50, output_tokens_details={"thinking_tokens": 31}),
        STOP,
    )
    assert stream.finished
    assert built(out) == whole(json.dumps(WHOLE, separators=(",", ":")).encode())
    assert sum(chunk.usage is not None for chunk in out) == 1


def test_nothing_commits_before_content():
    _, out = taken(START, {"type": "ping"}, block(0, type="text", text=""), {"type": "ping"})
    assert out == []


def test_a_call_without_arguments_gets_an_empty_object_and_two_calls_count_up():
    _, out = taken(
        START,
        block(0, type="tool_use", id="a", name="f", input={}),
        end(0),
        block(1, type="tool_use", id="b", name="g", input={}),
        delta(1, "input_json_delta", partial_json="{}"),
        end(1),
        ended("tool_use", output_tokens=3),
        STOP,
    )
    assert [(c.id, c.arguments) for c in built(out).tool_calls] == [("a", "{}"), ("b", "{}")]


def test_usage_of_several_message_deltas_is_cumulative():
    _, out = taken(START, ended(None, output_tokens=5), ended("end_turn", output_tokens=9, input_tokens=13), STOP)
    assert out[-1].usage.output_tokens == 9
    assert out[-1].usage.input_tokens == 10013


def test_an_error_event_is_typed_by_its_type():
    with pytest.raises(InferenceError) as caught:
        taken(START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert isinstance(caught.value, ServerError)
    assert caught.value.retryable


def test_an_end_without_message_stop_is_incomplete():
    stream, out = taken(
        START, block(0, type="text", text=""), delta(0, "text_delta", text="x"), end(0), ended(output_tokens=1)
    )
    with pytest.raises(NetworkError) as caught:
        stream.end(b"", events({"type": "message_delta"}), out)
    assert caught.value.reason == "incomplete"
    stream.end(b"", events(STOP), out)
    assert stream.finished


def test_a_stop_without_a_reason_is_no_end():
    with pytest.raises(ServerError) as caught:
        taken(START, STOP)
    assert caught.value.reason == "schema"


def test_an_event_that_can_not_be_read_is_never_skipped():
    stream = wire().open_stream()
    with pytest.raises(ServerError) as caught:
        stream.take([(b"content_block_delta", b'{"type":"content_block_de')], [])
    assert caught.value.reason == "malformed"
