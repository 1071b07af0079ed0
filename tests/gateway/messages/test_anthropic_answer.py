"""Answers in Anthropic's words, whole and streamed."""

import msgspec
import pytest
from anthropic_bodies import added_up

from spillway.core.building import TokensBuilder
from spillway.core.reply import FinishReason, TokenChunk, Tokens, ToolCall, ToolCallDelta, Usage
from spillway.gateway.dialects.anthropic_answer import message_of
from spillway.gateway.dialects.anthropic_events import MessageEvents
from spillway.gateway.dialects.anthropic_signature import SIGNATURE

USAGE = Usage(
    input_tokens=100,
    cached_tokens=30,
    cache_write_tokens=20,
    cache_write_1h_tokens=5,
    output_tokens=9,
    reasoning_tokens=4,
)


def whole(tokens):
    return message_of(tokens, model="m", message_id="msg_1")


def streamed(*reads):
    events = MessageEvents(model="m", message_id="msg_1")
    data = b"".join(events.take(read) for read in reads) + events.end()
    return added_up(data)


def call(index, arguments="", name="", call_id=""):
    return TokenChunk(tool_call_delta=ToolCallDelta(index=index, id=call_id, name=name, arguments=arguments))


def test_the_blocks_stand_in_order():
    tokens = Tokens(
        text="hello",
        reasoning="hm",
        tool_calls=(ToolCall(id="t1", name="f", arguments='{"a": 1}'), ToolCall(id="", name="g")),
        finish_reason=FinishReason.TOOL_CALLS,
        usage=USAGE,
    )
    assert whole(tokens) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "toolu_1_1", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 50,
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_why_it_ended(finish, stop):
    assert whole(Tokens(text="x", finish_reason=FinishReason(finish)))["stop_reason"] == stop
    assert streamed([TokenChunk(text_delta="x", finish_reason=FinishReason(finish))])["stop_reason"] == stop


def test_anthropics_own_word_for_it_wins():
    about = {"native_finish_reason": "stop_sequence", "stop_sequence": "END"}
    message = whole(Tokens(text="x", finish_reason=FinishReason.STOP, about=about))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    other = {"native_finish_reason": "MAX_TOKENS"}
    assert whole(Tokens(finish_reason=FinishReason.LENGTH, about=other))["stop_reason"] == "max_tokens"


def test_a_refusal_is_told_as_one():
    message = whole(Tokens(refusal="no", finish_reason=FinishReason.CONTENT_FILTER))
    assert message["content"] == [{"type": "text", "text": "no"}]
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"] == {"type": "refusal", "category": None, "explanation": "no"}
    chunks = [TokenChunk(refusal_delta="n"), TokenChunk(refusal_delta="o", finish_reason=FinishReason.CONTENT_FILTER)]
    assert streamed(chunks) == whole(Tokens(refusal="no", finish_reason=FinishReason.CONTENT_FILTER))


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "nonsense"])
def test_arguments_that_are_no_object_stand_in_one(arguments):
    tokens = Tokens(tool_calls=(ToolCall(id="t", name="f", arguments=arguments),))
    assert whole(tokens)["content"][0]["input"] == {"INVALID_JSON": arguments}


def test_signed_thinking_is_told_once_and_with_its_signature():
    block = {"type": "thinking", "thinking": "hmm", "signature": "real"}
    redacted = {"type": "redacted_thinking", "data": "xx"}
    chunks = [
        TokenChunk(reasoning_delta="h"),
        TokenChunk(reasoning_delta="mm"),
        TokenChunk(extra={"thinking_blocks": [block]}),
        TokenChunk(extra={"thinking_blocks": [redacted]}),
        TokenChunk(text_delta="ok", finish_reason=FinishReason.STOP),
    ]
    message = streamed(chunks)
    assert message["content"] == [block, redacted, {"type": "text", "text": "ok"}]
    built = TokensBuilder()
    for chunk in chunks:
        built.add(chunk)
    assert whole(built.build()) == message


def test_thinking_without_a_signature_gets_ours_and_so_does_a_block_of_it():
    assert streamed([TokenChunk(reasoning_delta="hm")])["content"][0]["signature"] == SIGNATURE
    bare = {"type": "thinking", "thinking": "hm"}
    assert streamed([TokenChunk(extra={"thinking_blocks": [bare]})])["content"] == [{**bare, "signature": SIGNATURE}]
    assert whole(Tokens(extra={"thinking_blocks": [bare]}))["content"] == [{**bare, "signature": SIGNATURE}]


def test_mixed_fragments_of_calls_make_whole_calls():
    message = streamed(
        [call(0, name="f", call_id="a"), call(1, name="g", call_id="b")],
        [call(0, '{"x"'), call(1, '{"y": [1'), call(0, ": 1}")],
        [TokenChunk(text_delta="late"), call(1, "]}"), call(2, name="h", call_id="c")],
    )
    assert message["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": [1]}},
        {"type": "text", "text": "late"},
        {"type": "tool_use", "id": "c", "name": "h", "input": {}},
    ]


def test_a_call_is_told_while_it_comes():
    events = MessageEvents(model="m", message_id="msg_1")
    assert b"content_block_start" in events.take([call(0, name="f", call_id="a")])
    assert b'"partial_json":"{\\"x"' in events.take([call(0, '{"x')])


def test_pictures_are_blocks():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert whole(Tokens(extra={"images": [image]}))["content"] == [block]
    assert streamed([TokenChunk(extra={"images": [image, {"type": "?"}]})])["content"] == [block]


def test_the_events_name_themselves_and_end_with_the_tokens():
    events = MessageEvents(model="m", message_id="msg_1")
    data = events.take([TokenChunk(text_delta="x")]) + events.take([TokenChunk(usage=USAGE)])
    data += events.end()
    frames = [frame.split(b"\n") for frame in data.split(b"\n\n")[:-1]]
    assert [name.decode().removeprefix("event: ") for name, _ in frames] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    last = msgspec.json.decode(frames[-2][1].removeprefix(b"data: "))
    assert last["usage"]["input_tokens"] == 50 and last["usage"]["output_tokens"] == 9
