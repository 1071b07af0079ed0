"""What a line's failure means: is it the line's own, or trouble of the provider that no line is to pay for?

    final by class, or ours               error line
    refused by a limit, a full queue      waits
    circuit open, budget spent            waits, the whole lane with it; failures so far are forgotten
    credential, billing, unknown model    waits; error line once it is refused again after others were answered
    failed before the retries were spent  (retry quota, deadline): waits; these failures do not count
    failed `attempts` times               error line if others were served between the first and the last of these,
                                          else it waits and its count restarts
    failed and must not be repeated       error line if others were served meanwhile, else waits

"Others were served" always means an attempt that was begun in the span and answered: one that was begun before the
provider went down, and answered after that, says nothing of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Protocol

import msgspec

from spillway.batch.spend import RUN_CAP
from spillway.batch.targets import Target
from spillway.core.errors import InferenceError

SHORTEST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0

_FINAL = frozenset({"bad_request", "content_filtered", "context_length_exceeded"})
_LIMITS = frozenset({"rate_limited", "backpressure"})
_SHUT = frozenset({"circuit_open", "budget_exceeded"})
_DENIED = frozenset({"unauthorized_upstream", "forbidden_upstream", "quota_exhausted", "model_not_found"})
_UNCOUNTED = _FINAL | _LIMITS | _SHUT | _DENIED | {"cancelled"}
_INTERRUPTED = "stream_interrupted"

_GRAIN_S = 0.002
_HORIZON_S = 900.0


class Fail(msgspec.Struct, frozen=True):
    """The line becomes an error line."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The line is sent again.

    Attributes:
        delay_s: not before so many seconds.
        lane: whether all lines of its target wait with it.
        reason: why, in a word.
    """

    delay_s: float
    lane: bool
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """The run has come to its cap."""


Verdict = Fail | Wait | Stop


class Served(Protocol):
    """Knows when deployments answered."""

    def begun_between(self, deployments: Iterable[str], after: float, until: float) -> bool:
        """Return whether an attempt that was begun in `(after, until]` was answered."""
        ...


class ServedLog:
    """When the attempts that were answered were begun, by deployment; instants of one clock, in seconds.

    Complexity: 2 ms apart and 15 minutes back at most; O(log n) to ask.
    """

    def __init__(self) -> None:
        self._begun: dict[str, array[float]] = {}

    def add(self, deployment: str, begun: float) -> None:
        """Take in an attempt that was answered."""
        log = self._begun.setdefault(deployment, array("d"))
        at = bisect_left(log, begun)
        if at == len(log):
            # The newest is always kept: who asks whether anybody was served since an instant asks for it.
            if at > 1 and begun - log[-2] < _GRAIN_S:
                log[-1] = begun
            else:
                log.append(begun)
        elif at == 0 or begun - log[at - 1] >= _GRAIN_S or log[at] - begun >= _GRAIN_S:
            log.insert(at, begun)
        if begun - log[0] > 2 * _HORIZON_S:
            del log[: bisect_left(log, begun - _HORIZON_S)]

    def begun_between(self, deployments: Iterable[str], after: float, until: float) -> bool:
        """Return whether an attempt that was begun in `(after, until]` was answered."""
        for deployment in deployments:
            log = self._begun.get(deployment)
            if log is not None and bisect_right(log, after) < bisect_right(log, until):
                return True
        return False


class Failures:
    """The failures of one line that have not been judged yet.

    Attributes:
        attempts: sent in all.
        count: failed attempts that count.
    """

    __slots__ = ("_before", "_denied_at", "_first", "_fresh", "_last", "_open", "attempts", "count", "waits")

    def __init__(self, count: int = 0, now: float = 0.0) -> None:
        self.attempts = count
        self.count = count
        self.waits = 0
        self._first = now
        self._last = now
        self._before: float | None = None
        self._fresh = 0
        self._denied_at: float | None = None
        self._open: tuple[float, float] | None = None

    def sent(self, outcome: str, now: float) -> bool:
        """Take in the end of an attempt; return whether it counts as a failure."""
        self.attempts += 1
        if outcome == "ok" or outcome in _UNCOUNTED:
            return False
        if self.count == 0:
            self._first = now
        self.count += 1
        self._fresh += 1
        self._last = now
        return True

    def was_its_own(self, target: Target, served: Served) -> bool:
        """Return whether failures that were left undecided have turned out to be the line's own."""
        return self._open is not None and served.begun_between(target.route, *self._open)

    def judge(self, error: InferenceError, *, target: Target, served: Served, began: float, now: float) -> Verdict:
        """Return what is to become of the line after `error` of a request that began at `began`."""
        fresh, self._fresh = self._fresh, 0
        code = error.code
        if code in _FINAL or error.reason == "runner":
            return Fail()
        if code == "budget_exceeded" and error.reason == RUN_CAP:
            return Stop()
        if error.refusal is not None and error.refusal.code == "budget_exceeded" and error.refusal.reason == RUN_CAP:
            return Stop()
        if code in _DENIED:
            return self._judge_denial(error, target, served, began, now)
        if code in _LIMITS:
            return self._wait(error, lane=error.attempts > 0 and not self._alive(target, served, began, now))
        if fresh and not target.idempotent:
            return Fail()
        if self.count >= target.attempts:
            return self._judge_span(error, self._first, target, served, now)
        shut = error if error.refusal is None else error.refusal
        if shut.code in _SHUT:
            self._forget()
            return self._wait(shut, lane=True)
        alive = self._alive(target, served, began, now)
        if code == _INTERRUPTED:
            return self._wait(error, lane=not alive)
        if fresh and self._must_not_be_repeated(error, target):
            # An attempt that was answered early in the time this one hung tells little of that time.
            return self._judge_span(error, now - (error.elapsed_s or 0.0) / 2, target, served, now)
        self.count -= fresh
        return self._wait(error, lane=not alive)

    def _judge_span(self, error: InferenceError, first: float, target: Target, served: Served, now: float) -> Verdict:
        """Judge failures that are enough, the newest of them at `now`, by who was served since `first`.

        Who has failed so before is judged by the time since then: alone at the provider, nobody else is ever served
        between one's own attempts.
        """
        since = first if self._before is None else self._before
        if served.begun_between(target.route, since, self._last):
            return Fail()
        self._open = (since, self._last)
        self._before = self._last
        self.count = 0
        return self._wait(error, lane=not self._alive(target, served, since, now))

    def _judge_denial(self, error: InferenceError, target: Target, served: Served, began: float, now: float) -> Verdict:
        denied_at = self._denied_at
        if denied_at is not None and served.begun_between(target.route, denied_at, now):
            return Fail()
        if denied_at is None:
            self._denied_at = now
        self._forget()
        return self._wait(error, lane=not self._alive(target, served, began, now))

    def _must_not_be_repeated(self, error: InferenceError, target: Target) -> bool:
        if error.code == "timeout" and error.reason == "deadline":
            return False
        return not error.retryable or error.code not in target.repeatable

    def _alive(self, target: Target, served: Served, began: float, now: float) -> bool:
        return served.begun_between(target.route, began, now)

    def _forget(self) -> None:
        self.count = 0
        self._before = None
        self._open = None

    def _wait(self, error: InferenceError, *, lane: bool) -> Wait:
        self.waits += 1
        backoff = min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2 ** min(self.waits - 1, 10))
        asked = min(error.retry_after or 0.0, LONGEST_WAIT_S)
        reason = (error if error.refusal is None else error.refusal).code
        return Wait(delay_s=max(backoff, asked), lane=lane, reason=reason)

    def __repr__(self) -> str:
        return f"<Failures {self.count} of {self.attempts} attempts, waited {self.waits} times>"
