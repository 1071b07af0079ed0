"""Whether and when a failed attempt is repeated, and how many repetitions a deployment can pay for.

    n >= max_retries                                  give up
    not idempotent                                    give up
    the error is not retryable, or not in `retry_on`  give up
    a unary answer timed out after it was asked for   give up, unless `retry_unary_timeout`
    otherwise                                         retry after max(backoff(n), Retry-After)

A provider's Retry-After is never shortened, whatever `max_backoff_s` says: asking earlier than told is what makes an
overloaded provider stay overloaded. Whether the caller's deadline has room for it is the caller's to see.
"""

from __future__ import annotations

import msgspec

from spillway.core.errors import InferenceError
from spillway.core.options import RetryPolicy
from spillway.remote.backoff import BackoffPolicy, RandomSource, compute_backoff


class Attempt(msgspec.Struct, frozen=True):
    """The attempt that just failed; `n` is 0 for the first."""

    n: int


class RetryDecision(msgspec.Struct, frozen=True):
    """What to do after a failure: a `Retry`, or `GIVE_UP`."""


class Retry(RetryDecision, frozen=True):
    """Ask again, not before `after` seconds from now."""

    after: float


class GiveUp(RetryDecision, frozen=True):
    """Do not ask again; its one instance is `GIVE_UP`."""

    def __repr__(self) -> str:
        return "GIVE_UP"


GIVE_UP = GiveUp()


class RetryEngine:
    """Decides about repetitions by one policy; holds no state of any request.

    Args:
        policy: when and how.
        idempotent: False: nothing is ever repeated.
        rng: where jitter comes from; None: the machine's entropy.
    """

    __slots__ = ("_backoff", "_rng", "idempotent", "policy")

    def __init__(self, policy: RetryPolicy, idempotent: bool = True, *, rng: RandomSource | None = None) -> None:  # noqa: FBT001, FBT002 - positional in the published signature
        self.policy = policy
        self.idempotent = idempotent
        self._rng = rng
        self._backoff = BackoffPolicy(
            initial=policy.initial_backoff_s,
            max=policy.max_backoff_s,
            multiplier=policy.backoff_multiplier,
            jitter=policy.jitter,
        )

    def decide(self, attempt: Attempt, error: InferenceError) -> RetryDecision:
        """Return whether `attempt`, which ended in `error`, is repeated and after how many seconds at least."""
        policy = self.policy
        if attempt.n >= policy.max_retries or not self.idempotent:
            return GIVE_UP
        if not error.retryable or error.code not in policy.retry_on:
            return GIVE_UP
        if error.reason == "unary" and error.sent and error.code == "timeout" and not policy.retry_unary_timeout:
            return GIVE_UP
        after = compute_backoff(self._backoff, attempt.n, self._rng)
        told = error.retry_after
        if policy.respect_retry_after and told is not None and told > after:
            after = told
        return Retry(after)

    def __repr__(self) -> str:
        policy = self.policy
        if not self.idempotent or policy.max_retries == 0:
            return "<RetryEngine never retries>"
        return (
            f"<RetryEngine up to {policy.max_retries} retries, {policy.jitter} jitter, "
            f"{policy.initial_backoff_s:g} to {policy.max_backoff_s:g} s>"
        )


class RetryQuota:
    """Bounds what repetitions add to the load of a failing provider, over all requests of a deployment.

    A retry takes `cost` tokens; a success after a retry gives the last ones back, a success at the first try gives 1.
    A refusal that names its wait (429 with Retry-After) takes none: the wait itself bounds it. This is the token bucket
    of the AWS SDKs' standard retry mode.

    Args:
        capacity: tokens at the beginning, and at most.
        cost: tokens of one retry.

    Invariants: `0 <= tokens <= capacity`. While nothing succeeds, at most `capacity // cost` retries are granted.
    """

    __slots__ = ("_tokens", "capacity", "cost")

    def __init__(self, capacity: int = 500, cost: int = 5) -> None:
        if capacity < 0 or cost < 1:
            raise ValueError(f"capacity must be >= 0 and cost >= 1, not {capacity!r} and {cost!r}")
        self.capacity = capacity
        self.cost = cost
        self._tokens = capacity

    @property
    def tokens(self) -> int:
        """Tokens that are left."""
        return self._tokens

    @staticmethod
    def charges(error: InferenceError) -> bool:
        """Return whether a retry after `error` takes tokens."""
        return error.code != "rate_limited" or error.retry_after is None

    def try_take(self, error: InferenceError) -> bool:
        """Pay for a retry after `error`; False: there is not enough left, and nothing was taken."""
        if not self.charges(error):
            return True
        if self._tokens < self.cost:
            return False
        self._tokens -= self.cost
        return True

    def success(self, *, retried: bool) -> None:
        """Count a success.

        Args:
            retried: it was a retry that `try_take` took tokens for.
        """
        self._tokens = min(self.capacity, self._tokens + (self.cost if retried else 1))

    def __repr__(self) -> str:
        return f"<RetryQuota {self._tokens}/{self.capacity} tokens, {self.cost} a retry>"
