"""What the runner checks are made of: a runner under test, one request to it, and what came of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from spillway.core.building import TokensBuilder
from spillway.core.clock import sleep
from spillway.core.errors import InferenceError
from spillway.core.ports import ExecuteBatch, ModelRunner
from spillway.core.reply import TokenChunk, Tokens
from spillway.core.request import GenerateRequest
from spillway.testing.runner_faults import Expected

DEADLINE_S = 60.0
_NAP_S = 0.005


class RunnerSubject(msgspec.Struct, frozen=True):
    """A runner under test.

    Attributes:
        make: returns a new runner that talks to the simulator; its `aclose()`, if it has one, is awaited.
        stats: returns what the simulator has counted, at least `disconnected` and `in_flight`.
        skip: faults that its provider can't have.
        refuses: fields of a request, as keywords of `GenerateRequest`, that its provider has no counterpart for, by the
            `param` that the refusal names.
    """

    make: Callable[[], ModelRunner]
    stats: Callable[[], Mapping[str, Any]]
    skip: frozenset[str] = frozenset()
    refuses: Mapping[str, Mapping[str, Any]] = {}


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
    batch = batch_of(stream=stream, fault=fault, prompt=prompt, **fields)
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


def batch_of(*, stream: bool, fault: str | None = None, prompt: str = "Say hello", **fields: Any) -> ExecuteBatch:
    """Return one attempt of a request; `fault` is what the simulator is to do to it."""
    messages = fields.pop("messages", ({"role": "user", "content": prompt},))
    headers = None if fault is None else {"x-sim-fault": fault}
    request = GenerateRequest(messages=messages, extra_headers=headers, **fields)
    return ExecuteBatch(request=request, deadline=asyncio.get_running_loop().time() + DEADLINE_S, stream=stream)


@contextlib.asynccontextmanager
async def running(subject: RunnerSubject) -> AsyncIterator[ModelRunner]:
    """Make a runner, and close it in the end."""
    runner = subject.make()
    try:
        yield runner
    finally:
        close = getattr(runner, "aclose", None)
        if close is not None:
            await close()


async def until(met: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    """Wait for `met`, so long at most."""
    for _ in range(round(within_s / _NAP_S)):
        if met():
            return
        await sleep(_NAP_S)
    require(met(), f"not within {within_s:g} s: {what}")


def message_of(tokens: Tokens) -> Tokens:
    """Return an answer as what whole and streamed ones have in common.

    That is all but `raw`, the request's id, and of `about` what the provider tells of a whole answer only.
    """
    return msgspec.structs.replace(tokens, raw=b"", request_id="", about=None, cost_usd=None)


def same_answer(streamed: Tokens, whole: Tokens, what: str) -> None:
    """Require that a streamed answer adds up to the whole one."""
    equal(message_of(streamed), message_of(whole), what)
    equal(streamed.message(), whole.message(), f"{what}: the message")
    told, known = streamed.about or {}, whole.about or {}
    both = told.keys() & known.keys()
    equal({key: told[key] for key in both}, {key: known[key] for key in both}, f"{what}: about")


def matches(error: InferenceError | None, expected: Expected, what: str) -> None:
    """Require an error of that class and nature."""
    if error is None or type(error) is not expected.kind:
        raise AssertionError(f"{what}: {error!r} is not {expected.kind.__name__}")
    equal(error.retryable, expected.retryable, f"{what}: retryable")
    equal(error.counts_as_circuit_failure, expected.counts, f"{what}: counts_as_circuit_failure")
    require(error.provider is not None, f"{what}: the error names no provider")
    if expected.reason is not None:
        equal(error.reason, expected.reason, f"{what}: reason")
    if expected.retry_after is not None:
        told = error.retry_after
        require(told is not None and told >= expected.retry_after, f"{what}: retry_after {told}")


def equal(found: object, wanted: object, what: str) -> None:
    """Require that two values are equal."""
    require(found == wanted, f"{what}: {found!r} is not {wanted!r}")


def require(met: bool, what: str) -> None:  # noqa: FBT001 # it reads as an assertion
    """Raise AssertionError unless `met`."""
    if not met:
        raise AssertionError(what)
