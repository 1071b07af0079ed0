"""The circuit breaker, by hand and by clock."""

import asyncio

import pytest

import spillway
from spillway.remote.circuit_breaker import CircuitBreakerHandle, CircuitState


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def breaker(clock=None, **options):
    options = {"failure_threshold": 3, "open_duration_s": 10.0, "max_open_duration_s": 35.0, **options}
    clock = clock or Clock()
    return CircuitBreakerHandle("p", spillway.CircuitBreakerConfig(**options), clock=clock), clock


def opened(**options):
    handle, clock = breaker(**options)
    for _ in range(3):
        handle.check().failure()
    assert handle.state is CircuitState.OPEN
    return handle, clock


def test_it_opens_after_failures_in_a_row_and_says_when_to_come_back():
    handle, clock = breaker()
    assert handle.state == CircuitState.CLOSED
    for n in range(3):
        assert handle.state is CircuitState.CLOSED, n
        handle.check().failure(spillway.ServerError("x"))
    assert handle.state is CircuitState.OPEN
    assert not handle.would_admit()
    clock.now += 4
    with pytest.raises(spillway.CircuitOpen) as caught:
        handle.check()
    error = caught.value
    assert (error.opened_at, error.retry_at, error.retry_after) == (100.0, 110.0, pytest.approx(6.0))
    assert error.provider == "p"
    assert error.code == "circuit_open"


def test_a_success_between_them_starts_the_row_anew():
    handle, _ = breaker(minimum_calls=1000)
    for _ in range(10):
        handle.check().failure()
        handle.check().failure()
        handle.check().success()
    assert handle.state is CircuitState.CLOSED


def test_failures_that_are_too_old_are_not_in_the_row():
    handle, clock = breaker(window_s=5.0)
    handle.check().failure()
    handle.check().failure()
    clock.now += 5.1
    handle.check().failure()
    assert handle.state is CircuitState.CLOSED


def test_it_opens_on_a_ratio_of_enough_calls_at_equality():
    handle, _ = breaker(failure_threshold=1000, minimum_calls=10, failure_ratio=0.5)
    for n in range(10):
        assert handle.state is CircuitState.CLOSED
        ticket = handle.check()
        ticket.failure() if n % 2 else ticket.success()
    assert handle.state is CircuitState.OPEN


def test_half_open_lets_exactly_so_many_through_and_closes_when_all_succeed():
    handle, clock = opened(half_open_max_probes=2)
    clock.now += 10
    assert handle.would_admit()
    one, two = handle.check(), handle.check()
    assert handle.state is CircuitState.HALF_OPEN
    assert not handle.would_admit()
    with pytest.raises(spillway.CircuitOpen) as caught:
        handle.check()
    assert caught.value.retry_after > 0
    one.success()
    assert handle.state is CircuitState.HALF_OPEN
    two.success()
    assert handle.state is CircuitState.CLOSED


def test_the_first_failed_probe_opens_it_for_twice_as_long_up_to_the_cap():
    handle, clock = opened(half_open_max_probes=2)
    for wait in (10, 20, 35, 35):
        clock.now += wait - 0.01
        with pytest.raises(spillway.CircuitOpen):
            handle.check()
        clock.now += 0.01
        handle.check().failure()
        assert handle.state is CircuitState.OPEN


def test_a_released_probe_gives_its_slot_back():
    handle, clock = opened()
    clock.now += 10
    for _ in range(50):
        ticket = handle.check()
        assert not handle.would_admit()
        ticket.release()
        assert handle.would_admit()
    handle.check().success()
    assert handle.state is CircuitState.CLOSED


def test_a_probe_that_ended_in_the_callers_own_mistake_counts_nothing_and_gives_its_slot_back():
    handle, clock = opened()
    clock.now += 10
    for error in (
        spillway.BadRequest("x"),
        spillway.RateLimited("x"),
        spillway.Unauthorized("x"),
        asyncio.CancelledError(),
    ):
        handle.check().failure(error)
        assert handle.state is CircuitState.HALF_OPEN
    handle.check().success()
    assert handle.state is CircuitState.CLOSED


def test_a_ticket_counts_once():
    handle, _ = breaker()
    ticket = handle.check()
    for _ in range(10):
        ticket.failure()
    assert handle.state is CircuitState.CLOSED
    other = handle.check()
    other.success()
    for _ in range(10):
        other.failure()
    third = handle.check()
    third.release()
    third.failure()
    assert handle.state is CircuitState.CLOSED


def test_a_ticket_of_a_generation_that_is_over_counts_nothing():
    handle, clock = breaker()
    late = [handle.check() for _ in range(10)]
    for _ in range(3):
        handle.check().failure()
    clock.now += 10
    probe = handle.check()
    for ticket in late:
        ticket.failure()
    assert handle.state is CircuitState.HALF_OPEN
    assert not handle.would_admit()
    probe.success()
    assert handle.state is CircuitState.CLOSED
    handle.check().failure()
    handle.check().failure()
    late[0].success()
    handle.check().failure()
    assert handle.state is CircuitState.OPEN


def test_a_late_success_does_not_close_it():
    handle, clock = breaker()
    late = handle.check()
    for _ in range(3):
        handle.check().failure()
    clock.now += 10
    handle.check()
    late.success()
    assert handle.state is CircuitState.HALF_OPEN


def test_records_without_a_ticket_are_for_the_oldest_open_one():
    handle, clock = breaker()
    for _ in range(3):
        handle.check()
        handle.record_failure()
    assert handle.state is CircuitState.OPEN
    clock.now += 10
    handle.check()
    assert not handle.would_admit()
    handle.release()
    assert handle.would_admit()
    handle.check()
    handle.record_success()
    assert handle.state is CircuitState.CLOSED


def test_a_recorded_error_that_does_not_count_does_not():
    handle, _ = breaker()
    for _ in range(20):
        handle.check()
        handle.record_failure(spillway.RateLimited("x"))
    assert handle.state is CircuitState.CLOSED


async def test_run_returns_what_the_function_returns_and_counts_how_it_ends():
    handle, clock = breaker()

    async def fine():
        return 42

    async def broken():
        raise spillway.ServerError("down")

    async def ours():
        raise spillway.BadRequest("no")

    assert await handle.run(fine) == 42
    for _ in range(5):
        with pytest.raises(spillway.BadRequest):
            await handle.run(ours)
    assert handle.state is CircuitState.CLOSED
    for _ in range(3):
        with pytest.raises(spillway.ServerError):
            await handle.run(broken)
    assert handle.state is CircuitState.OPEN
    with pytest.raises(spillway.CircuitOpen):
        await handle.run(fine)
    clock.now += 10

    async def endless():
        await asyncio.Event().wait()

    task = asyncio.create_task(handle.run(endless))
    await asyncio.sleep(0)
    assert handle.state is CircuitState.HALF_OPEN
    assert not handle.would_admit()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle.would_admit()
    assert await handle.run(fine) == 42
    assert handle.state is CircuitState.CLOSED


def test_forced_open_lasts_as_long_as_said_and_reset_ends_it():
    handle, clock = breaker()
    handle.force_open(300.0)
    assert handle.state is CircuitState.OPEN
    clock.now += 299
    with pytest.raises(spillway.CircuitOpen) as caught:
        handle.check()
    assert caught.value.retry_after == pytest.approx(1.0)
    handle.reset()
    assert handle.state is CircuitState.CLOSED
    handle.check().success()
    handle.force_open(5)
    clock.now += 5
    handle.check().success()
    assert handle.state is CircuitState.CLOSED


def test_listeners_hear_each_change_once_and_harm_nobody():
    handle, clock = breaker()
    heard = []

    def broken(*_):
        raise RuntimeError("listener")

    handle.subscribe(broken)
    handle.subscribe(lambda *event: heard.append(handle.state))
    for _ in range(3):
        handle.check().failure()
    clock.now += 10
    handle.check().success()
    assert len(heard) == 3
    assert heard[0] is CircuitState.OPEN


def test_slow_calls_open_it_only_when_asked():
    handle, _ = breaker(failure_threshold=1000, minimum_calls=4, slow_call_s=2.0, slow_call_ratio=0.5)
    for elapsed in (3.0, 3.0, 0.1, 0.1):
        handle.check().success(elapsed)
    assert handle.state is CircuitState.OPEN
    handle, _ = breaker(failure_threshold=1000, minimum_calls=4)
    for _ in range(10):
        handle.check().success(300.0)
    assert handle.state is CircuitState.CLOSED


def test_it_says_its_state():
    handle, _ = breaker()
    assert "CLOSED" in repr(handle)
    assert "p" in repr(handle)


def test_without_a_clock_it_takes_the_machines_own():
    handle = CircuitBreakerHandle("p", spillway.CircuitBreakerConfig(failure_threshold=1))
    handle.check().failure()
    assert handle.state is CircuitState.OPEN


def test_the_state_is_only_to_be_read():
    handle, _ = breaker()
    with pytest.raises(AttributeError):
        handle.state = CircuitState.OPEN
