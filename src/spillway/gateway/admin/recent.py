"""The newest requests and attempts, kept to be looked at: a ring each, joined only when somebody looks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spillway.gateway.served import Served
    from spillway.remote.engine import AttemptRecord, RequestRecord

KEPT_REQUESTS = 100
KEPT_ATTEMPTS = 400


class Recent:
    """The last `KEPT_REQUESTS` requests and about as many attempts as they can have had.

    Attributes:
        count: requests noted since it was made; the number of the newest.

    Complexity: an append for each request and each attempt.
    """

    heeds_requests = False
    heeds_plain = False

    def __init__(self) -> None:
        self.count = 0
        self._requests: deque[Served] = deque(maxlen=KEPT_REQUESTS)
        self._attempts: deque[AttemptRecord] = deque(maxlen=KEPT_ATTEMPTS)

    def note(self, record: Served) -> None:
        """Keep a request that has ended."""
        self.count += 1
        self._requests.append(record)

    def on_attempt(self, record: AttemptRecord) -> None:
        """Keep an attempt that has ended."""
        self._attempts.append(record)

    def on_request(self, record: RequestRecord) -> None:
        """Do nothing: the gateway's own record says more."""

    def since(self, number: int, epoch: float) -> list[dict[str, Any]]:
        """Return the requests after the one of that number that are still kept, the oldest first, as plain values.

        Args:
            number: 0 for all.
            epoch: what turns the loop's seconds into those since 1970.
        """
        missing = min(self.count - number, len(self._requests))
        if missing <= 0:
            return []
        records = list(self._requests)[-missing:]
        tried = self._by_request({record.errand_id for record in records})
        first = self.count - missing + 1
        return [
            _values(record, tried.get(record.errand_id, []), number, epoch)
            for number, record in enumerate(records, first)
        ]

    def _by_request(self, wanted: set[str]) -> dict[str, list[AttemptRecord]]:
        found: dict[str, list[AttemptRecord]] = {}
        for attempt in self._attempts:
            if attempt.request_id and attempt.request_id in wanted:
                found.setdefault(attempt.request_id, []).append(attempt)
        return found

    def __repr__(self) -> str:
        return f"<Recent {len(self._requests)} of {self.count} requests, {len(self._attempts)} attempts>"


def kind_of(record: Served) -> str:
    """Return what became of a request in one of five words: `ok`, `left`, `limited`, `refused` or `failed`.

    `left`: the caller went away. `limited`: a limit, budget, circuit or queue of ours or the provider's refused it.
    `refused`: the request itself is at fault. `failed`: an upstream or the gateway is.
    """
    outcome = record.outcome
    if outcome == "ok":
        return "ok"
    if outcome == "cancelled":
        return "left"
    if record.limited_by is not None:
        return "limited"
    return "failed" if record.status >= 500 or outcome == "stream_interrupted" else "refused"


def _values(record: Served, attempts: Iterable[AttemptRecord], number: int, epoch: float) -> dict[str, Any]:
    usage = record.usage
    return {
        "number": number,
        "at": round(epoch + record.at, 3),
        "request_id": record.request_id,
        "door": record.door,
        "caller": record.caller,
        "model": record.model,
        "deployment": record.deployment,
        "status": record.status,
        "kind": kind_of(record),
        "outcome": record.outcome,
        "limited_by": record.limited_by,
        "stream": record.stream,
        "fell_back": record.fell_back,
        "attempts": record.attempts,
        "retries": record.retries,
        "elapsed_s": record.elapsed_s,
        "first_content_s": record.first_content_s,
        "queued_s": record.queued_s,
        "upstream_s": record.upstream_s,
        "overhead_s": record.overhead_s,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost_usd": None if record.cost_pico is None else pico_to_usd(record.cost_pico),
        "tried": [
            _tried(each.deployment, each.outcome, each.elapsed_s, each.first_content_s, each.cost_pico)
            for each in attempts
        ]
        if record.plain is None
        else [_tried(record.deployment, "ok", *record.plain, record.cost_pico)],
    }


def _tried(
    deployment: str, outcome: str, elapsed_s: float, first_content_s: float | None, cost_pico: int | None
) -> dict[str, Any]:
    return {
        "deployment": deployment,
        "outcome": outcome,
        "elapsed_s": elapsed_s,
        "first_content_s": first_content_s,
        "cost_usd": None if cost_pico is None else pico_to_usd(cost_pico),
    }
