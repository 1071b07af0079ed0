"""The limiter through its handle: permits, refusals, settling, several limits at once."""

from __future__ import annotations

import logging
import math
import pickle
import threading

import pytest

from spillway.core.actor import ActorSystem
from spillway.core.errors import BadRequest, RateLimited
from spillway.core.limits_seen import LimitSeen, LimitsSeen
from spillway.core.options import RateLimits
from spillway.core.priority import Priority
from spillway.remote.rate_limit import (
    AcquirePermit,
    GetLimits,
    NoteLimitsSeen,
    NoteThrottled,
    RateLimiterActor,
    SetLimits,
)
from spillway.testing import ManualClock

ONE = AcquirePermit()


def limiter(clock=None, *, window_s=60.0, gives_back=True, **limits):
    clock = ManualClock() if clock is None else clock
    actor = RateLimiterActor("node", RateLimits(**limits), clock=clock, window_s=window_s, gives_back=gives_back)
    return actor.handle(), clock


def send(handle, want=ONE):
    permit = handle.try_acquire(want)
    permit.sent()
    permit.release()
    return permit


def refused(handle, want=ONE):
    with pytest.raises(RateLimited) as caught:
        handle.try_acquire(want)
    return caught.value


def admitted(handle, want=ONE, most=10**6):
    """Send until it is refused; return how often it was not."""
    count = 0
    while count < most:
        try:
            send(handle, want)
        except RateLimited:
            return count
        count += 1
    return count


# Amounts.


def test_the_amounts_of_a_permit_have_the_documented_defaults_and_order():
    assert AcquirePermit() == AcquirePermit(requests=1, tokens=0, input_tokens=0, output_tokens=0)
    assert AcquirePermit(2, 30).tokens == 30
    assert AcquirePermit().priority is Priority.NORMAL
    with pytest.raises(TypeError):
        AcquirePermit(1, 2, 3)


def test_the_whole_limit_may_go_at_once_and_no_more():
    handle, _ = limiter(requests_per_minute=60)
    assert admitted(handle) == 60


def test_one_in_a_tenth_of_a_second():
    handle, clock = limiter(requests_per_minute=1, window_s=0.1)
    send(handle)
    refused(handle)
    clock.advance(0.101)
    send(handle)


def test_what_was_not_used_is_there_after_the_window():
    handle, clock = limiter(requests_per_minute=3, window_s=0.1)
    send(handle)
    clock.advance(0.101)
    assert admitted(handle) == 3


def test_costs_larger_than_what_is_left_take_nothing_and_larger_than_the_limit_never_pass():
    handle, _ = limiter(requests_per_minute=10)
    with pytest.raises(BadRequest) as caught:
        handle.try_acquire(AcquirePermit(11))
    assert caught.value.reason == "unacquirable_cost"
    send(handle, AcquirePermit(5))
    refused(handle, AcquirePermit(6))
    assert handle.snapshot().requests.available == 5
    send(handle, AcquirePermit(5))


@pytest.mark.parametrize("want", [AcquirePermit(-1), AcquirePermit(1, -1)])
def test_a_negative_amount_is_refused_and_changes_nothing(want):
    handle, _ = limiter(requests_per_minute=10, tokens_per_minute=10)
    before = handle.snapshot()
    with pytest.raises(BadRequest):
        handle.try_acquire(want)
    assert handle.snapshot() == before


def test_a_negative_amount_is_refused_by_a_limit_of_concurrency_alone():
    handle, _ = limiter(concurrent_requests=1)
    with pytest.raises(BadRequest):
        handle.try_acquire(AcquirePermit(-1))


def test_what_can_never_be_is_said_also_when_another_limit_is_full():
    handle, _ = limiter(requests_per_minute=1, tokens_per_minute=10, concurrent_requests=1)
    handle.try_acquire(ONE)
    with pytest.raises(BadRequest):
        handle.try_acquire(AcquirePermit(1, 11))
    assert handle.wait_for(AcquirePermit(1, 11)) == 0.0


def test_each_kind_of_token_has_its_own_limit():
    handle, _ = limiter(tokens_per_minute=100, input_tokens_per_minute=50, output_tokens_per_minute=20)
    send(handle, AcquirePermit(tokens=40, input_tokens=25, output_tokens=15))
    refused(handle, AcquirePermit(tokens=1, output_tokens=6))
    refused(handle, AcquirePermit(tokens=1, input_tokens=26))
    refused(handle, AcquirePermit(tokens=61))
    send(handle, AcquirePermit(tokens=60, input_tokens=25, output_tokens=5))


def test_a_refusal_takes_nothing_of_any_limit():
    handle, _ = limiter(requests_per_minute=60, tokens_per_minute=1000, concurrent_requests=4)
    send(handle, AcquirePermit(1, 900))
    before = handle.snapshot()
    for _ in range(1000):
        refused(handle, AcquirePermit(1, 200))
    assert handle.snapshot() == before


def test_an_amount_of_nothing_passes_a_full_limit():
    handle, _ = limiter(tokens_per_minute=10)
    send(handle, AcquirePermit(1, 10))
    send(handle, ONE)


def test_asking_takes_nothing():
    handle, _ = limiter(requests_per_minute=5)
    for _ in range(1000):
        assert handle.wait_for(ONE) == 0.0
        assert not handle.limited()
        handle.snapshot()
    assert admitted(handle) == 5
    assert handle.limited()


# Refusals.


def test_a_refusal_says_who_and_how_long():
    handle, clock = limiter(requests_per_minute=1)
    send(handle)
    clock.advance(10.0)
    error = refused(handle)
    assert error.limited_by == "deployment"
    assert error.reason == "window"
    assert error.retry_after == 50.5
    assert pickle.loads(pickle.dumps(error)).retry_after == 50.5


def test_when_only_another_request_can_make_room_there_is_no_end_to_predict():
    handle, _ = limiter(requests_per_minute=1)
    handle.try_acquire(ONE)
    assert handle.wait_for(ONE) == math.inf
    error = refused(handle)
    assert (error.reason, error.retry_after) == ("in_flight", 0.1)


# Permits.


def test_until_sent_a_permit_counts_in_every_window():
    handle, clock = limiter(requests_per_minute=2)
    first, second = handle.try_acquire(ONE), handle.try_acquire(ONE)
    clock.advance(3600.0)
    refused(handle)
    first.sent()
    assert handle.wait_for(ONE) == 60.5
    clock.advance(60.5)
    handle.try_acquire(ONE)
    second.refund()


def test_every_method_of_a_permit_may_be_called_again():
    handle, _ = limiter(requests_per_minute=10, tokens_per_minute=1000, concurrent_requests=2)
    want = AcquirePermit(1, 500)
    permit = handle.try_acquire(want)
    for _ in range(3):
        permit.sent()
    for _ in range(3):
        permit.reconcile(200)
        permit.refund()
        permit.sent()
        permit.release()
    permit.reconcile(900)
    state = handle.snapshot()
    assert (state.tokens.used, state.tokens.unsent, state.requests.used, state.in_flight) == (200, 0, 1, 0)
    again = handle.try_acquire(want)
    for _ in range(3):
        again.refund()
        again.release()
        again.sent()
        again.reconcile(700)
    assert handle.snapshot() == state


def test_a_refund_gives_everything_back():
    handle, _ = limiter(
        requests_per_minute=1,
        tokens_per_minute=10,
        input_tokens_per_minute=10,
        output_tokens_per_minute=10,
        concurrent_requests=1,
        burst_s=10.0,
    )
    before = handle.snapshot()
    handle.try_acquire(AcquirePermit(1, 1, input_tokens=1, output_tokens=1)).refund()
    assert handle.snapshot() == before


def test_a_refund_after_it_was_sent_gives_nothing_back():
    handle, _ = limiter(requests_per_minute=1)
    permit = handle.try_acquire(ONE)
    permit.sent()
    permit.refund()
    refused(handle)


def test_a_release_gives_only_concurrency_back():
    handle, _ = limiter(requests_per_minute=2, concurrent_requests=1)
    permit = handle.try_acquire(ONE)
    permit.sent()
    assert handle.wait_for(ONE) == math.inf
    permit.release()
    permit.release()
    handle.try_acquire(ONE).sent()
    assert repr(handle) == "<RateLimiter node requests 2/2 in flight 1/1>"


def test_a_permit_says_what_it_is():
    handle, _ = limiter(requests_per_minute=2)
    permit = handle.try_acquire(AcquirePermit(1, 7))
    assert repr(permit) == "<Permit held requests 1 tokens 7>"
    permit.sent()
    assert repr(permit) == "<Permit sent requests 1 tokens 7>"
    permit.reconcile(1)
    assert repr(permit) == "<Permit over requests 1 tokens 7>"


# Settling.


def test_what_was_not_used_goes_back_to_where_it_was_taken():
    handle, clock = limiter(tokens_per_minute=1000)
    want = AcquirePermit(1, 500)
    first, second = handle.try_acquire(want), handle.try_acquire(want)
    first.sent()
    clock.advance(30.0)
    second.sent()
    refused(handle, want)
    first.reconcile(150)
    assert handle.snapshot().tokens.available == 350
    assert handle.wait_for(AcquirePermit(1, 500)) == 30.5, "the 150 that stay leave with the slot of the first"
    clock.advance(30.5)
    assert handle.snapshot().tokens.available == 500


def test_what_was_used_beyond_counts_from_now_and_is_never_refused():
    handle, clock = limiter(tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(1, 500))
    permit.sent()
    clock.advance(40.0)
    permit.reconcile(2500)
    state = handle.snapshot().tokens
    assert (state.used, state.available) == (2500, 0)
    clock.advance(20.5)
    assert handle.snapshot().tokens.used == 2000
    assert handle.wait_for(AcquirePermit(1, 1)) == 40.0


def test_a_settle_after_the_window_gives_nothing_back_twice():
    handle, clock = limiter(tokens_per_minute=1000, burst_s=10.0)
    permit = handle.try_acquire(AcquirePermit(1, 500))
    permit.sent()
    clock.advance(100.0)
    send(handle, AcquirePermit(1, 100))
    permit.reconcile(0)
    assert handle.snapshot().tokens.used == 100


def test_a_settle_without_sent_counts_as_sent_now():
    handle, _ = limiter(requests_per_minute=1, tokens_per_minute=1000)
    handle.try_acquire(AcquirePermit(1, 500)).reconcile(100)
    state = handle.snapshot()
    assert (state.tokens.used, state.tokens.unsent, state.requests.used) == (100, 0, 1)


def test_the_output_of_a_stream_counts_from_its_end():
    handle, clock = limiter(tokens_per_minute=1000, input_tokens_per_minute=1000, output_tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(tokens=500, input_tokens=100, output_tokens=400))
    permit.sent()
    clock.advance(50.0)
    permit.reconcile(300, input_tokens=80, output_tokens=220, streamed=True)
    state = handle.snapshot()
    assert (state.tokens.used, state.input_tokens.used, state.output_tokens.used) == (300, 80, 220)
    clock.advance(10.5)
    state = handle.snapshot()
    assert (state.tokens.used, state.input_tokens.used, state.output_tokens.used) == (220, 0, 220)


def test_a_stream_that_says_less_than_a_class_keeps_its_estimate():
    handle, _ = limiter(tokens_per_minute=1000, input_tokens_per_minute=1000, output_tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(tokens=500, input_tokens=100, output_tokens=400))
    permit.reconcile(300, streamed=True)
    state = handle.snapshot()
    assert (state.tokens.used, state.input_tokens.used, state.output_tokens.used) == (300, 100, 400)


def test_a_provider_that_gives_nothing_back_keeps_the_estimate():
    handle, clock = limiter(tokens_per_minute=1000, gives_back=False)
    low, high = handle.try_acquire(AcquirePermit(1, 400)), handle.try_acquire(AcquirePermit(1, 400))
    low.reconcile(1, output_tokens=1, streamed=True)
    assert handle.snapshot().tokens.used == 400
    high.reconcile(500)
    assert handle.snapshot().tokens.used == 900
    handle.try_acquire(AcquirePermit(1, 100)).refund()
    assert handle.snapshot().tokens.available == 100
    clock.advance(60.5)
    assert handle.snapshot().tokens.used == 0


def test_nonsense_from_a_provider_is_taken_as_nothing():
    handle, _ = limiter(tokens_per_minute=1000, input_tokens_per_minute=1000, output_tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(tokens=10, input_tokens=5, output_tokens=5))
    permit.reconcile(-5, input_tokens=-1, output_tokens=-7)
    assert handle.snapshot().tokens.used == handle.snapshot().input_tokens.used == 0


# Without limits.


def test_without_limits_everything_passes_and_nothing_is_counted():
    handle, _ = limiter()
    permit = handle.try_acquire(AcquirePermit(10**9, 10**12))
    permit.sent()
    permit.reconcile(5)
    permit.refund()
    permit.release()
    assert handle.wait_for(AcquirePermit(10**9)) == 0.0
    assert permit.want.requests == 0
    assert repr(permit) == "<Permit unlimited>"
    assert repr(handle) == "<RateLimiter node unlimited>"


def test_without_limits_a_pause_still_holds():
    handle, clock = limiter()
    handle.throttled(10.0)
    assert handle.blocked_for() == 10.0
    assert handle.wait_for(ONE) == 10.0
    error = refused(handle)
    assert (error.reason, error.retry_after, error.limited_by) == ("paused", 10.0, "provider")
    assert repr(handle) == "<RateLimiter node blocked 10.0 s>"
    clock.advance(10.0)
    handle.try_acquire(ONE).release()
    assert handle.blocked_for() == 0.0
    assert admitted(handle, most=1000) == 1000


# Room.


def test_a_refund_a_release_and_a_settle_tell_those_who_wait():
    handle, _ = limiter(tokens_per_minute=1000, concurrent_requests=3)
    told = []
    stop = handle.on_room(lambda: told.append(handle.wait_for(AcquirePermit(1, 600))))
    first, second = handle.try_acquire(AcquirePermit(1, 500)), handle.try_acquire(AcquirePermit(1, 500))
    assert handle.wait_for(AcquirePermit(1, 600)) == math.inf
    second.refund()
    assert told == [math.inf]
    first.sent()
    assert told == [math.inf, 60.5], "news: the wait has an end now"
    first.reconcile(100)
    assert told == [math.inf, 60.5, 0.0]
    first.release()
    assert len(told) == 3, "nobody was waiting any more"
    stop()
    stop()
    handle.try_acquire(AcquirePermit(1, 900))
    handle.wait_for(AcquirePermit(1, 600))
    first.release()
    assert len(told) == 3


def test_a_listener_that_raises_changes_nothing(caplog):
    handle, _ = limiter(requests_per_minute=1)
    told = []

    def broken():
        told.append("broken")
        raise ZeroDivisionError

    handle.on_room(broken)
    handle.on_room(lambda: told.append("whole"))
    permit = handle.try_acquire(ONE)
    refused(handle)
    with caplog.at_level(logging.ERROR, "spillway.rate_limit"):
        permit.refund()
    assert told == ["broken", "whole"]
    assert "ZeroDivisionError" in caplog.text
    assert admitted(handle) == 1


def test_one_of_two_subscriptions_of_the_same_function_can_end():
    handle, _ = limiter(concurrent_requests=1)
    told = []

    def listener():
        told.append(1)

    stop = handle.on_room(listener)
    handle.on_room(listener)
    stop()
    permit = handle.try_acquire(ONE)
    refused(handle)
    permit.release()
    assert told == [1]


# The operator.


def test_other_limits_apply_at_once_to_what_was_already_sent():
    handle, clock = limiter(requests_per_minute=10)
    assert admitted(handle) == 10
    handle.set_limits(RateLimits(requests_per_minute=12))
    assert admitted(handle) == 2
    handle.set_limits(RateLimits(requests_per_minute=5, burst_s=30.0))
    assert handle.wait_for(ONE) == 60.5
    handle.set_limits(RateLimits())
    assert admitted(handle, most=50) == 50
    clock.advance(1.0)


def test_another_burst_keeps_what_was_sent_and_what_comes_back():
    handle, clock = limiter(requests_per_minute=60, tokens_per_minute=6000, burst_s=10.0)
    permit = handle.try_acquire(AcquirePermit(5, 500))
    permit.sent()
    clock.advance(1.0)
    handle.set_limits(RateLimits(requests_per_minute=60, tokens_per_minute=6000, burst_s=20.0))
    permit.reconcile(0)
    assert handle.wait_for(AcquirePermit(16)) == 19.0
    assert admitted(handle) == 15


def test_a_larger_limit_tells_those_who_wait():
    handle, _ = limiter(requests_per_minute=1)
    told = []
    handle.on_room(lambda: told.append(handle.wait_for(ONE)))
    send(handle)
    refused(handle)
    handle.set_limits(RateLimits(requests_per_minute=2))
    assert told == [0.0]


# Threads.


@pytest.mark.parametrize(("limit", "callers", "threads"), [(5, 100, 10), (1000, 10_000, 8)])
def test_threads_together_get_exactly_the_limit(limit, callers, threads):
    for _ in range(20 if callers == 100 else 1):
        handle, _ = limiter(requests_per_minute=limit, tokens_per_minute=limit * 10)
        start = threading.Barrier(threads)
        got = []

        def work():
            start.wait()
            got.append(admitted_of(handle, callers // threads))

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        assert sum(got) == limit
        assert handle.snapshot().tokens.used == limit * 10


def admitted_of(handle, tries):
    count = 0
    for _ in range(tries):
        try:
            send(handle, AcquirePermit(1, 10))
        except RateLimited:
            continue
        count += 1
    return count


# The actor.


async def test_the_actor_answers_and_passes_on_what_it_is_told():
    clock = ManualClock()
    actor = RateLimiterActor("node", RateLimits(requests_per_minute=100), clock=clock)
    async with ActorSystem() as system:
        ref = system.spawn(actor, "limits")
        send(actor.handle())
        state = await ref.ask(GetLimits())
        assert (state.requests.used, state.percent, state.waiting) == (1, 100, 0)
        await ref.ask(NoteThrottled(5.0))
        assert actor.handle().blocked_for() == 5.0
        await ref.ask(NoteLimitsSeen(LimitsSeen(requests=LimitSeen(limit=50))))
        assert (await ref.ask(GetLimits())).requests.ceiling == 35
        await ref.ask(SetLimits(RateLimits(requests_per_minute=7)))
        assert (await ref.ask(GetLimits())).requests.limit == 7
    assert repr(actor) == "<RateLimiterActor node requests 1/4 blocked 5.0 s>"
    assert actor.handle() is actor.handle()


def test_a_window_of_no_length_is_refused():
    with pytest.raises(ValueError, match="window_s"):
        limiter(requests_per_minute=1, window_s=0.0)
