"""The breaker's state machine: every state with every event, windows to the instant, open times, probes."""

from __future__ import annotations

import math
import random
import sys

import msgspec
import pytest

from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker.machine import NO_PROBE, REFUSED, BreakerMachine, CircuitState, TransitionReason

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

CONFIG = CircuitBreakerConfig(
    failure_threshold=1000,
    failure_ratio=0.5,
    minimum_calls=5,
    window_s=10.0,
    open_duration_s=5.0,
    max_open_duration_s=40.0,
    half_open_max_probes=2,
    slow_call_s=4.0,
    slow_call_ratio=0.5,
)


def config(**changes):
    return msgspec.structs.replace(CONFIG, **changes)


class Bench:
    """A machine with a clock and tickets of its own."""

    def __init__(self, **changes):
        self.machine = BreakerMachine(config(**changes))
        self.now = 0.0

    def admit(self):
        probe = self.machine.admit(self.now)
        return None if probe == REFUSED else (self.machine.generation, probe)

    def success(self, call, elapsed_s=None):
        return self.machine.success(self.now, *call, elapsed_s)

    def failure(self, call):
        return self.machine.failure(self.now, *call)

    def play(self, outcomes, step=0.0):
        for outcome in outcomes:
            call = self.admit()
            assert call is not None
            if outcome == "F":
                self.failure(call)
            else:
                self.success(call, 5.0 if outcome == "L" else None)
            self.now += step
        return self.machine.state

    def trip(self):
        assert self.play("FFFFF") is OPEN

    def half_open(self):
        self.trip()
        self.now = self.machine.retry_at
        return self.admit()


def test_too_few_calls_leave_the_rate_unknown_and_the_one_that_makes_it_known_may_open():
    bench = Bench()
    assert bench.play("FFFS") is CLOSED
    assert bench.play("S") is OPEN
    assert bench.machine.transition.reason is TransitionReason.FAILURE_RATIO
    assert bench.admit() is None


def test_calls_a_second_apart_open_on_the_failure_that_reaches_the_ratio():
    bench = Bench(failure_ratio=0.6)
    assert bench.play("SSSFF", step=1.0) is CLOSED
    assert bench.play("F", step=1.0) is CLOSED
    assert bench.play("FF", step=1.0) is OPEN


def test_below_the_minimum_of_calls_nothing_but_failures_keeps_it_closed():
    assert Bench().play("FFFF") is CLOSED


@pytest.mark.parametrize(
    ("failures", "calls", "ratio", "state"),
    [
        (5, 10, 0.5, OPEN),
        (4, 10, 0.5, CLOSED),
        (11, 20, 0.55, OPEN),
        (10, 20, 0.55, CLOSED),
        (7, 10, 0.7, OPEN),
        (1, 10, 0.1, OPEN),
        (10, 10, 1.0, OPEN),
        (9, 10, 1.0, CLOSED),
    ],
)
def test_a_ratio_exactly_reached_opens(failures, calls, ratio, state):
    bench = Bench(failure_ratio=ratio, minimum_calls=calls)
    assert bench.play("S" * (calls - failures) + "F" * failures) is state


@pytest.mark.parametrize("start", [0.0, 1000.0, 1000.1, 86_400.3, 1e9])
def test_failures_leave_the_window_exactly_when_it_is_over(start):
    bench = Bench()
    bench.now = start
    assert bench.play("FFFF") is CLOSED
    bench.now = start + 10.0
    assert bench.play("F") is CLOSED
    assert bench.machine.window(bench.now) == (0, 1, 0)

    bench = Bench()
    bench.now = start
    bench.play("FFFF")
    bench.now = math.nextafter(start + 10.0, 0.0)
    assert bench.play("F") is OPEN


def test_failures_spread_over_the_window_still_open():
    bench = Bench()
    assert bench.play("FFFFF", step=2.4) is OPEN


def test_successes_that_leave_the_window_raise_the_ratio_at_the_next_result():
    bench = Bench()
    bench.play("SSSSSSS")
    bench.now = 9.0
    assert bench.play("FFFF") is CLOSED
    bench.now = 10.0
    assert bench.play("S") is OPEN


def test_consecutive_failures_open_at_the_threshold_and_a_success_starts_over():
    bench = Bench(failure_threshold=3, minimum_calls=1000)
    assert bench.play("FFSFF") is CLOSED
    assert bench.play("F") is OPEN
    assert bench.machine.transition.reason is TransitionReason.CONSECUTIVE_FAILURES


def test_consecutive_failures_count_only_within_the_window():
    bench = Bench(failure_threshold=3, minimum_calls=1000)
    bench.play("FF")
    bench.now = 10.0
    assert bench.play("FF") is CLOSED
    assert bench.machine.consecutive_failures(bench.now) == 2
    assert bench.play("F") is OPEN


def test_a_run_of_failures_is_as_long_with_its_success_in_the_window_as_without():
    bench = Bench(failure_threshold=4, minimum_calls=1000)
    bench.play("FS")
    bench.now = 5.0
    bench.play("FF")
    assert bench.machine.consecutive_failures(5.0) == 2
    assert bench.machine.consecutive_failures(10.0) == 2
    bench.now = 10.0
    assert bench.play("F") is CLOSED
    assert bench.play("F") is OPEN


def test_slow_successes_open_by_their_own_ratio():
    bench = Bench()
    assert bench.play("LSSL") is CLOSED
    assert bench.play("L") is OPEN
    assert bench.machine.transition.reason is TransitionReason.SLOW_CALLS


def test_a_slow_ratio_exactly_reached_opens():
    assert Bench(minimum_calls=4).play("SSLL") is OPEN
    assert Bench(minimum_calls=4, slow_call_ratio=0.51).play("SSLL") is CLOSED


def test_slow_calls_leave_the_window_too():
    bench = Bench()
    bench.play("LL")
    bench.now = 10.0
    assert bench.play("SSSSL") is CLOSED
    assert bench.machine.window(bench.now) == (5, 0, 1)


def test_a_call_is_slow_from_the_configured_time_on_and_never_without_one():
    bench = Bench()
    call = bench.admit()
    bench.success(call, math.nextafter(4.0, 0.0))
    assert bench.machine.window(0.0) == (1, 0, 0)
    bench.success(call, 4.0)
    assert bench.machine.window(0.0) == (2, 0, 1)
    bench = Bench(slow_call_s=None)
    assert bench.play("LLLLLLLLLL") is CLOSED


def test_open_refuses_to_the_instant_and_the_first_call_after_it_is_a_probe():
    bench = Bench()
    bench.trip()
    bench.now = 3.0
    assert bench.admit() is None
    assert bench.machine.retry_after(3.0) == 2.0
    bench.now = math.nextafter(5.0, 0.0)
    assert bench.admit() is None
    bench.now = 5.0
    assert bench.machine.would_admit(5.0)
    assert bench.machine.state is OPEN
    assert bench.admit()[1] != NO_PROBE
    assert bench.machine.state is HALF_OPEN
    assert bench.machine.window(5.0) == (0, 0, 0)


def test_waiting_as_long_as_it_says_is_always_enough():
    for start in (0.1, 1000.1, 12_345.678, 1e9 + 0.3):
        bench = Bench(open_duration_s=0.3)
        bench.now = start
        bench.trip()
        for early in (0.0, 0.1, 0.123456, 0.299):
            now = start + early
            wait = bench.machine.retry_after(now)
            assert wait > 0
            assert bench.machine.would_admit(now + wait)
    dice = random.Random(7)
    for _ in range(2000):
        bench = Bench()
        bench.machine.force_open(dice.uniform(0, 3), dice.uniform(5, 100))
        now = dice.uniform(3, 8)
        assert bench.machine.would_admit(now + bench.machine.retry_after(now))


def test_open_time_doubles_with_each_failed_probe_to_its_cap_and_starts_anew_after_a_close():
    bench = Bench()

    def spans(count):
        for _ in range(count):
            yield bench.machine.retry_at - bench.now
            bench.now = bench.machine.retry_at
            bench.failure(bench.admit())

    bench.trip()
    assert list(spans(6)) == [5.0, 10.0, 20.0, 40.0, 40.0, 40.0]
    bench.now = bench.machine.retry_at
    bench.success(bench.admit())
    bench.success(bench.admit())
    assert bench.machine.state is CLOSED
    bench.trip()
    assert list(spans(3)) == [5.0, 10.0, 20.0]


def test_thousands_of_failed_probes_do_not_overflow():
    bench = Bench(max_open_duration_s=1e6)
    bench.trip()
    for _ in range(3000):
        bench.now = bench.machine.retry_at
        bench.failure(bench.admit())
    assert bench.machine.retry_at - bench.now == 1e6


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_exactly_so_many_probes_pass_and_all_must_succeed(limit):
    bench = Bench(half_open_max_probes=limit)
    probes = [bench.half_open(), *(bench.admit() for _ in range(100))]
    passed = [probe for probe in probes if probe is not None]
    assert len(passed) == limit
    for probe in passed[:-1]:
        bench.success(probe)
        assert bench.machine.state is HALF_OPEN
        assert bench.admit() is None
    bench.success(passed[-1])
    assert bench.machine.state is CLOSED
    assert bench.machine.transition.reason is TransitionReason.PROBES_SUCCEEDED
    assert bench.machine.window(bench.now) == (0, 0, 0)


def test_the_first_failed_probe_reopens_whatever_the_others_did_or_do():
    bench = Bench(half_open_max_probes=4)
    probes = [bench.half_open(), *(bench.admit() for _ in range(3))]
    bench.success(probes[0])
    bench.success(probes[1])
    bench.failure(probes[2])
    assert bench.machine.state is OPEN
    assert bench.machine.transition.reason is TransitionReason.PROBE_FAILED
    assert not bench.success(probes[3])
    assert bench.machine.retry_at == bench.now + 10.0


def test_each_half_open_state_starts_with_all_slots_and_nothing_proven():
    bench = Bench(half_open_max_probes=3)
    probes = [bench.half_open(), bench.admit(), bench.admit()]
    bench.success(probes[0])
    bench.failure(probes[1])
    bench.now = bench.machine.retry_at
    probes = [bench.admit() for _ in range(4)]
    assert [probe is not None for probe in probes] == [True, True, True, False]
    for probe in probes[:2]:
        bench.success(probe)
    assert bench.machine.state is HALF_OPEN
    bench.success(probes[2])
    assert bench.machine.state is CLOSED


def test_a_slow_probe_is_a_failed_one():
    bench = Bench()
    bench.success(bench.half_open(), 4.0)
    assert bench.machine.state is OPEN


def test_a_released_probe_gives_its_slot_back_however_often():
    bench = Bench(half_open_max_probes=4)
    probes = [bench.half_open(), *(bench.admit() for _ in range(3))]
    for _ in range(100):
        assert bench.admit() is None
        assert all(bench.machine.release(*probe) for probe in probes)
        assert not any(bench.machine.release(*probe) for probe in probes)
        probes = [bench.admit() for _ in range(4)]
        assert None not in probes
    assert bench.machine.probes == 4


def test_a_probe_that_never_ends_is_given_up_and_its_result_comes_too_late():
    bench = Bench(half_open_max_probes=1)
    lost = bench.half_open()
    start = bench.now
    assert bench.machine.retry_after(start) == 5.0
    assert bench.machine.retry_after(start + 38.0) == pytest.approx(2.0)
    bench.now = math.nextafter(start + 40.0, 0.0)
    assert not bench.machine.would_admit(bench.now)
    assert bench.admit() is None
    bench.now = start + 40.0
    assert bench.machine.would_admit(bench.now)
    assert bench.machine.retry_after(bench.now) == 0.0
    second = bench.admit()
    assert second is not None
    assert not bench.machine.holds(lost[1])
    assert not bench.failure(lost)
    assert not bench.success(lost)
    assert bench.machine.state is HALF_OPEN
    assert bench.success(second)
    assert bench.machine.state is CLOSED


def test_a_probe_that_ends_late_but_before_its_slot_was_wanted_still_counts():
    bench = Bench(half_open_max_probes=1)
    slow = bench.half_open()
    bench.now += 1000.0
    assert bench.success(slow)
    assert bench.machine.state is CLOSED


def test_results_of_an_earlier_state_change_nothing():
    bench = Bench(half_open_max_probes=1)
    old = [bench.admit() for _ in range(3)]
    probe = bench.half_open()
    assert not bench.success(old[0])
    assert not bench.failure(old[1])
    assert not bench.machine.release(*old[2])
    assert bench.machine.state is HALF_OPEN
    bench.success(probe)
    assert not bench.failure(probe)
    assert bench.machine.window(bench.now) == (0, 0, 0)


@pytest.mark.parametrize("state", list(CircuitState))
def test_forcing_it_open_holds_to_the_instant_and_the_newest_word_counts(state):
    bench = in_state(state)
    bench.machine.transition = None
    bench.machine.force_open(bench.now, 86_400.0)
    assert (bench.machine.transition is None) == (state is OPEN)
    start = bench.now
    bench.now = math.nextafter(start + 86_400.0, 0.0)
    assert bench.admit() is None
    bench.machine.force_open(start, 10.0)
    bench.now = start + 10.0
    assert bench.admit() is not None


def test_forced_open_without_end_lasts_until_a_reset():
    bench = Bench()
    bench.machine.force_open(0.0, math.inf)
    bench.now = 1e12
    assert bench.admit() is None
    assert bench.machine.retry_after(bench.now) == 40.0
    bench.machine.reset(bench.now)
    assert bench.admit() is not None
    assert bench.machine.opened_at is None


@pytest.mark.parametrize("state", list(CircuitState))
def test_forcing_it_closed_lets_everything_pass_counts_and_trips_after_it(state):
    bench = in_state(state)
    bench.machine.force_close(bench.now, 5.0)
    assert bench.machine.held_closed(bench.now)
    assert bench.play("F" * 50) is CLOSED
    assert bench.machine.window(bench.now)[1] >= 50
    bench.now += 5.0
    assert not bench.machine.held_closed(bench.now)
    assert bench.play("F") is OPEN


@pytest.mark.parametrize("state", list(CircuitState))
def test_a_reset_closes_and_forgets_and_results_of_before_come_too_late(state):
    bench = in_state(state)
    call = bench.admit()
    bench.machine.reset(bench.now)
    assert bench.machine.state is CLOSED
    assert bench.machine.window(bench.now) == (0, 0, 0)
    if call is not None:
        assert not bench.failure(call)
    bench.trip()
    assert bench.machine.retry_at == bench.now + 5.0


def in_state(state: CircuitState) -> Bench:
    bench = Bench()
    if state is OPEN:
        bench.trip()
    elif state is HALF_OPEN:
        bench.half_open()
    else:
        bench.play("FFF")
    return bench


# Each place a circuit can be in, each thing that can happen to it: what it is afterwards, and why it changed.
PLACES = {
    "closed": lambda: in_state(CLOSED),
    "closed, about to trip": lambda: about_to_trip(),
    "open": lambda: in_state(OPEN),
    "open, time over": lambda: time_over(),
    "half-open, a slot free": lambda: in_state(HALF_OPEN),
    "half-open, all slots taken": lambda: taken(),
    "half-open, one has succeeded": lambda: one_succeeded(),
}


def about_to_trip():
    bench = Bench()
    bench.play("FFFF")
    return bench


def time_over():
    bench = in_state(OPEN)
    bench.now = bench.machine.retry_at
    return bench


def taken():
    bench = in_state(HALF_OPEN)
    bench.admit()
    return bench


def one_succeeded():
    bench = taken()
    bench.success((bench.machine.generation, 1))
    return bench


def newest(bench):
    """The newest admission of the present state."""
    return (bench.machine.generation, max(bench.machine._probes, default=NO_PROBE))


EVENTS = {
    "call": lambda bench: bench.admit(),
    "success": lambda bench: bench.success(newest(bench)),
    "slow success": lambda bench: bench.success(newest(bench), 9.0),
    "failure": lambda bench: bench.failure(newest(bench)),
    "release": lambda bench: bench.machine.release(*newest(bench)),
    "late success": lambda bench: bench.success((bench.machine.generation - 1, NO_PROBE)),
    "late failure": lambda bench: bench.failure((bench.machine.generation - 1, NO_PROBE)),
    "late release": lambda bench: bench.machine.release(bench.machine.generation - 1, 1),
    "break of a stream": lambda bench: bench.machine.broken(bench.now),
    "break of a probe": lambda bench: bench.machine.broken(bench.now, bench.machine.generation),
    "force open": lambda bench: bench.machine.force_open(bench.now, 1.0),
    "force close": lambda bench: bench.machine.force_close(bench.now, 1.0),
    "reset": lambda bench: bench.machine.reset(bench.now),
    "configure": lambda bench: bench.machine.configure(bench.now, config(half_open_max_probes=1)),
}

R = TransitionReason
FORCED_OPEN, FORCED_CLOSED = (OPEN, R.FORCED_OPEN), (CLOSED, R.FORCED_CLOSED)
RATIO, AGAIN, PROVEN = (OPEN, R.FAILURE_RATIO), (OPEN, R.PROBE_FAILED), (CLOSED, R.PROBES_SUCCEEDED)
PROBING, RESET = (HALF_OPEN, R.OPEN_TIME_OVER), (CLOSED, R.RESET)
CHANGES = {
    "closed": {"force open": FORCED_OPEN},
    "closed, about to trip": {
        "success": RATIO,
        "slow success": RATIO,
        "failure": RATIO,
        "break of a stream": RATIO,
        "break of a probe": RATIO,
        "force open": FORCED_OPEN,
    },
    "open": {"force close": FORCED_CLOSED, "reset": RESET},
    "open, time over": {"call": PROBING, "force close": FORCED_CLOSED, "reset": RESET},
    "half-open, a slot free": {
        "slow success": AGAIN,
        "failure": AGAIN,
        "break of a probe": AGAIN,
        "force open": FORCED_OPEN,
        "force close": FORCED_CLOSED,
        "reset": RESET,
    },
}
CHANGES["half-open, all slots taken"] = CHANGES["half-open, a slot free"]
CHANGES["half-open, one has succeeded"] = {
    **CHANGES["half-open, a slot free"],
    "success": PROVEN,
    "configure": PROVEN,
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("place", PLACES)
def test_every_event_in_every_state(place, event):
    bench = PLACES[place]()
    before = bench.machine.state
    generation = bench.machine.generation
    bench.machine.transition = None
    if before is OPEN and event in {"success", "slow success", "failure", "release", "late release"}:
        # An open circuit has admitted nobody: a result can only be of an earlier state.
        generation_of_call = generation - 1
        assert not bench.success((generation_of_call, NO_PROBE))
        assert not bench.failure((generation_of_call, NO_PROBE))
        assert not bench.machine.release(generation_of_call, NO_PROBE)
    else:
        EVENTS[event](bench)
    expected = CHANGES[place].get(event)
    if expected is None:
        assert bench.machine.transition is None
        assert bench.machine.state is before
        assert bench.machine.generation == generation + (event == "reset")
    else:
        at, previous, state, reason = bench.machine.transition
        assert (at, previous, (state, reason)) == (bench.now, before, expected)
        assert bench.machine.state is state
        assert bench.machine.generation == generation + 1


@pytest.mark.parametrize(
    ("place", "passes"),
    [(place, place.startswith("closed") or place in {"open, time over", "half-open, a slot free"}) for place in PLACES],
)
def test_what_it_says_of_the_next_call_is_what_the_next_call_meets(place, passes):
    bench = PLACES[place]()
    state = bench.machine.state
    assert bench.machine.would_admit(bench.now) is passes
    assert (bench.machine.retry_after(bench.now) == 0.0) is passes
    assert bench.machine.state is state
    assert (bench.admit() is not None) is passes


def test_fewer_probes_by_new_options_never_wedge_a_half_open_circuit():
    bench = Bench(half_open_max_probes=3)
    probes = [bench.half_open(), bench.admit(), bench.admit()]
    bench.machine.configure(bench.now, config(half_open_max_probes=1))
    assert bench.admit() is None
    assert bench.machine.retry_after(bench.now) == 5.0
    bench.success(probes[0])
    assert bench.machine.state is CLOSED


def test_the_wait_for_a_slot_looks_past_probes_already_given_up():
    bench = Bench(half_open_max_probes=3)
    bench.half_open()
    start = bench.now
    bench.now += 38.0
    bench.admit(), bench.admit()
    bench.machine.configure(bench.now, config(half_open_max_probes=2))
    bench.now = start + 77.0
    assert bench.machine.retry_after(bench.now) == 1.0
    assert bench.admit() is None
    bench.now = start + 78.0
    assert bench.admit() is not None


def test_new_options_rule_from_the_next_result_on():
    bench = Bench()
    bench.play("SFSFS")
    bench.machine.configure(bench.now, config(failure_ratio=0.4, slow_call_s=1.0))
    assert bench.machine.state is CLOSED
    assert bench.play("F") is OPEN


@pytest.mark.parametrize("now", [sys.float_info.max, sys.float_info.max - 0.01, 1e300, 1e17])
def test_a_clock_near_its_end_saturates_and_stays_finite(now):
    bench = Bench()
    bench.now = now
    assert bench.play("SSFF") is CLOSED
    assert bench.machine.window(now) == (2, 2, 0)
    assert bench.play("F") is OPEN
    assert bench.admit() is None
    wait = bench.machine.retry_after(now)
    assert 0.0 < wait < math.inf
    bench.machine.force_open(now, 1e308)
    assert bench.admit() is None
    bench.machine.reset(now)
    bench.machine.force_open(now, 5.0)
    assert bench.admit() is None


def test_a_long_steady_stream_keeps_only_its_window():
    bench = Bench(slow_call_s=None)
    bench.play("S" * 5000, step=0.1)
    assert bench.machine.window(bench.now)[0] <= 100
    assert len(bench.machine._ok) <= 101
