"""The rate limiter with a clock that is moved by hand."""

import asyncio

import pytest

import spillway
from spillway.remote.rate_limit import AcquirePermit, RateLimiterActor, StrictRateLimiterActor


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


ACTORS = pytest.mark.parametrize("actor", [RateLimiterActor, StrictRateLimiterActor])


def limiter(actor=RateLimiterActor, clock=None, **limits):
    clock = clock or Clock()
    return actor("n1", spillway.RateLimits(**limits), clock=clock).handle(), clock


def sent(handle, *args, **more):
    permit = handle.try_acquire(AcquirePermit(*args, **more))
    permit.sent()
    return permit


@ACTORS
def test_a_minute_holds_its_requests_and_no_more(actor):
    handle, _ = limiter(actor, requests_per_minute=5)
    for _ in range(5):
        sent(handle)
    with pytest.raises(spillway.RateLimited) as caught:
        handle.try_acquire(AcquirePermit())
    assert 0 < caught.value.retry_after <= 61
    assert caught.value.code == "rate_limited"


@ACTORS
@pytest.mark.parametrize("spread", [0.0, 0.3, 7.0])
def test_retry_after_is_exact(actor, spread):
    handle, clock = limiter(actor, requests_per_minute=3, tokens_per_minute=1000)
    for _ in range(3):
        sent(handle, 1, 100)
        clock.now += spread
    with pytest.raises(spillway.RateLimited) as caught:
        handle.try_acquire(AcquirePermit(1, 100))
    wait = caught.value.retry_after
    clock.now += wait - 0.001
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(1, 100))
    clock.now += 0.001
    handle.try_acquire(AcquirePermit(1, 100))


def test_what_never_fits_is_a_bad_request():
    handle, _ = limiter(tokens_per_minute=1000)
    with pytest.raises(spillway.BadRequest):
        handle.try_acquire(AcquirePermit(1, 1001))
    handle.try_acquire(AcquirePermit(1, 1000))


async def test_what_never_fits_is_not_waited_for_either():
    handle, _ = limiter(requests_per_minute=3)
    with pytest.raises(spillway.BadRequest):
        await handle.acquire(AcquirePermit(4))


def test_a_refusal_takes_nothing_of_any_limit():
    handle, _ = limiter(requests_per_minute=60, tokens_per_minute=1000, concurrent_requests=50)
    sent(handle, 1, 900)
    for _ in range(500):
        with pytest.raises(spillway.RateLimited):
            handle.try_acquire(AcquirePermit(1, 200))
    for _ in range(49):
        sent(handle, 1, 0)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(1, 0))


def test_until_it_is_sent_a_permit_counts_in_every_window():
    handle, clock = limiter(requests_per_minute=1)
    permit = handle.try_acquire(AcquirePermit())
    clock.now += 3600
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit())
    permit.sent()
    clock.now += 59
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit())
    clock.now += 2
    handle.try_acquire(AcquirePermit())


def test_a_refund_gives_all_back_and_only_once():
    handle, _ = limiter(requests_per_minute=2, tokens_per_minute=100, concurrent_requests=2)
    kept = handle.try_acquire(AcquirePermit(1, 50))
    permit = handle.try_acquire(AcquirePermit(1, 50))
    for _ in range(5):
        permit.refund()
        permit.release()
    again = handle.try_acquire(AcquirePermit(1, 50))
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(1, 0))
    again.sent()
    kept.sent()


def test_after_sent_a_refund_gives_nothing_back():
    handle, _ = limiter(requests_per_minute=1)
    permit = handle.try_acquire(AcquirePermit())
    permit.sent()
    permit.sent()
    permit.refund()
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit())


def test_reconcile_puts_the_truth_in_place_of_the_estimate_once():
    handle, _ = limiter(tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(1, 800))
    permit.sent()
    for _ in range(3):
        permit.reconcile(100)
    sent(handle, 1, 900)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(1, 1))


def test_reconcile_above_the_estimate_counts_too():
    handle, _ = limiter(tokens_per_minute=1000)
    permit = handle.try_acquire(AcquirePermit(1, 100))
    permit.sent()
    permit.reconcile(actual_tokens=950)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(1, 60))
    handle.try_acquire(AcquirePermit(1, 50))


def test_release_is_for_concurrency_alone():
    handle, _ = limiter(requests_per_minute=100, concurrent_requests=1)
    permit = handle.try_acquire(AcquirePermit())
    permit.sent()
    with pytest.raises(spillway.RateLimited) as caught:
        handle.try_acquire(AcquirePermit())
    assert caught.value.retry_after > 0
    permit.release()
    permit.release()
    handle.try_acquire(AcquirePermit())
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit())


def test_input_and_output_have_limits_of_their_own():
    handle, _ = limiter(input_tokens_per_minute=100, output_tokens_per_minute=50)
    sent(handle, 1, 0, input_tokens=100, output_tokens=10)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(input_tokens=1))
    sent(handle, output_tokens=40)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit(output_tokens=1))


@pytest.mark.parametrize("burst", [1, 10])
def test_the_shape_within_the_minute(burst):
    handle, clock = limiter(requests_per_minute=600, burst_s=burst)
    for _ in range(10 * burst):
        sent(handle)
    with pytest.raises(spillway.RateLimited):
        handle.try_acquire(AcquirePermit())
    clock.now += burst + 0.001
    sent(handle)


async def test_acquire_waits_and_serves_the_higher_class_first():
    handle = RateLimiterActor("n1", spillway.RateLimits(concurrent_requests=1)).handle()
    held = await handle.acquire(AcquirePermit())
    order = []

    async def ask(name, priority):
        permit = await handle.acquire(AcquirePermit(priority=priority))
        order.append(name)
        permit.release()

    tasks = [
        asyncio.create_task(ask("low", spillway.Priority.BACKGROUND)),
        asyncio.create_task(ask("normal", spillway.Priority.NORMAL)),
        asyncio.create_task(ask("high", spillway.Priority.HIGH)),
    ]
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(*tasks)
    assert order == ["high", "normal", "low"]


async def test_acquire_gives_up_at_its_deadline_and_takes_nothing():
    handle = RateLimiterActor("n1", spillway.RateLimits(concurrent_requests=1)).handle()
    held = await handle.acquire(AcquirePermit())
    loop = asyncio.get_running_loop()
    with pytest.raises(spillway.RateLimited):
        await handle.acquire(AcquirePermit(), deadline=loop.time() + 0.02)
    with pytest.raises(spillway.RateLimited):
        await handle.acquire(AcquirePermit(), loop.time() - 1)
    held.release()
    (await handle.acquire(AcquirePermit())).release()


async def test_a_cancelled_acquire_takes_nothing():
    handle = RateLimiterActor("n1", spillway.RateLimits(concurrent_requests=1)).handle()
    held = await handle.acquire(AcquirePermit())
    task = asyncio.create_task(handle.acquire(AcquirePermit()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.release()
    handle.try_acquire(AcquirePermit())


def test_the_snapshot_takes_nothing():
    handle, _ = limiter(requests_per_minute=3)
    for _ in range(100):
        assert handle.snapshot() is not None
    for _ in range(3):
        sent(handle)
    assert "3/3" in repr(handle)


def test_without_limits_everything_passes():
    handle, _ = limiter()
    for _ in range(1000):
        handle.try_acquire(AcquirePermit(1, 10**9)).sent()


def test_what_is_asked_for_has_the_defaults_that_are_written():
    want = AcquirePermit()
    assert (want.requests, want.tokens, want.input_tokens, want.output_tokens) == (1, 0, 0, 0)
    assert want.priority is spillway.Priority.NORMAL
    assert AcquirePermit(1, 50) == AcquirePermit(requests=1, tokens=50)
    with pytest.raises(TypeError):
        AcquirePermit(1, 50, 3)


@pytest.mark.parametrize("want", [AcquirePermit(-1), AcquirePermit(1, -5), AcquirePermit(input_tokens=-1)])
def test_negative_amounts_are_refused(want):
    handle, _ = limiter(requests_per_minute=3, tokens_per_minute=3, input_tokens_per_minute=3)
    with pytest.raises(spillway.BadRequest):
        handle.try_acquire(want)


def test_the_handle_is_one():
    actor = RateLimiterActor("n1", spillway.RateLimits(requests_per_minute=1))
    assert actor.handle() is actor.handle()
