"""The breaker through its handle: tickets, refusals, listeners, threads, the actor."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import pickle
import threading

import msgspec
import pytest

from spillway.core.actor import ActorSystem
from spillway.core.clock import sleep
from spillway.core.errors import (
    Backpressure,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ContentFiltered,
    ContextLengthExceeded,
    Forbidden,
    InvalidApiKey,
    ModelNotFound,
    NetworkError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
    Timeout,
    Unauthorized,
)
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker import (
    BreakerEvent,
    BreakerTicket,
    CircuitBreakerActor,
    CircuitBreakerHandle,
    CircuitState,
    ConfigureBreaker,
    ForceClose,
    ForceOpen,
    ResetBreaker,
    SnapshotBreaker,
)
from spillway.testing import ManualClock, run_virtual

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

UNCOUNTED = [
    RateLimited(),
    Backpressure(),
    BudgetExceeded(),
    QuotaExhausted(),
    CircuitOpen(),
    ContentFiltered(),
    ContextLengthExceeded(),
    BadRequest(),
    Unauthorized(),
    Forbidden(),
    ModelNotFound(),
    InvalidApiKey(),
    asyncio.CancelledError(),
    GeneratorExit(),
]
COUNTED = [None, ServerError(), NetworkError(), Timeout(), StreamInterrupted(), OSError("reset"), ValueError("odd")]


def name_of(error):
    return type(error).__name__


@pytest.fixture
def clock():
    return ManualClock(1000.0)


def breaker(clock, **options):
    options = {"failure_threshold": 3, "open_duration_s": 5.0, "max_open_duration_s": 40.0, **options}
    return CircuitBreakerHandle("openai", CircuitBreakerConfig(**options), clock=clock)


def trip(handle):
    for _ in range(handle.config.failure_threshold):
        handle.check().failure()
    assert handle.state is OPEN


def to_probe(handle, clock):
    """Trip it and wait; the next call is a probe."""
    trip(handle)
    clock.advance(handle.retry_after())


def refused(handle):
    with pytest.raises(CircuitOpen) as caught:
        handle.check()
    return caught.value


def test_the_state_in_words(clock):
    handle = breaker(clock, half_open_max_probes=2)
    assert repr(handle) == "<CircuitBreaker openai CLOSED>"
    trip(handle)
    assert repr(handle) == "<CircuitBreaker openai OPEN until 1005.000>"
    clock.advance(5.0)
    ticket = handle.check()
    assert repr(handle) == "<CircuitBreaker openai HALF_OPEN probes 1/2>"
    assert repr(ticket) == "<BreakerTicket probe 1 generation 2 open>"
    ticket.success()
    assert repr(ticket) == "<BreakerTicket probe 1 generation 2 success>"
    handle.check()
    assert repr(handle) == "<CircuitBreaker openai HALF_OPEN probes 2/2>"


def test_a_refusal_says_who_since_when_and_until_when(clock):
    handle = breaker(clock)
    trip(handle)
    clock.advance(2.0)
    error = refused(handle)
    assert (error.provider, error.opened_at, error.retry_at, error.retry_after) == ("openai", 1000.0, 1005.0, 3.0)
    assert error.code == "circuit_open"
    assert error.limited_by == "breaker"
    assert not error.counts_as_circuit_failure
    assert not handle.would_admit()
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.opened_at, copy.retry_at, copy.retry_after) == (1000.0, 1005.0, 3.0)
    assert handle.snapshot().not_permitted == 1


def test_reading_the_state_never_changes_it(clock):
    handle = breaker(clock)
    to_probe(handle, clock)
    for _ in range(3):
        assert handle.state is OPEN
        assert handle.would_admit()
        assert handle.retry_after() == 0.0
        handle.snapshot()
    handle.check()
    assert handle.state is HALF_OPEN


@pytest.mark.parametrize("error", UNCOUNTED, ids=name_of)
def test_errors_that_do_not_speak_of_the_provider_do_not_count_and_give_a_probe_back(clock, error):
    handle = breaker(clock)
    for _ in range(50):
        handle.check().failure(error)
        handle.check()
        handle.record_failure(error)
    assert handle.state is CLOSED
    assert handle.snapshot().window_calls == 0
    to_probe(handle, clock)
    for _ in range(20):
        handle.check().failure(error)
        assert handle.state is HALF_OPEN
        assert handle.would_admit()


@pytest.mark.parametrize("error", COUNTED, ids=name_of)
def test_errors_that_speak_of_the_provider_count(clock, error):
    handle = breaker(clock)
    for _ in range(3):
        assert handle.state is CLOSED
        handle.check().failure(error)
    assert handle.state is OPEN
    clock.advance(5.0)
    handle.check().failure(error)
    assert handle.state is OPEN
    assert handle.retry_after() == 10.0


def test_failures_are_counted_by_what_they_were(clock):
    handle = breaker(clock, failure_threshold=100, minimum_calls=100)
    for error in (NetworkError(), NetworkError(), ServerError(), None):
        handle.check().failure(error)
    assert handle.snapshot().failures_by_code == {"network_error": 2, "server_error": 1, "unknown": 1}


@pytest.mark.parametrize("first", ["success", "failure", "release"])
@pytest.mark.parametrize("second", ["success", "failure", "release"])
def test_a_ticket_counts_once(clock, first, second):
    handle = breaker(clock, failure_threshold=2)
    ticket = handle.check()
    getattr(ticket, first)()
    counted = handle.snapshot()
    getattr(ticket, second)()
    assert handle.snapshot() == counted
    assert (counted.successes, counted.failures, counted.released) == (
        first == "success",
        first == "failure",
        first == "release",
    )


def test_a_late_result_of_an_old_state_changes_nothing(clock):
    handle = breaker(clock)
    old = [handle.check() for _ in range(4)]
    to_probe(handle, clock)
    old[0].success()
    assert handle.state is OPEN
    probe = handle.check()
    old[1].failure()
    old[2].success()
    assert handle.state is HALF_OPEN
    assert not handle.would_admit()
    probe.success()
    assert handle.state is CLOSED
    for ticket in old:
        ticket.failure()
    assert handle.snapshot().window_calls == 0
    assert handle.snapshot().late == 4


def test_results_without_a_ticket_go_to_the_oldest_open_one(clock):
    handle = breaker(clock)
    first, second, third = (handle.check() for _ in range(3))
    second.release()
    handle.record_failure()
    third_open = third.outcome is None
    handle.record_success()
    assert (repr(first).split()[-1], repr(third).split()[-1]) == ("failure>", "success>")
    assert third_open
    first.failure()
    snapshot = handle.snapshot()
    assert (snapshot.admitted, snapshot.successes, snapshot.failures, snapshot.released) == (3, 1, 1, 1)


def test_results_without_a_ticket_never_reach_into_another_state(clock):
    handle = breaker(clock, failure_threshold=1)
    handle.check()
    handle.check()
    handle.record_failure()
    assert handle.state is OPEN
    handle.record_success()
    assert handle.state is OPEN
    clock.advance(5.0)
    handle.check()
    handle.record_success()
    assert handle.state is CLOSED
    handle.check()
    handle.check().release()
    handle.reset()
    handle.record_failure()
    assert handle.state is CLOSED
    assert handle.snapshot().late == 2


def test_tickets_of_an_earlier_state_do_not_stand_before_those_of_the_newest(clock):
    handle = breaker(clock)
    old = [handle.check() for _ in range(5)]
    to_probe(handle, clock)
    handle.check()
    handle.record_success()
    assert handle.state is CLOSED
    for ticket in old:
        ticket.success()
    for _ in range(3):
        handle.record_failure()
    assert handle.state is OPEN
    assert handle.snapshot().late == 5


def test_a_result_that_nobody_asked_for_counts_as_a_call_while_closed(clock):
    handle = breaker(clock, failure_threshold=3)
    handle.release()
    handle.record_success()
    handle.record_failure()
    handle.record_failure()
    assert handle.state is CLOSED
    handle.record_failure()
    assert handle.state is OPEN
    handle.record_success()
    clock.advance(5.0)
    handle.record_success()
    assert handle.state is OPEN
    assert handle.snapshot().admitted == 4


def test_a_probe_is_settled_and_released_without_its_ticket_too(clock):
    handle = breaker(clock)
    to_probe(handle, clock)
    handle.check()
    assert not handle.would_admit()
    handle.release()
    assert handle.would_admit()
    handle.check()
    handle.record_success()
    assert handle.state is CLOSED


def test_a_probe_that_was_given_up_is_not_mistaken_for_its_successor(clock):
    handle = breaker(clock)
    to_probe(handle, clock)
    lost = handle.check()
    clock.advance(40.0)
    second = handle.check()
    lost.success()
    assert handle.state is HALF_OPEN
    assert handle.snapshot().late == 1
    second.release()
    handle.check()
    clock.advance(40.0)
    handle.check()
    handle.record_success()
    assert handle.state is CLOSED


def test_a_slow_call_by_the_time_to_its_first_content_only(clock):
    handle = breaker(clock, slow_call_s=4.0, minimum_calls=5)
    healthy = [handle.check() for _ in range(10)]
    for ticket in healthy:
        ticket.success(0.5)
    clock.advance(60.0)
    for elapsed in (5.0, 5.0, 5.0, 0.1):
        handle.check().success(elapsed)
    assert handle.state is CLOSED
    handle.check().success(0.1)
    assert handle.state is OPEN
    assert handle.snapshot().failures == 0


def test_a_stream_that_breaks_after_its_verdict_is_a_failure_of_its_own(clock):
    handle = breaker(clock, failure_threshold=3)
    for _ in range(2):
        ticket = handle.check()
        ticket.success()
        ticket.interrupted(StreamInterrupted())
        ticket.interrupted(StreamInterrupted())
    snapshot = handle.snapshot()
    assert (snapshot.successes, snapshot.failures, snapshot.window_calls) == (2, 2, 4)
    handle.record_interruption(StreamInterrupted())
    handle.record_interruption(BadRequest())
    assert handle.snapshot().failures == 3
    unsettled = handle.check()
    unsettled.interrupted()
    assert handle.snapshot().failures == 4


def test_a_break_counts_in_a_half_open_circuit_only_for_its_probe(clock):
    handle = breaker(clock, half_open_max_probes=2)
    old = handle.check()
    old.success()
    to_probe(handle, clock)
    old.interrupted()
    assert handle.state is OPEN
    probe = handle.check()
    probe.success()
    handle.record_interruption()
    assert handle.state is HALF_OPEN
    probe.interrupted()
    assert handle.state is OPEN


def test_a_failed_or_released_call_can_not_break_later(clock):
    handle = breaker(clock, failure_threshold=2)
    for end in (BreakerTicket.release, BreakerTicket.failure):
        ticket = handle.check()
        end(ticket)
        ticket.interrupted()
    assert handle.snapshot().failures == 1


def test_of_a_thousand_callers_exactly_the_probes_get_through(clock):
    async def main():
        handle = breaker(clock, half_open_max_probes=4)
        to_probe(handle, clock)
        reached = 0
        states = set()

        async def call():
            nonlocal reached
            reached += 1
            await sleep(1.0)

        async def caller():
            try:
                await handle.run(call)
            except CircuitOpen as error:
                states.add(handle.state)
                return error
            return None

        results = await asyncio.gather(*(caller() for _ in range(1000)))
        refusals = [error for error in results if error is not None]
        assert reached == 4
        assert len(refusals) == 996
        assert all(error.retry_after > 0 for error in refusals)
        assert states == {HALF_OPEN}
        assert handle.state is CLOSED

    run_virtual(main())


def test_run_returns_raises_and_counts(clock):
    async def main():
        handle = breaker(clock, failure_threshold=2)

        async def fine():
            return 42

        async def broken():
            raise ServerError

        async def wrong():
            raise BadRequest

        assert await handle.run(fine) == 42
        with pytest.raises(BadRequest):
            await handle.run(wrong)
        for _ in range(2):
            with pytest.raises(ServerError):
                await handle.run(broken)
        with pytest.raises(CircuitOpen):
            await handle.run(fine)
        snapshot = handle.snapshot()
        assert (snapshot.successes, snapshot.failures, snapshot.released, snapshot.not_permitted) == (1, 2, 1, 1)

    run_virtual(main())


def test_run_measures_how_slow_a_call_was():
    async def main():
        handle = CircuitBreakerHandle("openai", CircuitBreakerConfig(slow_call_s=4.0, minimum_calls=2))
        for _ in range(2):
            await handle.run(lambda: sleep(4.0))
        assert handle.state is OPEN

    run_virtual(main())


def test_a_cancelled_probe_frees_its_slot_and_never_wedges(clock):
    async def main():
        handle = breaker(clock, half_open_max_probes=4)
        to_probe(handle, clock)
        for _ in range(100):
            probes = [asyncio.create_task(handle.run(lambda: sleep(100.0))) for _ in range(4)]
            await sleep(0)
            assert not handle.would_admit()
            for task in probes:
                task.cancel()
            await asyncio.wait(probes)
            assert all(task.cancelled() for task in probes)
        assert repr(handle) == "<CircuitBreaker openai HALF_OPEN probes 0/4>"

    run_virtual(main())


def test_the_clock_is_the_loop_s_unless_given():
    async def main():
        handle = CircuitBreakerHandle("openai", CircuitBreakerConfig(failure_threshold=1, open_duration_s=5.0))
        handle.check().failure()
        assert refused(handle).retry_at == 1005.0
        await sleep(5.0)
        assert handle.would_admit()

    run_virtual(main())
    outside = CircuitBreakerHandle("openai")
    outside.force_open(100.0)
    assert 99.0 < outside.retry_after() <= 100.0
    assert outside.config == CircuitBreakerConfig()
    assert outside.provider == "openai"


def test_forcing_and_resetting(clock):
    handle = breaker(clock)
    handle.force_open(86_400.0)
    clock.advance(86_399.0)
    assert refused(handle).retry_after == 1.0
    handle.reset()
    assert handle.state is CLOSED
    handle.force_close(60.0)
    for _ in range(100):
        handle.check().failure()
    snapshot = handle.snapshot()
    assert snapshot.held_closed
    assert (snapshot.state, snapshot.failures, snapshot.consecutive_failures) == (CLOSED, 100, 100)
    handle.reset()
    assert not handle.snapshot().held_closed
    trip(handle)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_time_to_force_it_for_must_be_one(clock, seconds):
    handle = breaker(clock)
    for force in (handle.force_open, handle.force_close, ForceOpen, ForceClose):
        with pytest.raises(ValueError):
            force(seconds)
    assert handle.state is CLOSED


def test_one_event_for_each_transition(clock):
    handle = breaker(clock)
    events: list[BreakerEvent] = []
    stop = handle.subscribe(events.append)
    trip(handle)
    handle.force_open(5.0)
    handle.force_open(5.0)
    clock.advance(5.0)
    handle.check().failure()
    clock.advance(10.0)
    handle.check().success()
    handle.reset()
    handle.reset()
    handle.force_close(1.0)
    handle.force_open(1.0)
    handle.force_close(1.0)
    handle.force_open(1.0)
    handle.reset()
    assert [(event.at - 1000.0, event.previous.name, event.state.name, event.reason) for event in events] == [
        (0.0, "CLOSED", "OPEN", "consecutive_failures"),
        (5.0, "OPEN", "HALF_OPEN", "open_time_over"),
        (5.0, "HALF_OPEN", "OPEN", "probe_failed"),
        (15.0, "OPEN", "HALF_OPEN", "open_time_over"),
        (15.0, "HALF_OPEN", "CLOSED", "probes_succeeded"),
        (15.0, "CLOSED", "OPEN", "forced_open"),
        (15.0, "OPEN", "CLOSED", "forced_closed"),
        (15.0, "CLOSED", "OPEN", "forced_open"),
        (15.0, "OPEN", "CLOSED", "reset"),
    ]
    assert {event.provider for event in events} == {"openai"}
    assert handle.snapshot().transitions == {OPEN: 4, HALF_OPEN: 2, CLOSED: 3}
    stop()
    stop()
    trip(handle)
    assert len(events) == 9


def test_a_listener_that_raises_harms_nobody(clock, caplog):
    caplog.set_level(logging.ERROR, logger="spillway.circuit_breaker")
    handle = breaker(clock)
    seen = []

    def bad(event):
        seen.append("bad")
        raise RuntimeError("bad listener")

    handle.subscribe(bad)
    handle.subscribe(lambda event: seen.append(event.state))
    handle.on_room(lambda: 1 / 0)
    trip(handle)
    assert seen == ["bad", OPEN]
    handle.reset()
    assert seen == ["bad", OPEN, "bad", CLOSED]
    assert "bad listener" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert handle.snapshot().failures == 3


def test_a_listener_that_calls_back_sees_the_new_state_and_all_see_the_order(clock):
    handle = breaker(clock)
    first, second = [], []

    def meddler(event):
        first.append((event.state, handle.state))
        if event.state is OPEN:
            with pytest.raises(CircuitOpen):
                handle.check()
            handle.reset()
            assert handle.state is CLOSED
            handle.check().release()

    handle.subscribe(meddler)
    handle.subscribe(lambda event: second.append(event.state))
    trip_calls = [handle.check() for _ in range(3)]
    for ticket in trip_calls:
        ticket.failure()
    assert first == [(OPEN, OPEN), (CLOSED, CLOSED)]
    assert second == [OPEN, CLOSED]


def test_room_is_announced_when_a_probe_s_slot_or_the_circuit_is_free_again(clock):
    handle = breaker(clock)
    rooms = []
    stop = handle.on_room(lambda: rooms.append(handle.would_admit()))
    handle.check().release()
    to_probe(handle, clock)
    probe = handle.check()
    assert rooms == []
    probe.release()
    assert rooms == [True]
    probe.release()
    assert rooms == [True]
    handle.check().success()
    assert rooms == [True] * 2
    handle.force_open(10.0)
    assert rooms == [True] * 2
    handle.reset()
    assert rooms == [True] * 3
    handle.configure(CircuitBreakerConfig())
    assert rooms == [True] * 4
    stop()
    handle.reset()
    assert rooms == [True] * 4


def test_two_breakers_share_nothing(clock):
    first, second = breaker(clock), breaker(clock)
    trip(first)
    assert second.state is CLOSED
    second.check().success()


def test_a_snapshot_adds_up(clock):
    handle = breaker(clock, minimum_calls=4, failure_ratio=0.9, slow_call_s=1.0, slow_call_ratio=0.9)
    for _ in range(3):
        handle.check().success(2.0)
    assert handle.snapshot().failure_ratio is None
    handle.check().failure(ServerError())
    handle.check().release()
    handle.check()
    snapshot = handle.snapshot()
    assert (snapshot.window_calls, snapshot.window_failures, snapshot.window_slow) == (4, 1, 3)
    assert (snapshot.failure_ratio, snapshot.slow_ratio) == (0.25, 0.75)
    assert snapshot.admitted == 6 == snapshot.successes + snapshot.failures + snapshot.released + snapshot.late + 1
    assert (snapshot.opened_at, snapshot.retry_at, snapshot.retry_after) == (None, None, 0.0)
    handle.reset()
    trip(handle)
    clock.advance(1.0)
    snapshot = handle.snapshot()
    assert (snapshot.opened_at, snapshot.retry_at, snapshot.retry_after) == (1000.0, 1005.0, 4.0)
    assert msgspec.json.decode(msgspec.json.encode(snapshot))["state"] == "open"


def test_many_calls_in_flight_are_settled_in_any_order_and_leave_nothing(clock):
    handle = breaker(clock, failure_threshold=10_000, minimum_calls=10_000)
    oldest = handle.check()
    in_flight = [handle.check() for _ in range(100)]
    for number in range(5000):
        in_flight.append(handle.check())
        in_flight.pop(number % len(in_flight)).success()
        # Settled tickets between open ones are held on to, but never many.
        assert len(handle._tickets) <= 2 * 102 + 64
    handle.record_failure()
    assert oldest.outcome is not None
    for ticket in reversed(in_flight):
        ticket.success()
    assert len(handle._tickets) == 0
    snapshot = handle.snapshot()
    assert (snapshot.admitted, snapshot.successes, snapshot.failures) == (5101, 5100, 1)


@pytest.mark.parametrize("with_tickets", [True, False], ids=["tickets", "no tickets"])
def test_eight_threads_count_exactly(with_tickets):
    handle = CircuitBreakerHandle("openai", CircuitBreakerConfig(failure_threshold=10**6, minimum_calls=10**6))
    rounds = 2000

    def work(number):
        for index in range(rounds):
            ticket = handle.check()
            if (index + number) % 4:
                ticket.success() if with_tickets else handle.record_success()
            else:
                ticket.failure() if with_tickets else handle.record_failure()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = handle.snapshot()
    assert (snapshot.admitted, snapshot.successes, snapshot.failures) == (8 * rounds, 6 * rounds, 2 * rounds)


def test_eight_threads_never_hold_more_probes_than_there_are_slots(clock):
    handle = breaker(clock, half_open_max_probes=4)
    to_probe(handle, clock)
    held, worst, lock = 0, 0, threading.Lock()
    refusals = [0] * 8

    def work(number):
        nonlocal held, worst
        for _ in range(500):
            try:
                ticket = handle.check()
            except CircuitOpen:
                refusals[number] += 1
                continue
            with lock:
                held += 1
                worst = max(worst, held)
            with lock:
                held -= 1
            ticket.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = handle.snapshot()
    assert 1 <= worst <= 4
    assert snapshot.probes == 0
    assert snapshot.released == snapshot.admitted - 3 == 8 * 500 - sum(refusals)
    assert snapshot.not_permitted == sum(refusals)
    assert [handle.check().probe > 0 for _ in range(4)] == [True] * 4
    refused(handle)


def test_a_finalizer_that_settles_while_the_breaker_works_does_not_deadlock(clock):
    handle = breaker(clock, failure_threshold=10**6, minimum_calls=10**6)

    class Stream:
        def __init__(self):
            self.ticket = handle.check()
            self.cycle = self

        def __del__(self):
            self.ticket.release()

    def work():
        for _ in range(300):
            Stream()
            handle.check().success()

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        # In a thread that may be left behind: a deadlock in a finalizer can't be interrupted.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(10.0)
    finally:
        gc.set_threshold(*threshold)
    assert not thread.is_alive()
    gc.collect()
    snapshot = handle.snapshot()
    assert (snapshot.successes, snapshot.released) == (300, 300)


def test_the_actor_answers_with_the_snapshot_after_it(clock):
    async def main():
        handle = breaker(clock)
        actor = CircuitBreakerActor(handle)
        assert actor.handle() is handle
        async with ActorSystem() as system:
            ref = system.spawn(actor, "breaker")
            assert (await ref.ask(SnapshotBreaker())).state is CLOSED
            opened = await ref.ask(ForceOpen(300.0))
            assert (opened.state, opened.retry_after) == (OPEN, 300.0)
            assert not handle.would_admit()
            assert (await ref.ask(ForceClose(10.0))).held_closed
            assert not (await ref.ask(ResetBreaker())).held_closed
            await ref.ask(ConfigureBreaker(CircuitBreakerConfig(failure_threshold=1)))
            handle.check().failure()
            assert (await ref.ask(SnapshotBreaker())).state is OPEN
        assert repr(actor) == "<CircuitBreakerActor of <CircuitBreaker openai OPEN until 1030.000>>"

    run_virtual(main())


def test_the_actor_s_messages_travel():
    for message in (SnapshotBreaker(), ForceOpen(1.0), ForceClose(math.inf), ResetBreaker()):
        assert pickle.loads(pickle.dumps(message)) == message
