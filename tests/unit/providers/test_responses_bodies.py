"""A chat-shaped request as the Responses API takes it."""

from __future__ import annotations

import pytest
from openai_wires import USER, body

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses


def sent(request=None, *, model="gpt-6-luna", losses=None, stream=False, **fields):
    request = request or GenerateRequest(**{"messages": USER, **fields})
    return body(request, losses=losses, stream=stream, api="responses", model=model)


def items(*messages):
    return sent(messages=messages)["input"]


def test_it_is_not_stored_and_its_reasoning_comes_encrypted():
    assert sent() == {
        "model": "gpt-6-luna",
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert sent(extra={"store": True}).keys() == {"model", "input", "store"}
    assert sent(extra={"include": ["web_search_call.results"]})["include"] == ["web_search_call.results"]
    assert "include" not in sent(model="gpt-4o-mini")


def test_every_field_has_its_place():
    got = sent(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        reasoning_effort="low",
        stream=True,
        extra={
            "verbosity": "low",
            "reasoning": {"summary": "auto"},
            "logprobs": True,
            "top_logprobs": 2,
            "n": 1,
            "modalities": ["text"],
            "parallel_tool_calls": False,
            "service_tier": "flex",
            "prompt_cache_key": "k",
            "previous_response_id": "resp_1",
            "stream_options": {"include_usage": True, "include_obfuscation": False},
        },
    )
    assert got == {
        "model": "gpt-6-luna",
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "max_output_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "tool_choice": {"type": "function", "name": "f"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "previous_response_id": "resp_1",
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_output_limit_in_extra_replaces_the_other(name):
    got = sent(max_tokens=5, extra={name: 9})
    assert got["max_output_tokens"] == 9
    assert name not in got


def test_tools_are_flat_and_not_strict_unless_they_say_so():
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g", "strict": True}},
        {"type": "custom", "custom": {"name": "h", "format": grammar}},
        {"type": "custom", "custom": {"name": "i"}},
        {"type": "web_search"},
        {"type": "function", "name": "flat", "parameters": {}, "strict": None},
    ]
    assert sent(tools=tools)["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
        {"type": "custom", "name": "h", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "custom", "name": "i"},
        {"type": "web_search"},
        {"type": "function", "name": "flat", "parameters": {}, "strict": None},
    ]


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        ("required", "required"),
        ({"type": "custom", "custom": {"name": "h"}}, {"type": "custom", "name": "h"}),
        ({"type": "web_search"}, {"type": "web_search"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_choices_of_tools(choice, there):
    assert sent(tool_choice=choice)["tool_choice"] == there


def test_every_part_of_a_message():
    parts = [
        "plain",
        {"type": "text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "input_text", "text": "as it is here"},
    ]
    assert items({"role": "user", "content": parts})[0]["content"] == [
        {"type": "input_text", "text": "plain"},
        {"type": "input_text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "https://h/a.png", "detail": "auto"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_text", "text": "as it is here"},
    ]


def test_a_conversation_with_tools():
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "namespace": "n"},
        {"id": "c2", "type": "custom", "custom": {"name": "h", "input": "x"}},
    ]
    assert items(
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "really"}]},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "so", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
    ) == [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "input_text", "text": "really"}]},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "so"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "h", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]


def test_what_a_provider_did_goes_back_in_its_order():
    first, second = ({"type": "reasoning", "id": f"rs_{n}", "encrypted_content": "x", "summary": []} for n in (1, 2))
    search = {"type": "web_search_call", "id": "ws"}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    usual = {
        "role": "assistant",
        "content": "ab",
        "reasoning_items": [first],
        "output_items": [search],
        "tool_calls": [call],
        "phase": "commentary",
    }
    as_item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert items(usual) == [first, search, {"role": "assistant", "content": "ab", "phase": "commentary"}, as_item]
    order = [
        {"type": "reasoning"},
        {"type": "message", "chars": 1, "phase": "commentary"},
        {"type": "function_call"},
        {"type": "item"},
        {"type": "reasoning"},
        {"type": "message", "chars": 1, "phase": "final_answer"},
    ]
    mixed = {**usual, "reasoning_items": [first, second], "output_order": order, "phase": None}
    assert items(mixed) == [
        first,
        {"role": "assistant", "content": "a", "phase": "commentary"},
        as_item,
        search,
        second,
        {"role": "assistant", "content": "b", "phase": "final_answer"},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": "x"}, "stop"),
        ({"seed": 1}, "seed"),
        ({"extra": {"n": 2}}, "extra.n"),
        ({"extra": {"frequency_penalty": 1}}, "extra.frequency_penalty"),
        ({"extra": {"logit_bias": {"1": 1}}}, "extra.logit_bias"),
        ({"extra": {"modalities": ["text", "audio"]}}, "extra.modalities"),
        ({"extra": {"background": True}}, "extra.background"),
        ({"messages": [{"role": "user", "content": "x", "name": "ann"}]}, "messages[0].name"),
    ],
)
def test_what_has_no_place_is_refused_or_left_out_with_a_word(fields, param):
    with pytest.raises(BadRequest) as caught:
        sent(**fields)
    assert caught.value.param == param
    losses = Losses("openai", lenient=True)
    got = sent(losses=losses, **fields)
    assert [warning.partition(":")[0] for warning in losses.warnings] == [param]
    assert not {"stop", "seed", "n", "frequency_penalty", "logit_bias", "modalities", "background"} & got.keys()


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "name": "f", "content": "x"},
        {"role": "user", "content": None},
        {"role": "user", "content": [5]},
        {"role": "user", "content": [{"type": "file", "file": "x"}]},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c"}]},
    ],
)
def test_what_is_no_message_is_a_bad_request(message):
    with pytest.raises(BadRequest, match=r"messages\[0\]"):
        items(message)


def test_reasoning_of_others_is_left_out_with_a_word():
    losses = Losses("openai")
    said = {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "hm",
        "thinking_blocks": [{}],
        "content_filter_results": {"a": 1},
    }
    assert sent(losses=losses, messages=[said])["input"] == [{"role": "assistant", "content": "x"}]
    assert {warning.partition(":")[0] for warning in losses.warnings} == {
        "messages[0].reasoning_content",
        "messages[0].thinking_blocks",
    }
