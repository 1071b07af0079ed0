"""Checks of what goes wrong between a runner and its provider, and of how a runner leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from spillway.core.clock import sleep
from spillway.core.errors import BadRequest, ContentFiltered
from spillway.core.ports import ModelRunner
from spillway.core.reply import FinishReason
from spillway.testing.runner_faults import BROKEN_STREAM, BROKEN_UNARY, REFUSALS, Expected
from spillway.testing.runner_probe import (
    RunnerSubject,
    ask,
    batch_of,
    equal,
    matches,
    message_of,
    require,
    running,
    until,
)

CANCEL_S = 0.1
"""How soon a provider sees a cancelled request leave, in seconds."""


async def types_every_refusal(subject: RunnerSubject) -> None:
    """What goes wrong before an answer comes out as its class, unary and streamed, and nothing is leaked."""
    async with running(subject) as runner:
        for fault, expected in REFUSALS.items():
            if fault in subject.skip:
                continue
            for stream in (False, True):
                outcome = await ask(runner, stream=stream, fault=fault)
                matches(outcome.error, expected, f"{fault}, stream={stream}")
        require((await ask(runner)).error is None, "it does not answer after the faults")


async def types_a_filtered_prompt(subject: RunnerSubject) -> None:
    """A filtered prompt is ContentFiltered, or where the provider answers it, an answer that ends in content_filter."""
    async with running(subject) as runner:
        for stream in (False, True):
            outcome = await ask(runner, stream=stream, fault="content-filter")
            if outcome.error is None:
                equal(outcome.tokens.finish_reason, FinishReason.CONTENT_FILTER, "the finish reason")
            else:
                matches(outcome.error, Expected(ContentFiltered, retryable=False, counts=False), "content-filter")


async def types_every_broken_answer(subject: RunnerSubject) -> None:
    """A whole answer that breaks or can't be read is an error, never half an answer."""
    async with running(subject) as runner:
        for fault, expected in BROKEN_UNARY.items():
            if fault not in subject.skip:
                outcome = await ask(runner, fault=fault)
                matches(outcome.error, expected, fault)
                equal(outcome.chunks, [], f"chunks before {fault}")


async def types_every_broken_stream(subject: RunnerSubject) -> None:
    """A stream that breaks gives what came, then its error, and never a finish reason."""
    async with running(subject) as runner:
        whole = (await ask(runner, stream=True)).tokens.text
        for fault, expected in BROKEN_STREAM.items():
            if fault in subject.skip:
                continue
            outcome = await ask(runner, stream=True, fault=fault)
            matches(outcome.error, expected, fault)
            came = outcome.tokens
            require(bool(came.text) and whole.startswith(came.text), f"{fault}: {came.text!r} came of {whole!r}")
            equal(came.finish_reason, None, f"the finish reason after {fault}")


async def replaces_invalid_utf8_in_a_stream(subject: RunnerSubject) -> None:
    """Bytes that are no UTF-8 become U+FFFD and the stream goes on."""
    async with running(subject) as runner:
        outcome = await ask(runner, stream=True, fault="invalid-utf8")
        require(outcome.error is None, f"the stream broke: {outcome.error!r}")
        require("\ufffd" in outcome.tokens.text, "nothing was replaced")


async def reads_a_drip(subject: RunnerSubject) -> None:
    """An answer that comes byte by byte is the same answer."""
    async with running(subject) as runner:
        for stream in (False, True):
            slow = await ask(runner, stream=stream, fault="slow-drip=0")
            require(slow.error is None, f"no answer: {slow.error!r}")
            equal(message_of(slow.tokens), message_of((await ask(runner, stream=stream)).tokens), "the slow answer")


async def leaves_at_once_when_cancelled(subject: RunnerSubject) -> None:
    """A cancelled request closes its connection within `CANCEL_S`: before the head, inside a body, inside a stream."""
    async with running(subject) as runner:
        for stream, fault in (
            (False, "stall-before-headers"),
            (True, "stall-before-headers"),
            (False, "stall-mid-stream"),
        ):
            left = _departures(subject)
            task = asyncio.create_task(ask(runner, stream=stream, fault=fault))
            await until(lambda: subject.stats()["in_flight"] == 1, f"{fault} is under way")
            await sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            require(task.cancelled(), f"{fault}: the cancellation did not go through")
            await until(left, f"{fault}: the provider sees the client leave", CANCEL_S)
        for how in ("abort", "aclose", "cancel"):
            await _leave_stream(subject, runner, how)
        require((await ask(runner, stream=True)).error is None, "it does not answer after that")


async def _leave_stream(subject: RunnerSubject, runner: ModelRunner, how: str) -> None:
    left = _departures(subject)
    handle = await runner.execute(batch_of(stream=True, fault="stall-mid-stream"))
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
        require(reading.cancelled(), "the cancellation did not go through")
    else:
        await handle.aclose()
        await handle.aclose()
    await until(left, f"{how}: the provider sees the client leave", CANCEL_S)


def _departures(subject: RunnerSubject) -> Callable[[], bool]:
    """Return whether one more client has left than now."""
    wanted = subject.stats()["disconnected"] + 1
    return lambda: bool(subject.stats()["disconnected"] == wanted)


async def _read_on(handle: Any) -> None:
    async for _ in handle:
        pass


async def refuses_by_name_what_it_can_not_carry(subject: RunnerSubject) -> None:
    """A field without a counterpart is refused before anything is sent, and the error's `param` names it."""
    async with running(subject) as runner:
        for param, fields in subject.refuses.items():
            for stream in (False, True):
                outcome = await ask(runner, stream=stream, **fields)
                matches(outcome.error, Expected(BadRequest, retryable=False, counts=False), param)
                equal(getattr(outcome.error, "param", None), param, "the field that is refused")
                equal(outcome.sent, 0, f"requests sent in spite of {param}")


async def takes_what_it_does_not_know(subject: RunnerSubject) -> None:
    """Unknown fields, events and finish reasons change nothing of an answer but its further fields."""
    if "unknown-fields" in subject.skip:
        return
    async with running(subject) as runner:
        for stream in (False, True):
            plain, odd = await ask(runner, stream=stream), await ask(runner, stream=stream, fault="unknown-fields")
            require(odd.error is None, f"it did not take what it does not know, stream={stream}: {odd.error!r}")
            equal(message_of(odd.tokens).text, message_of(plain.tokens).text, f"the text, stream={stream}")
            equal(odd.tokens.usage, plain.tokens.usage, f"the usage, stream={stream}")
            equal(odd.tokens.finish_reason, FinishReason.STOP, f"the finish reason, stream={stream}")
