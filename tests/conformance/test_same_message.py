"""The whole and the streamed reply of one request are one message, byte for byte, whoever answers and whatever is asked."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtimes import RUNTIMES, runner_of

from spillway.core import chat_shape
from spillway.sim import SimConfig, Simulator
from spillway.testing.runner_probe import ask, same_answer

ANYTHING = {"type": "string"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": ANYTHING, "days": {"type": "integer"}, "units": {"enum": ["C", "F"]}},
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object", "properties": {"a": ANYTHING}, "required": ["a"]}},
}
ASKED = {
    "text": {},
    "a cut text": {"max_tokens": 3},
    "a forced tool": {"tools": [TOOL], "tool_choice": "required"},
    "a tool by its name": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "two tools": {"tools": [TOOL, CLOCK]},
    "an effort": {"reasoning_effort": "low"},
    "reasoning": {},
    "reasoning and a tool": {"tools": [TOOL]},
    "a schema": {"response_format": SCHEMA},
}
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(
    str.strip
)
ALOUD = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
EFFORT = {"reasoning_effort": "low"}
THINKS = {
    "anthropic": {"extra": {"thinking": {"type": "adaptive"}}},
    "gemini": {"extra": ALOUD},
    "vertex": {"extra": ALOUD},
    "litellm": EFFORT,
    "litellm-claude": EFFORT,
}
"""How reasoning is asked for where the answer tells it."""


async def both(runtime, seed, prompt, asked):
    """The whole and the streamed answer of one request."""
    async with Simulator(SimConfig(seed=seed)) as simulator:
        runner = runner_of(runtime, simulator.url)
        try:
            return [await ask(runner, stream=stream, prompt=prompt, **asked) for stream in (False, True)]
        finally:
            await runner.aclose()


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    words=WORDS,
    asked=st.sampled_from(sorted(ASKED)),
    calls=st.sampled_from(("", "call weather and clock, call clock: ")),
)
def test_whole_and_streamed_are_the_same_message(runtime, seed, words, asked, calls):
    fields = ASKED[asked] | (THINKS.get(runtime, {}) if "reasoning" in asked else {})
    whole, streamed = asyncio.run(both(runtime, seed, calls + words, fields))
    assert whole.error is None
    assert streamed.error is None
    same_answer(streamed.tokens, whole.tokens, f"{runtime}, {asked}")
    shapes = [
        chat_shape.completion(outcome.tokens, model="m", completion_id="c", created=1) for outcome in (whole, streamed)
    ]
    assert json.dumps(shapes[0]) == json.dumps(shapes[1])


@pytest.mark.parametrize("runtime", sorted(THINKS))
def test_where_reasoning_is_told_it_is_in_both(runtime):
    whole, streamed = asyncio.run(both(runtime, 7, "think", THINKS[runtime]))
    assert whole.tokens.reasoning
    assert streamed.tokens.reasoning == whole.tokens.reasoning
    if runtime == "litellm-claude":
        (block,) = whole.tokens.extra["thinking_blocks"]
        assert block["signature"]
        assert streamed.tokens.message()["thinking_blocks"] == [block]
