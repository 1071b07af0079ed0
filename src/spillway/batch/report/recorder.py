"""What a run's page is drawn from: sums in bins, histograms and breaker states, all in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from spillway.batch.answers import Breaker
from spillway.batch.report.breaker_track import BreakerTrack
from spillway.batch.report.timeline import BINS, Timeline
from spillway.core.clock import Clock
from spillway.remote.engine.metrics import AttemptRecord, Histogram, RequestRecord

_MOST_CODES = 24
"""Codes told apart for each deployment; a runner that makes up more finds the rest under `OTHER`."""

OTHER = "other"
"""The code of errors beyond that."""


class DeploymentTrack:
    """What one deployment did.

    Attributes:
        answers: attempts that gave a whole answer, over time, as are the next five.
        repeated: attempts after the first of their request, fallbacks included.
        errors: failed attempts by code.
        latency: of whole answers.
        first_content: their time to the first content.
        attempts: attempts sent.
        cost_known: whether no answer came without a price.
        outcomes: requests that ended here, by outcome.
        fell_back: of them, those that had been asked elsewhere.
    """

    __slots__ = (
        "_timeline",
        "answers",
        "attempts",
        "cost_known",
        "cost_pico",
        "errors",
        "fell_back",
        "first_content",
        "input_tokens",
        "latency",
        "outcomes",
        "output_tokens",
        "repeated",
    )

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.answers = timeline.new_series()
        self.input_tokens = timeline.new_series()
        self.output_tokens = timeline.new_series()
        self.cost_pico = timeline.new_series()
        self.repeated = timeline.new_series()
        self.errors: dict[str, list[int]] = {}
        self.latency = Histogram()
        self.first_content = Histogram()
        self.attempts = 0
        self.cost_known = True
        self.outcomes: Counter[str] = Counter()
        self.fell_back = 0

    def error(self, code: str) -> list[int]:
        """Return the series of a code."""
        series = self.errors.get(code)
        if series is None:
            if len(self.errors) >= _MOST_CODES:
                code = OTHER
            series = self.errors.get(code)
            if series is None:
                series = self.errors[code] = self._timeline.new_series()
        return series

    def failed(self) -> dict[str, int]:
        """Return the failed attempts by code, most frequent first."""
        counts = {code: sum(series) for code, series in self.errors.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class Recorder:
    """An observer that keeps what `write_report` draws.

    Records come in the order in which they ended, as the clock tells it.

    Args:
        clock: monotonic seconds, the clock of the loop that the run is in; the run begins now.

    Complexity: about two microseconds an attempt, one a request. Memory does not grow with records: about 20 KB for
    each series, of which a deployment has five and one for each code of its errors.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.origin = clock()
        self.latest = self.origin
        self.timeline = Timeline(self.origin)
        self.tracks: dict[str, DeploymentTrack] = {}
        self.breakers: dict[str, BreakerTrack] = {}
        self._stops: dict[str, Callable[[], None]] = {}

    def on_attempt(self, record: AttemptRecord) -> None:
        """Take in one attempt."""
        at = self.latest = record.at
        index = int((at - self.origin) * self.timeline.per_s)
        if index < 0 or index >= BINS:
            index = self.timeline.index(at)
        track = self.tracks.get(record.deployment)
        if track is None:
            track = self._track(record.deployment)
        track.attempts += 1
        if record.attempt > 0:
            track.repeated[index] += 1
        outcome = record.outcome
        if outcome == "ok":
            track.answers[index] += 1
            track.latency.record(record.elapsed_s)
            first = record.first_content_s
            if first is not None:
                track.first_content.record(first)
        elif outcome != "cancelled":
            track.error(outcome)[index] += 1
        usage = record.usage
        if usage is not None:
            track.input_tokens[index] += usage.input_tokens
            track.output_tokens[index] += usage.output_tokens
        cost = record.cost_pico
        if cost is None:
            track.cost_known = False
        else:
            track.cost_pico[index] += cost

    def on_request(self, record: RequestRecord) -> None:
        """Take in one request."""
        self.latest = record.at
        track = self.tracks.get(record.deployment)
        if track is None:
            track = self._track(record.deployment)
        outcomes = track.outcomes
        outcome = record.outcome
        outcomes[outcome if outcome in outcomes or len(outcomes) < _MOST_CODES else OTHER] += 1
        if record.fell_back:
            track.fell_back += 1

    def watch(self, name: str, breaker: Breaker) -> Callable[[], None]:
        """Record the states of a deployment's breaker from now on; returns how to stop, which `close` does for all.

        A second call for the same name takes the place of the first.
        """
        before = self._stops.pop(name, None)
        if before is not None:
            before()
        track = self.breakers[name] = BreakerTrack(self._clock(), breaker.state)
        stop = self._stops[name] = breaker.subscribe(track.take)
        return stop

    def close(self) -> None:
        """Stop watching breakers; what was recorded stays. May be called twice."""
        while self._stops:
            self._stops.popitem()[1]()

    def _track(self, name: str) -> DeploymentTrack:
        track = self.tracks[name] = DeploymentTrack(self.timeline)
        return track

    def __repr__(self) -> str:
        attempts = sum(track.attempts for track in self.tracks.values())
        return f"<Recorder {attempts} attempts of {len(self.tracks)} deployments, {self.latest - self.origin:.1f} s>"
