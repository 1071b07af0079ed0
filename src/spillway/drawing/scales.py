"""Where axes have their ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIME_STEPS = (
    *(base * 10**power for power in range(-3, 1) for base in (1.0, 2.0, 5.0)),
    *(10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0),
    *(7200.0, 10800.0, 21600.0, 43200.0, 86400.0, 172800.0, 432000.0, 864000.0, 2592000.0, 8640000.0),
)
_MARGIN = 1.1
"""Room at both ends of a logarithmic axis."""

_UNITS = ((120.0, 1.0, "seconds"), (7200.0, 60.0, "minutes"), (172800.0, 3600.0, "hours"), (math.inf, 86400.0, "days"))


class Tick(NamedTuple):
    """A mark of an axis; `at` is its place as a share of the axis."""

    at: float
    label: str


class Linear(NamedTuple):
    """An axis from 0 to `top`."""

    top: float
    ticks: tuple[Tick, ...]

    def share(self, value: float) -> float:
        """Return the place of a value, 0 to 1."""
        return min(max(value / self.top, 0.0), 1.0)


def linear(highest: float, label: Callable[[float], str], *, about: int = 4, whole: bool = False) -> Linear:
    """Return an axis from 0 to a round number that is not below `highest`.

    Args:
        label: a value in words.
        whole: only whole numbers have a tick.
    """
    wanted = highest if highest > 0 and math.isfinite(highest) else 1.0
    rough = wanted / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(s * size for s in _STEPS if s * size >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    ticks = max(1, math.ceil(wanted / step - 1e-9))
    top = ticks * step
    return Linear(top, tuple(Tick(i / ticks, label(i * step)) for i in range(ticks + 1)))


class TimeAxis(NamedTuple):
    """An axis of seconds since the start."""

    span_s: float
    unit: str
    ticks: tuple[Tick, ...]

    def share(self, second: float) -> float:
        """Return the place of an instant, 0 to 1."""
        return min(max(second / self.span_s, 0.0), 1.0)


def time_axis(span_s: float, *, about: int = 6) -> TimeAxis:
    """Return an axis from 0 to `span_s` seconds, its ticks in the unit that suits it."""
    _, size, unit = next(row for row in _UNITS if span_s <= row[0])
    step = next((s for s in _TIME_STEPS if span_s / s <= about), span_s)
    ticks = (i * step for i in range(int(span_s / step + 1e-9) + 1))
    return TimeAxis(span_s, unit, tuple(Tick(t / span_s, f"{round(t / size, 6):g}") for t in ticks))


class LogAxis(NamedTuple):
    """A logarithmic axis."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def share(self, value: float) -> float:
        """Return the place of a value, 0 to 1."""
        place = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return min(max(place, 0.0), 1.0)


def log_axis(values: Sequence[float], label: Callable[[float], str]) -> LogAxis:
    """Return an axis that shows all `values`, at least half a decade of it, with ticks at 1, 2, 5 or at decades."""
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    missing = math.log10(high / low) - 0.6
    if missing < 0:
        spread = 10 ** (-missing / 2)
        low, high = low / spread, high * spread
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for bases in ((1, 2, 5), (1, 3), (1,)):
        marks = [base * 10.0**power for power in decades for base in bases]
        marks = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
        if len(marks) <= 7:
            break
    axis = LogAxis(low, high, ())
    return axis._replace(ticks=tuple(Tick(axis.share(mark), label(mark)) for mark in marks))
