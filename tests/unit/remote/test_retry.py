import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.core import errors as e
from spillway.core.options import RetryPolicy
from spillway.remote.retry import GIVE_UP, Attempt, Retry, RetryDecision, RetryEngine, RetryQuota


class Always:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def engine(idempotent=True, rng=None, **policy):
    return RetryEngine(RetryPolicy(**policy), idempotent, rng=rng)


RETRYABLE = [e.RateLimited(), e.ServerError(status=503), e.NetworkError(), e.Timeout()]
FINAL = [
    e.BadRequest(),
    e.Unauthorized(),
    e.Forbidden(),
    e.ModelNotFound(),
    e.ContentFiltered(),
    e.ContextLengthExceeded(),
    e.QuotaExhausted(),
    e.Backpressure(),
    e.BudgetExceeded(),
    e.CircuitOpen(),
    e.InvalidApiKey(),
    e.StreamInterrupted(),
    e.ServerError(retryable=False),
    e.NetworkError(reason="certificate", retryable=False),
]


@pytest.mark.parametrize("error", RETRYABLE, ids=lambda x: x.code)
def test_retries_what_may_succeed(error):
    decision = engine().decide(Attempt(0), error)
    assert isinstance(decision, Retry)
    assert isinstance(decision, RetryDecision)
    assert 0.0 <= decision.after < 1.0


@pytest.mark.parametrize("error", FINAL, ids=lambda x: x.code)
def test_gives_up_on_what_can_not_succeed(error):
    assert engine().decide(Attempt(0), error) is GIVE_UP


def test_gives_up_at_max_retries_whatever_the_error():
    decide = engine(max_retries=3).decide
    outcomes = [decide(Attempt(n), e.ServerError()) is GIVE_UP for n in range(6)]
    assert outcomes == [False, False, False, True, True, True]
    assert engine(max_retries=0).decide(Attempt(0), e.ServerError()) is GIVE_UP


def test_never_repeats_what_is_not_idempotent():
    for error in RETRYABLE:
        assert engine(idempotent=False).decide(Attempt(0), error) is GIVE_UP


def test_retries_only_the_codes_it_is_told():
    only = engine(retry_on=("server_error",))
    assert isinstance(only.decide(Attempt(0), e.ServerError()), Retry)
    assert only.decide(Attempt(0), e.RateLimited()) is GIVE_UP


def test_backs_off_by_its_policy():
    told = engine(initial_backoff_s=0.5, max_backoff_s=3.0, backoff_multiplier=3.0, jitter="none", max_retries=9)
    after = [told.decide(Attempt(n), e.ServerError()).after for n in range(4)]
    assert after == [0.5, 1.5, 3.0, 3.0]
    half = engine(initial_backoff_s=8.0, jitter="full", rng=Always(0.25))
    assert half.decide(Attempt(0), e.ServerError()) == Retry(2.0)


@pytest.mark.parametrize("told", [0.0, 0.4, 5.0, 61.0, 1e20])
def test_waits_at_least_as_long_as_told_whatever_the_cap(told):
    decide = engine(initial_backoff_s=0.5, max_backoff_s=2.0, jitter="none").decide
    assert decide(Attempt(0), e.RateLimited(retry_after=told)) == Retry(max(0.5, told))


@pytest.mark.parametrize("told", [-10.0, float("nan")])
def test_a_senseless_wait_is_none(told):
    decide = engine(initial_backoff_s=0.5, jitter="none").decide
    assert decide(Attempt(0), e.RateLimited(retry_after=told)) == Retry(0.5)


def test_a_wait_is_ignored_when_the_policy_says_so():
    decide = engine(initial_backoff_s=0.5, jitter="none", respect_retry_after=False).decide
    assert decide(Attempt(0), e.RateLimited(retry_after=30.0)) == Retry(0.5)


def test_a_unary_request_that_timed_out_after_it_was_sent_is_not_repeated():
    sent = e.Timeout(reason="unary")
    sent.sent = True
    assert engine().decide(Attempt(0), sent) is GIVE_UP
    assert isinstance(engine(retry_unary_timeout=True).decide(Attempt(0), sent), Retry)
    assert isinstance(engine().decide(Attempt(0), e.Timeout(reason="unary")), Retry)


def test_says_what_it_does():
    assert repr(engine()) == "<RetryEngine up to 3 retries, full jitter, 1 to 60 s>"
    assert repr(engine(idempotent=False)) == "<RetryEngine never retries>"
    assert repr(GIVE_UP) == "GIVE_UP"


class Client:
    """Asks through a quota and takes the statuses it is scripted."""

    def __init__(self, quota, max_retries=2):
        self.quota = quota
        self.max_retries = max_retries
        self.calls = 0

    def ask(self, *statuses):
        retried = False
        for n, status in enumerate(statuses):
            self.calls += 1
            if status == 200:
                self.quota.success(retried=retried)
                return True
            if n >= self.max_retries or not self.quota.try_take(e.ServerError(status=status)):
                return False
            retried = True
        return False


@pytest.mark.parametrize(
    ("capacity", "scripts", "left", "calls"),
    [
        (500, [[500, 500, 200]], 495, 3),
        (500, [[502, 502, 502]], 490, 3),
        (5, [[500, 502, 200]], 0, 2),
        (15, [[500, 502, 200]], 10, 3),
        (15, [[500, 502, 200], [500, 200]], 10, 5),
        (500, [[200]], 500, 1),
        (0, [[500, 200]], 0, 1),
    ],
)
def test_quota_table(capacity, scripts, left, calls):
    quota = RetryQuota(capacity)
    client = Client(quota)
    for script in scripts:
        client.ask(*script)
    assert quota.tokens == left
    assert client.calls == calls


def test_two_requests_at_once_share_the_quota():
    quota = RetryQuota()
    assert [quota.try_take(e.ServerError()) for _ in range(3)] == [True] * 3
    quota.success(retried=True)
    quota.success(retried=True)
    assert quota.tokens == 495


def test_a_first_success_earns_one_up_to_the_capacity():
    quota = RetryQuota()
    quota.try_take(e.NetworkError())
    for expected in [496, 497, 498, 499, 500, 500]:
        quota.success(retried=False)
        assert quota.tokens == expected


def test_a_refusal_that_names_its_wait_costs_nothing():
    quota = RetryQuota(capacity=5)
    assert all(quota.try_take(e.RateLimited(retry_after=1.0)) for _ in range(100))
    assert repr(quota) == "<RetryQuota 5/5 tokens, 5 a retry>"
    assert quota.try_take(e.RateLimited())
    assert not quota.try_take(e.RateLimited())
    assert quota.tokens == 0
    assert [
        quota.charges(x) for x in (e.RateLimited(retry_after=0.0), e.RateLimited(), e.Timeout(retry_after=1.0))
    ] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("capacity", "cost"), [(-1, 5), (500, 0)])
def test_a_senseless_quota_is_refused(capacity, cost):
    with pytest.raises(ValueError, match="capacity"):
        RetryQuota(capacity, cost)


@given(
    st.lists(st.sampled_from(["take", "told", "first", "again"]), max_size=200),
    st.integers(0, 40),
    st.integers(1, 7),
)
def test_tokens_stay_within_bounds(steps, capacity, cost):
    quota = RetryQuota(capacity, cost)
    for step in steps:
        before = quota.tokens
        if step == "take":
            assert quota.try_take(e.ServerError()) == (before >= cost)
        elif step == "told":
            assert quota.try_take(e.RateLimited(retry_after=2.0))
        else:
            quota.success(retried=step == "again")
        assert 0 <= quota.tokens <= capacity


@given(st.integers(1, 3000), st.integers(0, 6), st.integers(0, 600))
def test_a_provider_that_is_down_sees_at_most_the_quota_on_top(requests, max_retries, capacity):
    quota = RetryQuota(capacity)
    decide = engine(max_retries=max_retries).decide
    sent = 0
    error = e.ServerError(status=503)
    for _ in range(requests):
        n = 0
        sent += 1
        while decide(Attempt(n), error) is not GIVE_UP and quota.try_take(error):
            n += 1
            sent += 1
    assert sent == requests + min(requests * max_retries, capacity // 5)
