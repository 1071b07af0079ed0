"""What a run's recorder keeps: nothing is lost, nothing grows."""

import tracemalloc

import pytest
from report_runs import Clock, attempt, failed, request

from spillway.batch.report import Recorder
from spillway.batch.report.breaker_track import BreakerTrack
from spillway.batch.report.timeline import BINS, Timeline
from spillway.core.errors import ServerError
from spillway.core.options import CircuitBreakerConfig
from spillway.core.reply import Usage
from spillway.remote.circuit_breaker import BreakerEvent, CircuitBreakerHandle, CircuitState, TransitionReason

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def event(at, previous, state):
    return BreakerEvent(
        at=at, provider="x", previous=previous, state=state, reason=TransitionReason.CONSECUTIVE_FAILURES
    )


def test_bins_widen_and_no_count_is_lost():
    timeline = Timeline(100.0)
    series = timeline.new_series()
    for i in range(10_000):
        series[timeline.index(100.0 + i)] += 1
    assert sum(series) == 10_000
    assert len(series) == BINS
    assert timeline.width_s * BINS >= 10_000 > timeline.width_s * BINS / 2


def test_a_bin_holds_what_happened_in_it_after_many_merges():
    timeline = Timeline(0.0)
    series = timeline.new_series()
    instants = [0.01, 3.0, 77.7, 1_000.0, 54_321.0]
    for at in instants:
        series[timeline.index(at)] += 1
    filled = [i for i, n in enumerate(series) if n]
    assert all(any(i * timeline.width_s <= at < (i + 1) * timeline.width_s for at in instants) for i in filled)


def test_an_instant_before_the_start_falls_into_the_first_bin():
    assert Timeline(50.0).index(12.0) == 0


@pytest.mark.parametrize("span", [0.0, 0.01, 0.8, 6.0, 30.0, 31.0, 299.0, 86_400.0])
def test_what_is_drawn_covers_the_whole_span_and_every_count(span):
    timeline = Timeline(0.0)
    series = timeline.new_series()
    for at in (0.0, span / 2, span):
        series[timeline.index(at)] += 1
    view = timeline.view(span)
    assert view.edges[0] == 0
    assert view.edges[-1] == view.span_s == max(span, timeline.width_s)
    assert list(view.edges) == sorted(view.edges)
    assert len(view.edges) - 1 <= 120
    assert sum(view.sums(series)) == 3
    widths = [b - a for a, b in zip(view.edges, view.edges[1:], strict=False)]
    assert sum(r * w for r, w in zip(view.rates(series), widths, strict=True)) == pytest.approx(3)


def test_a_table_has_fewer_bins_with_the_same_counts():
    timeline = Timeline(0.0)
    series = timeline.new_series()
    for i in range(500):
        series[timeline.index(i / 3)] += i
    view = timeline.view(170.0)
    coarse = view.coarser(24)
    assert len(coarse.edges) - 1 <= 24
    assert coarse.edges[-1] == view.edges[-1]
    assert sum(coarse.sums(series)) == sum(view.sums(series)) == sum(range(500))


def test_attempts_are_kept_by_deployment_and_outcome():
    clock = Clock(0.0)
    recorder = Recorder(clock)
    recorder.on_attempt(attempt(1.0, "a", elapsed_s=2.0, first_content_s=0.5))
    recorder.on_attempt(failed(2.0, "timeout", "a"))
    recorder.on_attempt(attempt(3.0, "a", attempt=1, usage=Usage(input_tokens=7, output_tokens=3), cost_pico=40))
    recorder.on_attempt(failed(3.5, "cancelled", "b"))
    recorder.on_request(request(3.0, "a", fell_back=True))
    a, b = recorder.tracks["a"], recorder.tracks["b"]
    assert (a.attempts, sum(a.answers), sum(a.repeated), a.failed()) == (3, 2, 1, {"timeout": 1})
    assert (sum(a.input_tokens), sum(a.output_tokens), sum(a.cost_pico)) == (127, 63, 250_000_040)
    assert (a.latency.count, a.first_content.count) == (2, 2)
    assert (a.outcomes["ok"], a.fell_back) == (1, 1)
    assert (b.attempts, sum(b.answers), b.failed()) == (1, 0, {})
    assert repr(recorder) == "<Recorder 4 attempts of 2 deployments, 3.0 s>"


def test_an_answer_without_a_price_makes_the_cost_unknown():
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a", cost_pico=5))
    recorder.on_attempt(attempt(1.0, "b", cost_pico=None))
    assert recorder.tracks["a"].cost_known
    assert not recorder.tracks["b"].cost_known


def test_made_up_codes_are_counted_together_beyond_a_bound():
    recorder = Recorder(Clock(0.0))
    for i in range(500):
        recorder.on_attempt(failed(1.0, f"code_{i}", "a"))
        recorder.on_request(request(1.0, "a", outcome=f"code_{i}"))
    track = recorder.tracks["a"]
    assert sum(track.failed().values()) == 500
    assert len(track.errors) <= 25
    assert len(track.outcomes) <= 25
    assert track.failed()["other"] == 476


def test_memory_does_not_grow_with_records():
    recorder = Recorder(Clock(0.0))

    def feed(first, last):
        for i in range(first, last):
            at = i * 0.5
            recorder.on_attempt(attempt(at, "ab"[i % 2]) if i % 5 else failed(at, "timeout", "ab"[i % 2]))
            recorder.on_request(request(at, "ab"[i % 2]))

    feed(0, 2_000)
    tracemalloc.start()
    feed(2_000, 22_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 300_000


def test_a_watched_breaker_is_recorded_until_it_is_let_go():
    clock = Clock(10.0)
    recorder = Recorder(clock)
    config = CircuitBreakerConfig(failure_threshold=2, open_duration_s=5, half_open_max_probes=1)
    breaker = CircuitBreakerHandle("x", config, clock=clock)
    recorder.watch("x", breaker)
    clock.now = 11.0
    for _ in range(2):
        breaker.check().failure(ServerError("down"))
    clock.now = 17.0
    probe = breaker.check()
    clock.now = 18.0
    probe.success()
    track = recorder.breakers["x"]
    assert [tuple(span) for span in track.spans(20.0)] == [
        (10.0, 11.0, CLOSED),
        (11.0, 17.0, OPEN),
        (17.0, 18.0, HALF_OPEN),
        (18.0, 20.0, CLOSED),
    ]
    assert track.entered[OPEN] == 1
    assert track.seconds(OPEN, 20.0) == 6.0
    recorder.close()
    recorder.close()
    breaker.force_open(60)
    assert track.entered[OPEN] == 1


def test_watching_again_takes_the_place_of_the_first_and_stop_stops():
    clock = Clock(0.0)
    recorder = Recorder(clock)
    first, second = (CircuitBreakerHandle("x", clock=clock) for _ in range(2))
    recorder.watch("x", first)
    stop = recorder.watch("x", second)
    first.force_open(1)
    assert recorder.breakers["x"].entered[OPEN] == 0
    second.force_open(1)
    assert recorder.breakers["x"].entered[OPEN] == 1
    stop()
    second.reset()
    assert recorder.breakers["x"].state is OPEN


def test_a_flapping_breaker_is_kept_in_bounded_memory_with_exact_totals():
    track = BreakerTrack(0.0, CLOSED)
    for i in range(50_000):
        track.take(event(2.0 * i + 1, CLOSED, OPEN))
        track.take(event(2.0 * i + 1.5, OPEN, CLOSED))
    spans = track.spans(100_000.0)
    assert len(spans) < 1_100
    assert not track.exact
    assert track.entered[OPEN] == 50_000
    assert track.seconds(OPEN, 100_000.0) == 25_000.0
    assert spans[0].begin == 0.0
    assert spans[-1].end == 100_000.0
    assert all(a.end == b.begin for a, b in zip(spans, spans[1:], strict=False))


def test_a_past_without_changes_stays_closed_when_it_is_kept_coarsely():
    track = BreakerTrack(0.0, CLOSED)
    for i in range(600):
        at = 1000.0 + 0.001 * i
        track.take(event(at, CLOSED, OPEN))
        track.take(event(at + 0.0005, OPEN, CLOSED))
    first = track.spans(2000.0)[0]
    assert (first.begin, first.state) == (0.0, CLOSED)
    assert first.end > 990
