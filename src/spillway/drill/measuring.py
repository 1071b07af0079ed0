"""What the arrivals at the provider, the answers at the clients and the files of batches amount to: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec


class Worst(msgspec.Struct, frozen=True):
    """The fullest window: how many arrivals it held, and when it ended; `at_s` is 0.0 where nothing arrived."""

    count: int
    at_s: float


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What became of things that were each to come back once.

    Attributes:
        once: came back once.
        missing: never came back.
        repeated: came back more than once.
        unknown: came back and were never sent.
    """

    once: int
    missing: int
    repeated: int
    unknown: int

    @property
    def balanced(self) -> bool:
        """Whether each came back once, and nothing else."""
        return not (self.missing or self.repeated or self.unknown)


def sliding(times: Sequence[float], window_s: float) -> list[int]:
    """Return, for each arrival, how many came within the half-open window (t - window_s, t] that it ends.

    Args:
        times: ascending.

    Complexity: O(arrivals).
    """
    counts = []
    first = 0
    for index, time_s in enumerate(times):
        while times[first] <= time_s - window_s:
            first += 1
        counts.append(index - first + 1)
    return counts


def worst_window(times: Sequence[float], window_s: float, *, from_s: float = float("-inf")) -> Worst:
    """Return the fullest window among those that end at `from_s` or later."""
    held = zip(sliding(times, window_s), times, strict=True)
    count, at_s = max(((count, -at_s) for count, at_s in held if at_s >= from_s), default=(0, 0.0))
    return Worst(count, -at_s)


def use(times: Sequence[float], limit: int, window_s: float, *, from_s: float, windows: int) -> float:
    """Return the share of a limit that was used in so many windows from an instant on."""
    to_s = from_s + windows * window_s
    return sum(from_s < time_s <= to_s for time_s in times) / (limit * windows)


def episodes(times: Sequence[float], gap_s: float) -> list[tuple[float, float, int]]:
    """Return groups of arrivals that no gap of `gap_s` divides: first, last, how many."""
    found: list[tuple[float, float, int]] = []
    for time_s in times:
        if found and time_s - found[-1][1] < gap_s:
            first, _, count = found[-1]
            found[-1] = first, time_s, count + 1
        else:
            found.append((time_s, time_s, 1))
    return found


def books(sent: Iterable[str], came_back: Iterable[str]) -> Books:
    """Compare what was sent with what came back."""
    wanted = set(sent)
    found = Counter(came_back)
    return Books(
        once=sum(found[name] == 1 for name in wanted),
        missing=sum(name not in found for name in wanted),
        repeated=sum(found[name] > 1 for name in wanted),
        unknown=sum(name not in wanted for name in found),
    )


def levels(times: Sequence[float], window_s: float, span_s: float, points: int) -> list[tuple[float, int]]:
    """Return the fullest that the sliding window was in each of so many equal parts of the time from 0 to `span_s`."""
    counts = sliding(times, window_s)
    width = span_s / points
    found = []
    first = last = 0
    for index in range(points):
        begin, end = index * width, (index + 1) * width
        while last < len(times) and times[last] <= begin:
            last += 1
        while first < last and times[first] <= begin - window_s:
            first += 1
        highest, at = last - first, last
        while at < len(times) and times[at] <= end:
            highest = max(highest, counts[at])
            at += 1
        found.append(((begin + end) / 2, highest))
    return found


def climb(times: Sequence[float], span_s: float, points: int) -> list[tuple[float, int]]:
    """Return how many had arrived by so many instants between 0 and `span_s`."""
    found = []
    count = 0
    for index in range(points + 1):
        at_s = span_s * index / points
        while count < len(times) and times[count] <= at_s:
            count += 1
        found.append((at_s, count))
    return found
