"""What an engine counts, and the records it hands to observers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from spillway.core.reply import Usage

_PER_DECADE = 20
_LOWEST, _HIGHEST = -4, 4
"""Powers of ten of the first and the last edge, in seconds."""

_ROUND = {0: "1", 6: "2", 14: "5"}
"""Steps of a decade that are put on a round number, a quarter of a percent away."""

EDGES = tuple(
    float(f"{_ROUND.get(place % _PER_DECADE, repr(10 ** (place % _PER_DECADE / _PER_DECADE)))}e{place // _PER_DECADE}")
    for place in range(_LOWEST * _PER_DECADE, _HIGHEST * _PER_DECADE + 1)
)
"""Upper edges of a histogram's buckets in seconds; 1, 2 and 5 of every decade are among them."""


class Histogram:
    """Durations in logarithmic buckets (12 % wide, 0.1 ms to 10,000 s; a bucket holds its upper edge).

    Complexity: O(1) to record, 0.3 µs; 162 integers of memory whatever the count.
    """

    __slots__ = ("_counts", "count", "highest", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(EDGES) + 1)
        self.count = 0
        self.total = 0.0
        self.highest = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(EDGES, seconds)] += 1
        self.count += 1
        self.total += seconds
        self.highest = max(self.highest, seconds)

    def quantile(self, share: float) -> float | None:
        """Return the upper edge of the bucket that holds the `share` quantile in seconds, or None without a record."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        for edge, count in zip(EDGES, self._counts, strict=False):
            rank -= count
            if rank <= 0:
                return min(edge, self.highest)
        return self.highest

    def buckets(self) -> list[tuple[float, int]]:
        """Return `(upper edge in seconds, count)` of every bucket that is not empty; the last one's is `highest`."""
        return [(edge, n) for edge, n in zip((*EDGES, self.highest), self._counts, strict=True) if n]

    def up_to(self, edges: Sequence[float]) -> list[int]:
        """Return how many durations were not longer than each of `edges`, which ascend and are among `EDGES`."""
        counts, place, total, sums = self._counts, 0, 0, []
        for edge in edges:
            end = bisect_left(EDGES, edge) + 1
            total += sum(counts[place:end])
            place = end
            sums.append(total)
        return sums


MOST_GAPS = 4096
"""So many gaps of one stream are told at most."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that was sent, after its end.

    Attributes:
        at: when it ended, in the loop's seconds.
        request_id: ours, the same in every attempt of one request and in its `RequestRecord`.
        outcome: `ok`, `cancelled`, or the code of its error.
        first_content_s: seconds from its start to its first content, None without any.
        estimated: whether the cost rests on an estimate.
        provider: the runner's `runtime_kind`.
        endpoint: the base URL it is configured with; empty: the provider's own.
        model: that the provider was asked for.
        status: of the provider's answer where that was an error, None otherwise.
        reason: of its error, empty without one.
        response_model: that the provider says answered; empty when it does not say.
        response_id: the provider's id of the answer or of the request; empty when it gave none.
        finish_reason: why the answer ended, empty when it did not.
        gaps: seconds between the network reads that brought the content of a stream, the first `MOST_GAPS` of them.
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
    provider: str = ""
    endpoint: str = ""
    model: str = ""
    status: int | None = None
    reason: str = ""
    response_model: str = ""
    response_id: str = ""
    finish_reason: str = ""
    gaps: Sequence[float] = ()


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a caller, after its end.

    Attributes:
        deployment: the one that answered, or the last one that was asked.
        outcome: `ok`, `cancelled`, or the code of the error the caller got.
        provider: the runner's `runtime_kind` at that deployment.
        operation: `chat`, `embeddings` or `count_tokens`.
        max_tokens: as the caller asked for it; `temperature`, `top_p` and `seed` likewise.
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
    provider: str = ""
    endpoint: str = ""
    model: str = ""
    operation: str = "chat"
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None


class Observer(Protocol):
    """Is told of every attempt and every request; must return quickly and is never allowed to change a decision.

    One that has `heeds_requests = False` is told of attempts alone. One that has `heeds_plain = False` is not told of
    the plain ones: the first of a request for a whole answer of tokens, which got it.
    """

    def on_attempt(self, record: AttemptRecord) -> None:
        """Take note of one attempt."""
        ...

    def on_request(self, record: RequestRecord) -> None:
        """Take note of one request."""
        ...


class Observers(list[Observer]):
    """Who is told, in order.

    Attributes:
        of_requests: those who heed requests.
        of_plain: those who heed plain attempts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sort_out()

    def append(self, observer: Observer, /) -> None:
        """Have it told too."""
        super().append(observer)
        self._sort_out()

    def extend(self, observers: Iterable[Observer], /) -> None:
        """Have them told too."""
        super().extend(observers)
        self._sort_out()

    def remove(self, observer: Observer, /) -> None:
        """Have it told no more."""
        super().remove(observer)
        self._sort_out()

    def _sort_out(self) -> None:
        self.of_requests = tuple(each for each in self if getattr(each, "heeds_requests", True))
        self.of_plain = tuple(each for each in self if getattr(each, "heeds_plain", True))


class EngineMetrics:
    """Counters of one deployment since its start; money in pico-USD, times in seconds.

    Attributes:
        latency: of the attempts that succeeded; its count is theirs.
        first_content: from the send of these to their first content.
        gaps: between two network reads that brought content of a stream.
        queue_wait: of the requests that had to wait; its count is theirs.

    Invariants: `accepted == succeeded + failed + cancelled` once nothing is in flight.
    """

    __slots__ = (
        "accepted",
        "attempts",
        "cache_write_tokens",
        "cached_tokens",
        "cancelled",
        "cost_pico",
        "errors",
        "failed",
        "fell_back",
        "first_content",
        "gaps",
        "input_tokens",
        "latency",
        "output_tokens",
        "queue_wait",
        "reasoning_tokens",
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
        self.cache_write_tokens = 0
        self.reasoning_tokens = 0
        self.cost_pico = 0
        self.errors: dict[str, int] = {}
        self.latency = Histogram()
        self.first_content = Histogram()
        self.gaps = Histogram()
        self.queue_wait = Histogram()

    def count_usage(self, usage: Usage, cost_pico: int) -> None:
        """Add one attempt's usage row."""
        self.usage_rows += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.cache_write_tokens += usage.cache_write_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.cost_pico += cost_pico
