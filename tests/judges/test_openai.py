"""The `openai` package takes all that the simulated OpenAI, Azure and LiteLLM say, and reads it as Spillway does."""

from __future__ import annotations

import json

import pytest
from judging import CITY, FAULTS, agree, both_ways, case, hear

pytestmark = pytest.mark.xdist_group("judge-openai")

MESSAGES = [{"role": "user", "content": "Say hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": CITY}}
HISTORY = [
    *MESSAGES,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
PARTS = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        ],
    }
]
PLACES = ("openai", "azure", "azure-v1", "litellm")
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}

ASKED = {
    "text": {},
    "a limit": {"max_tokens": 3},
    "a stop": {"stop": ["e"]},
    "a seed": {"seed": 7, "temperature": 0.5},
    "a tool": {"tools": [TOOL], "tool_choice": "required"},
    "a tool by name": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "a tool's result": {"tools": [TOOL], "messages": HISTORY},
    "a schema": {"response_format": SCHEMA},
    "parts": {"messages": PARTS},
    "an effort": {"reasoning_effort": "low"},
}
"""What is asked, in the fields of `GenerateRequest`, which are those of the API but for the output limit's name."""

FLAT = {"type": "function", "name": "weather", "parameters": CITY, "strict": False}
RESPONSES = {
    "text": ({}, {}),
    "a tool": ({"tools": [FLAT], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "required"}),
    "a limit": ({"max_output_tokens": 3}, {"max_tokens": 3}),
    "a summary": (
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"extra": {"reasoning": {"effort": "low", "summary": "auto"}}},
    ),
}
"""What the Responses API is asked: the judge's fields, and ours."""


def rows():
    """All cases."""
    for where in PLACES:
        for name, fields in ASKED.items():
            asked = {"model": "gpt-4o-mini", "messages": MESSAGES} | fields
            ours = (where, {"messages": MESSAGES} | fields)
            yield from both_ways(f"{where}, {name}", "chat", asked, where=where, ours=ours)
        asked = {"model": "gpt-4o-mini", "messages": MESSAGES}
        for fault in FAULTS:
            yield from both_ways(
                f"{where}, {fault}", "chat", asked, where=where, fault=fault, ours=(where, {"messages": MESSAGES})
            )
        mid = {"where": where, "fault": "error-event-mid-stream", "stream": True}
        yield case(f"{where}, an error in a stream", "chat", asked, **mid)
        inputs = ["a word", "another"]
        yield case(
            f"{where}, embeddings",
            "embeddings",
            {"model": "text-embedding-3-small", "input": inputs},
            where=where,
            ours=(where, {"inputs": inputs}),
        )
    for where, runtime in (("openai", "openai-responses"), ("azure-v1", "azure-v1-responses")):
        for name, (theirs, ours) in RESPONSES.items():
            asked = {"model": "gpt-6-luna", "input": MESSAGES, "store": False, **theirs}
            both = {"where": where, "ours": (runtime, {"messages": MESSAGES} | ours)}
            yield from both_ways(f"{where} responses, {name}", "responses", asked, **both)
        asked = {"model": "gpt-6-luna", "input": MESSAGES, "store": False}
        for fault in FAULTS:
            both = {"where": where, "fault": fault, "ours": (runtime, {"messages": MESSAGES})}
            yield from both_ways(f"{where} responses, {fault}", "responses", asked, **both)
    yield case("models", "models", {}, where="openai")


CASES = {row["name"]: row for row in rows()}


@pytest.fixture(scope="module")
def heard():
    return hear("openai_sdk.py", list(CASES.values()))


@pytest.mark.parametrize("name", [name for name in CASES if "in a stream" not in name])
def test_it_reads_what_spillway_reads(heard, name):
    verdict, ours = heard[name]
    agree(verdict, ours)
    if ours and "error" in ours:
        assert CLASSES.get(ours["error"], "InternalServerError") in verdict["classes"]


@pytest.mark.parametrize("name", [name for name in CASES if "in a stream" in name])
def test_an_error_in_a_stream_is_one(heard, name):
    verdict, _ = heard[name]
    assert "APIError" in verdict["classes"]
    assert verdict["warnings"] == []


@pytest.mark.parametrize("where", PLACES)
def test_arguments_are_of_the_schema(heard, where):
    for how in ("whole", "streamed"):
        verdict, _ = heard[f"{where}, a tool, {how}"]
        assert [type(value) for value in verdict["calls"][0][2].values()] == [str, int]
        text = heard[f"{where}, a schema, {how}"][0]["text"]
        assert json.loads(text).keys() == {"city", "days"}


def test_the_models_are_listed(heard):
    assert "gpt-4o-mini" in heard["models"][0]["models"]
