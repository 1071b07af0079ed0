"""A streamed response: its events in order, numbered, every item that is added done, and an error where it breaks."""

import json

import pytest
from openai_doors import FLAT, TRANSLATED, ask, before_simulator, deployments

import spillway
from spillway.core.reply import FinishReason, TokenChunk, Tokens, ToolCallDelta, Usage
from spillway.gateway.app import Gateway
from spillway.gateway.dialects.responses_shape import Frame, response
from spillway.gateway.dialects.responses_stream import ResponseEvents
from spillway.sim import SimConfig, Simulator
from spillway.sim.scenario import Phase, Scenario


def read(data):
    blocks = [block for block in data.decode().split("\n\n") if block]
    return [(block.split("\n")[0][7:], json.loads(block.split("\ndata: ")[1])) for block in blocks]


def events_of(*chunks):
    events = ResponseEvents(Frame({"input": "x"}, model="m", created=1))
    out = b"".join(events.take([chunk]) for chunk in chunks)
    return read(out + events.end())


def check(events):
    """Look whether a stream keeps the API's rules; return its last response."""
    names = [name for name, _ in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert all(name == data["type"] for name, data in events)
    added = [data["output_index"] for name, data in events if name == "response.output_item.added"]
    done = {data["output_index"]: data["item"] for name, data in events if name == "response.output_item.done"}
    assert added == list(range(len(added)))
    last = events[-1][1]["response"]
    assert [done[at] for at in added] == last["output"]
    for name, data in events:
        if name.endswith(".delta"):
            item = done[data["output_index"]]
            assert data["item_id"] == item["id"]
    return last


TEXT = [TokenChunk(text_delta="a"), TokenChunk(text_delta="b")]
THOUGHT = TokenChunk(reasoning_delta="hm")
USED = TokenChunk(usage=Usage(input_tokens=3, output_tokens=2, cached_tokens=1), finish_reason=FinishReason.STOP)


def call(index, arguments="", **more):
    return TokenChunk(tool_call_delta=ToolCallDelta(index=index, arguments=arguments, **more))


def test_a_text_is_a_message_of_one_part():
    events = events_of(*TEXT, USED)
    last = check(events)
    assert [name.removeprefix("response.") for name, _ in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert last["output"][0]["content"][0]["text"] == "ab"
    assert last["usage"]["input_tokens_details"]["cached_tokens"] == 1


def test_reasoning_ends_where_the_text_begins():
    last = check(events := events_of(THOUGHT, TokenChunk(reasoning_delta="!"), *TEXT, USED))
    names = [name for name, _ in events]
    assert names.index("response.output_item.done") < names.index("response.output_text.delta")
    assert last["output"][0]["summary"] == [{"type": "summary_text", "text": "hm!"}]


def test_what_is_signed_goes_with_the_reasoning_that_it_signs():
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    last = check(events_of(THOUGHT, TokenChunk(extra={"thinking_blocks": [block]}), *TEXT, THOUGHT, USED))
    kinds = [item["type"] for item in last["output"]]
    assert kinds == ["reasoning", "message", "reasoning"]
    assert "encrypted_content" in last["output"][0]
    assert "encrypted_content" not in last["output"][2]


def test_calls_may_go_on_after_others_began():
    last = check(
        events_of(call(0, id="c1", name="f"), call(1, "{}", id="c2", name="g"), call(0, '{"a":'), call(0, "1}"), USED)
    )
    assert [(item["call_id"], item["arguments"]) for item in last["output"]] == [("c1", '{"a":1}'), ("c2", "{}")]


def test_a_call_without_an_id_gets_one():
    last = check(events_of(call(0, "{}", name="f"), USED))
    assert last["output"][0]["call_id"].startswith("call_")


def test_an_answer_without_a_word_is_an_empty_message():
    last = check(events_of(USED))
    assert last["output"][0]["content"][0]["text"] == ""


def test_a_filter_makes_it_incomplete():
    last = check(events_of(*TEXT, TokenChunk(finish_reason=FinishReason.CONTENT_FILTER)))
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert last["usage"] is None


def test_a_citation_is_told_flat():
    page = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    last = check(events := events_of(*TEXT, TokenChunk(extra={"annotations": [page]}), USED))
    flat = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    assert last["output"][0]["content"][0]["annotations"] == [flat]
    assert "response.output_text.annotation.added" in [name for name, _ in events]


def test_a_picture_is_an_item_and_goes_back_sealed():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    chunks = [*TEXT, TokenChunk(extra={"images": [picture]}), USED]
    last = check(events_of(*chunks))
    kinds = [item["type"] for item in last["output"]]
    assert kinds == ["message", "image_generation_call", "reasoning"]
    assert last["output"][1]["result"] == "aGk="
    whole = response(Tokens(text="ab", extra={"images": [picture]}), Frame({"input": "x"}, model="m", created=1))
    assert {item["type"] for item in whole["output"]} == set(kinds)


@pytest.mark.parametrize("model", TRANSLATED)
@pytest.mark.parametrize("what", ["text", "a tool"])
async def test_every_runtime_keeps_the_rules(model, what):
    asked = {"text": {"input": "hello"}, "a tool": {"input": "call weather", "tools": [FLAT]}}[what]
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses", {"model": model, "stream": True, **asked})
    assert answer.headers["content-type"].startswith("text/event-stream")
    last = check(answer.events)
    assert answer.events[-1][0] == "response.completed"
    assert last["status"] == "completed"


@pytest.mark.parametrize("model", ["gpt-4o-mini", "luna", "claude-haiku-4-5"])
@pytest.mark.parametrize("fault", ["reset-mid-stream", "error-event-mid-stream", "truncated-stream"])
async def test_a_stream_that_breaks_ends_in_an_error(model, fault):
    async with Simulator(SimConfig(seed=1, scenario=Scenario((Phase(fault=fault),)))) as simulator:
        async with spillway.Cluster(deployments(simulator.url)) as cluster:
            gateway = Gateway(cluster)
            answer = await ask(gateway, "/v1/responses", {"model": model, "input": "hello", "stream": True})
    assert answer.status == 200
    events = answer.events
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    name, error = events[-1]
    assert name == error["type"] == "error"
    assert error["code"] == error["error"]["code"] == "stream_interrupted"
    assert error["message"]
    assert "response.completed" not in [name for name, _ in events]
    if model != "luna":
        name, failed = events[-2]
        assert name == "response.failed"
        assert failed["response"]["status"] == "failed"
        assert failed["response"]["error"]["code"] == "server_error"
