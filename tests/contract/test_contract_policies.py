"""Backoff and retry decisions, exactly as they are promised."""

import math
import random
import statistics

import pytest

import spillway
from spillway.remote import backoff, retry
from spillway.remote.backoff import BackoffPolicy, compute_backoff
from spillway.remote.classify import classify_http_status
from spillway.remote.retry import GIVE_UP, Attempt, Retry, RetryDecision, RetryEngine


class Always:
    """A source of randomness that says one thing."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


NO_JITTER = spillway.RetryPolicy(max_retries=3, initial_backoff_s=1.0, max_backoff_s=60.0, jitter="none")


@pytest.mark.parametrize(
    ("jitter", "value", "expected"),
    [("none", 0.25, 8.0), ("full", 0.25, 2.0), ("full", 0.0, 0.0), ("equal", 0.0, 4.0), ("equal", 0.5, 6.0)],
)
def test_backoff_takes_its_four_values_by_position(jitter, value, expected):
    policy = BackoffPolicy(1.0, 60.0, 2.0, jitter)
    assert (policy.initial, policy.max, policy.multiplier, policy.jitter) == (1.0, 60.0, 2.0, jitter)
    assert compute_backoff(policy, 3, Always(value)) == pytest.approx(expected)
    assert compute_backoff(policy, 3, rng=Always(value)) == pytest.approx(expected)


def test_backoff_by_keyword_and_with_whole_numbers():
    policy = BackoffPolicy(initial=1, max=60, multiplier=2, jitter="none")
    assert [compute_backoff(policy, n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("jitter", ["none", "equal", "full"])
@pytest.mark.parametrize("attempt", [0, 1, 1023, 1024, 5000, 10**9, 10**30])
def test_backoff_never_overflows(jitter, attempt):
    assert 0.0 <= compute_backoff(BackoffPolicy(0.5, 20.0, 3.0, jitter), attempt) <= 20.0
    assert compute_backoff(BackoffPolicy(0.5, 20.0, 3.0, "none"), attempt) <= 20.0


def test_backoff_is_capped_when_it_begins_above_its_maximum():
    assert compute_backoff(BackoffPolicy(100.0, 5.0, 2.0, "none"), 0) == 5.0


def test_full_jitter_is_spread_and_comes_from_entropy_when_nobody_says_otherwise():
    policy = BackoffPolicy(1.0, 60.0, 2.0, "full")
    seen = [compute_backoff(policy, 4) for _ in range(2000)]
    assert all(0 <= one <= 16 for one in seen)
    assert 7 < statistics.mean(seen) < 9
    assert len(set(seen)) > 1900
    random.seed(1)
    first = compute_backoff(policy, 4)
    random.seed(1)
    assert compute_backoff(policy, 4) != first


def test_backoff_takes_the_random_numbers_of_the_standard_library():
    policy = BackoffPolicy(1.0, 60.0, 2.0, "full")
    assert compute_backoff(policy, 2, random.Random(7)) == compute_backoff(policy, 2, random.Random(7))


@pytest.mark.parametrize(
    "bad",
    [
        (-1.0, 60.0, 2.0, "full"),
        (1.0, -1.0, 2.0, "full"),
        (1.0, math.nan, 2.0, "full"),
        (1.0, 60.0, 0.5, "full"),
        (1.0, 60.0, 2.0, "some"),
        ("1", 60.0, 2.0, "full"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused_at_construction(bad):
    with pytest.raises((ValueError, TypeError)):
        BackoffPolicy(*bad)


def test_a_retryable_error_is_repeated_until_max_retries():
    engine = RetryEngine(NO_JITTER, True)
    error = classify_http_status("openai", 503)
    decisions = [engine.decide(Attempt(n), error) for n in range(5)]
    assert decisions == [Retry(1.0), Retry(2.0), Retry(4.0), GIVE_UP, GIVE_UP]
    assert all(isinstance(decision, RetryDecision) for decision in decisions)
    assert decisions[0].after == 1.0
    assert decisions[3] is GIVE_UP
    assert GIVE_UP != Retry(0.0)


def test_the_engine_and_the_attempt_by_keyword():
    engine = RetryEngine(policy=NO_JITTER, idempotent=True)
    assert engine.decide(attempt=Attempt(n=0), error=spillway.ServerError("x")) == Retry(after=1.0)


def test_no_retries_means_none():
    engine = RetryEngine(spillway.RetryPolicy(max_retries=0), True)
    assert engine.decide(Attempt(0), spillway.ServerError("x")) is GIVE_UP


def test_what_is_not_idempotent_is_never_repeated():
    engine = RetryEngine(NO_JITTER, False)
    for status in (408, 429, 500, 503, 529):
        assert engine.decide(Attempt(0), classify_http_status("openai", status)) is GIVE_UP


@pytest.mark.parametrize("told", [7.0, 61.0, 86400.0])
def test_retry_after_is_obeyed_whatever_the_cap(told):
    engine = RetryEngine(NO_JITTER, True)
    for status in (429, 503, 529):
        error = classify_http_status("anthropic", status, retry_after=told)
        decision = engine.decide(Attempt(0), error)
        assert isinstance(decision, Retry)
        assert decision.after >= told


def test_a_short_retry_after_does_not_shorten_the_backoff():
    error = classify_http_status("openai", 429, retry_after=0.1)
    assert RetryEngine(NO_JITTER, True).decide(Attempt(2), error).after == 4.0


def test_retry_after_can_be_disregarded():
    policy = spillway.RetryPolicy(jitter="none", respect_retry_after=False)
    error = classify_http_status("openai", 429, retry_after=50.0)
    assert RetryEngine(policy, True).decide(Attempt(0), error) == Retry(1.0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 425])
def test_a_final_refusal_is_not_repeated(status):
    assert RetryEngine(NO_JITTER, True).decide(Attempt(0), classify_http_status("openai", status)) is GIVE_UP


def test_retry_on_says_which_errors_are_repeated():
    policy = spillway.RetryPolicy(jitter="none", retry_on=["server_error"])
    engine = RetryEngine(policy, True)
    assert isinstance(engine.decide(Attempt(0), spillway.ServerError("x")), Retry)
    assert engine.decide(Attempt(0), spillway.RateLimited("x")) is GIVE_UP
    assert engine.decide(Attempt(0), spillway.NetworkError("x")) is GIVE_UP
    assert engine.decide(Attempt(0), spillway.Timeout("x")) is GIVE_UP


def test_an_exhausted_quota_is_final_although_it_is_a_429():
    error = classify_http_status(
        "openai", 429, body='{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"pay"}}'
    )
    assert RetryEngine(NO_JITTER, True).decide(Attempt(0), error) is GIVE_UP


def test_the_modules_are_where_they_are_said_to_be():
    assert backoff.compute_backoff is compute_backoff
    assert retry.RetryEngine is RetryEngine
