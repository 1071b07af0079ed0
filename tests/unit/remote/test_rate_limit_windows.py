"""What the windows let through, judged by a provider that looks at every span of its own."""

from __future__ import annotations

import math
import random

import pytest

from spillway.core.errors import RateLimited
from spillway.core.limits_seen import LimitSeen, LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, LimitMachine, RateLimiterActor
from spillway.remote.rate_limit.slot_log import SlotLog
from spillway.testing import ManualClock

ONE = AcquirePermit()


def limiter(clock, **limits):
    return RateLimiterActor("node", RateLimits(**limits), clock=clock).handle()


def most_in_any(span_s, events):
    """Return the most that any half-open span `(t - span_s, t]` holds of `(instant, amount)` events."""
    events = sorted(events)
    most = inside = first = 0
    for at, amount in events:
        inside += amount
        while events[first][0] <= at - span_s:
            inside -= events[first][1]
            first += 1
        most = max(most, inside)
    return most


def take(handle, want=ONE):
    try:
        permit = handle.try_acquire(want)
    except RateLimited:
        return False
    permit.sent()
    permit.release()
    return True


def greedy(rng):
    at = 0.0
    while True:
        yield at
        at += 0.05


def late_bursts(rng):
    at = 0.0
    while True:
        for _ in range(100):
            yield at + 59.9
        at += 60.0


def bursts_on_the_boundary(rng):
    at = 0.0
    while True:
        for _ in range(100):
            yield at
        at += 60.0


def poisson(rng):
    at = 0.0
    while True:
        at += rng.expovariate(3.0)
        yield at


@pytest.mark.parametrize("pattern", [greedy, late_bursts, bursts_on_the_boundary, poisson])
@pytest.mark.parametrize("seed", range(3))
def test_no_span_of_a_minute_ever_holds_more_than_the_limit(pattern, seed):
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    sent = []
    for at in pattern(random.Random(seed)):
        if at > 3600.0:
            break
        clock.advance(max(0.0, at - clock()))
        if take(handle):
            sent.append((clock(), 1))
    assert most_in_any(60.0, sent) == 60


@pytest.mark.parametrize("burst_s", [60.0, 10.0, 1.0])
@pytest.mark.parametrize("start", [0.0, 1234.567])
def test_whoever_always_wants_gets_98_percent_of_the_limit(burst_s, start):
    clock = ManualClock(start)
    handle = limiter(clock, requests_per_minute=600, burst_s=burst_s)
    sent = []
    while clock() < start + 600.0:
        while take(handle):
            sent.append((clock(), 1))
        clock.advance(handle.wait_for(ONE))
    assert len(sent) >= 0.98 * 6000
    assert most_in_any(60.0, sent) <= 600
    assert most_in_any(burst_s, sent) <= 600 * burst_s / 60


def test_five_minutes_of_wanting_all():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    count = 0
    for _ in range(3000):
        while take(handle):
            count += 1
        clock.advance(0.1)
    assert count >= 5 * 60 * (1 - 1 / 120)


@pytest.mark.parametrize("seed", range(5))
def test_requests_that_linger_before_they_are_sent_are_judged_by_when_they_were(seed):
    rng = random.Random(seed)
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=600, tokens_per_minute=60_000, burst_s=10.0)
    underway, sent, tokens = [], [], []
    while clock() < 240.0:
        clock.advance(rng.choice((0.0, 0.001, 0.005, 0.02)))
        for due, permit in list(underway):
            if due <= clock():
                underway.remove((due, permit))
                permit.sent()
                sent.append((clock(), 1))
                tokens.append((clock(), permit.want.tokens))
        want = AcquirePermit(1, rng.choice((10, 100, 300)))
        try:
            permit = handle.try_acquire(want)
        except RateLimited:
            continue
        underway.append((clock() + rng.uniform(0.0, 0.3), permit))
    assert most_in_any(60.0, sent) <= 600
    assert most_in_any(60.0, tokens) <= 60_000
    assert most_in_any(10.0, sent) <= 100
    assert most_in_any(10.0, tokens) <= 10_000
    assert sum(amount for _, amount in tokens) >= 0.85 * 4 * 60_000


def test_a_delivery_half_a_second_late_is_not_seen_as_too_much():
    rng = random.Random(1)
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=600)
    arrived = []
    while clock() < 300.0:
        while take(handle):
            arrived.append((clock() + rng.uniform(0.0, 0.499), 1))
        clock.advance(max(0.0, min(handle.wait_for(ONE), rng.expovariate(5.0))))
    assert most_in_any(60.0, arrived) <= 600


def test_a_machine_that_slept_for_hours_does_not_make_up_for_it():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60, burst_s=10.0)
    sent = []
    unsent = handle.try_acquire(ONE)
    for _ in range(400):
        clock.advance(0.25)
        if take(handle):
            sent.append((clock(), 1))
    clock.advance(8 * 3600.0)
    unsent.sent()
    sent.append((clock(), 1))
    for _ in range(800):
        if take(handle):
            sent.append((clock(), 1))
        clock.advance(0.25)
    assert most_in_any(60.0, sent) <= 60
    assert most_in_any(10.0, sent) <= 10


# The span of a burst.


@pytest.mark.parametrize(
    ("limit", "burst_s", "at_once"), [(60, 10.0, 10), (600, 1.0, 10), (60, 0.5, 1), (100, 1.0, 1), (60, 60.0, 60)]
)
def test_at_most_the_bursts_share_goes_at_once(limit, burst_s, at_once):
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=limit, burst_s=burst_s)
    count = 0
    while take(handle):
        count += 1
    assert count == at_once
    if burst_s < 60.0:
        assert handle.wait_for(ONE) == burst_s
        clock.advance(burst_s)
        assert take(handle)


def test_a_request_larger_than_the_bursts_share_passes_when_nothing_else_counts():
    clock = ManualClock()
    handle = limiter(clock, tokens_per_minute=60_000, burst_s=1.0)
    large = AcquirePermit(1, 29_000)
    first = handle.try_acquire(AcquirePermit(1, 10))
    assert handle.wait_for(large) == math.inf, "not while anything is on its way"
    first.sent()
    assert handle.wait_for(large) == 1.0
    clock.advance(1.0)
    assert take(handle, large)
    assert handle.wait_for(AcquirePermit(1, 1)) == 1.0
    clock.advance(1.0)
    assert take(handle, large)
    clock.advance(1.0)
    assert handle.wait_for(AcquirePermit(1, 1991)) == 57.5, "the minute is full"


def test_the_log_of_a_burst_stays_short_however_much_passes():
    log = SlotLog(10.0, width_s=0.01)
    for step in range(200_000):
        now = step * 0.001
        log.expire(now)
        log.add(now, 1)
    assert len(log) <= 1002
    assert log.used >= 10_000
    assert repr(log).startswith("<SlotLog 10")


def test_a_span_is_over_however_its_end_is_written():
    for seed in range(300):
        at = random.Random(seed).uniform(0.0, 1e6)
        span = random.Random(seed + 1).choice((0.1, 1 / 3, 1.0, 10.0))
        log = SlotLog(span, width_s=0.0)
        log.add(at, 1)
        end = log.leaves_at(1)
        assert end - at >= span
        assert at <= end - span
        assert end >= at + span
        assert end - (at + span) < 1e-9
        log.expire(math.nextafter(end, 0.0))
        assert log.used == 1
        log.expire(end)
        assert log.used == 0
        assert log.leaves_at(1) == math.inf


def test_a_clock_that_goes_back_a_little_makes_no_room():
    log = SlotLog(60.0, width_s=0.5, guard_s=0.5)
    log.add(100.0, 1)
    log.add(99.0, 1)
    log.expire(160.4)
    assert log.used == 2


# The wait that is named.


def random_state(rng):
    """Return a limiter somewhere in its life, its clock, and what it is asked for."""
    clock = ManualClock(rng.choice((0.0, 1e3, 1e6 + 0.1)))
    handle = limiter(
        clock,
        requests_per_minute=rng.choice((None, 5, 60)),
        tokens_per_minute=rng.choice((None, 1000, 7)),
        output_tokens_per_minute=rng.choice((None, 500)),
        burst_s=rng.choice((60.0, 10.0, 1.0, 1 / 3)),
    )
    for _ in range(rng.randrange(12)):
        want = AcquirePermit(rng.randrange(3), rng.randrange(7), output_tokens=rng.randrange(200))
        what = rng.random()
        if what < 0.08:
            handle.throttled(rng.choice((None, 0.5, 7.3)))
        elif what < 0.16:
            said = LimitSeen(
                limit=rng.choice((None, 4, 50)), remaining=rng.randrange(5), reset_s=rng.uniform(0.0, 20.0)
            )
            handle.observe(LimitsSeen(requests=said, tokens=said))
        try:
            permit = handle.try_acquire(want)
        except RateLimited:
            pass
        else:
            if what < 0.97:
                permit.sent()
            if what < 0.6:
                permit.reconcile(rng.randrange(10), output_tokens=rng.randrange(300))
        clock.advance(rng.choice((0.0, 1e-4, 0.003, 0.25, rng.uniform(0.0, 5.0), rng.uniform(0.0, 30.0))))
    return handle, clock, AcquirePermit(1, rng.randrange(7), output_tokens=rng.randrange(400))


def test_the_wait_is_exact_in_ten_thousand_states():
    rng = random.Random(20)
    waited = 0
    for _ in range(10_000):
        handle, clock, want = random_state(rng)
        wait = handle.wait_for(want)
        if wait == 0.0:
            handle.try_acquire(want)
            continue
        with pytest.raises(RateLimited) as caught:
            handle.try_acquire(want)
        if wait == math.inf:
            continue
        assert caught.value.retry_after == wait
        waited += 1
        if wait > 0.001:
            now = clock()
            clock.advance(wait - 0.001)
            with pytest.raises(RateLimited):
                handle.try_acquire(want)
            clock.advance(max(0.0, now + wait - clock()))
        else:
            clock.advance(wait)
        handle.try_acquire(want)
    assert waited > 2000


# What the provider says.


def ceiling(handle):
    return handle.snapshot().requests.ceiling


def test_a_429_stops_everything_for_its_pause_and_the_longer_pause_wins():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=100)
    handle.throttled(10.0)
    handle.throttled(3.0)
    clock.advance(4.0)
    handle.throttled(20.0)
    assert handle.blocked_for() == 20.0
    assert handle.wait_for(ONE) == 20.0
    clock.advance(19.999)
    assert not take(handle)
    clock.advance(0.001)
    assert take(handle)


def test_429s_lower_the_rate_by_factors_and_quiet_raises_it_by_steps():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=100)
    handle.throttled(None)
    assert handle.blocked_for() == 0.0
    assert ceiling(handle) == 70
    handle.throttled(None)
    assert ceiling(handle) == 70, "one answer to requests that were on their way together"
    clock.advance(3.0)
    handle.throttled(2.0)
    assert ceiling(handle) == 52, "one step up to 75, then the cut"
    clock.advance(3.999)
    assert ceiling(handle) == 52, "the pause and the first step after it"
    clock.advance(0.001)
    assert ceiling(handle) == 57
    clock.advance(16.0)
    assert ceiling(handle) == 97
    clock.advance(2.0)
    assert ceiling(handle) == 100
    clock.advance(8 * 3600.0)
    assert ceiling(handle) == 100


def test_a_lowered_rate_keeps_a_twentieth_and_at_least_one():
    clock = ManualClock()
    large, small = limiter(clock, requests_per_minute=1000), limiter(clock, requests_per_minute=3)
    for _ in range(30):
        clock.advance(1.0)
        large.throttled(None)
        small.throttled(None)
    assert ceiling(large) == 50
    assert ceiling(small) == 1
    assert take(small)
    assert not take(small)


def test_a_lowered_rate_still_lets_a_large_request_pass_when_nothing_else_counts():
    clock = ManualClock()
    handle = limiter(clock, tokens_per_minute=1000)
    for _ in range(30):
        clock.advance(1.0)
        handle.throttled(None)
    assert take(handle, AcquirePermit(1, 900))
    assert not take(handle, AcquirePermit(1, 1))


def test_recovery_is_part_of_the_wait_that_is_named():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=100)
    handle.throttled(None)
    for _ in range(70):
        assert take(handle)
    assert handle.wait_for(ONE) == 2.0
    clock.advance(2.0)
    assert take(handle)


@pytest.mark.parametrize("retry_after", [0.0, -3.0, math.nan, math.inf])
def test_a_pause_that_is_none_is_none(retry_after):
    handle = limiter(ManualClock(), requests_per_minute=100)
    handle.throttled(retry_after)
    assert handle.blocked_for() == 0.0
    assert take(handle)


def seen(**what):
    return LimitsSeen(requests=LimitSeen(**what))


def test_nothing_remaining_stops_at_once_and_comes_back_evenly_until_the_reset():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    handle.observe(seen(remaining=0, reset_s=12.0))
    assert not take(handle)
    assert handle.wait_for(ONE) == pytest.approx(0.2)
    clock.advance(6.0)
    assert sum(take(handle) for _ in range(60)) == 30
    clock.advance(6.0)
    assert sum(take(handle) for _ in range(60)) == 30, "after the reset only the own window counts"


def test_what_remains_is_less_what_is_on_its_way():
    handle = limiter(ManualClock(), requests_per_minute=60)
    for _ in range(3):
        handle.try_acquire(ONE)
    handle.observe(seen(remaining=5, reset_s=60.0))
    back = [handle.try_acquire(ONE) for _ in range(2)]
    assert not take(handle)
    back[0].refund()
    assert take(handle)
    assert not take(handle)


def test_good_news_does_not_undo_bad_news_before_its_reset():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    handle.observe(seen(remaining=0, reset_s=12.0))
    handle.observe(seen(remaining=50, reset_s=1.0))
    assert not take(handle)
    handle.observe(seen(remaining=0, reset_s=60.0))
    clock.advance(13.0)
    handle.observe(seen(remaining=20, reset_s=600.0))
    assert sum(take(handle) for _ in range(60)) in (13, 14)


def test_without_a_reset_a_window_is_assumed():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    handle.observe(seen(remaining=0))
    assert handle.wait_for(ONE) == pytest.approx(1.0)


def test_the_providers_own_limit_lowers_and_never_raises():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    told = []
    handle.on_room(lambda: told.append(handle.wait_for(ONE)))
    handle.observe(seen(limit=10, remaining=10, reset_s=0.0))
    assert ceiling(handle) == 10
    assert sum(take(handle) for _ in range(60)) == 10
    handle.observe(seen(limit=20))
    assert told == [0.0]
    handle.observe(seen(limit=10_000, remaining=10_000, reset_s=0.0))
    assert ceiling(handle) == 60
    assert sum(take(handle) for _ in range(100)) == 50


@pytest.mark.parametrize(
    "said",
    [
        {"limit": -1, "remaining": -1, "reset_s": 5.0},
        {"limit": 0},
        {"remaining": 0, "reset_s": -1.0},
        {"remaining": 0, "reset_s": math.nan},
        {"remaining": 0, "reset_s": math.inf},
        {"remaining": 60, "reset_s": 5.0},
        {"remaining": 10**12, "reset_s": 5.0},
        {},
    ],
)
def test_headers_that_make_no_sense_or_no_difference_change_nothing(said):
    handle = limiter(ManualClock(), requests_per_minute=60)
    handle.observe(seen(**said))
    handle.observe(LimitsSeen(tokens=LimitSeen(remaining=0, reset_s=60.0)))
    assert sum(take(handle) for _ in range(100)) == 60


def test_a_reset_far_away_is_believed_for_an_hour():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=60)
    handle.observe(seen(remaining=0, reset_s=1e9))
    assert handle.wait_for(AcquirePermit(60)) == 3600.0


def test_without_limits_headers_say_nothing():
    handle = limiter(ManualClock())
    handle.observe(seen(limit=1, remaining=0, reset_s=60.0))
    assert take(handle)


def test_the_machine_says_what_it_holds():
    machine = LimitMachine(RateLimits(requests_per_minute=60, output_tokens_per_minute=10))
    assert repr(machine) == "<LimitMachine requests 0/60, output_tokens 0/10>"
    assert repr(LimitMachine(RateLimits())) == "<LimitMachine unlimited>"
