"""OpenAI's chat wire: bodies out, completions and chunks in."""

from __future__ import annotations

import json

import pytest

from spillway.core.building import TokensBuilder
from spillway.core.errors import BadRequest, InferenceError, NetworkError, RateLimited, ServerError
from spillway.core.reply import FinishReason, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.encoding import Losses
from spillway.providers.openai import OpenAiConfig
from spillway.providers.openai.runner import OpenAiWire

USER = ({"role": "user", "content": "hi"},)


def wire(model="gpt-6-luna", **options) -> OpenAiWire:
    return OpenAiWire(OpenAiConfig(**options), model)


def body(request: GenerateRequest, *, stream=False, **options) -> dict:
    return json.loads(wire(**options).encode(request, Losses("openai"), stream=stream)[1])


def whole(body):
    return built(wire().decode(body)[0])


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def streamed(*datas: str, name: bytes | None = None):
    stream = wire().open_stream()
    out = []
    stream.take([(name, data.encode()) for data in datas], out)
    return stream, out


def completion(message: dict, finish="stop", **more) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, "message": {"role": "assistant", **message}}
    return json.dumps({"id": "chatcmpl-x", "object": "chat.completion", "choices": [choice], **more}).encode()


def test_what_is_not_asked_for_is_not_sent():
    assert body(GenerateRequest(messages=USER)) == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_every_field_of_a_request_is_sent_under_its_own_name():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    sent = body(
        GenerateRequest(
            messages=USER,
            max_tokens=5,
            temperature=0.5,
            top_p=0.9,
            stop=("a", "b"),
            seed=7,
            tools=[tool],
            tool_choice="required",
            response_format={"type": "json_object"},
            reasoning_effort="low",
            extra={"verbosity": "low"},
        ),
        stream=True,
    )
    assert sent == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 7,
        "tools": [tool],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "verbosity": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        (None, "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
        ("https://api.openai.com.example.org/v1", "max_tokens"),
    ],
)
def test_only_the_provider_itself_gets_the_newer_name_of_the_output_limit(endpoint, field):
    assert body(GenerateRequest(messages=USER, max_tokens=5), endpoint=endpoint)[field] == 5


def test_an_output_limit_in_extra_replaces_the_other():
    sent = body(
        GenerateRequest(messages=USER, max_tokens=5, extra={"max_completion_tokens": 9}), endpoint="http://h/v1"
    )
    assert "max_tokens" not in sent
    assert sent["max_completion_tokens"] == 9


def test_stream_options_of_the_caller_are_kept_and_usage_is_always_asked_for():
    extra = {"stream_options": {"include_obfuscation": False, "include_usage": False}}
    sent = body(GenerateRequest(messages=USER, extra=extra), stream=True)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "other"},
        {"stream": True},
        {"base_url": "http://elsewhere"},
        {"functions": [{"name": "f"}]},
    ],
)
def test_what_can_not_be_carried_is_refused_by_name(extra):
    with pytest.raises(BadRequest, match=f"extra.{next(iter(extra))}"):
        body(GenerateRequest(messages=USER, extra=extra))


@pytest.mark.parametrize("value", [object(), float, {1, object()}])
def test_what_has_no_json_form_is_a_bad_request(value):
    with pytest.raises(BadRequest, match="JSON"):
        body(GenerateRequest(messages=USER, extra={"metadata": value}))


def test_a_lone_surrogate_is_a_bad_request():
    with pytest.raises(BadRequest):
        body(GenerateRequest(messages=({"role": "user", "content": "\ud800"},)))


@pytest.mark.parametrize(
    ("options", "url", "key_header"),
    [
        ({}, "https://api.openai.com/v1/chat/completions", "authorization"),
        ({"endpoint": "http://h:1/v1/"}, "http://h:1/v1/chat/completions", "authorization"),
        (
            {"variant": "azure", "resource": "r", "api_version": "2024-10-21"},
            "https://r.openai.azure.com/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
        (
            {"variant": "azure", "endpoint": "http://h:1", "deployment": "d", "api_version": "2024-10-21"},
            "http://h:1/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
        (
            {"variant": "azure", "resource": "r"},
            "https://r.openai.azure.com/openai/v1/chat/completions",
            "api-key",
        ),
    ],
)
def test_urls_and_credentials(options, url, key_header):
    one = wire("m/1", **options)
    assert one.encode(GenerateRequest(messages=USER), Losses("openai"), stream=False)[0] == url
    assert "s3cret" in one.headers(Secret("s3cret"))[key_header]


def test_organisation_and_project_go_into_headers():
    headers = wire(organization="org-1", project="proj-1").headers(Secret("k"))
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-1"


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "azure"},
        {"variant": "other"},
        {"resource": "r"},
        {"api_version": "1"},
        {"endpoint": "api.openai.com"},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError):
        OpenAiConfig(**options)


def test_a_whole_answer_with_every_class_of_usage():
    answer = completion(
        {"content": "hello", "refusal": None, "annotations": []},
        usage={
            "prompt_tokens": 120,
            "completion_tokens": 30,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0},
        },
    )
    tokens = whole(answer)
    assert tokens.text == "hello"
    assert tokens.finish_reason is FinishReason.STOP
    assert tokens.usage == Usage(
        input_tokens=120, output_tokens=30, cached_tokens=64, cache_write_tokens=8, reasoning_tokens=10
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


CHUNK = '{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":%s,"finish_reason":%s}],"usage":null}'


def chunk(delta: str, finish: str = "null") -> str:
    return CHUNK % (delta, finish)


def test_a_stream_of_text():
    stream, out = streamed(
        chunk('{"role":"assistant","content":"","refusal":null}'),
        chunk('{"content":"Hel"}'),
        chunk('{"content":"lo"}'),
        chunk("{}", '"stop"'),
        '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}',
        "[DONE]",
    )
    tokens = built(out)
    assert stream.finished
    assert not any(piece.commits for piece in out[:0])
    assert [piece.text_delta for piece in out if piece.text_delta] == ["Hel", "lo"]
    assert tokens.finish_reason is FinishReason.STOP
    assert tokens.usage == Usage(input_tokens=9, output_tokens=3)
    assert sum(piece.usage is not None for piece in out) == 1


def test_events_that_carry_nothing_make_no_chunk():
    stream, out = streamed(
        '{"choices":[],"prompt_filter_results":[]}',
        chunk('{"role":"assistant","content":""}'),
        '{"choices":[],"moderation":{}}',
    )
    assert out == []
    assert not stream.finished


def test_tool_calls_of_a_stream_interleave_by_index():
    _, out = streamed(
        chunk('{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}},'
              '{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":""}}]}'),
        chunk('{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}'),
        chunk('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":"}}]}'),
        chunk('{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}'),
        chunk("{}", '"stop"'),
        "[DONE]",
    )  # fmt: skip
    tokens = built(out)
    assert [(c.id, c.name, c.arguments) for c in tokens.tool_calls] == [("c1", "f", '{"a":1}'), ("c2", "g", "{}")]
    assert tokens.finish_reason is FinishReason.TOOL_CALLS


def test_tool_calls_without_an_index_are_told_apart_by_their_ids():
    _, out = streamed(
        chunk('{"tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}}]}'),
        chunk('{"tool_calls":[{"id":"c2","function":{"name":"g","arguments":"{"}}]}'),
        chunk('{"tool_calls":[{"function":{"arguments":"}"}}]}'),
        "[DONE]",
    )
    assert [(c.id, c.arguments) for c in built(out).tool_calls] == [("c1", "{}"), ("c2", "{}")]


def test_reasoning_and_refusal_of_a_stream():
    _, out = streamed(
        chunk('{"reasoning_content":"hm"}'),
        chunk('{"reasoning":"so","content":null}'),
        chunk('{"refusal":"no"}'),
        chunk("{}", '"stop"'),
        "[DONE]",
    )
    tokens = built(out)
    assert (tokens.reasoning, tokens.text, tokens.refusal) == ("hmso", "", "no")
    assert tokens.finish_reason is FinishReason.CONTENT_FILTER


def test_cumulative_usage_in_every_chunk_is_counted_once():
    with_usage = '{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":%d}}'
    _, out = streamed(with_usage % 1, with_usage % 2, "[DONE]")
    assert [piece.usage.output_tokens for piece in out if piece.usage is not None] == [2]


def test_done_without_a_finish_reason_is_complete():
    _, out = streamed(chunk('{"content":"x"}'), "[DONE]")
    assert built(out).finish_reason is FinishReason.STOP


def test_done_and_nothing_else_is_an_empty_answer():
    with pytest.raises(ServerError) as caught:
        streamed("[DONE]")
    assert caught.value.reason == "empty"


def test_an_event_that_can_not_be_read_is_never_skipped():
    stream = wire().open_stream()
    out = []
    with pytest.raises(ServerError) as caught:
        stream.take([(None, chunk('{"content":"a"}').encode()), (None, b'{"choices":[{"delta'), (None, b"[DONE]")], out)
    assert caught.value.reason == "malformed"
    assert caught.value.retryable
    assert built(out).text == "a"


def test_bytes_that_are_not_utf8_become_replacement_characters():
    stream = wire().open_stream()
    out = []
    stream.take([(None, b'{"choices":[{"delta":{"content":"a\xff\xfeb"}}]}')], out)
    assert built(out).text == "a\ufffd\ufffdb"


def test_an_error_event_is_typed_by_its_body():
    with pytest.raises(ServerError) as caught:
        streamed(
            chunk('{"content":"a"}'),
            '{"error":{"message":"x","type":"server_error","param":null,"code":null}}',
            "[DONE]",
        )
    assert caught.value.retryable


def test_an_event_named_error_is_an_error():
    with pytest.raises(InferenceError):
        streamed('{"message":"overloaded","type":"server_error"}', name=b"error")


def test_an_end_without_done_is_incomplete():
    stream, out = streamed(chunk('{"content":"a"}'), chunk("{}", '"stop"'))
    with pytest.raises(NetworkError, match="without its terminal marker") as caught:
        stream.end(b"", [], out)
    assert caught.value.reason == "incomplete"


def test_done_without_its_blank_line_ends_a_stream():
    stream, out = streamed(chunk('{"content":"a"}'))
    stream.end(b"data: [DONE]", [(None, b"[DONE]")], out)
    assert stream.finished


def test_a_bare_error_at_the_end_of_a_stream_is_typed():
    stream, out = streamed(chunk('{"content":"a"}'))
    with pytest.raises(ServerError):
        stream.end(b'{"error": {"message": "x", "type": "server_error", "code": null}}', [], out)


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
