"""The `anthropic` package takes all that the simulated Anthropic says, and reads it as Spillway does."""

from __future__ import annotations

import pytest
from judging import CITY, FAULTS, agree, both_ways, case, hear

pytestmark = pytest.mark.xdist_group("judge-anthropic")

MODEL = "claude-haiku-4-5"
MESSAGES = [{"role": "user", "content": "Say hello"}]
BASE = {"model": MODEL, "max_tokens": 4096, "messages": MESSAGES}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
THEIRS = {"name": "weather", "input_schema": CITY}
THINKING = {"type": "enabled", "budget_tokens": 1024}
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
    529: "OverloadedError",
}

ASKED = {
    "text": ({}, {}),
    "a limit": ({"max_tokens": 3}, {"max_tokens": 3}),
    "a system prompt": (
        {"system": "be brief"},
        {"messages": [{"role": "system", "content": "be brief"}, *MESSAGES]},
    ),
    "a tool": ({"tools": [THEIRS], "tool_choice": {"type": "any"}}, {"tools": [TOOL], "tool_choice": "required"}),
    "thinking": ({"thinking": THINKING}, {"extra": {"thinking": THINKING}}),
    "thinking and a tool": (
        {"thinking": THINKING, "tools": [THEIRS], "messages": [{"role": "user", "content": "call weather"}]},
        {
            "extra": {"thinking": THINKING},
            "tools": [TOOL],
            "messages": [{"role": "user", "content": "call weather"}],
        },
    ),
}
"""What is asked: the judge's fields, and ours."""


def rows():
    """All cases."""
    for name, (theirs, ours) in ASKED.items():
        yield from both_ways(name, "messages", BASE | theirs, ours=("anthropic", {"messages": MESSAGES} | ours))
    for fault in FAULTS:
        yield from both_ways(fault, "messages", BASE, fault=fault, ours=("anthropic", {"messages": MESSAGES}))
    yield case("an error in a stream", "messages", BASE, fault="error-event-mid-stream", stream=True)
    counted = {"model": MODEL, "messages": MESSAGES}
    yield case("a count", "count", counted, ours=("anthropic", {"messages": MESSAGES, "counts": True}))


CASES = {row["name"]: row for row in rows()}


@pytest.fixture(scope="module")
def heard():
    return hear("anthropic_sdk.py", list(CASES.values()))


@pytest.mark.parametrize("name", [name for name in CASES if "in a stream" not in name])
def test_it_reads_what_spillway_reads(heard, name):
    verdict, ours = heard[name]
    agree(verdict, ours)
    if ours and "error" in ours:
        assert CLASSES.get(ours["error"], "InternalServerError") in verdict["classes"]


def test_an_error_in_a_stream_is_one(heard):
    verdict, _ = heard["an error in a stream"]
    assert "APIStatusError" in verdict["classes"]
    assert "overloaded_error" in verdict["message"]
    assert verdict["warnings"] == []


@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_thinking_is_told_and_signed(heard, how):
    verdict, _ = heard[f"thinking, {how}"]
    assert verdict["reasoning"]
    assert verdict["signed"]
