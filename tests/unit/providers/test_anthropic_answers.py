"""Anthropic's answers, whole and streamed: the same Tokens."""

from __future__ import annotations

import json

import pytest
from anthropic_wires import (
    STOP,
    block,
    built,
    compact,
    delta,
    end,
    ended,
    events,
    starting,
    streamed,
    taken,
    whole,
    wire,
)

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, ToolCall, Usage

CALLED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
CITED = {"type": "char_location", "cited_text": "sky", "document_index": 0, "start_char_index": 0, "end_char_index": 3}
PAGE = {
    "type": "web_search_result_location",
    "url": "https://a",
    "title": "A",
    "encrypted_index": "x",
    "cited_text": "c",
}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]}
THOUGHT = {"type": "thinking", "thinking": "hmm, so", "signature": "EqoB"}
HIDDEN = {"type": "redacted_thinking", "data": "opaque"}
USED = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 2000,
    "cache_read_input_tokens": 8000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 500},
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 31},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "priority",
    "speed": "fast",
    "inference_geo": "us",
}
USAGE = Usage(
    input_tokens=10012,
    output_tokens=50,
    cached_tokens=8000,
    cache_write_tokens=2000,
    cache_write_1h_tokens=500,
    reasoning_tokens=31,
)


def message(*content, stop="end_turn", **more):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "stop_reason": stop,
        "content": list(content),
        "usage": USED,
        **more,
    }


def text(words, **more):
    return {"type": "text", "text": words, "citations": None, **more}


MESSAGES = {
    "text": message(text("hello there")),
    "nothing": message(stop="refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": None}),
    "half": message(text("I will not"), stop="refusal", stop_details={"type": "refusal", "category": None}),
    "stopped": message(text("up to"), stop="stop_sequence", stop_sequence="END"),
    "calls": message(text("ok"), CALLED, {**CALLED, "id": "toolu_2", "input": {}}, stop="tool_use"),
    "member": message({**CALLED, "caller": {"type": "direct"}, "toolset_name": "computer"}, stop="tool_use"),
    "thinking": message(THOUGHT, HIDDEN, text("so"), CALLED, stop="tool_use"),
    "omitted": message({**THOUGHT, "thinking": ""}, text("so")),
    "cited": message(text("Look: "), text("the sky", citations=[CITED, {**CITED, "document_index": 1}]), text(".")),
    "searched": message(
        text("I look. "), SEARCH, FOUND, THOUGHT, text("It is blue", citations=[PAGE]), container={"id": "c_1"}
    ),
    "paused": message(text("I look. "), SEARCH, stop="pause_turn"),
    "new": message({"type": "something_new", "text": "x", "deep": {"a": [1]}}, text("after"), stop="something_newer"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_stream_is_the_same_message_as_the_whole_answer(name):
    answer = MESSAGES[name]
    stream, out = taken(*streamed(answer))
    assert stream.finished
    assert stream.answer_id == "msg_1"
    assert built(out) == whole(answer)
    assert json.dumps(built(out).message()) == json.dumps(whole(answer).message())
    assert sum(chunk.usage is not None for chunk in out) == 1
    assert not any(chunk.raw for chunk in out)


def test_usage_and_what_is_known_of_the_whole():
    tokens = whole(MESSAGES["stopped"])
    assert tokens.usage == USAGE
    assert tokens.about == {
        "model": "claude-opus-5-5",
        "native_finish_reason": "stop_sequence",
        "stop_sequence": "END",
        "service_tier": "priority",
        "speed": "fast",
        "inference_geo": "us",
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    }
    assert whole(MESSAGES["searched"]).about["container"] == {"id": "c_1"}
    refused = whole(MESSAGES["half"])
    assert (refused.text, refused.finish_reason) == ("I will not", FinishReason.CONTENT_FILTER)
    assert refused.about["stop_details"] == {"type": "refusal", "category": None}
    assert whole(MESSAGES["new"]).about["native_finish_reason"] == "something_newer"


def test_the_tokens_of_a_compaction_are_counted_and_its_block_is_kept():
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 7, "cache_read_input_tokens": 1},
        {"type": "message", "input_tokens": 12, "output_tokens": 50},
        {"type": "compaction", "input_tokens": "many"},
    ]
    answer = message(text("x"), usage={"input_tokens": 12, "output_tokens": 50, "iterations": iterations})
    tokens = whole(answer)
    assert tokens.usage == Usage(input_tokens=113, output_tokens=57, cached_tokens=1)
    assert tokens.about["iterations"] == iterations
    _, out = taken(
        starting(),
        block(0, type="compaction", content=None),
        delta(0, "compaction_delta", content="a sum"),
        delta(0, "compaction_delta", content="mary", encrypted_content="e"),
        end(0),
        ended("compaction"),
        STOP,
    )
    assert built(out).extra["server_blocks"] == [
        {"type": "compaction", "content": "a summary", "encrypted_content": "e"}
    ]


def test_thinking_is_reasoning_and_its_blocks_are_kept_as_they_came():
    tokens = whole(MESSAGES["thinking"])
    assert (tokens.reasoning, tokens.text) == ("hmm, so", "so")
    assert tokens.extra == {"thinking_blocks": [THOUGHT, HIDDEN]}
    assert whole(MESSAGES["omitted"]).extra == {"thinking_blocks": [{**THOUGHT, "thinking": ""}]}
    assert whole(MESSAGES["omitted"]).reasoning == ""


def test_a_plain_answer_has_nothing_beside():
    for name in ("text", "calls"):
        assert whole(MESSAGES[name]).extra is None
    assert whole(MESSAGES["calls"]).tool_calls == (
        ToolCall(id="toolu_1", name="f", arguments='{"a":1}'),
        ToolCall(id="toolu_2", name="f", arguments="{}"),
    )
    (member,) = whole(MESSAGES["member"]).tool_calls
    assert member.extra == {"caller": {"type": "direct"}, "toolset_name": "computer"}


def test_citations_are_annotations_of_the_characters_they_cover():
    tokens = whole(MESSAGES["cited"])
    assert tokens.text[6:13] == "the sky"
    assert tokens.extra["annotations"] == [
        {"type": "citation", "start_index": 6, "end_index": 13, "citation": CITED},
        {"type": "citation", "start_index": 6, "end_index": 13, "citation": {**CITED, "document_index": 1}},
    ]
    assert tokens.extra["block_order"] == [6, 7, 1]
    (page,) = whole(MESSAGES["searched"]).extra["annotations"]
    assert page == {
        "type": "url_citation",
        "url_citation": {"url": "https://a", "title": "A", "start_index": 8, "end_index": 18},
        "citation": PAGE,
    }


def test_blocks_of_the_providers_own_tools_and_unknown_ones_are_passed_through():
    tokens = whole(MESSAGES["searched"])
    assert tokens.extra["server_blocks"] == [SEARCH, FOUND]
    assert tokens.extra["block_order"] == [8, "server", "server", "thinking", 10]
    assert whole(MESSAGES["new"]).extra["server_blocks"] == [MESSAGES["new"]["content"][0]]


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
    chunks, _ = wire().decode(compact({"type": "message", "content": [text("x")], "stop_reason": stop}))
    assert len(chunks) == 1
    assert chunks[0].finish_reason is expected
    assert chunks[0].about == {"native_finish_reason": stop}


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


def test_nothing_commits_before_content():
    _, out = taken(starting(), {"type": "ping"}, block(0, type="text", text=""), {"type": "ping"})
    assert out == []


def test_input_that_ends_in_the_middle_is_kept_as_it_was_written():
    cut = (starting(), block(0, type="tool_use", id="a", name="f", input={}))
    _, out = taken(*cut, delta(0, "input_json_delta", partial_json='{"a": "un'), end(0), ended("max_tokens"), STOP)
    tokens = built(out)
    assert tokens.tool_calls[0].arguments == '{"a": "un'
    assert tokens.finish_reason is FinishReason.LENGTH
    own = block(0, type="server_tool_use", id="a", name="f", input={})
    _, out = taken(starting(), own, delta(0, "input_json_delta", partial_json='{"a'), end(0), ended("max_tokens"), STOP)
    assert built(out).extra["server_blocks"][0]["input"] == '{"a'


def test_unknown_events_and_deltas_are_passed_through_raw():
    news = {"type": "something_new", "index": 9}
    strange = delta(0, "something_delta", more=1)
    _, out = taken(starting(), block(0, type="text", text=""), strange, news, delta(0, "text_delta", text="x"), end(0))
    assert [json.loads(chunk.raw) for chunk in out if chunk.raw] == [strange, news]
    assert built(out).text == "x"


def test_a_stream_without_the_begin_of_its_blocks_is_read_too():
    _, out = taken(
        delta(0, "thinking_delta", thinking="hm"),
        {"type": "content_block_delta", "index": 0},
        delta(1, "text_delta", text="x"),
        end(1),
        ended(output_tokens=2),
        {"type": "message_delta", "usage": {"output_tokens": 3}},
        STOP,
    )
    tokens = built(out)
    assert (tokens.reasoning, tokens.text, tokens.usage.output_tokens) == ("hm", "x", 3)


def test_usage_of_several_message_deltas_is_cumulative():
    start = starting(usage={**USED, "output_tokens": 1})
    _, out = taken(start, ended(None, output_tokens=5), ended("end_turn", output_tokens=9, input_tokens=13), STOP)
    assert (out[-1].usage.output_tokens, out[-1].usage.input_tokens) == (9, 10013)
    assert out[-1].about["service_tier"] == "priority"


def test_an_error_event_is_typed_by_its_type():
    with pytest.raises(InferenceError) as caught:
        taken(starting(), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert isinstance(caught.value, ServerError)
    assert caught.value.retryable


def test_an_end_without_message_stop_is_incomplete():
    stream, out = taken(
        starting(), block(0, type="text", text=""), delta(0, "text_delta", text="x"), end(0), ended(output_tokens=1)
    )
    with pytest.raises(NetworkError) as caught:
        stream.end(b"", events({"type": "message_delta"}), out)
    assert caught.value.reason == "incomplete"
    stream.end(b"", events(STOP), out)
    assert stream.finished


def test_a_stop_without_a_reason_is_no_end():
    with pytest.raises(ServerError) as caught:
        taken(starting(), STOP)
    assert caught.value.reason == "schema"


def test_an_event_that_can_not_be_read_is_never_skipped():
    stream = wire().open_stream()
    for data in (b'{"type":"content_block_de', b'{"type":"content_block_start","content_block":{"type":"x","y":01}}'):
        with pytest.raises(ServerError) as caught:
            stream.take([(b"content_block_delta", data)], [])
        assert caught.value.reason == "malformed"


def test_bytes_that_are_not_utf_8_are_replaced_in_rare_blocks_too():
    start = b'{"type":"content_block_start","index":0,"content_block":{"type":"x","y":"\xff"}}'
    stream, out = wire().open_stream(), []
    stream.take([(None, start), *events(end(0))], out)
    assert built(out).extra["server_blocks"] == [{"type": "x", "y": "\ufffd"}]
