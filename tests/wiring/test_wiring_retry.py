"""Retries: when, how often, and what they cost a failing provider."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, broken, deployment, ended, gathered, now, refused, retry

import spillway
from spillway import NetworkError, ServerError, Timeout, Timeouts

FAILS = (broken(),)


def gaps(world):
    starts = [call.started for call in world.calls]
    return [round(b - a, 6) for a, b in zip(starts, starts[1:], strict=False)]


@pytest.mark.option("retry.max_retries")
@pytest.mark.error("server_error")
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_attempt_is_repeated_so_often_and_no_more(play, retries):
    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, ServerError)
        assert len(world.calls) == error.attempts == retries + 1
        assert [c.batch.attempt for c in world.calls] == list(range(retries + 1))
        assert len({c.batch.request.idempotency_id for c in world.calls}) == 1
        assert error.history[0][:2] == ("m", "server_error")
        assert len(error.history) == retries + 1
        assert world.metrics().retried == retries

    play(test, FAILS, retry=retry(max_retries=retries))


@pytest.mark.option("retry.jitter", "retry.initial_backoff_s", "retry.backoff_multiplier", "retry.max_backoff_s")
@pytest.mark.parametrize(
    ("options", "delays"),
    [
        ({}, [1, 2, 4, 8]),
        ({"initial_backoff_s": 0.5}, [0.5, 1, 2, 4]),
        ({"backoff_multiplier": 3.0}, [1, 3, 9, 27]),
        ({"max_backoff_s": 3.0}, [1, 2, 3, 3]),
    ],
)
def test_without_jitter_the_delays_are_exact(play, options, delays):
    async def test(world):
        _, took = await ended(world.ask())
        assert gaps(world) == delays
        assert took == pytest.approx(sum(delays))  # and none after the last attempt

    play(test, FAILS, retry=retry(max_retries=4, **options))


@pytest.mark.parametrize(("jitter", "low"), [("equal", 0.5), ("full", 0.0)])
def test_jitter_spreads_a_herd_below_the_backoff(play, jitter, low):
    async def test(world):
        began = now()
        await world.all(1000)
        waits = sorted(c.started - began for c in world.calls if c.batch.attempt == 1)
        assert low <= waits[0] < low + 0.1
        assert 0.9 < waits[-1] <= 1.0
        bins = [0] * 100
        for wait in waits:
            bins[min(99, int(wait * 100))] += 1
        assert max(bins) <= 50

    def script(batch):
        return "ok" if batch.attempt else refused(0.0)

    play(
        test,
        script,
        retry=retry(jitter=jitter),
        circuit_breaker=NEVER_OPENS,
        serving=spillway.Serving(max_concurrent=1000),
    )


@pytest.mark.option("retry.retry_on")
@pytest.mark.error("network_error")
def test_only_the_codes_listed_are_repeated(play):
    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, NetworkError)
        assert len(world.calls) == 2  # server_error is listed, network_error is not

    play(
        test,
        (broken(), NetworkError("reset", reason="reset")),
        retry=retry(retry_on=("server_error",)),
    )


@pytest.mark.option("idempotent")
@pytest.mark.parametrize(("idempotent", "calls"), [(True, 4), (False, 1)])
def test_what_is_not_idempotent_is_never_repeated(play, idempotent, calls):
    async def test(world):
        await ended(world.ask())
        assert len(world.calls) == calls

    play(test, FAILS, idempotent=idempotent, retry=retry())


@pytest.mark.error(
    "bad_request",
    "content_filtered",
    "context_length_exceeded",
    "forbidden_upstream",
    "quota_exhausted",
    "model_not_found",
)
@pytest.mark.parametrize(
    "kind",
    [
        spillway.BadRequest,
        spillway.ContentFiltered,
        spillway.ContextLengthExceeded,
        spillway.Forbidden,
        spillway.QuotaExhausted,
        spillway.ModelNotFound,
    ],
)
def test_a_final_refusal_of_the_provider_is_one_attempt_and_no_failure_of_the_circuit(play, kind):
    async def test(world):
        error, took = await ended(world.ask())
        assert type(error) is kind
        assert (error.attempts, took) == (1, 0.0)
        assert error.deployment == "m"
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0
        assert world.metrics().errors == {kind.code: 1}

    play(test, (kind("no", status=400),))


def test_a_name_that_nothing_has_is_not_found(play):
    async def test(world):
        error, _ = await ended(world.ask("n"))
        assert isinstance(error, spillway.ModelNotFound)
        assert "known: m" in str(error)
        assert world.calls == []

    play(test)


@pytest.mark.option("retry.respect_retry_after")
@pytest.mark.parametrize("trouble", [refused(30.0), broken(503, 30.0)])
@pytest.mark.parametrize(("respects", "waits"), [(True, 30.0), (False, 1.0)])
def test_a_wait_the_provider_asks_for_is_kept_unless_told_not_to(play, trouble, respects, waits):
    """Not to be respected, a 429's Retry-After still shut the limiter for as long, so the option did nothing."""

    async def test(world):
        await world.ask()
        assert gaps(world) == [waits]

    play(test, (trouble, "ok"), retry=retry(respect_retry_after=respects))


def test_a_wait_the_provider_asks_for_is_not_cut_by_max_backoff(play):
    async def test(world):
        await world.ask()
        assert gaps(world) == [90.0]

    play(test, (refused(90.0), "ok"), retry=retry(max_backoff_s=2.0))


@pytest.mark.parametrize("trouble", [refused(60.0), broken(503, 60.0)])
def test_a_wait_beyond_the_deadline_is_given_up_at_once(play, trouble):
    async def test(world):
        error, took = await ended(world.ask(timeout_s=10.0))
        assert took == 0.0
        assert error.code == trouble.code
        assert error.retry_after == 60.0
        assert error.attempts == 1

    play(test, (trouble, "ok"))


def test_a_backoff_that_would_end_after_the_deadline_is_not_slept_nor_paid_for(play):
    """It had been counted as a retry, and paid for by the quota, before it was seen to be too long."""

    async def test(world):
        error, took = await ended(world.ask(timeout_s=10.0))
        assert took == pytest.approx(7.0)  # 1 + 2 + 4, and 8 more would be 15
        assert isinstance(error, ServerError)
        assert isinstance(error.__cause__, ServerError)
        assert len(world.calls) == 4
        assert world.metrics().retried == 3
        assert world.seen.requests[0].retries == 3
        assert world.cluster._room.router.engines["m"].gates.quota.tokens == 500 - 3 * 5

    play(test, FAILS, retry=retry(max_retries=10))


@pytest.mark.option("timeouts.total_timeout_s")
@pytest.mark.parametrize("own", [None, 10.0])
def test_the_deadline_spans_attempts_and_cuts_the_last(play, own):
    async def test(world):
        error, took = await ended(world.ask(timeout_s=own))
        assert took == pytest.approx(10.0, abs=1e-6)
        assert isinstance(error, Timeout)
        assert error.reason == "deadline"
        assert isinstance(error.__cause__, ServerError)
        assert error.attempts == 2
        assert world["m"].open == 0

    play(
        test,
        (Reply(delay_s=4.5, error=broken()),),
        retry=retry(),
        timeouts=Timeouts(total_timeout_s=10.0 if own is None else 1000.0),
    )


def test_the_quota_bounds_what_retries_add_to_an_outage(play):
    async def test(world):
        for _ in range(60):
            await world.all(10)
        assert len(world.calls) == 600 + 100  # 500 tokens, 5 a retry
        assert world.cluster._room.router.engines["m"].gates.quota.tokens == 0

    play(
        test,
        FAILS,
        retry=retry(max_retries=2, initial_backoff_s=0.0),
        circuit_breaker=NEVER_OPENS,
        serving=spillway.Serving(max_concurrent=10),
    )


def test_a_success_after_a_retry_gives_back_what_it_took_and_no_more(play):
    """A retry after a 429 with Retry-After is free, yet its success put five tokens into the quota."""

    async def test(world):
        quota = world.cluster._room.router.engines["m"].gates.quota
        await world.ask()  # 503, ok
        assert quota.tokens == 500
        await ended(world.ask())  # 503, bad request: the five are gone
        assert quota.tokens == 495
        await world.ask()  # 429 with Retry-After, ok: as a first try
        assert quota.tokens == 496

    bad = spillway.BadRequest("no", status=400)
    play(test, (broken(), "ok", broken(), bad, refused(1.0), "ok"), retry=retry())


def test_a_429_that_names_its_wait_takes_no_quota_and_one_that_does_not_does(play):
    async def test(world):
        quota = world.cluster._room.router.engines["m"].gates.quota
        await ended(world.ask())
        assert quota.tokens == 490

    bad = spillway.BadRequest("no", status=400)
    play(test, (refused(1.0), refused(1.0), refused(), refused(), bad), retry=retry(max_retries=5))


@pytest.mark.option("retry.retry_unary_timeout", "timeouts.unary_timeout_s")
@pytest.mark.parametrize(("repeats", "calls", "by"), [(False, 1, None), (True, 2, "m")])
def test_a_unary_answer_that_timed_out_may_have_been_billed(play, repeats, calls, by):
    async def test(world):
        result, took = await ended(world.ask())
        assert len(world["m"].calls) == calls
        assert world["b"].calls == []
        if repeats:
            assert (result.deployment, result.attempts) == (by, 2)
        else:
            assert isinstance(result, Timeout)
            assert (result.reason, result.sent) == ("unary", True)
            assert took == pytest.approx(5.0, abs=1e-6)
            assert world.metrics().cost_usd > 0
            assert world.seen.attempts[0].estimated

    play(
        test,
        deployments=[
            deployment(
                fallback=("b",), retry=retry(retry_unary_timeout=repeats), timeouts=Timeouts(unary_timeout_s=5.0)
            ),
            deployment("b"),
        ],
        scripts={"m": (Reply(hang=True), "ok"), "b": ("ok",)},
    )


def test_a_unary_timeout_before_the_body_was_sent_is_repeated(play):
    async def test(world):
        answer = await world.ask()
        assert answer.attempts == 2
        assert world.seen.attempts[0].cost_pico == 0

    play(test, (Reply(send_delay_s=100.0), "ok"), timeouts=Timeouts(unary_timeout_s=5.0), retry=retry())


def test_a_retry_keeps_its_place_in_the_line(play):
    async def test(world):
        first = asyncio.create_task(world.ask(prompt="first"))
        await asyncio.sleep(0.1)
        rest = [asyncio.create_task(world.ask(prompt="rest")) for _ in range(5)]
        await gathered(first, *rest)
        order = [c.batch.request.messages[0]["content"] for c in world.calls]
        assert order == ["first", "rest", "first", "rest", "rest", "rest", "rest"]

    def script(batch):
        if batch.request.messages[0]["content"] == "first" and batch.attempt == 0:
            return Reply(delay_s=1.0, error=broken())
        return Reply(delay_s=2.0)

    play(test, script, serving=spillway.Serving(max_concurrent=1), retry=retry(initial_backoff_s=1.5))


def test_the_slot_is_free_during_a_backoff(play):
    async def test(world):
        first = asyncio.create_task(world.ask())
        await asyncio.sleep(0.5)
        _, took = await ended(world.ask())
        assert took == 0.0
        await first

    play(test, (broken(), "ok"), serving=spillway.Serving(max_concurrent=1), retry=retry(initial_backoff_s=10.0))


def test_errors_carry_the_one_before_as_their_cause(play):
    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, spillway.BadRequest)
        assert isinstance(error.__cause__, NetworkError)
        assert isinstance(error.__cause__.__cause__, ServerError)
        assert [code for _, code, _ in error.history] == ["server_error", "network_error", "bad_request"]

    play(test, (broken(), NetworkError("reset"), spillway.BadRequest("no", status=400)), retry=retry())


def test_a_runner_that_fails_in_its_own_way_is_a_server_error(play):
    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, ServerError)
        assert error.reason == "runner"
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert len(world.calls) == 1

    play(test, (ZeroDivisionError("oops"),))


def test_an_empty_answer_is_repeated(play):
    async def test(world):
        answer = await world.ask()
        assert answer.text == "ok"
        assert answer.attempts == 2

    play(test, (Reply(text="", usage=None, finish_reason=None), "ok"), retry=retry())
