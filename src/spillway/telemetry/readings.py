"""Readings: the values of metrics at an instant, as plain rows; and the tables that they are read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from spillway.remote.engine import Histogram

if TYPE_CHECKING:
    from spillway.telemetry.catalog import Metric

MOST_ROWS = 1000
"""Rows of one table; what would be one more goes into the row `(other)`."""

OTHER = "(other)"
NONE = "(none)"
"""The value of a label where there is nothing to name."""

Labels = tuple[str, ...]


class Distribution(NamedTuple):
    """A histogram at an instant: counts up to each of its metric's edges."""

    up_to: list[int]
    recorded: int
    total: float


class Reading(NamedTuple):
    """One metric with the value of each row."""

    metric: Metric
    rows: list[tuple[Labels, float | Distribution]]


class Tally:
    """Numbers that only grow, by labels; bounded.

    Complexity: O(1) to add, 0.2 µs.
    """

    __slots__ = ("_rows", "_width")

    def __init__(self, width: int) -> None:
        self._rows: dict[Labels, float] = {}
        self._width = width

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Add to the number of these labels."""
        rows = self._rows
        try:
            rows[labels] += amount
        except KeyError:
            if len(rows) >= MOST_ROWS:
                labels = (OTHER,) * self._width
            rows[labels] = rows.get(labels, 0) + amount

    def rows(self) -> list[tuple[Labels, float | Distribution]]:
        """Return all numbers."""
        return list(self._rows.items())


class Timings:
    """Histograms of durations, by labels; bounded.

    Complexity: O(1) to record, 0.4 µs.
    """

    __slots__ = ("_rows", "_width")

    def __init__(self, width: int) -> None:
        self._rows: dict[Labels, Histogram] = {}
        self._width = width

    def record(self, labels: Labels, seconds: float) -> None:
        """Count one duration."""
        histogram = self._rows.get(labels)
        if histogram is None:
            if len(self._rows) >= MOST_ROWS:
                labels = (OTHER,) * self._width
            histogram = self._rows.setdefault(labels, Histogram())
        histogram.record(seconds)

    def rows(self, metric: Metric) -> list[tuple[Labels, float | Distribution]]:
        """Return all histograms, in the buckets of `metric`."""
        return [(labels, distribution(metric, histogram)) for labels, histogram in self._rows.items()]


def distribution(metric: Metric, histogram: Histogram) -> Distribution:
    """Return a histogram in the buckets of `metric`."""
    return Distribution(histogram.up_to(metric.edges), histogram.count, histogram.total)


def grouped(rows: Iterable[tuple[Metric, Labels, float | Distribution]]) -> list[Reading]:
    """Return rows of several metrics, mixed, as one reading of each."""
    readings: dict[str, Reading] = {}
    for metric, labels, value in rows:
        readings.setdefault(metric.name, Reading(metric, [])).rows.append((labels, value))
    return list(readings.values())
