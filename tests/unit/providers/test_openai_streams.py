"""Streamed chat completions."""

from __future__ import annotations

import json

import pytest
from openai_wires import built, chunk, streamed, wire

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, Usage


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


def test_answers_of_several_take_turns_and_all_end():
    def of(index, delta, finish=None, **more):
        return json.dumps({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]})

    row = {"token": "x", "logprob": -1.0}
    stream, out = streamed(
        of(0, {"content": "a"}),
        of(1, {"content": "x"}, logprobs={"content": [row], "refusal": None}),
        of(0, {}, "stop"),
        of(2, {"refusal": "no"}, logprobs={"content": None, "refusal": [row]}),
        of(1, {"content": "y"}, logprobs={"content": [row], "refusal": None}),
        of(2, {"refusal": "!"}),
        of(1, {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
        of(2, {}, "stop"),
        "[DONE]",
    )
    tokens = built(out)
    assert stream.finished
    assert [(one.text, one.refusal, one.finish_reason) for one in tokens.choices] == [
        ("a", "", FinishReason.STOP),
        ("xy", "", FinishReason.TOOL_CALLS),
        ("", "no!", FinishReason.CONTENT_FILTER),
    ]
    assert tokens.choices[1].logprobs == {"content": [row, row]}
    assert tokens.choices[2].logprobs == {"refusal": [row]}


def test_sound_adds_up_to_one_piece_even_with_padding_in_between():
    _, out = streamed(
        chunk('{"audio":{"id":"audio_1","transcript":"he","data":"YQ=="}}'),
        chunk('{"audio":{"transcript":"llo","data":"YmM="}}'),
        chunk('{"audio":{"expires_at":5}}'),
        chunk("{}", '"stop"'),
        "[DONE]",
    )
    assert built(out).extra == {"audio": {"id": "audio_1", "transcript": "hello", "data": "YWJj", "expires_at": 5}}


def test_thinking_in_fragments_comes_out_in_signed_blocks():
    def thinking(text, signature=None):
        return chunk(json.dumps({"thinking_blocks": [{"type": "thinking", "thinking": text, "signature": signature}]}))

    _, out = streamed(
        thinking("a"),
        thinking("b"),
        thinking("", "sig"),
        chunk('{"thinking_blocks":[{"type":"redacted_thinking","data":"x"}]}'),
        thinking("rest"),
        chunk('{"content":"hi","provider_specific_fields":{"thinking_blocks":[{}],"citations":[1]}}'),
        "[DONE]",
    )
    assert built(out).extra == {
        "thinking_blocks": [
            {"type": "thinking", "thinking": "ab", "signature": "sig"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "rest"},
        ],
        "provider_specific_fields": {"citations": [1]},
    }


def test_azures_filters_tell_once_and_may_end_an_answer_late():
    safe, hate = '{"hate":{"filtered":false}}', '{"hate":{"filtered":true}}'
    annotated = '{"choices":[{"index":0,"delta":{},"finish_reason":%s,"content_filter_results":%s}]}'
    stream, out = streamed(
        '{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}',
        '{"id":"c","model":"gpt","choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{}}]}',
        annotated % ("null", safe),
        annotated % ("null", safe),
        annotated % ('"stop"', safe),
        annotated % ('"content_filter"', hate),
        "[DONE]",
    )
    tokens = built(out)
    assert tokens.finish_reason is FinishReason.CONTENT_FILTER
    assert tokens.extra == {"content_filter_results": {"hate": {"filtered": True}}}
    assert sum(piece.extra is not None for piece in out) == 2
    assert tokens.about == {"prompt_filter_results": [{"prompt_index": 0}], "id": "c", "model": "gpt"}
    assert stream.answer_id == "c"


def test_what_is_not_known_passes_as_it_came_and_padding_does_not():
    _, out = streamed(
        '{"object":"chat.completion.news","headline":"x"}',
        '{"id":"c","service_tier":"auto","choices":[{"delta":{"content":"a"},"obfuscation":"x","new":1}],"obfuscation":"y"}',
        chunk("{}", '"a new reason"'),
        '{"choices":[],"usage":{"prompt_tokens":1},"service_tier":"flex","obfuscation":"z","error":null}',
        "[DONE]",
    )
    assert [piece.raw for piece in out if piece.raw] == [b'{"object":"chat.completion.news","headline":"x"}']
    tokens = built(out)
    assert tokens.about == {"id": "c", "service_tier": "flex", "native_finish_reason": "a new reason"}
    assert (tokens.text, tokens.usage) == ("a", Usage(input_tokens=1))


def test_a_custom_tools_call_streams_its_input():
    _, out = streamed(
        chunk('{"tool_calls":[{"index":0,"id":"c","type":"custom","custom":{"name":"h","input":""}}]}'),
        chunk('{"tool_calls":[{"index":0,"custom":{"input":"free "}}]}'),
        chunk('{"tool_calls":[{"index":0,"custom":{"input":"text"}}]}'),
        "[DONE]",
    )
    (call,) = built(out).tool_calls
    assert (call.custom, call.name, call.arguments) == (True, "h", "free text")
