"""Faults while a request is on its way, through a Cluster: on a used connection, inside its body."""

import asyncio

import pytest
from matrix import GOOD_PICO, OPENAI, TEXT, check_unsent, rig

from spillway import BadRequest, NetworkError, Timeout, Timeouts
from spillway.testing.byte_server import Do, answer


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


# A connection that was used before.


@pytest.mark.parametrize("end", [Do.FIN, Do.RST])
async def test_stale_connection_is_no_attempt(end, stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, Do.READ, end], [Do.READ, fine, Do.STALL]) as here:
        for _ in range(2):
            tokens, error, text, _ = await here.ask(stream=stream)
            assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert (here.requests, len(here.server.conversations), here.metrics.attempts) == (3, 2, 2)
        assert (here.breaker.failures, here.metrics.retried) == (0, 0)
        assert round(here.metrics.cost_usd * 1e12) == 2 * GOOD_PICO


async def test_connection_that_was_closed_while_idle_is_no_attempt(stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, 0.02, Do.FIN], [Do.READ, fine, Do.STALL]) as here:
        for _ in range(2):
            tokens, error, _, _ = await here.ask(stream=stream)
            assert error is None and tokens.attempts == 1
            await asyncio.sleep(0.06)
        assert here.metrics.attempts == 2


async def test_stale_twice_is_an_attempt(stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, Do.READ, Do.FIN], [Do.READ, Do.FIN], [Do.READ, fine, Do.STALL]) as here:
        assert (await here.ask(stream=stream)).tokens.attempts == 1
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts, here.requests) == (None, TEXT, 2, 4)
        assert here.breaker.failures == 1


# Inside the request.

BIG = "x" * (16 << 20)


@pytest.mark.parametrize("end", [Do.RST, Do.FIN])
async def test_server_that_stops_reading_inside_the_request(end, stream):
    scripts = [[Do.READ_HEAD, Do.DEAF, 0.02, end]] * 3
    async with rig(*scripts) as here:
        _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
        assert (type(error), error.reason) in {(NetworkError, "reset"), (NetworkError, "disconnect")}
        check_unsent(here, error, NetworkError, error.reason)


async def test_server_that_never_reads_the_request(stream):
    """The limit of the phase ends it; a whole answer that timed out before it was asked for may be asked for again."""
    limits = Timeouts(unary_timeout_s=0.3, first_byte_timeout_s=0.3)
    async with rig([Do.READ_HEAD, Do.DEAF, 2.0], timeouts=limits) as here:
        _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
        check_unsent(here, error, Timeout, "first_byte" if stream else "unary")


async def test_early_refusal_wins_over_the_connection(stream):
    too_big = answer(b'{"error": {"message": "too big"}}', 413, {"content-type": "application/json"})
    for end in (Do.STALL, Do.FIN, Do.RST):
        async with rig([Do.READ_HEAD, Do.DEAF, too_big, 0.05, end]) as here:
            _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
            assert (type(error), error.status, error.message) == (BadRequest, 413, "too big")
            assert error.attempts == 1 and here.metrics.cost_usd == 0
            assert here.breaker.released == 1


async def test_early_answer_wins_over_a_server_that_reads_on(stream):
    async with rig(
        [Do.READ_HEAD, OPENAI.good(stream=stream), Do.STALL], [Do.READ, OPENAI.good(stream=stream), Do.STALL]
    ) as here:
        tokens, error, text, _ = await here.ask(stream=stream, prompt=BIG)
        assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert round(here.metrics.cost_usd * 1e12) == GOOD_PICO
        assert (await here.ask(stream=stream)).text == TEXT
