"""What a line's failure means: is it the line's own, or trouble of the provider that no line is to pay for?

    final by class, or ours               error line
    refused by a limit, a full queue      waits
    circuit open, budget spent            waits, the whole lane with it; failures so far are forgotten
    credential, billing, unknown model    waits; error line once it is denied again although others that began later
                                          were answered, or three times and nobody else
    failed before the retries were spent  (retry quota, deadline): waits; these failures do not count
    failed `attempts` times               error line if others were served meanwhile, else waits and its count restarts
    failed and must not be repeated       error line if others were served meanwhile, else waits

Others were served meanwhile when

    - an attempt that was begun between the begin of the first that failed and the end of the last was answered, later
      than the first had failed, or
    - twice as many attempts were answered between these two failures as failed on behalf of others.

That somebody is answered after a failure is not enough: when a provider goes down, what it had taken up before is
answered still.
"""

from __future__ import annotations

import msgspec

from spillway.batch.chronicle import Chronicle
from spillway.batch.spend import RUN_CAP
from spillway.batch.targets import Target
from spillway.core.errors import InferenceError

SHORTEST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0
_SURE_DENIALS = 3
"""So often a line is denied, and nobody else, before that is taken for its own fault."""

STORE_LOST = "store_lost"
"""Why lines wait while the store of their limits and budgets does not answer."""

_LOST = frozenset({STORE_LOST, "store"})
"""The reasons of refusals that say so: a budget's and a limit's."""

_FINAL = frozenset({"bad_request", "content_filtered", "context_length_exceeded"})
_LIMITS = frozenset({"rate_limited", "backpressure"})
_SHUT = frozenset({"circuit_open", "budget_exceeded"})
_DENIED = frozenset({"unauthorized_upstream", "forbidden_upstream", "quota_exhausted", "model_not_found"})
_UNCOUNTED = _FINAL | _LIMITS | _SHUT | _DENIED | {"ok", "cancelled"}
_INTERRUPTED = "stream_interrupted"


class Fail(msgspec.Struct, frozen=True):
    """The line becomes an error line."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The line is sent again.

    Attributes:
        delay_s: not before so many seconds.
        lane: whether all lines of its target wait with it.
        reason: why: the code of what stands in the way, or `STORE_LOST`.
    """

    delay_s: float
    lane: bool
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """The run has come to its cap."""


Verdict = Fail | Wait | Stop


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Under which a request failed; instants of one clock, in seconds.

    Attributes:
        chronicle: what happened to others.
        began: when the request began.
        now: when it failed.
        alone: whether no other line of its target is under way.
    """

    target: Target
    chronicle: Chronicle
    began: float
    now: float
    alone: bool = False

    def alive(self, since: float) -> bool:
        """Return whether an attempt begun after an instant was answered."""
        return self.chronicle.begun_between(self.target.route, since, self.now)


def counts(outcome: str) -> bool:
    """Return whether an attempt that ended so counts against its line."""
    return outcome not in _UNCOUNTED


class Failures:
    """The failures of one line that have not been judged yet.

    Attributes:
        attempts: sent in all.
        count: failed attempts that count.
        waits: times it was made to wait.
    """

    __slots__ = (
        "_before",
        "_begun",
        "_denials",
        "_denied_at",
        "_denied_begun",
        "_first",
        "_fresh",
        "_last",
        "_open",
        "attempts",
        "count",
        "waits",
    )

    def __init__(self, count: int = 0, now: float = 0.0) -> None:
        self.attempts = count
        self.count = count
        self.waits = 0
        self._begun = self._first = self._last = now
        self._before: float | None = None
        self._fresh = 0
        self._denied_at: float | None = None
        self._denied_begun = 0.0
        self._denials = 0
        self._open: tuple[float, float, float] | None = None

    def sent(self, outcome: str, begun: float, ended: float) -> bool:
        """Take in an attempt; return whether it counts as a failure."""
        self.attempts += 1
        if not counts(outcome):
            return False
        if self.count == 0:
            self._begun, self._first = begun, ended
        self.count += 1
        self._fresh += 1
        self._last = ended
        return True

    def was_its_own(self, target: Target, chronicle: Chronicle) -> bool:
        """Return whether failures that were left undecided have turned out to be the line's own."""
        return self._open is not None and chronicle.outlived(target.route, *self._open)

    def judge(self, error: InferenceError, at: Circumstances) -> Verdict:
        """Return what is to become of the line after `error`."""
        fresh, self._fresh = self._fresh, 0
        code, target = error.code, at.target
        if code in _FINAL or error.reason == "runner":
            return Fail()
        refusal = error if error.refusal is None else error.refusal
        if refusal.code == "budget_exceeded" and refusal.reason == RUN_CAP:
            return Stop()
        if code in _DENIED:
            return self._judge_denial(error, at)
        if code in _LIMITS:
            return self._wait(error, lane=error.attempts > 0 and not at.alive(at.began))
        if fresh and not target.idempotent:
            return Fail()
        if self.count >= target.attempts:
            return self._judge_count(error, at)
        if refusal.code in _SHUT:
            self._forget()
            return self._wait(refusal, lane=True)
        if code == _INTERRUPTED:
            return self._wait(error, lane=not at.alive(at.began))
        if fresh and _must_not_be_repeated(error, target):
            return self._judge_hang(error, at)
        self.count -= fresh
        return self._wait(error, lane=not at.alive(at.began))

    def _judge_count(self, error: InferenceError, at: Circumstances) -> Verdict:
        route, chronicle = at.target.route, at.chronicle
        begun, first, last = self._begun, self._first, self._last
        if self._before is not None:
            # Alone at the provider nobody else is ever served between one's own attempts, but since one failed before.
            begun = first = self._before
        others = max(0, chronicle.failures(route, first, last) - (self.count - 1))
        if chronicle.outlived(route, begun, first, last) or chronicle.answers(route, first, last) > 2 * others:
            return Fail()
        return self._leave_open(error, at, begun, first)

    def _judge_hang(self, error: InferenceError, at: Circumstances) -> Verdict:
        """Judge an attempt that may have been billed, so that it is better not repeated."""
        route, chronicle = at.target.route, at.chronicle
        elapsed = error.elapsed_s or 0.0
        # An attempt that was answered early in the time this one hung tells little of that time.
        first = at.now - elapsed / 2 if self._before is None else self._before
        if chronicle.begun_between(route, first, at.now):
            return Fail()
        begun = at.now - elapsed
        if at.alone and chronicle.answers(route, begun, at.now) and chronicle.failures(route, begun, at.now) <= 1:
            return Fail()
        return self._leave_open(error, at, first, first)

    def _leave_open(self, error: InferenceError, at: Circumstances, begun: float, first: float) -> Wait:
        self._open = (begun, first, self._last)
        self._before = self._last
        self.count = 0
        return self._wait(error, lane=not at.alive(first))

    def _judge_denial(self, error: InferenceError, at: Circumstances) -> Verdict:
        route, chronicle = at.target.route, at.chronicle
        chronicle.denied(error.deployment or at.target.members[0], at.now)
        self._denials += 1
        denied_at = self._denied_at
        if denied_at is None:
            self._denied_at, self._denied_begun = at.now, at.began
        else:
            others = chronicle.denials(route, self._denied_begun, at.now) - self._denials
            # What was under way when a credential died is answered still, so others than this line get to ask first.
            alone = self._denials >= _SURE_DENIALS and others <= 0 and chronicle.answers(route, denied_at, at.now) > 0
            if alone or chronicle.begun_between(route, denied_at, at.now):
                return Fail()
        self._forget()
        return self._wait(error, lane=not at.alive(at.began))

    def _forget(self) -> None:
        self.count = 0
        self._before = None
        self._open = None

    def _wait(self, error: InferenceError, *, lane: bool) -> Wait:
        self.waits += 1
        backoff = min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2 ** min(self.waits - 1, 10))
        asked = min(error.retry_after or 0.0, LONGEST_WAIT_S)
        refusal = error if error.refusal is None else error.refusal
        reason = STORE_LOST if refusal.reason in _LOST else refusal.code
        return Wait(delay_s=max(backoff, asked), lane=lane, reason=reason)

    def __repr__(self) -> str:
        return f"<Failures {self.count} of {self.attempts} attempts, waited {self.waits} times>"


def _must_not_be_repeated(error: InferenceError, target: Target) -> bool:
    if error.code == "timeout" and error.reason == "deadline":
        return False
    return not error.retryable or error.code not in target.repeatable
