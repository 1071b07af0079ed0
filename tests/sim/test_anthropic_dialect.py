"""Anthropic's own: what is signed and wanted back, what is cited, cached, searched, paused and refused."""

import json

import pytest
from simtools import KEY, anthropic

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"name": name, "input_schema": SCHEMA} for name in ("weather", "time")]
SEARCH = [{"type": "web_search_20260318", "name": "web_search"}]
THINKING = {"type": "adaptive"}
MARK, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
    "title": "T",
    "citations": {"enabled": True},
}


@pytest.fixture
async def tell(start):
    """Ask with messages or a text; the answer as an object, or the status and the message of the refusal."""
    simulator, asker = await start(seed=4)

    async def ask(messages, *, headers=None, path="/v1/messages", **fields):
        given = messages if isinstance(messages, list) else [{"role": "user", "content": messages}]
        body = {**anthropic(""), **fields, "messages": given}
        body = {name: value for name, value in body.items() if value is not None}
        sent = {"x-api-key": KEY, "anthropic-version": "2026-10-21", **(headers or {})}
        async with asker.session.post(simulator.url + path, json=body, headers=sent) as response:
            answer = json.loads(await response.read())
            return answer if response.status == 200 else (response.status, answer["error"]["message"])

    return ask


def kinds(answer):
    return [block["type"] for block in answer["content"]]


def user(content):
    return {"role": "user", "content": content}


def after(question, answer, *results):
    return [user(question), {"role": "assistant", "content": answer["content"]}, *results]


def results(answer):
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    return user([{"type": "tool_result", "tool_use_id": call["id"], "content": "42"} for call in calls])


async def test_several_tools_are_called_unless_one_at_a_time_is_asked_for(tell):
    both = await tell("call weather, call time", tools=TOOLS)
    assert [block["name"] for block in both["content"]] == ["weather", "time"]
    assert len({block["id"] for block in both["content"]}) == 2
    alone = await tell(
        "call weather, call time", tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True}
    )
    assert [block["name"] for block in alone["content"]] == ["weather"]
    status, why = await tell(after("x", both))
    assert (status, "without `tool_result` blocks" in why) == (400, True)
    stranger = user([{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}, *results(both)["content"]])
    assert "unexpected `tool_use_id`" in (await tell(after("x", both, stranger)))[1]
    assert kinds(await tell(after("x", both, results(both)), tools=TOOLS)) == ["text"]


async def test_thinking_is_wanted_back_as_it_was_signed(tell):
    called = await tell("call weather in secret", tools=TOOLS, thinking=THINKING)
    assert kinds(called) == ["thinking", "redacted_thinking", "tool_use"]
    asked = {"tools": TOOLS, "thinking": THINKING}
    assert kinds(await tell(after("x", called, results(called)), **asked)) == ["thinking", "text"]
    thought, hidden, call = called["content"]
    for changed, why in (
        ([call], "Expected `thinking`"),
        ([{**thought, "thinking": "other"}, hidden, call], "Invalid `signature`"),
        ([{"type": "thinking", "thinking": ""}, call], "Field required"),
        ([thought, {**hidden, "data": "other"}, call], "Invalid `data`"),
    ):
        status, said = await tell(after("x", {"content": changed}, results(called)), **asked)
        assert status == 400
        assert why in said
    hidden = await tell("hello", thinking={"type": "adaptive", "display": "omitted"})
    assert hidden["content"][0]["thinking"] == ""
    assert hidden["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    assert kinds(await tell([*after("x", hidden), user("more")], thinking=THINKING)) == ["thinking", "text"]


async def test_documents_results_and_finds_are_cited(tell):
    page = {**DOCUMENT, "source": {"type": "url", "url": "https://x"}}
    own = {**DOCUMENT, "source": {"type": "content", "content": [{"type": "text", "text": "one"}]}}
    result = {
        "type": "search_result",
        "source": "s",
        "title": "t",
        "content": [{"type": "text", "text": "two"}],
        "citations": {"enabled": True},
    }
    silent = {**DOCUMENT, "citations": {"enabled": False}}
    asked = user([DOCUMENT, silent, page, own, result, {"type": "text", "text": "hello"}])
    plain, cited = (await tell([asked]))["content"]
    assert plain["citations"] is None
    assert [citation["type"] for citation in cited["citations"]] == [
        "char_location",
        "page_location",
        "content_block_location",
        "search_result_location",
    ]
    assert cited["citations"][0]["cited_text"] == "The grass is green."
    assert [citation.get("document_index") for citation in cited["citations"]] == [0, 1, 2, None]


async def test_a_search_is_made_paused_and_gone_on_with(tell):
    found = await tell("search it", tools=SEARCH)
    assert kinds(found) == ["server_tool_use", "web_search_tool_result", "text", "text"]
    assert found["usage"]["server_tool_use"]["web_search_requests"] == 1
    paused = await tell("search it and pause", tools=SEARCH)
    assert kinds(paused) == ["text", "server_tool_use"]
    assert paused["stop_reason"] == "pause_turn"
    resumed = await tell(after("search it and pause", paused), tools=SEARCH)
    assert kinds(resumed) == ["web_search_tool_result", "text", "text"]
    assert resumed["stop_reason"] == "end_turn"
    found["content"][1]["content"][0]["encrypted_content"] = "other"
    assert "Invalid `encrypted_content`" in (await tell([*after("x", found), user("more")], tools=SEARCH))[1]


async def test_a_refusal_midway_has_its_details(tell):
    refused = await tell("refuse midway")
    assert refused["stop_reason"] == "refusal"
    assert refused["stop_details"]["category"] == "cyber"
    assert len(refused["content"][0]["text"].split()) == 5


async def test_marks_decide_what_is_read_and_written(tell):
    def text(words, mark=None):
        return {"type": "text", "text": words, **({"cache_control": mark} if mark else {})}

    def used(answer):
        usage = answer["usage"]
        by_ttl = usage["cache_creation"]
        assert usage["cache_creation_input_tokens"] == sum(by_ttl.values())
        return usage["input_tokens"], usage["cache_read_input_tokens"], *by_ttl.values()

    once = await tell([user([text("b" * 40, MARK), text("c" * 4)])], system=[text("a" * 400, HOUR)])
    assert used(once) == (1, 0, 10, 100)
    turns = [user([text("b" * 40, MARK)]), {"role": "assistant", "content": "d" * 8}, user([text("e" * 12, MARK)])]
    assert used(await tell(turns, system=[text("a" * 400, HOUR)])) == (0, 110, 5, 0)
    assert used(await tell("a" * 8, cache_control=MARK)) == (0, 0, 2, 0)
    tools = [{**TOOLS[0], "cache_control": MARK}]
    assert used(await tell("a" * 8, tools=tools))[2] > 10
    assert "maximum of 4" in (await tell([user([text("x", MARK)] * 5)]))[1]
    assert "must not come after" in (await tell([user([text("x", MARK), text("x", HOUR)])]))[1]
    assert "ephemeral" in (await tell([user([text("x", {"type": "forever"})])]))[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([{"type": "image", "source": {**PNG, "media_type": "image/bmp"}}], "media_type"),
        ([{"type": "image", "source": {**PNG, "data": "?"}}], "invalid base64"),
        ([{"type": "image", "source": {"type": "text"}}], "source"),
        ([{"type": "image", "source": {"type": "file"}}], "Field required"),
        ([{"type": "video"}], "'video'"),
        ([{"type": "tool_use", "id": "x"}], "may only be in `assistant`"),
        ([{"type": "text", "text": "x", "citations": [{}]}], "citations"),
        ([{"type": "text", "text": ""}], "non-empty"),
        (["x"], "valid content block"),
        (5, "valid list"),
    ],
)
async def test_content_that_is_refused(tell, content, why):
    status, said = await tell([user(content)])
    assert status == 400
    assert why in said


async def test_the_versions_differ_in_documents_of_answers(tell):
    turns = [user("x"), {"role": "assistant", "content": [DOCUMENT]}, user("y")]
    assert "may not be in `assistant`" in (await tell(turns))[1]
    assert kinds(await tell(turns, headers={"anthropic-version": "2023-06-01"})) == ["text", "text"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"headers": {"anthropic-beta": "files-api-2025-04-14, nonsense-2020-01-01"}}, "nonsense"),
        ({"headers": {"anthropic-version": "2024-01-01"}}, "not a valid version"),
        ({"stop_sequences": ["\n"]}, "non-whitespace"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "max_tokens"),
        ({"thinking": THINKING, "tools": TOOLS, "tool_choice": {"type": "any"}}, "forces tool use"),
        ({"output_config": {"effort": "huge"}}, "effort"),
        ({"max_tokens": None}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
    ],
)
async def test_requests_that_are_refused(tell, fields, why):
    messages = [] if "messages" in fields else "hello"
    fields.pop("messages", None)
    status, said = await tell(messages, **fields)
    assert status == 400
    assert why in said


async def test_who_speaks_first_and_who_may_speak(tell):
    assert "first message" in (await tell([{"role": "assistant", "content": "x"}]))[1]
    assert "role" in (await tell([{"role": "critic", "content": "x"}]))[1]


async def test_what_is_asked_for_is_told(tell):
    answer = await tell(
        "hi",
        speed="fast",
        inference_geo="us",
        container={"skills": []} | {"id": "c_1"},
        headers={"anthropic-beta": "fast-mode-2026-02-01"},
        thinking={"type": "between_tools"},
    )
    assert (answer["usage"]["speed"], answer["usage"]["inference_geo"]) == ("fast", "us")
    assert answer["container"]["id"] == "c_1"
    assert kinds(answer) == ["text"]
    assert (await tell("hi", max_tokens=0))["content"] == []


async def test_counting_takes_what_decides_the_count(tell):
    count = {"path": "/v1/messages/count_tokens"}
    assert await tell("12345", max_tokens=None, **count) == {"input_tokens": 2}
    thinking = {"type": "enabled", "budget_tokens": 5000}
    assert await tell("12345", max_tokens=None, thinking=thinking, **count) == {"input_tokens": 2}
    assert "max_tokens: Extra inputs" in (await tell("12345", **count))[1]
