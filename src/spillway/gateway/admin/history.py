"""The last 15 minutes in buckets of 10 seconds: requests by what became of them, durations, tokens, cost."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from spillway.gateway.admin.recent import kind_of
from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from spillway.gateway.served import Served

BUCKET_S = 10.0
BUCKETS = 90
KINDS: tuple[str, ...] = ("ok", "left", "limited", "refused", "failed")

_PER_DECADE = 20
_LOWEST_S = 1e-4
_log10 = math.log10


class Durations:
    """How many durations fell into each logarithmic class (12 % wide); empty classes take no room."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def record(self, seconds: float) -> None:
        """Count one."""
        place = int(_log10(seconds / _LOWEST_S) * _PER_DECADE) + 1 if seconds > _LOWEST_S else 0
        counts = self.counts
        counts[place] = counts.get(place, 0) + 1

    def add(self, other: Durations) -> None:
        """Count all of another's."""
        for place, count in other.counts.items():
            self.counts[place] = self.counts.get(place, 0) + count

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """Return the upper edge of the class that holds each quantile, in seconds, or Nones; shares rise."""
        total = sum(self.counts.values())
        if not total:
            return [None] * len(shares)
        found: list[float | None] = []
        places = iter(sorted(self.counts.items()))
        seen, edge = 0, 0.0
        for share in shares:
            rank = max(1, math.ceil(share * total))
            while seen < rank:
                place, count = next(places)
                seen += count
                edge = _LOWEST_S * 10 ** (place / _PER_DECADE)
            found.append(edge)
        return found


class Bucket:
    """Ten seconds of requests.

    Attributes:
        number: of its 10 s since the loop's second 0.
        kinds: requests by what became of them.
        latency: of those that were answered, from arrival to end.
        first_content: of those that were streamed.
    """

    __slots__ = ("cost_pico", "first_content", "kinds", "latency", "number", "tokens")

    def __init__(self, number: int) -> None:
        self.number = number
        self.kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.latency = Durations()
        self.first_content = Durations()
        self.tokens = 0
        self.cost_pico = 0

    def note(self, record: Served, kind: str) -> None:
        """Count one request."""
        self.kinds[kind] += 1
        if kind == "ok":
            self.latency.record(record.elapsed_s)
        if record.first_content_s is not None:
            self.first_content.record(record.first_content_s)
        usage = record.usage
        if usage is not None:
            self.tokens += usage.input_tokens + usage.output_tokens
        if record.cost_pico:
            self.cost_pico += record.cost_pico

    def add(self, other: Bucket) -> None:
        """Count all of another's."""
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.latency.add(other.latency)
        self.first_content.add(other.first_content)
        self.tokens += other.tokens
        self.cost_pico += other.cost_pico

    def facts(self, number: int) -> dict[str, Any]:
        """Return all that `from_facts` needs, under another number."""
        return {
            "number": number,
            "kinds": self.kinds,
            "latency": {str(place): count for place, count in self.latency.counts.items()},
            "first_content": {str(place): count for place, count in self.first_content.counts.items()},
            "tokens": self.tokens,
            "cost_pico": self.cost_pico,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Bucket:
        """Return the bucket that has told these."""
        bucket = cls(facts["number"])
        bucket.kinds.update(facts["kinds"])
        bucket.latency.counts = {int(place): count for place, count in facts["latency"].items()}
        bucket.first_content.counts = {int(place): count for place, count in facts["first_content"].items()}
        bucket.tokens, bucket.cost_pico = facts["tokens"], facts["cost_pico"]
        return bucket

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        p50, p95, p99 = self.latency.quantiles((0.5, 0.95, 0.99))
        return {
            "number": self.number,
            **self.kinds,
            "p50_s": p50,
            "p95_s": p95,
            "p99_s": p99,
            "first_content_p95_s": self.first_content.quantiles((0.95,))[0],
            "tokens": self.tokens,
            "cost_usd": pico_to_usd(self.cost_pico),
        }


class Track:
    """The buckets of one deployment, or of all; those in which nothing happened are not there."""

    __slots__ = ("_buckets", "_newest")

    def __init__(self) -> None:
        self._buckets: deque[Bucket] = deque(maxlen=BUCKETS)
        self._newest = Bucket(-1)

    def note(self, record: Served, kind: str) -> None:
        """Count one request."""
        bucket = self._newest
        number = int(record.at // BUCKET_S)
        if number != bucket.number:
            bucket = self._newest = Bucket(number)
            self._buckets.append(bucket)
        bucket.note(record, kind)

    def within(self, now: float, buckets: int = BUCKETS) -> list[Bucket]:
        """Return the buckets of the newest so many spans, the oldest first."""
        first = int(now // BUCKET_S) - buckets + 1
        return [bucket for bucket in self._buckets if bucket.number >= first]

    def summary(self, now: float) -> dict[str, Any]:
        """Return the whole quarter of an hour as one."""
        return summed(self.within(now))


def summed(buckets: Iterable[Bucket]) -> dict[str, Any]:
    """Return several buckets as one, as plain values."""
    whole = Bucket(0)
    for bucket in buckets:
        whole.add(bucket)
    values = whole.values()
    del values["number"]
    return values


class History:
    """The tracks of all requests together and of each deployment.

    Complexity: two microseconds a request; at most 90 buckets a deployment.
    """

    def __init__(self) -> None:
        self.whole = Track()
        self.by_deployment: dict[str, Track] = {}

    def note(self, record: Served) -> None:
        """Count one request that has ended."""
        kind = kind_of(record)
        self.whole.note(record, kind)
        name = record.deployment
        if name:
            track = self.by_deployment.get(name)
            if track is None:
                track = self.by_deployment[name] = Track()
            track.note(record, kind)

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget the tracks of deployments that are no more."""
        kept = set(names)
        self.by_deployment = {name: track for name, track in self.by_deployment.items() if name in kept}

    def values(self, now: float, epoch: float, *, buckets: int = BUCKETS) -> dict[str, Any]:
        """Return the newest buckets of every track as plain values.

        Args:
            epoch: when the loop's second 0 was, in seconds since 1970: bucket 0 began then.
        """
        return {
            "bucket_s": BUCKET_S,
            "buckets": BUCKETS,
            "epoch": round(epoch, 3),
            "whole": [bucket.values() for bucket in self.whole.within(now, buckets)],
            "by_deployment": {
                name: [bucket.values() for bucket in track.within(now, buckets)]
                for name, track in self.by_deployment.items()
            },
        }

    def __repr__(self) -> str:
        return f"<History of {len(self.by_deployment)} deployments>"
