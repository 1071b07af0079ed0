"""The `google-genai` package takes all that the simulated Gemini and Vertex say, and reads it as Spillway does."""

from __future__ import annotations

import pytest
from judging import CITY, FAULTS, agree, both_ways, case, hear

pytestmark = pytest.mark.xdist_group("judge-genai")

MODEL = "gemini-2.5-flash"
MESSAGES = [{"role": "user", "content": "Say hello"}]
BASE = {"model": MODEL, "contents": "Say hello"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
THEIRS = {"function_declarations": [{"name": "weather", "parameters_json_schema": CITY}]}
FORCED = {"function_calling_config": {"mode": "ANY"}}
ALOUD = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
PLACES = {"gemini": "ai_studio", "vertex": "vertex"}

ASKED = {
    "text": ({}, {}),
    "a limit": ({"max_output_tokens": 3}, {"max_tokens": 3}),
    "a stop": ({"stop_sequences": ["e"]}, {"stop": ["e"]}),
    "a tool": ({"tools": [THEIRS], "tool_config": FORCED}, {"tools": [TOOL], "tool_choice": "required"}),
    "thoughts": ({"thinking_config": {"include_thoughts": True}}, {"extra": ALOUD}),
}
"""What is asked: the judge's config, and our fields."""


def rows():
    """All cases."""
    for runtime, where in PLACES.items():
        for name, (theirs, ours) in ASKED.items():
            asked = BASE | ({"config": theirs} if theirs else {})
            both = {"where": where, "ours": (runtime, {"messages": MESSAGES} | ours)}
            yield from both_ways(f"{where}, {name}", "generate", asked, **both)
        for fault in FAULTS:
            both = {"where": where, "fault": fault, "ours": (runtime, {"messages": MESSAGES})}
            yield from both_ways(f"{where}, {fault}", "generate", BASE, **both)
        mid = {"where": where, "fault": "error-event-mid-stream", "stream": True}
        yield case(f"{where}, an error in a stream", "generate", BASE, **mid)
        model = "gemini-embedding-001" if where == "ai_studio" else "text-embedding-005"
        yield case(f"{where}, vectors", "embed", {"model": model, "contents": ["a word", "another"]}, where=where)
        yield case(f"{where}, a count", "count", BASE, where=where)


CASES = {row["name"]: row for row in rows()}


@pytest.fixture(scope="module")
def heard():
    return hear("genai_sdk.py", list(CASES.values()))


@pytest.mark.parametrize("name", [name for name in CASES if "in a stream" not in name])
def test_it_reads_what_spillway_reads(heard, name):
    verdict, ours = heard[name]
    agree(verdict, ours)
    if ours and "error" in ours:
        assert ("ClientError" if ours["error"] < 500 else "ServerError") in verdict["classes"]


@pytest.mark.parametrize("where", PLACES.values())
def test_an_error_in_a_stream_is_one(heard, where):
    verdict, _ = heard[f"{where}, an error in a stream"]
    assert {"ServerError", "APIError"} & set(verdict["classes"])
    assert verdict["warnings"] == []


@pytest.mark.parametrize("where", PLACES.values())
def test_thoughts_are_told_and_vectors_and_counts_are_there(heard, where):
    for how in ("whole", "streamed"):
        assert heard[f"{where}, thoughts, {how}"][0]["reasoning"]
    assert len(heard[f"{where}, vectors"][0]["vectors"]) == 2
    assert heard[f"{where}, a count"][0]["counted"] > 0
