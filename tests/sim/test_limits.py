"""The judge, in virtual time."""

import random

import pytest

from spillway.sim import LimitError, LimitSpec, WindowJudge, parse_limit


@pytest.mark.parametrize("seed", range(10))
def test_no_window_holds_more_than_the_limit(seed):
    rng = random.Random(seed)
    judge = WindowJudge(60, 600, 60.0)
    now, admitted = 0.0, []
    for _ in range(3000):
        now += rng.choice([0.0, 0.001, 0.4, 5.0])
        tokens = rng.randrange(1, 60)
        if judge.arrive(now, tokens).allowed:
            admitted.append((now, tokens))
    for at, _ in admitted:
        window = [spent for then, spent in admitted if at - 60.0 < then <= at]
        assert len(window) <= 60
        assert sum(window) <= 600


def test_the_wait_is_exact():
    judge = WindowJudge(2, None, 60.0)
    judge.arrive(0.0, 1)
    judge.arrive(10.0, 1)
    refused = judge.arrive(20.0, 1)
    assert (refused.allowed, refused.limited_by, refused.retry_after_s) == (False, "requests", 40.0)
    assert not judge.arrive(59.999, 1).allowed
    assert judge.arrive(60.0, 1).allowed
    assert not judge.arrive(69.0, 1).allowed


def test_tokens_wait_for_enough_to_leave():
    judge = WindowJudge(None, 100, 60.0)
    judge.arrive(0.0, 30)
    judge.arrive(5.0, 50)
    assert judge.arrive(10.0, 40).retry_after_s == 50.0
    assert judge.arrive(10.0, 90).retry_after_s == 55.0
    assert judge.arrive(10.0, 20).allowed


def test_what_is_larger_than_a_minute_never_fits_and_a_short_window_lets_it_through_empty():
    over = WindowJudge(None, 100, 60.0).arrive(0.0, 101)
    assert (over.allowed, over.fits_never) == (False, True)
    burst = WindowJudge(None, 600, 1.0)
    assert burst.arrive(0.0, 300).allowed
    refused = burst.arrive(0.5, 300)
    assert (refused.allowed, refused.fits_never, refused.retry_after_s) == (False, False, 0.5)
    assert burst.arrive(1.0, 300).allowed


def test_a_short_window_has_its_share_of_the_minute():
    judge = WindowJudge(600, None, 1.0)
    assert [judge.arrive(0.0, 1).allowed for _ in range(11)] == [True] * 10 + [False]
    assert repr(judge) == "<WindowJudge 10/10 requests 10/None tokens>"


def test_a_verdict_tells_what_is_left():
    judge = WindowJudge(3, 100)
    judge.arrive(0.0, 10)
    verdict = judge.arrive(6.0, 15)
    assert (verdict.limit_requests, verdict.remaining_requests) == (3, 1)
    assert (verdict.limit_tokens, verdict.remaining_tokens) == (100, 75)
    assert verdict.reset_requests_s == 60.0


def test_parse_limit():
    assert parse_limit("sk-a=b=60,1_000") == LimitSpec(key="sk-a=b", requests_per_minute=60, tokens_per_minute=1000)
    assert parse_limit("*=-,500,10") == LimitSpec(tokens_per_minute=500, window_s=10)


@pytest.mark.parametrize(
    "text", ["", "k", "k=1", "=1,2", "k=a,2", "k=1,0", "k=1,2,-3", "k=1,2,3,4", "k=nan,2", "k=1,inf"]
)
def test_bad_limits_are_one_line(text):
    with pytest.raises(LimitError) as caught:
        parse_limit(text)
    assert "\n" not in str(caught.value)
