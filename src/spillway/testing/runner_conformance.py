"""What every `ModelRunner` must do, as checks to be run against a simulator of its provider.

A check is an async function of a `RunnerSubject` that raises AssertionError. With pytest:

    @pytest.mark.parametrize("check", RUNNER_CHECKS, ids=lambda check: check.__name__)
    async def test_my_runner(check):
        async with Simulator(SimConfig(seed=1)) as simulator:
            await check(RunnerSubject(lambda: make_my_runner(simulator.url), simulator.stats))

The simulator injects the fault that a request names in its header `x-sim-fault`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.ports import ModelRunner
from spillway.core.reply import FinishReason
from spillway.testing.runner_breaks import (
    leaves_at_once_when_cancelled,
    reads_a_drip,
    refuses_by_name_what_it_can_not_carry,
    replaces_invalid_utf8_in_a_stream,
    takes_what_it_does_not_know,
    types_a_filtered_prompt,
    types_every_broken_answer,
    types_every_broken_stream,
    types_every_refusal,
)
from spillway.testing.runner_probe import Check, Outcome, RunnerSubject, ask, equal, require, running, same_answer

__all__ = [
    # running them
    "RUNNER_CHECKS",
    "Check",
    "RunnerSubject",
    # writing more of them
    "Outcome",
    "ask",
    # answers
    "answers_the_same_whole_and_streamed",
    "calls_tools_the_same_whole_and_streamed",
    "calls_several_tools_the_same_whole_and_streamed",
    "finishes_with_length_at_the_limit",
    "names_the_request",
    "reports_usage_once",
    "tells_when_the_body_is_sent",
    # what goes wrong
    "leaves_at_once_when_cancelled",
    "reads_a_drip",
    "refuses_by_name_what_it_can_not_carry",
    "replaces_invalid_utf8_in_a_stream",
    "takes_what_it_does_not_know",
    "types_a_filtered_prompt",
    "types_every_broken_answer",
    "types_every_broken_stream",
    "types_every_refusal",
]

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def answers_the_same_whole_and_streamed(subject: RunnerSubject) -> None:
    """A streamed answer adds up to the whole one: text, usage, finish reason."""
    async with running(subject) as runner:
        whole, streamed = await ask(runner), await ask(runner, stream=True)
        require(whole.error is None and streamed.error is None, f"no answer: {whole.error!r} {streamed.error!r}")
        same_answer(streamed.tokens, whole.tokens, "the streamed answer")
        require(bool(whole.tokens.text), "the answer has no text")
        require(len([c for c in streamed.chunks if c.text_delta]) > 1, "the streamed answer came in one piece")


async def reports_usage_once(subject: RunnerSubject) -> None:
    """Exactly one chunk of an answer carries usage, and it counts input and output."""
    async with running(subject) as runner:
        for stream in (False, True):
            outcome = await ask(runner, stream=stream)
            usages = [chunk.usage for chunk in outcome.chunks if chunk.usage is not None]
            equal(len(usages), 1, f"usages with stream={stream}")
            require(usages[0].input_tokens > 0 and usages[0].output_tokens > 0, f"an empty usage: {usages[0]}")


async def tells_when_the_body_is_sent(subject: RunnerSubject) -> None:
    """`on_sent` is called once for a request that was sent, refused ones included."""
    async with running(subject) as runner:
        for fault in (None, "500"):
            equal((await ask(runner, fault=fault)).sent, 1, f"calls of on_sent with fault {fault}")


async def names_the_request(subject: RunnerSubject) -> None:
    """The provider's id of a request is on the handle, another for each."""
    async with running(subject) as runner:
        ids = [
            (await ask(runner, stream=stream, prompt=f"Say {n}")).request_id for n, stream in enumerate((False, True))
        ]
        require(all(ids) and ids[0] != ids[1], f"request ids {ids}")


async def finishes_with_length_at_the_limit(subject: RunnerSubject) -> None:
    """An answer cut by `max_tokens` says so, whole and streamed."""
    async with running(subject) as runner:
        for stream in (False, True):
            tokens = (await ask(runner, stream=stream, max_tokens=2)).tokens
            equal(tokens.finish_reason, FinishReason.LENGTH, "the finish reason")
            require(
                tokens.usage is not None and tokens.usage.output_tokens <= 2, f"more than asked for: {tokens.usage}"
            )


async def calls_tools_the_same_whole_and_streamed(subject: RunnerSubject) -> None:
    """A tool call has an id, the tool's name and JSON arguments, and goes back into a conversation."""
    async with running(subject) as runner:
        await _converse(runner, [_tool("weather")], tool_choice="required")


async def calls_several_tools_the_same_whole_and_streamed(subject: RunnerSubject) -> None:
    """Several calls of one answer keep order, ids, names and arguments apart, and all their results go back."""
    async with running(subject) as runner:
        await _converse(runner, [_tool("weather"), _tool("clock")], prompt="call weather and clock, yes call clock")


async def _converse(runner: ModelRunner, tools: list[dict[str, Any]], **asked: Any) -> None:
    """Have tools called, whole and streamed, and send what they returned."""
    outcomes = [await ask(runner, stream=stream, tools=tools, **asked) for stream in (False, True)]
    for outcome in outcomes:
        require(outcome.error is None, f"no answer: {outcome.error!r}")
        equal(outcome.tokens.finish_reason, FinishReason.TOOL_CALLS, "the finish reason")
    whole, streamed = (outcome.tokens for outcome in outcomes)
    same_answer(streamed, whole, "the streamed calls")
    calls = whole.tool_calls
    equal([call.name for call in calls], [tool["function"]["name"] for tool in tools][: len(calls)], "the calls' names")
    require(len({call.id for call in calls}) == len(calls) and all(call.id for call in calls), f"the ids of {calls}")
    for call in calls:
        require("city" in msgspec.json.decode(call.arguments), f"the call's arguments: {call.arguments}")
    history = [
        {"role": "user", "content": "How is the weather?"},
        whole.message(),
        *({"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls),
    ]
    last = await ask(runner, messages=history, tools=tools)
    require(last.error is None and bool(last.tokens.text), f"no answer to a tool's result: {last.error!r}")


def _tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": _CITY}}


RUNNER_CHECKS: tuple[Check, ...] = (
    answers_the_same_whole_and_streamed,
    reports_usage_once,
    tells_when_the_body_is_sent,
    names_the_request,
    finishes_with_length_at_the_limit,
    calls_tools_the_same_whole_and_streamed,
    calls_several_tools_the_same_whole_and_streamed,
    refuses_by_name_what_it_can_not_carry,
    takes_what_it_does_not_know,
    types_every_refusal,
    types_a_filtered_prompt,
    types_every_broken_answer,
    types_every_broken_stream,
    replaces_invalid_utf8_in_a_stream,
    reads_a_drip,
    leaves_at_once_when_cancelled,
)
