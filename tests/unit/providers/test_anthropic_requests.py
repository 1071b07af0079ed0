"""Anthropic's requests: what of an OpenAI-shaped one stands where."""

from __future__ import annotations

import json

import pytest
from anthropic_wires import CALL, USER, body, leniently, said, wire

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.encoding import Losses

MARK = {"type": "ephemeral", "ttl": "1h"}
FUNCTION = {"type": "function", "function": {"name": "f"}}


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
        (said("user", [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]), r"content\[0\]: .*no audio"),
        (said("user", [{"type": "image_url", "image_url": {"url": "ftp://x"}}]), r"content\[0\]: .*http"),
        (said("user", [{"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA=="}}]), r"content\[0\]: .*image/bmp"),
        (said("user", [{"type": "file", "file": {"file_data": "data:video/mp4;base64,AA=="}}]), r"content\[0\]: .*video/mp4"),
        (said("user", [{"type": "file", "file": {"file_data": "data:text/plain;base64,=="}}]), r"content\[0\].file.file_data"),
        (said("user", [{"type": "file", "file": {"file_id": "f", "pages": "1-3"}}]), r"content\[0\].file.pages"),
        (said("user", [{"type": "thinking", "thinking": "x"}]), r"content\[0\]: .*'thinking'"),
        (said("user", [{"type": "video", "video": {}}]), r"content\[0\]: .*'video'"),
        (said("user", [{"text": "x"}]), r"content\[0\].type"),
        (said("system", [{"type": "image", "source": {}}]), r"messages\[0\].content"),
        ({"role": "tool", "tool_call_id": "a", "content": [{"type": "container_upload"}]}, r"content\[0\]: .*'container_upload'"),
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
        ({"tools": [{"type": "function", "function": {"name": "f", "cost": 1}}]}, r"tools\[0\].function.cost"),
        ({"tools": [{"type": "function", "name": "f"}]}, r"tools\[0\].function"),
        ({"stop": ["x", " \n"]}, r"stop\[1\]"),
        ({"extra": {"n": 2}}, "extra.n"),
        ({"extra": {"logit_bias": {"1": 2}}}, "extra.logit_bias"),
        ({"extra": {"top_k": 5}}, "extra.top_k"),
        ({"extra": {"betas": ["x"]}}, "extra.betas: .*extra_headers"),
        ({"extra": {"functions": [{}]}}, "extra.functions"),
        ({"extra": {"thinking": {"type": "adaptive"}}, "tool_choice": "required"}, "tool_choice: .*thinks"),
    ],
)
def test_what_a_request_can_not_carry_is_refused_by_name(fields, place):
    with pytest.raises(BadRequest, match=place):
        body(**fields)


def test_messages_that_say_nothing_are_refused():
    with pytest.raises(BadRequest, match="no message says anything"):
        body(said("system", "x"), said("user", ""))


def test_the_default_of_max_tokens_is_the_deployments():
    assert body(options={"default_max_tokens": 64000})["max_tokens"] == 64000
    assert body(options={"default_max_tokens": 64000}, max_tokens=5)["max_tokens"] == 5
    with pytest.raises(ValueError, match="default_max_tokens"):
        wire(default_max_tokens=0)


def test_a_mark_on_a_message_is_on_its_last_block_that_bears_one():
    thought = {"type": "thinking", "thinking": "x", "signature": "s"}
    sent = body(
        said("system", "one", cache_control=MARK),
        said("user", "go", cache_control=MARK),
        said("assistant", "so", tool_calls=[CALL], cache_control=MARK),
        said("tool", "42", tool_call_id="toolu_1", cache_control=MARK),
        said("assistant", [{"type": "thinking", "thinking": ""}], cache_control=MARK),
    )
    assert sent["system"] == [{"type": "text", "text": "one", "cache_control": MARK}]
    assert [message["content"][-1]["cache_control"] for message in sent["messages"]] == [MARK] * 4
    assert sent["messages"][1]["content"][1]["type"] == "tool_use"
    sent, warnings = leniently(*USER, said("assistant", None, thinking_blocks=[thought], cache_control=MARK))
    assert sent["messages"][1]["content"] == [thought]
    assert warnings == ["messages[1].cache_control: the message has no block that can bear it"]


def test_marks_on_parts_calls_and_tools_and_at_the_top():
    sent = body(
        said("user", [{"type": "image_url", "image_url": {"url": "https://x"}, "cache_control": MARK}]),
        said("assistant", None, tool_calls=[{**CALL, "cache_control": MARK}]),
        said("tool", [{"type": "text", "text": "42", "cache_control": MARK}], tool_call_id="toolu_1"),
        tools=[{**FUNCTION, "cache_control": MARK}, {**FUNCTION, "function": {"name": "g", "cache_control": MARK}}],
        extra={"cache_control": {"type": "ephemeral"}},
    )
    assert all(message["content"][0]["cache_control"] == MARK for message in sent["messages"][:2])
    assert sent["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "42", "cache_control": MARK}]
    assert [tool["cache_control"] for tool in sent["tools"]] == [MARK, MARK]
    assert sent["cache_control"] == {"type": "ephemeral"}


def test_fields_of_tools_that_only_this_api_has_pass():
    own = {"defer_loading": True, "eager_input_streaming": True, "allowed_callers": ["direct"], "input_examples": [{}]}
    (tool,) = body(tools=[{**FUNCTION, **own}])["tools"]
    assert tool == {"name": "f", "input_schema": {"type": "object", "properties": {}}, **own}


def test_results_tell_of_errors_and_name_the_toolset_of_their_call():
    call = {**CALL, "toolset_name": "computer", "caller": {"type": "direct"}, "extra_content": {"google": {}}}
    sent, warnings = leniently(
        *USER,
        said("assistant", None, tool_calls=[call]),
        said("tool", "no", tool_call_id="toolu_1", is_error=True),
        tools=[{"type": "computer_toolset_20260801", "name": "computer"}],
    )
    (used,), (result,) = (message["content"] for message in sent["messages"][1:])
    assert (used["toolset_name"], used["caller"]) == ("computer", {"type": "direct"})
    assert result == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "no",
        "is_error": True,
        "toolset_name": "computer",
    }
    assert warnings == ["messages: tool_calls.extra_content: the API can't carry it"]


def test_one_call_at_a_time_only_where_calls_can_be_made():
    alone = {"extra": {"parallel_tool_calls": False}}
    assert "tool_choice" not in body(**alone)
    assert body(tools=[FUNCTION], **alone)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body(tools=[FUNCTION], tool_choice="none", **alone)["tool_choice"] == {"type": "none"}


def test_effort_is_a_budget_for_models_that_know_only_that():
    for model in (
        "claude-haiku-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-20250514",
        "claude-3-7-sonnet-latest",
    ):
        sent = body(model=model, reasoning_effort="medium")
        assert sent["thinking"] == {"type": "enabled", "budget_tokens": 8192}
        assert sent["max_tokens"] == 4096 + 8192
        assert "output_config" not in sent
    assert body(model="claude-haiku-4-5", reasoning_effort="high", max_tokens=3000)["thinking"]["budget_tokens"] == 2999
    assert body(model="claude-opus-4-5", reasoning_effort="high")["output_config"] == {"effort": "high"}
    with pytest.raises(BadRequest, match="reasoning_effort: .*1024"):
        body(model="claude-haiku-4-5", reasoning_effort="low", max_tokens=1024)
    sent, warnings = leniently(model="claude-haiku-4-5", reasoning_effort="low", max_tokens=1024)
    assert "thinking" not in sent
    assert len(warnings) == 1
    given = {"thinking": {"type": "enabled", "budget_tokens": 5000}, "output_config": {"effort": "max"}}
    sent = body(reasoning_effort="low", extra=given)
    assert (sent["thinking"], sent["output_config"]) == (given["thinking"], {"effort": "max"})


def test_what_is_left_out_by_option_is_told():
    sent, warnings = leniently(
        seed=1,
        stop=[" ", "END"],
        temperature=0.5,
        response_format={"type": "json_object"},
        tools=[FUNCTION],
        tool_choice="required",
        extra={
            "thinking": {"type": "adaptive"},
            "parallel_tool_calls": False,
            "presence_penalty": 0.1,
            "frequency_penalty": 0,
            "top_k": 3,
            "stream_options": {"include_usage": True},
        },
    )
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent["stop_sequences"] == ["END"]
    assert not sent.keys() & {"seed", "temperature", "top_k", "presence_penalty", "frequency_penalty", "stream_options"}
    told = {warning.partition(":")[0] for warning in warnings}
    assert told == {
        "seed",
        "stop[0]",
        "temperature",
        "response_format",
        "tool_choice",
        "extra.presence_penalty",
        "extra.top_k",
    }


def test_the_old_version_takes_sampling_and_no_more_than_its_warmest():
    old = {"anthropic_version": "2023-06-01"}
    assert body(extra={"top_k": 3}, options=old)["top_k"] == 3
    with pytest.raises(BadRequest, match="temperature: .*1.0"):
        body(temperature=1.5, options=old)
    sent, warnings = leniently(temperature=1.5, options=old)
    assert (sent["temperature"], len(warnings)) == (1.0, 1)


def test_the_providers_own_fields_pass():
    own = {
        "service_tier": "standard_only",
        "speed": "fast",
        "inference_geo": "us",
        "container": "c_1",
        "context_management": {"edits": []},
        "metadata": {"tag": "x"},
        "mcp_servers": [{"type": "url"}],
        "something_new": 1,
    }
    sent = body(extra={**own, "user": "u1"})
    assert sent["metadata"] == {"user_id": "u1", "tag": "x"}
    assert {name: sent[name] for name in own if name != "metadata"} == {
        name: value for name, value in own.items() if name != "metadata"
    }


def test_what_is_counted_is_what_decides_the_count():
    request = GenerateRequest(
        messages=USER,
        tools=[FUNCTION],
        tool_choice="auto",
        reasoning_effort="low",
        max_tokens=5,
        stop="x",
        counts=True,
        extra={"thinking": {"type": "adaptive"}, "container": "c", "speed": "fast", "user": "u", "something_new": 1},
    )
    url, sent = wire().encode(request, Losses("anthropic"), stream=True)
    assert url.endswith("/v1/messages/count_tokens")
    counted = {"model", "messages", "tools", "tool_choice", "output_config", "thinking", "speed", "something_new"}
    assert json.loads(sent).keys() == counted
