"""Responses, whole and streamed."""

from __future__ import annotations

import json

import pytest
from openai_wires import built, streamed, whole, wire

from spillway.core.errors import BadRequest, ContentFiltered, InferenceError, NetworkError, RateLimited, ServerError
from spillway.core.reply import FinishReason, ToolCall, Usage

TEXT = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "h", "input": "free"}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "encrypted_content": "sealed",
    "summary": [{"type": "summary_text", "text": "first"}, {"type": "summary_text", "text": "second"}],
}


def response(*output, **more):
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": list(output), **more}


def said(*output, **more):
    return whole(json.dumps(response(*output, **more)).encode(), api="responses")


def told(*events, **options):
    return streamed(*(json.dumps(event) for event in events), api="responses", **options)


def event(kind, **fields):
    return {"type": f"response.{kind}", "sequence_number": 0, "output_index": 0, **fields}


def completed(*output, **more):
    return event("completed", response=response(*output, **more))


def test_a_whole_response():
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    tokens = said(THOUGHT, {**MESSAGE, "phase": "final_answer"}, CALL, CUSTOM, usage=usage, service_tier="flex")
    assert (tokens.text, tokens.reasoning) == ("hello", "first\n\nsecond")
    assert tokens.tool_calls == (
        ToolCall(id="call_1", name="f", arguments='{"a":1}'),
        ToolCall(id="call_2", name="h", arguments="free", custom=True),
    )
    assert tokens.finish_reason is FinishReason.TOOL_CALLS
    assert tokens.usage == Usage(
        input_tokens=10, output_tokens=5, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=3
    )
    assert tokens.extra == {"reasoning_items": [THOUGHT], "phase": "final_answer"}
    assert tokens.about == {"id": "resp_1", "model": "m", "service_tier": "flex"}


@pytest.mark.parametrize(
    ("output", "more", "finish", "native"),
    [
        ([MESSAGE], {}, FinishReason.STOP, None),
        ([CALL], {}, FinishReason.TOOL_CALLS, None),
        (
            [{**MESSAGE, "content": [{"type": "refusal", "refusal": "no"}]}],
            {},
            FinishReason.CONTENT_FILTER,
            None,
        ),
        (
            [CALL],
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            FinishReason.LENGTH,
            None,
        ),
        (
            [MESSAGE],
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            FinishReason.CONTENT_FILTER,
            None,
        ),
        (
            [MESSAGE],
            {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
            FinishReason.LENGTH,
            "steered",
        ),
        ([], {"status": "incomplete", "incomplete_details": None}, FinishReason.LENGTH, "incomplete"),
    ],
)
def test_why_it_ended(output, more, finish, native):
    tokens = said(*output, **more)
    assert tokens.finish_reason is finish
    assert tokens.about.get("native_finish_reason") == native
    kind = "incomplete" if more else "completed"
    _, out = told(event(kind, response=response(*output, **more)))
    assert (built(out).finish_reason, built(out).about) == (finish, tokens.about)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("server_error", ServerError, True),
        ("rate_limit_exceeded", RateLimited, True),
        ("invalid_prompt", ContentFiltered, False),
        ("bio_policy", ContentFiltered, False),
        ("misalignment_policy_violation", ContentFiltered, False),
        ("invalid_image_format", BadRequest, False),
        ("image_too_large", BadRequest, False),
        ("failed_to_download_image", BadRequest, False),
        ("vector_store_timeout", ServerError, True),
        ("something_new", ServerError, True),
        (None, ServerError, True),
    ],
)
def test_a_response_that_failed(code, kind, retryable):
    error = {"code": code, "message": "it broke"} if code else None
    failed = response(status="failed", error=error)
    raised = []
    with pytest.raises(InferenceError) as caught:
        wire(api="responses").decode(json.dumps(failed).encode())
    raised.append(caught.value)
    with pytest.raises(InferenceError) as caught:
        told(event("failed", response=failed))
    raised.append(caught.value)
    if code:
        for flat in ({"type": "error", "param": None, **error}, {"type": "error", "error": error}):
            with pytest.raises(InferenceError) as caught:
                told(flat)
            raised.append(caught.value)
    assert {(type(one), one.retryable) for one in raised} == {(kind, retryable)}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "malformed"),
        (b"{}", "schema"),
        (b'{"output": 5}', "schema"),
        (json.dumps(response(status="queued")).encode(), "schema"),
        (json.dumps(response(status="cancelled")).encode(), "cancelled"),
    ],
)
def test_an_answer_that_is_none(answer, reason):
    with pytest.raises(ServerError) as caught:
        wire(api="responses").decode(answer)
    assert caught.value.reason == reason


def test_an_error_with_status_200_is_typed_by_its_body():
    with pytest.raises(RateLimited):
        wire(api="responses").decode(b'{"error":{"message":"slow","code":"rate_limit_exceeded"}}')


def test_a_stream_of_everything():
    row = {"token": "hel", "logprob": -1.0, "bytes": [104], "top_logprobs": []}
    note = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "u", "title": "t"}
    part = {**TEXT, "annotations": [note, {"type": "file_citation", "index": 1}], "logprobs": [row]}
    message = {**MESSAGE, "content": [part]}
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    stream, out = told(
        event("created", response={"id": "resp_1"}),
        event("in_progress", response={}),
        event("output_item.added", item={**THOUGHT, "summary": []}),
        event("reasoning_summary_part.added", summary_index=0),
        event("reasoning_summary_text.delta", summary_index=0, delta="fi"),
        event("reasoning_summary_text.delta", summary_index=0, delta="rst"),
        event("reasoning_summary_text.done", summary_index=0, text="first"),
        event("reasoning_summary_text.delta", summary_index=1, delta="second"),
        event("output_item.done", item=THOUGHT),
        event("output_item.added", output_index=1, item=search),
        event("web_search_call.searching", output_index=1),
        event("output_item.done", output_index=1, item=search),
        event("output_item.added", output_index=2, item={**MESSAGE, "content": []}),
        event("content_part.added", output_index=2, part={}),
        event("output_text.delta", output_index=2, delta="hel", logprobs=[{"token": "hel", "logprob": -1.0}]),
        event("output_text.delta", output_index=2, delta="lo", logprobs=[]),
        event("output_text.annotation.added", output_index=2, annotation=note),
        event("output_text.done", output_index=2, text="hello"),
        event("content_part.done", output_index=2, part=part),
        event("output_item.done", output_index=2, item=message),
        event("output_item.added", output_index=3, item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", output_index=3, delta='{"a"'),
        event("output_item.added", output_index=4, item={**CUSTOM, "input": ""}),
        event("custom_tool_call_input.delta", output_index=4, delta="free"),
        event("function_call_arguments.delta", output_index=3, delta=":1}"),
        event("function_call_arguments.done", output_index=3, arguments='{"a":1}'),
        event("output_item.done", output_index=3, item={**CALL, "namespace": "n"}),
        event("output_item.done", output_index=4, item=CUSTOM),
        event("news", headline="x"),
        completed(THOUGHT, search, message, {**CALL, "namespace": "n"}, CUSTOM, usage={"input_tokens": 1}),
    )
    assert stream.finished
    assert stream.answer_id == "resp_1"
    assert built(out) == said(THOUGHT, search, message, {**CALL, "namespace": "n"}, CUSTOM, usage={"input_tokens": 1})
    tokens = built(out)
    assert (tokens.text, tokens.reasoning) == ("hello", "first\n\nsecond")
    assert tokens.logprobs == {"content": [row]}
    assert tokens.extra["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": 3, "url": "u", "title": "t"},
        },
        {"type": "file_citation", "index": 1},
    ]
    assert tokens.extra["output_items"] == [search]
    assert tokens.usage == Usage(input_tokens=1, web_searches=1)
    assert tokens.tool_calls[0].extra == {"namespace": "n"}
    raws = [json.loads(piece.raw)["type"].removeprefix("response.") for piece in out if piece.raw]
    assert raws == ["created", "in_progress", "output_item.added", "web_search_call.searching", "news"]


def test_items_that_come_whole_are_told_once():
    for events in (
        [completed(THOUGHT, MESSAGE, CALL)],
        [
            event("output_item.done", item=THOUGHT),
            event("output_item.done", output_index=1, item=MESSAGE),
            event("output_item.done", output_index=2, item=CALL),
            completed(THOUGHT, MESSAGE, CALL),
        ],
    ):
        _, out = told(*events)
        assert built(out) == said(THOUGHT, MESSAGE, CALL)


def test_a_refusal_and_a_text_of_reasoning_and_sound():
    refusal = {**MESSAGE, "content": [{"type": "refusal", "refusal": "no way"}]}
    thought = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    _, out = told(
        event("reasoning_text.delta", delta="hm"),
        event("output_item.done", item=thought),
        event("refusal.delta", output_index=1, delta="no "),
        event("refusal.delta", output_index=1, delta="way"),
        event("refusal.done", output_index=1, refusal="no way"),
        event("output_item.done", output_index=1, item=refusal),
        completed(thought, refusal),
    )
    assert built(out) == said(thought, refusal)
    assert (built(out).refusal, built(out).reasoning, built(out).extra) == ("no way", "hm", None)
    _, out = told(
        event("audio.delta", delta="YWI="),
        event("audio.transcript.delta", delta="a"),
        event("audio.delta", delta="Yw=="),
        event("audio.transcript.delta", delta="b"),
        completed(),
    )
    assert built(out).extra == {"audio": {"data": "YWJj", "transcript": "ab"}}


def test_several_messages_keep_their_order_and_the_places_of_their_notes():
    note = {"type": "url_citation", "start_index": 0, "end_index": 1, "url": "u", "title": "t"}
    second = {**MESSAGE, "phase": "final_answer", "content": [{**TEXT, "text": "bye", "annotations": [note]}]}
    tokens = said({**MESSAGE, "phase": "commentary"}, CALL, second)
    assert tokens.text == "hellobye"
    assert tokens.extra["annotations"][0]["url_citation"]["start_index"] == 5
    assert tokens.extra["output_order"] == [
        {"type": "message", "chars": 5, "phase": "commentary"},
        {"type": "function_call"},
        {"type": "message", "chars": 3, "phase": "final_answer"},
    ]


def test_the_end_of_the_bytes():
    stream, out = told(event("output_text.delta", delta="a"))
    with pytest.raises(NetworkError) as caught:
        stream.end(b"", [], out)
    assert caught.value.reason == "incomplete"
    with pytest.raises(RateLimited):
        stream.end(b'{"error":{"message":"slow","code":"rate_limit_exceeded"}}', [], out)
    stream.end(b"", [(None, json.dumps(completed(MESSAGE)).encode())], out)
    assert stream.finished


def test_done_means_nothing_and_what_can_not_be_read_is_never_skipped():
    stream = wire(api="responses").open_stream()
    out = []
    stream.take([(None, b"[DONE]")], out)
    assert not stream.finished
    with pytest.raises(ServerError) as caught:
        stream.take([(None, b'{"type":"response.output_te')], out)
    assert caught.value.reason == "malformed"
    with pytest.raises(ServerError):
        stream.take([(None, b'{"type":"response.completed","response":{"output":5}}')], out)
    stream.take([(None, b'{"type":"response.output_text.delta","delta":"a\xffb"}')], out)
    assert built(out).text == "a\ufffdb"
