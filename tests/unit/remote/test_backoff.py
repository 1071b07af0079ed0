import math
import random

import pytest

from spillway.remote.backoff import BackoffPolicy, compute_backoff


class Always:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def delays(policy, attempts, rng=None):
    return [compute_backoff(policy, n, rng) for n in attempts]


def test_grows_by_the_multiplier_up_to_the_cap():
    policy = BackoffPolicy(0.05, 20.0, 2.0, "full")
    expected = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]
    assert delays(policy, range(11), Always(1.0)) == pytest.approx(expected)


def test_defaults_are_one_second_doubling_to_a_minute_with_full_jitter():
    assert BackoffPolicy() == BackoffPolicy(initial=1.0, max=60.0, multiplier=2.0, jitter="full")


def test_full_jitter_is_uniform_from_zero_to_the_cap():
    policy = BackoffPolicy(0.05, 20.0, 2.0, "full")
    rng = random.Random(7)
    bins = [0] * 20
    for _ in range(10_000):
        bins[int(compute_backoff(policy, 10, rng))] += 1
    assert all(400 <= n <= 600 for n in bins), bins
    early = [compute_backoff(policy, 2, rng) for _ in range(10_000)]
    assert 0.0 <= min(early) < 0.01
    assert 0.19 < max(early) <= 0.2


def test_equal_jitter_keeps_half():
    policy = BackoffPolicy(4.0, 60.0, 2.0, "equal")
    assert compute_backoff(policy, 0, Always(0.0)) == 2.0
    assert compute_backoff(policy, 0, Always(1.0)) == 4.0


def test_no_jitter_asks_for_no_randomness():
    class Broken:
        def random(self):
            raise AssertionError

    assert delays(BackoffPolicy(1.0, 5.0, 2.0, "none"), range(4), Broken()) == [1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize("attempt", [10**6, 10**400, 1024, 1 << 60])
def test_no_attempt_overflows(attempt):
    assert compute_backoff(BackoffPolicy(0.5, 8.0, 2.0, "none"), attempt) == 8.0
    assert compute_backoff(BackoffPolicy(0.5, 8.0, 1.0, "none"), attempt) == 0.5
    assert compute_backoff(BackoffPolicy(0.0, 8.0, 2.0, "none"), attempt) == 0.0
    assert compute_backoff(BackoffPolicy(1e300, 1e308, 1e300, "none"), attempt) == 1e308


def test_an_attempt_below_zero_is_the_first():
    assert compute_backoff(BackoffPolicy(0.5, 8.0, 2.0, "none"), -1100) == 0.5


def test_without_a_source_the_jitter_is_real():
    policy = BackoffPolicy(jitter="full")
    seen = {compute_backoff(policy, 3) for _ in range(50)}
    assert len(seen) == 50
    assert all(0.0 <= d < 8.0 for d in seen)


@pytest.mark.parametrize(
    "bad",
    [
        {"initial": -1.0},
        {"max": -0.1},
        {"max": math.inf},
        {"initial": math.nan},
        {"multiplier": 0.5},
        {"jitter": "some"},
    ],
)
def test_a_bad_policy_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        BackoffPolicy(**bad)


def test_clients_that_failed_together_do_not_come_back_together():
    policy = BackoffPolicy()
    bins = [0] * 100
    for _ in range(1000):
        bins[int(compute_backoff(policy, 0) * 100)] += 1
    assert max(bins) <= 50
