"""Time in a bounded number of equal bins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

BINS = 600
"""So many bins at most; when a record falls behind the last, pairs are merged until it does not."""

FINEST_S = 0.05
"""How wide a bin is at first."""

DRAWN = 120
"""So many bins at most are drawn: more can't be told apart on a screen."""


class Timeline:
    """Sums over time since `origin`, in any number of series that share the same bins.

    Invariants: the sum of a series is the sum of what was added to it, however often bins were merged.

    Complexity: O(1) to add, `BINS` integers for each series; 24 merges take it from a minute to a year.

    Attributes:
        per_s: bins per second, to be read for each record.
        width_s: seconds of one bin.
    """

    __slots__ = ("_series", "origin", "per_s", "width_s")

    def __init__(self, origin: float) -> None:
        self.origin = origin
        self.width_s = FINEST_S
        self.per_s = 1.0 / FINEST_S
        self._series: list[list[int]] = []

    def new_series(self) -> list[int]:
        """Return a series of zeros; a caller adds to the bin that `index` says."""
        series = [0] * BINS
        self._series.append(series)
        return series

    def index(self, at: float) -> int:
        """Return the bin of an instant, the first for one before the origin; widens all bins until it has one."""
        index = int((at - self.origin) * self.per_s)
        while index >= BINS:
            self._merge_pairs()
            index = int((at - self.origin) * self.per_s)
        return max(index, 0)

    def view(self, span_s: float, *, most: int = DRAWN) -> View:
        """Return how the first `span_s` seconds are drawn, in `most` bins at most."""
        span = max(span_s, self.width_s)
        used = min(BINS, max(1, math.ceil(span * self.per_s)))
        fold = -(-used // most)
        step = fold * self.width_s
        count = -(-used // fold)
        # The last one is seldom whole; a short rest would show a rate of very few records.
        if count > 1 and span - (count - 1) * step < step / 2:
            count -= 1
        edges = (*(i * step for i in range(count)), span)
        return View(span_s=span, edges=edges, fold=fold)

    def _merge_pairs(self) -> None:
        for series in self._series:
            merged = [series[i] + series[i + 1] for i in range(0, BINS, 2)]
            series[: BINS // 2] = merged
            series[BINS // 2 :] = [0] * (BINS - BINS // 2)
        self.width_s *= 2
        self.per_s /= 2

    def __repr__(self) -> str:
        return f"<Timeline {len(self._series)} series, {BINS} bins of {self.width_s:g} s>"


class View(msgspec.Struct, frozen=True):
    """The bins that are drawn.

    Attributes:
        span_s: seconds they cover together.
        edges: seconds since the start, one more than bins; the last bin may be wider or narrower than the others.
        fold: bins of the timeline in each.
    """

    span_s: float
    edges: tuple[float, ...]
    fold: int

    def sums(self, series: Sequence[int]) -> list[int]:
        """Return what was added in each bin; the last takes all that is left, so that nothing is lost."""
        last = len(self.edges) - 2
        sums = [sum(series[i * self.fold : (i + 1) * self.fold]) for i in range(last)]
        return [*sums, sum(series[last * self.fold :])]

    def rates(self, series: Sequence[int]) -> list[float]:
        """Return the same per second."""
        widths = [b - a for a, b in itertools.pairwise(self.edges)]
        return [total / width for total, width in zip(self.sums(series), widths, strict=True)]

    def coarser(self, rows: int) -> View:
        """Return the same time in at most so many bins, for a table."""
        bins = len(self.edges) - 1
        step = -(-bins // rows)
        return View(self.span_s, (*self.edges[:-1:step], self.edges[-1]), self.fold * step)
