"""What an engine counts, and the records it hands to observers."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec

from spillway.core.reply import Usage

_PER_DECADE = 20
_LOWEST_S = 1e-4
_BUCKETS = 8 * _PER_DECADE


class Histogram:
    """Durations in logarithmic buckets (12 % wide, 0.1 ms to 10,000 s).

    Complexity: O(1) to record, 160 integers of memory whatever the count.
    """

    __slots__ = ("_counts", "count", "highest", "total")

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self.count = 0
        self.total = 0.0
        self.highest = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        bucket = int(math.log10(seconds / _LOWEST_S) * _PER_DECADE) + 1 if seconds > _LOWEST_S else 0
        self._counts[min(bucket, _BUCKETS)] += 1
        self.count += 1
        self.total += seconds
        self.highest = max(self.highest, seconds)

    def quantile(self, share: float) -> float | None:
        """Return the upper edge of the bucket that holds the `share` quantile in seconds, or None without a record."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        for bucket, count in enumerate(self._counts):
            rank -= count
            if rank <= 0:
                return min(_LOWEST_S * 10 ** (bucket / _PER_DECADE), self.highest)
        return self.highest

    def buckets(self) -> list[tuple[float, int]]:
        """Return `(upper edge in seconds, count)` of every bucket that is not empty."""
        return [(_LOWEST_S * 10 ** (b / _PER_DECADE), n) for b, n in enumerate(self._counts) if n]


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that was sent, after its end.

    Attributes:
        at: when it ended, in the loop's seconds.
        request_id: ours, the same in every attempt of one request and in its `RequestRecord`.
        outcome: `ok`, `cancelled`, or the code of its error.
        first_content_s: seconds from its start to its first content, None without any.
        estimated: whether the cost rests on an estimate.
    """

    at: float
    deployment: str
    attempt: int
    outcome: str
    elapsed_s: float
    first_content_s: float | None = None
    usage: Usage | None = None
    cost_pico: int | None = 0
    estimated: bool = False
    stream: bool = False
    request_id: str = ""
    tenant: str = ""


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a caller, after its end.

    Attributes:
        deployment: the one that answered, or the last one that was asked.
        outcome: `ok`, `cancelled`, or the code of the error the caller got.
    """

    at: float
    asked: str
    deployment: str
    outcome: str
    elapsed_s: float
    queued_s: float
    attempts: int
    retries: int
    fell_back: bool
    request_id: str = ""
    tenant: str = ""


class Observer(Protocol):
    """Is told of every attempt and every request; must return quickly and is never allowed to change a decision."""

    def on_attempt(self, record: AttemptRecord) -> None:
        """Take note of one attempt."""
        ...

    def on_request(self, record: RequestRecord) -> None:
        """Take note of one request."""
        ...


class EngineMetrics:
    """Counters of one deployment since its start; money in pico-USD, times in seconds.

    Invariants: `accepted == succeeded + failed + cancelled` once nothing is in flight.
    """

    __slots__ = (
        "accepted",
        "attempts",
        "cached_tokens",
        "cancelled",
        "cost_pico",
        "errors",
        "failed",
        "fell_back",
        "first_content",
        "input_tokens",
        "latency",
        "output_tokens",
        "queue_wait",
        "refused",
        "retried",
        "succeeded",
        "usage_rows",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.succeeded = 0
        self.failed = 0
        self.cancelled = 0
        self.refused = 0
        self.retried = 0
        self.fell_back = 0
        self.attempts = 0
        self.usage_rows = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.cost_pico = 0
        self.errors: dict[str, int] = {}
        self.latency = Histogram()
        self.first_content = Histogram()
        self.queue_wait = Histogram()

    def count_usage(self, usage: Usage, cost_pico: int) -> None:
        """Add one attempt's usage row."""
        self.usage_rows += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.cost_pico += cost_pico
