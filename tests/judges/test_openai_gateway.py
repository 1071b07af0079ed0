"""The `openai` package, unchanged, through a served gateway to every runtime."""

from __future__ import annotations

import json

import pytest
from judging import CITY, case
from openai_served import hear_through_gateway

pytestmark = pytest.mark.xdist_group("judge-openai-gateway")

PLACES = ("gpt-4o-mini", "azure-mini", "claude-haiku-4-5", "gemini-2.5-flash", "lite", "luna")
SINGLE = frozenset({"gemini-2.5-flash"})
"""Where the simulator makes one call at a time."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
STRICT = {**CITY, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": CITY}}
TIDES = {"type": "function", "function": {"name": "tides", "description": "tells them", "parameters": CITY}}
FLAT = {"type": "function", "name": "weather", "description": "tells it", "parameters": CITY, "strict": False}
FLAT_TIDES = {**FLAT, "name": "tides"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": STRICT}}
FORMAT = {"format": {"type": "json_schema", "name": "s", "strict": True, "schema": STRICT}}
PICTURE = f"data:image/png;base64,{PNG}"


def user(text):
    return [{"role": "user", "content": text}]


CHAT = {
    "text": {"messages": user("Say hello")},
    "a system's word": {"messages": [{"role": "system", "content": "Be brief"}, *user("Say hello")]},
    "a limit": {"messages": user("Say hello"), "max_completion_tokens": 3},
    "a tool": {"messages": user("call weather"), "tools": [TOOL]},
    "tools": {"messages": user("call weather and tides"), "tools": [TOOL, TIDES]},
    "a tool by name": {
        "messages": user("call weather"),
        "tools": [TOOL, TIDES],
        "tool_choice": {"type": "function", "function": {"name": "tides"}},
    },
    "a schema": {"messages": user("where?"), "response_format": SCHEMA},
    "an image": {
        "messages": user(
            [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
        )
    },
    "an effort": {"messages": user("think"), "reasoning_effort": "low", "max_completion_tokens": 4000},
}
RESPONSES = {
    "text": {"input": "Say hello"},
    "instructions": {"input": user("Say hello"), "instructions": "Be brief"},
    "a limit": {"input": "Say hello", "max_output_tokens": 3},
    "a tool": {"input": "call weather", "tools": [FLAT]},
    "tools": {"input": "call weather and tides", "tools": [FLAT, FLAT_TIDES]},
    "a tool by name": {
        "input": "call weather",
        "tools": [FLAT, FLAT_TIDES],
        "tool_choice": {"type": "function", "name": "tides"},
    },
    "a schema": {"input": "where?", "text": FORMAT},
    "an image": {
        "input": user(
            [
                {"type": "input_text", "text": "what is it?"},
                {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
            ]
        )
    },
    "a summary": {
        "input": "think",
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 4000,
    },
}
EMBEDDERS = ("text-embedding-3-small", "gemini-embedding-001", "lite-embedding")


def rows():
    for where in PLACES:
        for door, asks in (("chat", CHAT), ("responses", RESPONSES)):
            for what, asked in asks.items():
                for how in ("whole", "streamed"):
                    # The package's helper takes no stream that ends incomplete.
                    more = {"stream": how == "streamed", "by_hand": what == "a limit"}
                    yield case(f"{where}, {door}, {what}, {how}", door, {"model": where, **asked}, **more)
        yield case(f"{where}, chat, parse, whole", "chat", {"model": where, "messages": user("where?")}, parse=True)
        asked = {"model": where, "messages": user("where?")}
        yield case(f"{where}, chat, parse, streamed", "chat", asked, parse=True, stream=True)
        yield case(f"{where}, responses, parse", "responses", {"model": where, "input": "where?"}, parse=True)
        words = "call weather" if where in SINGLE else "call weather and tides"
        asked = {"model": where, "messages": user(words), "tools": [TOOL, TIDES]}
        yield case(f"{where}, chat, loop", "loop", asked, api="chat")
        asked = {"model": where, "input": words, "tools": [FLAT, FLAT_TIDES]}
        yield case(f"{where}, responses, loop", "loop", asked, api="responses")
    for where in EMBEDDERS:
        yield case(f"{where}, embeddings", "embeddings", {"model": where, "input": ["a word", "another"]})
        asked = {"model": where, "input": ["a word"], "encoding_format": "float", "dimensions": 8}
        yield case(f"{where}, embeddings, short", "embeddings", asked)
    yield case("models", "models", {"model": "luna"})
    for where in ("gpt-4o-mini", "lite"):
        asked = {"model": where, "messages": user("Say hello"), "n": 2, "logprobs": True}
        for how in ("whole", "streamed"):
            yield case(f"{where}, answers, {how}", "chat", asked, stream=how == "streamed")
    for where in ("claude-haiku-4-5", "gemini-2.5-flash", "lite"):
        asked = {"model": where, "messages": user("Say hello"), "stream": True}
        yield case(f"{where}, chunks", "chunks", {**asked, "stream_options": {"include_usage": True}})
        yield case(f"{where}, chunks without usage", "chunks", asked)


CASES = {row["name"]: row for row in rows()}
BOTH = [(where, door) for where in PLACES for door in ("chat", "responses")]


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    verdicts = hear_through_gateway("openai_gateway.py", list(CASES.values()), tmp_path_factory.mktemp("served"))
    for verdict in verdicts.values():
        # Dumping a response of many unions is what the package warns of, not what it read.
        verdict["warnings"] = [told for told in verdict["warnings"] if "PydanticSerialization" not in told]
    return verdicts


@pytest.mark.parametrize("name", CASES)
def test_it_takes_every_answer(heard, name):
    verdict = heard[name]
    assert "error" not in verdict and "trace" not in verdict, verdict["trace"]
    assert verdict["warnings"] == []


ASKED = [(where, "chat", what) for where in PLACES for what in CHAT]
ASKED += [(where, "responses", what) for where in PLACES for what in RESPONSES]


@pytest.mark.parametrize(("where", "door", "what"), ASKED)
def test_a_stream_is_the_whole_answer(heard, where, door, what):
    whole, streamed = (heard[f"{where}, {door}, {what}, {how}"] for how in ("whole", "streamed"))
    for name in ("text", "usage", "finish", "status", "sent"):
        assert whole.get(name) == streamed.get(name), name
    assert [call[1:] for call in whole["calls"]] == [call[1:] for call in streamed["calls"]]
    assert whole["sent"] == 1


@pytest.mark.parametrize(("where", "door"), BOTH)
@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_tools_are_called(heard, where, door, how):
    (one,) = heard[f"{where}, {door}, a tool, {how}"]["calls"]
    assert one[1] == "weather"
    assert [type(value) for value in one[2].values()] == [str, int]
    (named,) = heard[f"{where}, {door}, a tool by name, {how}"]["calls"]
    assert named[1] == "tides"
    several = heard[f"{where}, {door}, tools, {how}"]["calls"]
    if where not in SINGLE:
        assert [call[1] for call in several] == ["weather", "tides"]
    assert len({call[0] for call in several}) == len(several)


@pytest.mark.parametrize(("where", "door"), BOTH)
def test_the_loop_of_tools_comes_to_a_text(heard, where, door):
    verdict = heard[f"{where}, {door}, loop"]
    assert verdict["names"] == (["weather"] if where in SINGLE else ["weather", "tides"])
    assert verdict["text"]


@pytest.mark.parametrize(("where", "door"), BOTH)
def test_a_schema_is_kept(heard, where, door):
    for how in ("whole", "streamed"):
        assert json.loads(heard[f"{where}, {door}, a schema, {how}"]["text"]).keys() == {"city", "days"}
    for name in (f"{where}, {door}, parse", f"{where}, {door}, parse, whole", f"{where}, {door}, parse, streamed"):
        if name in heard:
            assert heard[name]["parsed"].keys() == {"city", "days"}


@pytest.mark.parametrize("where", PLACES)
def test_a_limit_is_told(heard, where):
    for how in ("whole", "streamed"):
        assert heard[f"{where}, chat, a limit, {how}"]["finish"] == "length"
        assert heard[f"{where}, responses, a limit, {how}"]["status"] == "incomplete"


@pytest.mark.parametrize(("where", "door"), BOTH)
def test_an_image_counts(heard, where, door):
    seen = heard[f"{where}, {door}, an image, whole"]["usage"][0]
    assert seen > heard[f"{where}, {door}, text, whole"]["usage"][0]


@pytest.mark.parametrize("where", EMBEDDERS)
def test_vectors_come(heard, where):
    long, short = heard[f"{where}, embeddings"], heard[f"{where}, embeddings, short"]
    assert long["count"] == 2
    assert long["lengths"][0] > 8
    assert short["lengths"] == [8]


def test_the_models_are_listed(heard):
    assert {*PLACES, *EMBEDDERS} <= set(heard["models"]["models"])
    assert heard["models"]["one"] == "luna"


@pytest.mark.parametrize("where", ["gpt-4o-mini", "lite"])
def test_several_answers_come_apart(heard, where):
    for how in ("whole", "streamed"):
        verdict = heard[f"{where}, answers, {how}"]
        assert len(set(verdict["texts"])) == 2
        assert verdict["roles"] == ["assistant", "assistant"]
        assert "".join(verdict["logprobs"]) == verdict["text"]


@pytest.mark.parametrize("where", ["claude-haiku-4-5", "gemini-2.5-flash", "lite"])
def test_chunks_are_as_openai_writes_them(heard, where):
    chunks = heard[f"{where}, chunks"]["chunks"]
    assert len({(each["id"], each["created"], each["model"]) for each in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all(each["usage"] is None and each["choices"] for each in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    ends = [each["choices"][0]["finish_reason"] for each in chunks[:-1]]
    assert ends == [None] * (len(ends) - 1) + ["stop"]
    assert all(not each.get("usage") for each in heard[f"{where}, chunks without usage"]["chunks"])
