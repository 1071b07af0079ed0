"""Where a request goes after trouble at one stop of its route: another member, back in line, or away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from spillway.core.errors import InferenceError
from spillway.remote.backoff import BackoffPolicy, compute_backoff
from spillway.remote.retry import Attempt, Retry

if TYPE_CHECKING:
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine
    from spillway.remote.retry import RetryEngine


class Target(Protocol):
    """One stop of a route: a deployment, or the members of a group."""

    @property
    def name(self) -> str:
        """What was asked for."""
        ...

    @property
    def retry(self) -> RetryEngine:
        """The retry engine that counts over all members."""
        ...

    def pick(self, avoid: Collection[Engine]) -> Engine:
        """Return the member to ask now: healthy before not, then by weight and least load."""
        ...

    def other(self, avoid: Collection[Engine]) -> Engine | None:
        """Return a healthy member that is not among `avoid`, or None."""
        ...

    def healthy(self) -> bool:
        """Whether some member would take a request now."""
        ...


class Detour:
    """The troubles of one request at one target, and what follows from each; made at the first of them.

    refusal    another healthy member; none: back to a member whose failed attempt may be repeated; else raised
    failure    another healthy member that was not asked since the last backoff, at once;
               none: back in line after the backoff, if the deadline has room for it and no fallback is sooner

    A repetition is paid for by the retry quota of the member that failed, and only when it is made.

    Attributes:
        fresh: whether the next member is asked like a newcomer; else the request has its seat there.
        not_before: the loop's seconds before which it is not to be sent.
    """

    __slots__ = ("_back", "_elsewhere", "_failures", "_later", "_round", "_target", "fresh", "not_before")

    def __init__(self, call: Call, target: Target, later: Sequence[Target]) -> None:
        self._target = target
        self._later = later
        self._elsewhere = call.tried
        self._round: tuple[Engine, ...] = ()
        self._back: tuple[Engine, float] | None = None
        self._failures = 0
        self.fresh = True
        self.not_before = 0.0

    def after_refusal(self, call: Call, engine: Engine, refusal: InferenceError) -> None:
        """Choose where to go after nothing was sent.

        Raises:
            InferenceError: the refusal; this target is through.
        """
        refusal.provider = engine.kind
        refusal.deployment = engine.name
        wait = refusal.retry_after
        if wait is not None and (call.soonest is None or wait < call.soonest):
            call.soonest = wait
        other = self._visited(call, engine)
        if refusal.final or not refusal.falls_back:
            other = None
        back, self._back = self._back, None
        if other is not None:
            self._back = back
            self._go(call, other)
        elif back is not None and max(back[1], engine.clock()) < call.deadline:
            self._return(call, *back)
        else:
            raise refusal
        call.history.append((engine.name, refusal.code, 0.0))

    def after_failure(self, call: Call, engine: Engine, error: InferenceError) -> None:
        """Choose where to go after an attempt has failed.

        Raises:
            InferenceError: the error; this target is through.
        """
        call.failed(error)
        call.renewed = False
        self._back = None
        other = self._visited(call, engine)
        decision = self._target.retry.decide(Attempt(self._failures), error)
        if not isinstance(decision, Retry):
            if other is None or error.retryable or error.final or not error.falls_back:
                raise error
            self._go(call, other)
            return
        now = engine.clock()
        again, after = engine, decision.after
        if other is None and not engine.healthy():
            # All were asked, and this one will be out for longer than the backoff.
            again = self._target.other((*self._elsewhere, engine)) or engine
            if again is not engine:
                after = self._own_backoff()
        not_before = now + after
        in_time = not_before < call.deadline
        if other is None and (not in_time or (again is engine and self._moves_on(call, engine, error))):
            raise error
        quota = engine.gates.quota
        if now >= call.deadline or not quota.try_take(error):
            raise error
        call.charged = quota if quota.charges(error) else None
        call.retries += 1
        engine.metrics.retried += 1
        self._failures += 1
        if other is not None:
            self._back = (engine, not_before) if in_time else None
            self._go(call, other)
        else:
            self._return(call, again, not_before)

    def back_in_line(self) -> None:
        """Take its old place in the queue again, for an attempt that is no retry."""
        self.fresh, self.not_before = False, 0.0

    def _visited(self, call: Call, engine: Engine) -> Engine | None:
        """Take note of a visit; return a healthy member to ask instead."""
        self._round += (engine,)
        if engine not in call.tried:
            call.tried += (engine,)
        return self._target.other((*self._elsewhere, *self._round))

    def _go(self, call: Call, engine: Engine) -> None:
        call.let_money_go()
        call.engine = engine
        self.fresh, self.not_before = True, 0.0

    def _return(self, call: Call, engine: Engine, not_before: float) -> None:
        if engine is not call.engine:
            call.let_money_go()
            call.entry = None
            call.engine = engine
        self._round = ()
        self.fresh, self.not_before = False, not_before

    def _moves_on(self, call: Call, engine: Engine, error: InferenceError) -> bool:
        """Whether the wait that the provider asks for is longer than a healthy fallback is worth waiting for."""
        told = error.retry_after
        return (
            told is not None
            and call.may_fall_back
            and call.may_shift_early
            and engine.deployment.retry.respect_retry_after
            and told > engine.deployment.fallback_after_s
            and any(target.healthy() for target in self._later)
        )

    def _own_backoff(self) -> float:
        policy = self._target.retry.policy
        return compute_backoff(
            BackoffPolicy(
                initial=policy.initial_backoff_s,
                max=policy.max_backoff_s,
                multiplier=policy.backoff_multiplier,
                jitter=policy.jitter,
            ),
            self._failures,
        )
