"""Streams that break after their first content, through a Cluster, over three providers' wires.

What came is the caller's; the rest is StreamInterrupted with the fault as its cause: never repeated, paid in part.
"""

import asyncio
import gzip
import json
from typing import Any, NamedTuple

import pytest
from matrix import (
    ANTHROPIC,
    DIALECTS,
    GEMINI,
    INPUT_GUESS,
    INPUT_PICO,
    OPENAI,
    OUTPUT_PICO,
    PATIENCE_S,
    TEXT,
    USAGE,
    head,
    rig,
    sse,
)

import spillway
from spillway import NetworkError, RateLimited, ServerError, StreamInterrupted, Timeout, Timeouts
from spillway.testing.byte_server import Do, Flood, Sliced, answer, chunk

SHORT_S = 0.25
SEEN_PICO = INPUT_GUESS * INPUT_PICO + 2 * OUTPUT_PICO
"""The input's estimate and two tokens for the five characters that came."""

ERRORS = {
    "openai": lambda kind: sse({"error": {"type": kind, "message": "no"}}),
    "anthropic": lambda kind: sse(("error", {"type": "error", "error": {"type": kind, "message": "no"}})),
    "gemini": lambda kind: sse({"error": {"code": 503, "status": kind, "message": "no"}}),
}
CLEAN_END = b"0\r\n\r\n"
GEMINI_TAIL = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "no"}}, indent=2).encode()


class Break(NamedTuple):
    """What follows the first content, and what must come of it; `dialects` are those it can happen to."""

    steps: Any
    error: type
    reason: Any
    counted: bool = True
    short: bool = False
    status: int | None = None
    dialects: tuple = ("openai",)


ALL = tuple(DIALECTS)
BREAKS = {
    "stall": Break([Do.STALL], Timeout, "idle", short=True, dialects=ALL),
    "closed between chunks": Break([Do.FIN], NetworkError, "incomplete", dialects=ALL),
    "closed inside a chunk": Break([b"100\r\ndata: ", Do.FIN], NetworkError, "incomplete"),
    "closed inside an event": Break([chunk(b'data: {"choi'), Do.FIN], NetworkError, "incomplete"),
    "reset": Break([0.02, Do.RST], NetworkError, "reset", dialects=ALL),
    "a clean end without the marker": Break([chunk(b": bye\n\n"), CLEAN_END], NetworkError, "incomplete", dialects=ALL),
    "chunk size no number": Break([0.02, b"zz\r\nabc\r\n"], NetworkError, "protocol"),
    "chunk size negative": Break([0.02, b"-5\r\nabc\r\n"], NetworkError, "protocol"),
    "an event that is no JSON": Break([chunk(sse(b"{oops"))], ServerError, "malformed", dialects=ALL),
    "an event of the wrong types": Break([chunk(sse({"choices": 7}))], ServerError, "malformed"),
    "a line of 16 MiB and more": Break(
        [chunk(b"data: "), Flood(chunk(b"x" * (1 << 20)))], ServerError, "event_too_large", dialects=ALL
    ),
    "an event of many lines": Break(
        [Flood(chunk((b"data: " + b"x" * 250 + b"\n") * 4096))], ServerError, "event_too_large"
    ),
    "server error event": Break(
        lambda d: [chunk(ERRORS[d.name]("UNAVAILABLE" if d is GEMINI else "api_error"))],
        ServerError, None, dialects=ALL,
    ),
    "overload event": Break(
        lambda d: [chunk(ERRORS[d.name]("overloaded_error"))], ServerError, "overloaded", status=529,
        dialects=("anthropic",),
    ),
    "rate limit event": Break(
        lambda d: [chunk(ERRORS[d.name]("rate_limit_error" if d is ANTHROPIC else "rate_limit_exceeded"))],
        RateLimited, None, counted=False, status=429, dialects=("openai", "anthropic"),
    ),
    "a bare error at the end": Break(
        [chunk(GEMINI_TAIL), CLEAN_END], ServerError, None, status=503, dialects=("gemini",)
    ),
    "a bare error, piece by piece": Break(
        [Sliced(chunk(GEMINI_TAIL), size=7), CLEAN_END], ServerError, None, status=503, dialects=("gemini",)
    ),
    "a bare error of OpenAI's at the end": Break(
        [chunk(b'{"error": {"type": "server_error", "message": "no"}}'), CLEAN_END], ServerError, None, status=500
    ),
}  # fmt: skip

CASES = [
    pytest.param(DIALECTS[name], case, id=f"{what}-{name}") for what, case in BREAKS.items() for name in case.dialects
]


@pytest.mark.parametrize(("dialect", "case"), CASES)
async def test_break_after_the_first_content(dialect, case):
    steps = case.steps(dialect) if callable(case.steps) else case.steps
    begun = head(stream=True) + chunk(dialect.before + dialect.content)
    timeouts = Timeouts(idle_timeout_s=SHORT_S) if case.short else None
    good = [Do.READ, dialect.good(stream=True), Do.STALL]
    async with rig([Do.READ, begun, 0.01, *steps, *good], good, dialect=dialect, timeouts=timeouts) as here:
        _, error, text, _ = await here.ask(stream=True)
        cause = error.__cause__
        assert (type(error), text) == (StreamInterrupted, "hello")
        assert type(cause) is case.error and cause.counts_as_circuit_failure is case.counted, repr(cause)
        assert (cause.reason, cause.provider, cause.deployment) == (case.reason, dialect.name, "m")
        if case.status is not None:
            assert error.status == cause.status == case.status
        assert (error.attempts, here.requests, error.retryable) == (1, 1, False)
        assert [code for _, code, _ in error.history] == [case.error.code]
        partial = error.partial
        assert (partial.text, partial.finish_reason, partial.attempts) == ("hello", None, 1)

        breaker = here.breaker
        assert (breaker.successes, breaker.failures) == (1, int(case.counted))
        [record] = here.books.attempts
        assert record.first_content_s is not None and record.estimated
        assert (record.usage.input_tokens, record.usage.output_tokens) == (INPUT_GUESS, 2)
        assert record.cost_pico == SEEN_PICO
        assert here.books.requests[0].outcome == "stream_interrupted"
        assert here.metrics.retried == 0
        if steps[-1] is not CLEAN_END:
            await here.everybody_left()

        again = await here.ask(stream=True)
        assert again.text == TEXT


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("life", [b"x", b": ping\n\n"], ids=["drip", "pings"])
async def test_stream_that_never_stalls_and_never_ends_is_cut_by_the_deadline(dialect, life):
    endless = [chunk(life), 0.005] * 400
    begun = head(stream=True) + chunk(dialect.before + dialect.content)
    async with rig([Do.READ, begun, *endless], dialect=dialect) as here:
        _, error, text, elapsed = await here.ask(stream=True, timeout_s=0.3)
        assert (type(error), error.reason, text) == (StreamInterrupted, "deadline", "hello")
        assert elapsed >= 0.29
        assert type(error.__cause__) is Timeout
        assert here.breaker.failures == 1
        await here.everybody_left()


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_that_drips_for_ever_is_cut_by_the_deadline(stream):
    drip = [step for _ in range(400) for step in (chunk(b" "), 0.005)]
    async with rig([Do.READ, head(stream=stream), *drip]) as here:
        _, error, _, elapsed = await here.ask(stream=stream, timeout_s=0.3)
        assert (type(error), error.reason, error.retryable) == (Timeout, "deadline", False)
        assert elapsed >= 0.29 and here.requests == 1 and here.breaker.failures == 1
        await here.everybody_left()


async def test_deadline_passes_while_nobody_reads():
    begun = head(stream=True) + chunk(OPENAI.before + OPENAI.content)
    async with rig([Do.READ, begun, Do.STALL]) as here:
        stream = here.cluster.stream("m", "Say hello", timeout_s=0.2, max_tokens=100)
        assert (await anext(stream)).text_delta == "hello"
        assert await here.server.conversations[0].gone_within(1.0)
        with pytest.raises(StreamInterrupted) as caught:
            await anext(stream)
        assert (caught.value.reason, caught.value.partial.text) == ("deadline", "hello")
        here.note(caught.value)


ODD_BUT_WHOLE = {
    "byte by byte": lambda d: [Sliced(answer_of(d))],
    "in pieces of three": lambda d: [Sliced(answer_of(d), size=3)],
    "CR LF": lambda d: [streamed((d.before + d.content + d.rest).replace(b"\n", b"\r\n"))],
    "CR": lambda d: [streamed((d.before + d.content + d.rest).replace(b"\n", b"\r"))],
    "a byte order mark": lambda d: [streamed(b"\xef\xbb\xbf" + d.before + d.content + d.rest)],
    "comments between": lambda d: [streamed(d.before + b": ping\n\n" + d.content + b": ping\n\n\n" + d.rest)],
    "gzip": lambda d: [answer(gzip.compress(d.before + d.content + d.rest), headers={**EVENTS, "content-encoding": "gzip"})],
    "a charset": lambda d: [answer(d.before + d.content + d.rest, headers={"content-type": "Text/Event-Stream; charset=windows-1252"})],
    "until the connection ends": lambda d: [head(stream=True, chunks=False) + d.before + d.content + d.rest, Do.FIN],
    "HTTP/1.0": lambda d: [b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + d.before + d.content + d.rest, Do.FIN],
    "without the last blank line": lambda d: [streamed((d.before + d.content + d.rest).rstrip(b"\n") + b"\n")],
    "the whole at once": lambda d: [answer(d.whole, headers={"content-type": "application/json"})],
    "the whole of no type": lambda d: [answer(d.whole)],
}  # fmt: skip
EVENTS = {"content-type": "text/event-stream"}


def streamed(body):
    return answer(body, headers=EVENTS)


def answer_of(dialect):
    return dialect.good(stream=True)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("what", ODD_BUT_WHOLE)
async def test_odd_but_whole_stream(dialect, what):
    async with rig(*[[Do.READ, *ODD_BUT_WHOLE[what](dialect)] * 2] * 2, dialect=dialect) as here:
        for _ in range(2):
            tokens, error, text, _ = await here.ask(stream=True)
            assert error is None and text == TEXT
            assert (tokens.usage, tokens.attempts, tokens.finish_reason) == (USAGE, 1, "stop")
        assert here.requests == 2


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
async def test_invalid_utf8_in_a_stream_is_replaced_and_the_stream_goes_on(dialect):
    for wrong in (b"\xff\xfe", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80"):
        body = (dialect.before + dialect.content + dialect.rest).replace(b"hello", b"he" + wrong + b"lo")
        async with rig([Do.READ, streamed(body)], dialect=dialect) as here:
            tokens, error, text, _ = await here.ask(stream=True)
            assert error is None and text == TEXT.replace("hello", f"he{wrong.decode('utf-8', 'replace')}lo")
            assert tokens.usage == USAGE


@pytest.mark.parametrize("after", [b": bye\n\n", sse({"choices": []}), b"rubbish", sse({"error": {"message": "late"}})])
async def test_what_follows_the_terminal_marker_is_nobodys(after):
    for dialect in (OPENAI, ANTHROPIC):
        body = dialect.before + dialect.content + dialect.rest + after
        scripts = [[Do.READ, streamed(body), Do.READ, dialect.good(stream=True), Do.STALL]] * 2
        async with rig(*scripts, dialect=dialect) as here:
            for _ in range(2):
                tokens, error, text, _ = await here.ask(stream=True)
                assert (error, text, tokens.usage) == (None, TEXT, USAGE)


async def test_marker_without_the_end_of_the_bytes_is_an_end():
    body = head(stream=True) + chunk(OPENAI.before + OPENAI.content + OPENAI.rest)
    async with rig([Do.READ, body, Do.STALL], [Do.READ, body, Flood(chunk(b": ping\n\n"))]) as here:
        for _ in range(2):
            tokens, error, text, elapsed = await here.ask(stream=True)
            assert (error, text, tokens.usage) == (None, TEXT, USAGE)
            assert elapsed < PATIENCE_S
        await here.everybody_left()


async def test_stream_that_stalls_only_between_reads_is_not_idle():
    """The idle limit is for a silent provider, not for a reader who takes his time."""
    async with rig(
        [Do.READ, streamed(OPENAI.before + OPENAI.content + OPENAI.rest)], timeouts=Timeouts(idle_timeout_s=0.05)
    ) as here:
        stream = here.cluster.stream("m", "Say hello", max_tokens=100)
        text = ""
        async for piece in stream:
            text += piece.text_delta
            await asyncio.sleep(0.03)
        assert text == TEXT
        here.note()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("kind", ["first", "truncated"])
async def test_error_event_before_content_is_repeated_on_every_wire(dialect, kind):
    error = ERRORS[dialect.name]("UNAVAILABLE" if dialect is GEMINI else "api_error")
    bad = streamed(dialect.before + (error if kind == "first" else b": and then nothing\n\n"))
    async with rig(
        [Do.READ, bad, Do.READ, dialect.good(stream=True), Do.STALL],
        [Do.READ, dialect.good(stream=True)],
        dialect=dialect,
    ) as here:
        tokens, error, text, _ = await here.ask(stream=True)
        assert (error, text, tokens.attempts, here.requests) == (None, TEXT, 2, 2)
        assert (here.breaker.failures, here.breaker.successes) == (1, 1)
        first = here.books.attempts[0]
        assert first.outcome == ("server_error" if kind == "first" else "network_error")
        assert first.cost_pico == (0 if kind == "first" else INPUT_GUESS * INPUT_PICO)


async def test_overload_event_has_its_status():
    async with rig(
        [Do.READ, streamed(ANTHROPIC.before + ERRORS["anthropic"]("overloaded_error"))],
        dialect=ANTHROPIC,
        retry=spillway.RetryPolicy(max_retries=0),
    ) as here:
        _, error, _, _ = await here.ask(stream=True)
        assert (type(error), error.status, error.reason, error.retryable) == (ServerError, 529, "overloaded", True)
