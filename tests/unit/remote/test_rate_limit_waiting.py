"""Waiting in line for a permit: order, deadlines, cancellation, clocks that are not the loop's."""

from __future__ import annotations

import asyncio
import threading

import pytest

from spillway.core.clock import sleep
from spillway.core.errors import BadRequest, RateLimited
from spillway.core.options import RateLimits
from spillway.core.priority import Priority
from spillway.remote.rate_limit import AcquirePermit, RateLimiterActor
from spillway.testing import ManualClock, run_virtual

ONE = AcquirePermit()


def limiter(clock=None, **limits):
    return RateLimiterActor("node", RateLimits(**limits), clock=clock).handle()


async def wait_and_send(handle, log, name, want=ONE, deadline=None):
    permit = await handle.acquire(want, deadline)
    permit.sent()
    permit.release()
    log.append((name, asyncio.get_running_loop().time() - 1000.0))


def test_who_waits_is_served_by_priority_and_in_order_the_moment_there_is_room():
    log = []

    async def main():
        handle = limiter(requests_per_minute=60, burst_s=1.0)
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b"):
                group.create_task(wait_and_send(handle, log, name))
            group.create_task(wait_and_send(handle, log, "low", AcquirePermit(priority=Priority.BACKGROUND)))
            group.create_task(wait_and_send(handle, log, "c"))
            group.create_task(wait_and_send(handle, log, "urgent", AcquirePermit(priority=Priority.CRITICAL)))
            await sleep(0.5)
            assert handle.snapshot().waiting == 4
            assert "waiting 4" in repr(handle)
        assert handle.snapshot().waiting == 0

    run_virtual(main())
    assert log == [("a", 0.0), ("urgent", 1.0), ("b", 2.0), ("c", 3.0), ("low", 4.0)]


def test_a_small_request_does_not_pass_a_large_one_that_waits():
    log = []

    async def main():
        handle = limiter(tokens_per_minute=100)
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_and_send(handle, log, "first", AcquirePermit(1, 60)))
            group.create_task(wait_and_send(handle, log, "large", AcquirePermit(1, 80)))
            group.create_task(wait_and_send(handle, log, "small", AcquirePermit(1, 10)))

    run_virtual(main())
    assert log == [("first", 0.0), ("large", 60.5), ("small", 60.5)]


def test_whoever_gives_back_wakes_the_next():
    log = []

    async def main():
        handle = limiter(requests_per_minute=10, concurrent_requests=1)
        first, second = await handle.acquire(ONE), None
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_and_send(handle, log, "second"))
            await sleep(3.0)
            first.refund()
            first.release()
        assert second is None
        assert handle.snapshot().in_flight == 0

    run_virtual(main())
    assert log == [("second", 3.0)]


def test_a_stamp_is_news_to_those_who_wait_without_end():
    log = []

    async def main():
        handle = limiter(requests_per_minute=1)
        first = await handle.acquire(ONE)
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_and_send(handle, log, "second"))
            await sleep(5.0)
            first.sent()

    run_virtual(main())
    assert log == [("second", 65.5)]


def test_a_deadline_that_room_comes_after_is_refused_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        handle = limiter(requests_per_minute=1)
        (await handle.acquire(ONE)).sent()
        with pytest.raises(RateLimited) as caught:
            await handle.acquire(ONE, loop.time() + 60.4)
        assert caught.value.retry_after == 60.5
        assert loop.time() == 1000.0
        await handle.acquire(ONE, loop.time() + 60.5)
        assert loop.time() == 1060.5

    run_virtual(main())


def test_a_deadline_holds_when_there_is_no_end_to_predict():
    async def main():
        loop = asyncio.get_running_loop()
        handle = limiter(concurrent_requests=1)
        await handle.acquire(ONE)
        waits = [asyncio.ensure_future(handle.acquire(ONE, loop.time() + s)) for s in (2.0, 1.0)]
        done = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(e) for e in done] == [RateLimited, RateLimited]
        assert done[0].retry_after == 0.1
        assert loop.time() == 1002.0
        assert handle.snapshot().waiting == 0

    run_virtual(main())


def test_a_deadline_in_the_past_is_refused_even_with_room():
    async def main():
        handle = limiter(requests_per_minute=1)
        with pytest.raises(RateLimited):
            await handle.acquire(ONE, 999.0)
        assert handle.snapshot().requests.available == 1

    run_virtual(main())


def test_what_never_fits_does_not_wait():
    async def main():
        handle = limiter(requests_per_minute=1)
        await handle.acquire(ONE)
        with pytest.raises(BadRequest):
            await handle.acquire(AcquirePermit(2))
        assert (await limiter().acquire(AcquirePermit(10**9))).want.requests == 0

    run_virtual(main())


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_a_cancelled_wait_leaves_nothing_and_wakes_the_next(at):
    log = []

    async def main():
        handle = limiter(requests_per_minute=60, burst_s=1.0)
        (await handle.acquire(ONE)).sent()
        gone = asyncio.ensure_future(handle.acquire(ONE))
        follower = asyncio.ensure_future(wait_and_send(handle, log, "follower"))
        await sleep(at)
        gone.cancel()
        await asyncio.wait([gone])
        if not gone.cancelled():
            gone.result().refund()
        await follower
        state = handle.snapshot()
        assert (state.waiting, state.requests.unsent, state.requests.used) == (0, 0, 2)

    run_virtual(main())
    assert log == [("follower", 1.0)]


def test_a_thousand_callers_get_the_limit_and_no_more_in_any_minute():
    log = []

    async def main():
        handle = limiter(requests_per_minute=100)
        async with asyncio.TaskGroup() as group:
            for n in range(300):
                group.create_task(wait_and_send(handle, log, n))

    run_virtual(main())
    assert [name for name, _ in log] == list(range(300))
    assert [round(at, 1) for _, at in log] == [0.0] * 100 + [60.5] * 100 + [121.0] * 100


async def test_a_clock_that_is_moved_by_hand_is_noticed():
    clock = ManualClock()
    handle = limiter(clock, requests_per_minute=1)
    (await handle.acquire(ONE)).sent()
    waiting = asyncio.ensure_future(handle.acquire(ONE, clock() + 100.0))
    await sleep(0)
    clock.advance(60.5)
    async with asyncio.timeout(1.0):
        (await waiting).refund()


async def test_another_thread_can_make_room():
    handle = limiter(concurrent_requests=1)
    first = await handle.acquire(ONE)
    waiting = asyncio.ensure_future(handle.acquire(ONE))
    await sleep(0)
    thread = threading.Thread(target=first.release)
    thread.start()
    async with asyncio.timeout(5.0):
        (await waiting).release()
    thread.join()


def test_room_made_after_the_loop_of_a_waiter_is_gone_harms_nobody():
    handle = limiter(ManualClock(), concurrent_requests=1)
    first = handle.try_acquire(ONE)
    loop = asyncio.new_event_loop()
    task = loop.create_task(handle.acquire(ONE))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    first.release()
    assert handle.snapshot().in_flight == 0
    task._log_destroy_pending = False
    del task


def test_the_clock_is_that_of_the_loop_it_is_first_used_on():
    handle = limiter(requests_per_minute=1)

    async def main():
        handle.try_acquire(ONE).sent()
        await sleep(60.5)
        handle.try_acquire(ONE)

    run_virtual(main())
