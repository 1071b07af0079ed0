"""Whole chat completions, and vectors."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from openai_wires import completion, whole, wire

from spillway.core.errors import RateLimited, ServerError
from spillway.core.reply import FinishReason, Usage
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses


def test_a_whole_answer_with_every_class_of_usage():
    answer = completion(
        {"content": "hello", "refusal": None, "annotations": []},
        usage={
            "prompt_tokens": 120,
            "completion_tokens": 30,
            "total_tokens": 150,
            "prompt_tokens_details": {
                "cached_tokens": 64,
                "cache_write_tokens": 8,
                "audio_tokens": 5,
                "image_tokens": 6,
            },
            "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 7},
        },
    )
    tokens = whole(answer)
    assert tokens.text == "hello"
    assert tokens.finish_reason is FinishReason.STOP
    assert tokens.usage == Usage(
        input_tokens=120,
        output_tokens=30,
        cached_tokens=64,
        cache_write_tokens=8,
        reasoning_tokens=10,
        audio_input_tokens=5,
        image_input_tokens=6,
        audio_output_tokens=7,
    )


def test_usage_of_a_proxy_that_adds_anthropics_names():
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 3,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 7,
    }
    tokens = whole(completion({"content": "x"}, usage=usage))
    assert (tokens.usage.cached_tokens, tokens.usage.cache_write_tokens) == (7, 5)


def test_an_answer_without_usage_has_none():
    assert whole(completion({"content": "x"})).usage is None


@pytest.mark.parametrize(
    ("finish", "message", "expected"),
    [
        ("stop", {"content": "x"}, FinishReason.STOP),
        ("length", {"content": ""}, FinishReason.LENGTH),
        ("length", {"content": None}, FinishReason.LENGTH),
        ("content_filter", {"content": None}, FinishReason.CONTENT_FILTER),
        ("stop", {"content": None, "refusal": "I can't."}, FinishReason.CONTENT_FILTER),
        ("something new", {"content": "x"}, FinishReason.STOP),
        (None, {"content": "x"}, FinishReason.STOP),
        (
            "stop",
            {
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            FinishReason.TOOL_CALLS,
        ),
    ],
)
def test_finish_reasons(finish, message, expected):
    assert whole(completion(message, finish)).finish_reason is expected


def test_tool_calls_of_a_whole_answer_keep_their_arguments_as_written():
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"id": "call_3", "type": "custom", "custom": {"name": "h", "input": "free text"}},
    ]
    tokens = whole(completion({"content": "so", "tool_calls": calls}, "tool_calls"))
    assert tokens.text == "so"
    assert [(c.id, c.name, c.arguments) for c in tokens.tool_calls] == [
        ("call_1", "f", '{"a": 1.0}'),
        ("call_2", "g", ""),
        ("call_3", "h", "free text"),
    ]


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert whole(completion({"content": parts})).text == "ab"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<html>", "malformed"),
        (b'{"choices": [', "malformed"),
        (b'{"choices": []}{}', "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        ('{"choices": []}'.encode("utf-16"), "malformed"),
        (b'{"choices":[{"message":{"content":"\xff"}}]}', "malformed"),
        (b"{}", "schema"),
        (b'{"choices": []}', "schema"),
        (b'{"choices": [{}]}', "schema"),
        (b'{"choices": {"a": 1}}', "schema"),
        (b'{"choices": [{"message": {"content": null}}]}', "schema"),
        (b'{"choices": [{"message": {"content": 5}}]}', "schema"),
        (b"[]", "schema"),
        (b"null", "schema"),
    ],
)
def test_an_answer_that_is_none(answer, reason):
    with pytest.raises(ServerError) as caught:
        wire().decode(answer)
    assert caught.value.reason == reason
    assert caught.value.retryable


def test_numbers_written_as_floats_are_counts_too():
    usage = {"prompt_tokens": 12.0, "completion_tokens": None}
    assert whole(completion({"content": "x"}, usage=usage)).usage == Usage(input_tokens=12)


def test_an_error_with_status_200_is_typed_by_its_body():
    with pytest.raises(RateLimited):
        wire().decode(
            b'{"error": {"message": "slow", "type": "requests", "code": "rate_limit_exceeded", "param": null}}'
        )


def test_embeddings():
    url, sent = wire().encode(
        GenerateRequest(inputs=("a", "b"), extra={"dimensions": 2}), Losses("openai"), stream=False
    )
    assert url == "https://api.openai.com/v1/embeddings"
    assert json.loads(sent) == {
        "model": "gpt-6-luna",
        "input": ["a", "b"],
        "dimensions": 2,
        "encoding_format": "base64",
    }
    answer = b'{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2.5]}],"usage":{"prompt_tokens":8,"total_tokens":8}}'
    assert wire().decode_vectors(answer, 2) == (((1.0, 2.5), (3.0, 4.0)), Usage(input_tokens=8))
    with pytest.raises(ServerError, match="2 vectors for 3 inputs"):
        wire().decode_vectors(answer, 3)


def test_vectors_in_base64_and_what_is_none():
    def answer(shown):
        return json.dumps({"data": [{"index": 0, "embedding": shown}], "usage": {"prompt_tokens": 1}}).encode()

    packed = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 2.25)).decode()
    assert wire().decode_vectors(answer(packed), 1) == (((0.5, -1.0, 2.25),), Usage(input_tokens=1))
    for broken in ("AAA", "AAAA", "not base64!", {"a": 1}):
        with pytest.raises(ServerError) as caught:
            wire().decode_vectors(answer(broken), 1)
        assert caught.value.reason == "schema"


def test_a_count():
    assert wire().decode_count(b'{"object":"response.input_tokens","input_tokens":11}') == 11
    for broken in (b"{}", b"", b'{"input_tokens":true}'):
        with pytest.raises(ServerError):
            wire().decode_count(broken)
    with pytest.raises(RateLimited):
        wire().decode_count(b'{"error":{"message":"slow","code":"rate_limit_exceeded"}}')


def test_a_refusal_is_told_apart_from_content():
    tokens = whole(completion({"content": None, "refusal": "I can't."}))
    assert (tokens.text, tokens.refusal) == ("", "I can't.")
    assert tokens.message() == {"role": "assistant", "content": None, "refusal": "I can't."}


def test_every_answer_of_several_with_its_log_probabilities_and_filters():
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    row = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [
        {
            "index": 1,
            "finish_reason": "length",
            "message": {"content": "b"},
            "logprobs": {"content": [row], "refusal": None},
        },
        {"index": 0, "finish_reason": "stop", "message": {"content": "a"}, "content_filter_results": safe},
        {"index": 2, "finish_reason": "tool_calls", "message": {"content": None, "tool_calls": [call]}},
    ]
    tokens = whole(json.dumps({"id": "x", "choices": choices, "usage": {"prompt_tokens": 1}}).encode())
    assert (tokens.text, tokens.extra) == ("a", {"content_filter_results": safe})
    assert [(one.index, one.text, one.finish_reason) for one in tokens.choices] == [
        (0, "a", FinishReason.STOP),
        (1, "b", FinishReason.LENGTH),
        (2, "", FinishReason.TOOL_CALLS),
    ]
    assert tokens.choices[1].logprobs == {"content": [row]}
    assert tokens.choices[2].tool_calls[0].name == "f"
    assert tokens.usage == Usage(input_tokens=1)


def test_what_an_answer_tells_of_itself():
    answer = completion(
        {
            "content": None,
            "audio": {"id": "audio_1", "data": "AAAA", "transcript": "hello", "expires_at": 1},
            "annotations": [{"type": "url_citation", "url_citation": {}}],
        },
        "a new reason",
        model="gpt-6-luna-2026",
        service_tier="priority",
        system_fingerprint="fp",
        prompt_filter_results=[{"prompt_index": 0}],
        moderation={"input": {}},
    )
    tokens = whole(answer)
    assert tokens.about == {
        "id": "chatcmpl-x",
        "model": "gpt-6-luna-2026",
        "service_tier": "priority",
        "system_fingerprint": "fp",
        "prompt_filter_results": [{"prompt_index": 0}],
        "moderation": {"input": {}},
        "native_finish_reason": "a new reason",
    }
    assert tokens.extra["audio"]["transcript"] == "hello"
    assert tokens.extra["annotations"] == [{"type": "url_citation", "url_citation": {}}]


def test_a_custom_tools_call_goes_back_as_one():
    calls = [{"id": "c", "type": "custom", "custom": {"name": "h", "input": "free"}}]
    tokens = whole(completion({"content": None, "tool_calls": calls}, "tool_calls"))
    assert tokens.tool_calls[0].custom
    assert tokens.message()["tool_calls"] == calls
