"""Faults before an answer's first content, through a Cluster: what is repeated, what counts, what is paid.

Each fault, whole and streamed: once and then a good answer; every time; and every time under a short deadline.
"""

import pytest
from fault_table import FAULTS, steps_of
from matrix import (
    GOOD_PICO,
    INPUT_GUESS,
    INPUT_PICO,
    OPENAI,
    RESERVED_PICO,
    RETRIES,
    TEXT,
    USAGE,
    always,
    fault_then_good,
    rig,
)

from spillway import Timeout, Timeouts

SHORT_S = 0.25

CASES = [
    pytest.param(fault, stream, id=f"{name}-{'stream' if stream else 'whole'}")
    for name, fault in FAULTS.items()
    for stream in (False, True)
    if fault.only in (None, stream)
]


def reason_of(fault, stream):
    return fault.reason[stream] if isinstance(fault.reason, dict) else fault.reason


def is_retried(fault, stream):
    # A whole answer that timed out after the request was sent may have been billed; a stream's has shown nothing yet.
    return stream if fault.retried is None else fault.retried


def lost_pico(fault, stream):
    if fault.money == "none":
        return 0
    return INPUT_GUESS * INPUT_PICO if stream else RESERVED_PICO


def timeouts_of(fault):
    if not fault.short:
        return None
    return Timeouts(unary_timeout_s=SHORT_S, first_byte_timeout_s=SHORT_S)


def check_error(error, fault, stream):
    assert type(error) is fault.error, repr(error)
    assert (error.reason, error.status if fault.status else None) == (reason_of(fault, stream), fault.status)
    assert error.counts_as_circuit_failure is fault.counted
    assert (error.provider, error.deployment) == ("openai", "m")
    assert error.partial is None


def check_lost(record, fault, stream):
    """One attempt's row: an estimate of what it cost, or nothing at all."""
    assert (record.outcome, record.stream) == (fault.error.code, stream)
    assert record.first_content_s is None
    if fault.money == "none":
        assert (record.usage, record.cost_pico, record.estimated) == (None, 0, False)
    else:
        assert record.usage.input_tokens == INPUT_GUESS and record.usage.output_tokens == 0
        assert (record.cost_pico, record.estimated) == (lost_pico(fault, stream), True)


def check_breaker(breaker, fault, *, faults, successes):
    found = (breaker.failures, breaker.successes, breaker.released)
    assert found == ((faults, successes, 0) if fault.counted else (0, successes, faults))
    assert breaker.failures_by_code == ({fault.error.code: faults} if fault.counted else {})
    assert breaker.state.name == "CLOSED"


@pytest.mark.parametrize(("fault", "stream"), CASES)
async def test_once_and_then_a_good_answer(fault, stream):
    scripts = fault_then_good(steps_of(fault, stream), OPENAI.good(stream=stream))
    async with rig(*scripts, timeouts=timeouts_of(fault)) as here:
        tokens, error, text, _ = await here.ask(stream=stream)
        retried = is_retried(fault, stream)
        attempts = here.books.attempts
        check_lost(attempts[0], fault, stream)
        check_breaker(here.breaker, fault, faults=1, successes=int(retried))
        metrics = here.metrics
        assert metrics.errors == {fault.error.code: 1}
        if not retried:
            check_error(error, fault, stream)
            assert (error.attempts, here.requests, metrics.attempts, metrics.retried) == (1, 1, 1, 0)
            return
        assert error is None and text == TEXT
        assert (tokens.attempts, here.requests, metrics.attempts, metrics.retried) == (2, 2, 2, 1)
        assert (tokens.usage, tokens.cost_estimated) == (USAGE, False)
        assert round(tokens.cost_usd * 1e12) == GOOD_PICO == attempts[1].cost_pico
        assert round(metrics.cost_usd * 1e12) == GOOD_PICO + lost_pico(fault, stream)


@pytest.mark.parametrize(("fault", "stream"), CASES)
async def test_every_time(fault, stream):
    async with rig(*always(steps_of(fault, stream)), timeouts=timeouts_of(fault)) as here:
        tokens, error, _, _ = await here.ask(stream=stream)
        wanted = 1 + RETRIES if is_retried(fault, stream) else 1
        assert tokens is None
        check_error(error, fault, stream)
        assert (error.attempts, here.requests, len(error.history)) == (wanted, wanted, wanted)
        assert {(name, code) for name, code, _ in error.history} == {("m", fault.error.code)}
        assert error.sent
        for record in here.books.attempts:
            check_lost(record, fault, stream)
        check_breaker(here.breaker, fault, faults=wanted, successes=0)
        before = error.__cause__
        if wanted > 1:
            assert type(before) is fault.error and before is not error
        assert here.books.requests[0].attempts == wanted
        assert here.cluster.deployment("m").rate_limiter().snapshot().requests.used == wanted
        assert here.metrics.errors == {fault.error.code: wanted}


@pytest.mark.parametrize(("fault", "stream"), CASES)
async def test_deadline_holds(fault, stream):
    """The rig checks that no call outlasts its deadline, and that it leaves nothing behind."""
    async with rig(*always(steps_of(fault, stream))) as here:
        _, error, _, _ = await here.ask(stream=stream, timeout_s=0.1)
        if fault.short:
            assert (type(error), error.reason, error.retryable) == (Timeout, "deadline", False)
            assert (here.requests, error.attempts) == (1, 1)
            assert here.breaker.failures == 1
        else:
            assert type(error) in {fault.error, Timeout}
