"""Answers that are odd and still whole, through a Cluster: answered at the first attempt, nothing counted against them."""

import asyncio
import gzip
import json
import zlib

import pytest
from matrix import DIALECTS, GOOD_PICO, INPUT_GUESS, INPUT_PICO, OPENAI, OUTPUT_PICO, TEXT, USAGE, head, rig

from spillway.testing.byte_server import Do, Flood, Sliced, answer, chunk


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def body_of(stream):
    return OPENAI.before + OPENAI.content + OPENAI.rest if stream else OPENAI.whole


def kind(stream):
    return "text/event-stream" if stream else "application/json"


def typed(stream, body=None, **headers):
    return answer(body_of(stream) if body is None else body, headers={"content-type": kind(stream), **headers})


def coded(coding, pack):
    return lambda s: [typed(s, pack(body_of(s)), **{"content-encoding": coding})]


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def slowly(data, pieces, gap_s):
    size = -(-len(data) // pieces)
    return [step for at in range(0, len(data), size) for step in (data[at : at + size], gap_s)]


ODD = {
    "in chunks of one byte": lambda s: [head(stream=s) + b"".join(chunk(bytes([b])) for b in body_of(s)) + b"0\r\n\r\n"],
    "in packets of one byte": lambda s: [Sliced(typed(s))],
    "with trailers": lambda s: [head(stream=s) + chunk(body_of(s)) + b"0\r\nx-trailer: y\r\n\r\n"],
    "a folded header": lambda s: [typed(s, x="a\r\n b")],
    "connection: close": lambda s: [typed(s, connection="close"), Do.FIN],
    "keep-alive: max=1": lambda s: [typed(s, **{"keep-alive": "max=1"}), Do.FIN],
    "HTTP/1.0": lambda s: [typed(s).replace(b"HTTP/1.1", b"HTTP/1.0"), Do.FIN],
    "until the connection ends": lambda s: [head(stream=s, chunks=False) + body_of(s), Do.FIN],
    "closed late": lambda s: [typed(s), 0.05, Do.FIN],
    "after a 100": lambda s: [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, typed(s)],
    "after 100, 102 and 103": lambda s: [b"".join(b"HTTP/1.1 %d X\r\n\r\n" % n for n in (100, 102, 103)) + typed(s)],
    "after 10,000 early hints": lambda s: [b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" * 10_000 + typed(s)],
    "followed by rubbish": lambda s: [typed(s) + bytes(range(256))],
    "followed by another answer": lambda s: [typed(s) + answer(b"not yours")],
    "gzip": coded("gzip", gzip.compress),
    "deflate": coded("deflate", zlib.compress),
    "raw deflate": coded("deflate", raw_deflate),
    "no type": lambda s: [answer(OPENAI.whole)],
    "text/plain": lambda s: [answer(OPENAI.whole, headers={"content-type": "text/plain"})],
    "a charset": lambda s: [answer(body_of(s), headers={"content-type": kind(s) + "; charset=windows-1252"})],
    "a slow network": lambda s: [0.1, *slowly(typed(s), 20, 0.01)],
    "unknown fields": lambda s: [typed(s, body_of(s).replace(b'"choices"', b'"news": {"x": [1, null]}, "choices"'))],
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
async def test_odd_but_whole_answer(case, stream):
    script = [step for _ in range(3) for step in (Do.READ, *ODD[case](stream))]
    async with rig(script) as here:
        for _ in range(3):
            tokens, error, text, _ = await here.ask(stream=stream)
            assert (error, text, tokens.usage, tokens.attempts) == (None, TEXT, USAGE, 1)
            await asyncio.sleep(0.005)
        assert here.requests >= here.metrics.attempts == 3  # a connection that was closed idle is asked in vain
        assert (here.breaker.failures, here.metrics.retried) == (0, 0)
        assert round(here.metrics.cost_usd * 1e12) == 3 * GOOD_PICO


async def test_what_follows_an_answer_is_never_the_next_one(stream):
    evil = typed(stream).replace(b"hello", b"evil!")
    async with rig([Do.READ, typed(stream) + evil, Do.READ, evil], [Do.READ, typed(stream), Do.STALL]) as here:
        for _ in range(2):
            assert (await here.ask(stream=stream)).text == TEXT


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
async def test_answer_without_usage_is_paid_by_estimate(dialect, stream):
    usages = (b'"usage"', b'"usageMetadata"')
    good = dialect.good(stream=stream)
    for word in usages:
        good = good.replace(word, b'"' + b"x" * (len(word) - 2) + b'"')
    async with rig([Do.READ, good, Do.STALL], dialect=dialect) as here:
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text) == (None, TEXT)
        assert tokens.usage is None and tokens.cost_estimated
        assert round(tokens.cost_usd * 1e12) == INPUT_GUESS * INPUT_PICO + 3 * OUTPUT_PICO
        assert here.books.attempts[0].estimated and here.metrics.usage_rows == 1


async def test_usage_in_every_event_is_counted_once():
    def event(text, tokens, finish=None):
        usage = {"prompt_tokens": 7, "completion_tokens": tokens}
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        return b"data: %s\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode()

    body = event("hello", 1) + event(" world", 2) + event("", 3, "stop") + b"data: [DONE]\n\n"
    async with rig([Do.READ, typed(True, body)]) as here:
        tokens, error, text, _ = await here.ask(stream=True)
        assert (error, text, tokens.usage) == (None, TEXT, USAGE)
        assert round(here.metrics.cost_usd * 1e12) == GOOD_PICO


async def test_zeros_that_are_said_are_zeros(stream):
    zeros = typed(
        stream, body_of(stream).replace(b'_tokens": 7', b'_tokens": 0').replace(b'_tokens": 3', b'_tokens": 0')
    )
    async with rig([Do.READ, zeros]) as here:
        tokens, error, _, _ = await here.ask(stream=stream)
        assert error is None and (tokens.usage.input_tokens, tokens.usage.output_tokens) == (0, 0)
        assert (tokens.cost_usd, tokens.cost_estimated) == (0.0, False)


async def test_large_answer_is_whole(stream):
    word = "x" * (8 << 20)
    body = body_of(stream).replace(b"hello", word.encode())
    async with rig([Do.READ, Sliced(typed(stream, body), size=1 << 16)]) as here:
        tokens, error, text, _ = await here.ask(stream=stream)
        assert error is None and text == word + " world"


async def test_stream_of_many_events_in_one_read_does_not_wait_for_the_rest():
    """What came is handed over while the provider still writes."""
    go = asyncio.Event()
    body = head(stream=True) + chunk(OPENAI.before + OPENAI.content * 1000)
    async with rig([Do.READ, body, go, chunk(OPENAI.rest) + b"0\r\n\r\n"]) as here:
        reading = here.cluster.stream("m", "Say hello", max_tokens=100)
        text = ""
        while len(text) < 5000:
            text += (await anext(reading)).text_delta
        go.set()
        async for piece in reading:
            text += piece.text_delta
        assert text == "hello" * 1000 + " world"
        here.note()


async def test_early_hints_for_ever_end_with_the_deadline(stream):
    async with rig([Do.READ, Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)]) as here:
        _, error, _, _ = await here.ask(stream=stream, timeout_s=0.2)
        assert (error.code, error.reason) == ("timeout", "deadline")
        await here.everybody_left()


async def test_bytes_that_are_no_answer_before_any_request(stream):
    """A server that speaks first is not taken at its word for a request that it never read."""
    async with rig([answer(b"{}"), 0.02, Do.FIN], [Do.READ, typed(stream), Do.STALL]) as here:
        _, error, text, _ = await here.ask(stream=stream)
        assert (error, text) == (None, TEXT)
