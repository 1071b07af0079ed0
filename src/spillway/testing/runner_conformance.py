"""What every `ModelRunner` must do, as checks to be run against a simulator of its provider.

A check is an async function of a `RunnerSubject` that raises AssertionError. With pytest:

    @pytest.mark.parametrize("check", RUNNER_CHECKS, ids=lambda check: check.__name__)
    async def test_my_runner(check):
        async with Simulator(SimConfig(seed=1)) as simulator:
            await check(RunnerSubject(lambda: make_my_runner(simulator.url), simulator.stats))

The simulator injects the fault that a request names in its header `x-sim-fault`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from spillway.core.building import TokensBuilder
from spillway.core.clock import sleep
from spillway.core.errors import ContentFiltered, InferenceError
from spillway.core.ports import ExecuteBatch, ModelRunner
from spillway.core.reply import FinishReason, TokenChunk, Tokens
from spillway.core.request import GenerateRequest
from spillway.testing.runner_faults import BROKEN_STREAM, BROKEN_UNARY, REFUSALS, Expected

DEADLINE_S = 60.0
CANCEL_S = 0.1
_NAP_S = 0.005


class RunnerSubject(msgspec.Struct, frozen=True):
    """A runner under test.

    Attributes:
        make: returns a new runner that talks to the simulator; its `aclose()`, if it has one, is awaited.
        stats: returns what the simulator has counted, at least `disconnected` and `in_flight`.
        skip: faults that its provider can't have.
    """

    make: Callable[[], ModelRunner]
    stats: Callable[[], Mapping[str, Any]]
    skip: frozenset[str] = frozenset()


Check = Callable[[RunnerSubject], Awaitable[None]]


class Outcome:
    """What came of one request: chunks, and the error that ended it, if one did."""

    def __init__(self) -> None:
        self.reads: list[list[TokenChunk]] = []
        self.error: InferenceError | None = None
        self.sent = 0
        self.request_id = ""

    @property
    def chunks(self) -> list[TokenChunk]:
        """All chunks in order."""
        return [chunk for read in self.reads for chunk in read]

    @property
    def tokens(self) -> Tokens:
        """The chunks, added up."""
        builder = TokensBuilder()
        for chunk in self.chunks:
            builder.add(chunk)
        return builder.build()


async def ask(
    runner: ModelRunner, *, stream: bool = False, fault: str | None = None, prompt: str = "Say hello", **fields: Any
) -> Outcome:
    """Send one request and read its answer to the end."""
    outcome = Outcome()
    batch = _batch(stream=stream, fault=fault, prompt=prompt, **fields)
    batch.on_sent = lambda: setattr(outcome, "sent", outcome.sent + 1)
    try:
        handle = await runner.execute(batch)
        async for chunks in handle:
            outcome.reads.append(chunks)
    except InferenceError as error:
        outcome.error = error
    else:
        outcome.request_id = getattr(handle, "request_id", "")
        await handle.aclose()
    return outcome


async def answers_the_same_whole_and_streamed(subject: RunnerSubject) -> None:
    """A streamed answer adds up to the whole one: text, usage, finish reason."""
    async with _running(subject) as runner:
        whole, streamed = await ask(runner), await ask(runner, stream=True)
        _require(whole.error is None and streamed.error is None, f"no answer: {whole.error!r} {streamed.error!r}")
        _equal(streamed.tokens, whole.tokens, "the streamed answer")
        _require(bool(whole.tokens.text), "the answer has no text")
        _require(len([c for c in streamed.chunks if c.text_delta]) > 1, "the streamed answer came in one piece")


async def reports_usage_once(subject: RunnerSubject) -> None:
    """Exactly one chunk of an answer carries usage, and it counts input and output."""
    async with _running(subject) as runner:
        for stream in (False, True):
            outcome = await ask(runner, stream=stream)
            usages = [chunk.usage for chunk in outcome.chunks if chunk.usage is not None]
            _equal(len(usages), 1, f"usages with stream={stream}")
            _require(usages[0].input_tokens > 0 and usages[0].output_tokens > 0, f"an empty usage: {usages[0]}")


async def tells_when_the_body_is_sent(subject: RunnerSubject) -> None:
    """`on_sent` is called once for a request that was sent, refused ones included."""
    async with _running(subject) as runner:
        for fault in (None, "500"):
            _equal((await ask(runner, fault=fault)).sent, 1, f"calls of on_sent with fault {fault}")


async def names_the_request(subject: RunnerSubject) -> None:
    """The provider's id of a request is on the handle, another for each."""
    async with _running(subject) as runner:
        ids = [
            (await ask(runner, stream=stream, prompt=f"Say {n}")).request_id for n, stream in enumerate((False, True))
        ]
        _require(all(ids) and ids[0] != ids[1], f"request ids {ids}")


async def finishes_with_length_at_the_limit(subject: RunnerSubject) -> None:
    """An answer cut by `max_tokens` says so, whole and streamed."""
    async with _running(subject) as runner:
        for stream in (False, True):
            tokens = (await ask(runner, stream=stream, max_tokens=2)).tokens
            _equal(tokens.finish_reason, FinishReason.LENGTH, "the finish reason")
            _require(
                tokens.usage is not None and tokens.usage.output_tokens <= 2, f"more than asked for: {tokens.usage}"
            )


async def calls_tools_the_same_whole_and_streamed(subject: RunnerSubject) -> None:
    """A tool call has an id, the tool's name and JSON arguments, and goes back into a conversation."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    async with _running(subject) as runner:
        outcomes = [await ask(runner, stream=stream, tools=tools, tool_choice="required") for stream in (False, True)]
        for outcome in outcomes:
            _require(outcome.error is None, f"no answer: {outcome.error!r}")
            _equal(outcome.tokens.finish_reason, FinishReason.TOOL_CALLS, "the finish reason")
            call = outcome.tokens.tool_calls[0]
            _require(bool(call.id), "the call has no id")
            _equal(call.name, "weather", "the call's name")
            _require("city" in msgspec.json.decode(call.arguments), f"the call's arguments: {call.arguments}")
        _equal(outcomes[1].tokens.tool_calls[0].arguments, outcomes[0].tokens.tool_calls[0].arguments, "the arguments")
        call = outcomes[0].tokens.tool_calls[0]
        said = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        history = [
            {"role": "user", "content": "How is the weather?"},
            {"role": "assistant", "content": None, "tool_calls": [said]},
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]
        last = await ask(runner, messages=history, tools=tools)
        _require(last.error is None and bool(last.tokens.text), f"no answer to a tool's result: {last.error!r}")


async def types_every_refusal(subject: RunnerSubject) -> None:
    """What goes wrong before an answer comes out as its class, unary and streamed, and nothing is leaked."""
    async with _running(subject) as runner:
        for fault, expected in REFUSALS.items():
            if fault in subject.skip:
                continue
            for stream in (False, True):
                outcome = await ask(runner, stream=stream, fault=fault)
                _matches(outcome.error, expected, f"{fault}, stream={stream}")
        _require((await ask(runner)).error is None, "it does not answer after the faults")


async def types_a_filtered_prompt(subject: RunnerSubject) -> None:
    """A filtered prompt is ContentFiltered, or where the provider answers it, an answer that ends in content_filter."""
    async with _running(subject) as runner:
        for stream in (False, True):
            outcome = await ask(runner, stream=stream, fault="content-filter")
            if outcome.error is None:
                _equal(outcome.tokens.finish_reason, FinishReason.CONTENT_FILTER, "the finish reason")
            else:
                _matches(outcome.error, Expected(ContentFiltered, retryable=False, counts=False), "content-filter")


async def types_every_broken_answer(subject: RunnerSubject) -> None:
    """A whole answer that breaks or can't be read is an error, never half an answer."""
    async with _running(subject) as runner:
        for fault, expected in BROKEN_UNARY.items():
            if fault not in subject.skip:
                outcome = await ask(runner, fault=fault)
                _matches(outcome.error, expected, fault)
                _equal(outcome.chunks, [], f"chunks before {fault}")


async def types_every_broken_stream(subject: RunnerSubject) -> None:
    """A stream that breaks gives what came, then its error, and never a finish reason."""
    async with _running(subject) as runner:
        whole = (await ask(runner, stream=True)).tokens.text
        for fault, expected in BROKEN_STREAM.items():
            if fault in subject.skip:
                continue
            outcome = await ask(runner, stream=True, fault=fault)
            _matches(outcome.error, expected, fault)
            came = outcome.tokens
            _require(bool(came.text) and whole.startswith(came.text), f"{fault}: {came.text!r} came of {whole!r}")
            _equal(came.finish_reason, None, f"the finish reason after {fault}")


async def replaces_invalid_utf8_in_a_stream(subject: RunnerSubject) -> None:
    """Bytes that are no UTF-8 become U+FFFD and the stream goes on."""
    async with _running(subject) as runner:
        outcome = await ask(runner, stream=True, fault="invalid-utf8")
        _require(outcome.error is None, f"the stream broke: {outcome.error!r}")
        _require("\ufffd" in outcome.tokens.text, "nothing was replaced")


async def reads_a_drip(subject: RunnerSubject) -> None:
    """An answer that comes byte by byte is the same answer."""
    async with _running(subject) as runner:
        for stream in (False, True):
            slow = await ask(runner, stream=stream, fault="slow-drip=0")
            _require(slow.error is None, f"no answer: {slow.error!r}")
            _equal(slow.tokens, (await ask(runner, stream=stream)).tokens, "the slow answer")


async def leaves_at_once_when_cancelled(subject: RunnerSubject) -> None:
    """A cancelled request closes its connection within `CANCEL_S`: before the head, inside a body, inside a stream."""
    async with _running(subject) as runner:
        for stream, fault in (
            (False, "stall-before-headers"),
            (True, "stall-before-headers"),
            (False, "stall-mid-stream"),
        ):
            left = _departures(subject)
            task = asyncio.create_task(ask(runner, stream=stream, fault=fault))
            await _until(lambda: subject.stats()["in_flight"] == 1, f"{fault} is under way")
            await sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            _require(task.cancelled(), f"{fault}: the cancellation did not go through")
            await _until(left, f"{fault}: the provider sees the client leave", CANCEL_S)
        for how in ("abort", "aclose", "cancel"):
            await _leave_stream(subject, runner, how)
        _require((await ask(runner, stream=True)).error is None, "it does not answer after that")


async def _leave_stream(subject: RunnerSubject, runner: ModelRunner, how: str) -> None:
    left = _departures(subject)
    handle = await runner.execute(_batch(stream=True, fault="stall-mid-stream"))
    while not any(chunk.commits for chunk in await anext(handle)):
        pass
    abort = getattr(handle, "abort", None)
    if how == "abort" and abort is not None:
        abort()
    elif how == "cancel":
        reading = asyncio.ensure_future(_read_on(handle))
        await sleep(0.02)
        reading.cancel()
        await asyncio.wait([reading])
        _require(reading.cancelled(), "the cancellation did not go through")
    else:
        await handle.aclose()
        await handle.aclose()
    await _until(left, f"{how}: the provider sees the client leave", CANCEL_S)


def _departures(subject: RunnerSubject) -> Callable[[], bool]:
    """Return whether one more client has left than now."""
    wanted = subject.stats()["disconnected"] + 1
    return lambda: bool(subject.stats()["disconnected"] == wanted)


async def _read_on(handle: Any) -> None:
    async for _ in handle:
        pass


RUNNER_CHECKS: tuple[Check, ...] = (
    answers_the_same_whole_and_streamed,
    reports_usage_once,
    tells_when_the_body_is_sent,
    names_the_request,
    finishes_with_length_at_the_limit,
    calls_tools_the_same_whole_and_streamed,
    types_every_refusal,
    types_a_filtered_prompt,
    types_every_broken_answer,
    types_every_broken_stream,
    replaces_invalid_utf8_in_a_stream,
    reads_a_drip,
    leaves_at_once_when_cancelled,
)


@contextlib.asynccontextmanager
async def _running(subject: RunnerSubject) -> AsyncIterator[ModelRunner]:
    runner = subject.make()
    try:
        yield runner
    finally:
        close = getattr(runner, "aclose", None)
        if close is not None:
            await close()


def _batch(*, stream: bool, fault: str | None = None, prompt: str = "Say hello", **fields: Any) -> ExecuteBatch:
    messages = fields.pop("messages", ({"role": "user", "content": prompt},))
    headers = None if fault is None else {"x-sim-fault": fault}
    request = GenerateRequest(messages=messages, extra_headers=headers, **fields)
    return ExecuteBatch(request=request, deadline=asyncio.get_running_loop().time() + DEADLINE_S, stream=stream)


async def _until(met: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    for _ in range(round(within_s / _NAP_S)):
        if met():
            return
        await sleep(_NAP_S)
    _require(met(), f"not within {within_s:g} s: {what}")


def _matches(error: InferenceError | None, expected: Expected, what: str) -> None:
    if error is None or type(error) is not expected.kind:
        raise AssertionError(f"{what}: {error!r} is not {expected.kind.__name__}")
    _equal(error.retryable, expected.retryable, f"{what}: retryable")
    _equal(error.counts_as_circuit_failure, expected.counts, f"{what}: counts_as_circuit_failure")
    _require(error.provider is not None, f"{what}: the error names no provider")
    if expected.reason is not None:
        _equal(error.reason, expected.reason, f"{what}: reason")
    if expected.retry_after is not None:
        told = error.retry_after
        _require(told is not None and told >= expected.retry_after, f"{what}: retry_after {told}")


def _equal(found: object, wanted: object, what: str) -> None:
    _require(found == wanted, f"{what}: {found!r} is not {wanted!r}")


def _require(met: bool, what: str) -> None:  # noqa: FBT001 # it reads as an assertion
    if not met:
        raise AssertionError(what)
