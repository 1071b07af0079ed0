"""How long a request would wait, from below: what is refused for being too late would not have been in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spillway.core.errors import Backpressure, BudgetExceeded, InferenceError, RateLimited
from spillway.core.limit_store import AcquirePermit
from spillway.remote.engine.gates import PERMIT

if TYPE_CHECKING:
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.core import Engine

_ENOUGH = 8
_NEWEST = 1 / 16
_WINDOW_S = 60.0


class HoldTimes:
    """How long requests keep their slots: mean and spread of about the last sixteen.

    Complexity: O(1), three numbers.
    """

    __slots__ = ("count", "mean", "variance")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.variance = 0.0

    def record(self, seconds: float) -> None:
        """Take note of one."""
        self.count += 1
        share = max(_NEWEST, 1 / self.count)
        off = seconds - self.mean
        self.mean += share * off
        self.variance = (1 - share) * (self.variance + share * off * off)

    def at_least(self, rounds: int) -> float:
        """Return the seconds that so many one after the other take, less twice the spread; 0.0: too few were seen."""
        if self.count < _ENOUGH:
            return 0.0
        return max(0.0, rounds * self.mean - 2 * math.sqrt(rounds * self.variance))

    def __repr__(self) -> str:
        return f"<HoldTimes {self.mean:.3f} s of {self.count}>"


def predicted_wait(engine: Engine, call: Call) -> float:
    """Return the seconds for which limit, provider or breaker would hold `call` up if it came here now.

    Those who wait for the limit already count; what is waited for a slot does not.
    """
    gates = engine.gates
    wait = max(gates.breaker.retry_after(), gates.limiter.blocked_for())
    ahead = len(engine.queue)
    if ahead and engine.blocked_on == PERMIT:
        rate = engine.drain_rate()
        wait = max(wait, ahead / rate if rate > 0 else 0.0)
    permit_wait = gates.permit_wait(call)
    return wait if permit_wait == math.inf else max(wait, permit_wait)


def refuse_if_late(engine: Engine, call: Call) -> None:
    """Raise the refusal of a request that wants to be told at once if it can't be sent before its deadline."""
    refusal = _too_late(engine, call) if call.refuses_late else None
    if refusal is not None:
        raise refusal


def _too_late(engine: Engine, call: Call) -> InferenceError | None:
    """Return the refusal of a request that can't be sent before its deadline, None when it may be.

    Each of these is a lower bound of its wait: the provider's pause, the limit's next room for it and those ahead, the
    budget's (where spending is throttled), and as many rounds of all slots as those ahead fill.
    """
    left = call.deadline - engine.clock()
    gates = engine.gates
    ahead = engine.queue.ahead_of(call.tenant, call.priority)
    blocked = gates.limiter.blocked_for()
    if blocked > left:
        return _late(RateLimited, "the provider asked for a pause", blocked, left, limited_by="provider")
    permit = _permit_wait(engine, call, ahead)
    if permit > left:
        why = gates.limiter.why()
        return _late(RateLimited, f"its limit has no room{f' ({why})' if why else ''}", permit, left)
    budget = engine.deployment.budget
    if budget is not None and budget.on_exceeded == "throttle":
        money = gates.money_wait(call)
        if left < money < math.inf:
            return _late(BudgetExceeded, "its budget has no room", money, left)
    slots = max(1, engine.pool.in_service())
    holds = engine.pool.hold_times
    if holds.at_least(ahead // slots) > left:
        return _late(Backpressure, f"{ahead} are ahead in the queue", (ahead + 1) * holds.mean / slots, left)
    return None


def _permit_wait(engine: Engine, call: Call, ahead: int) -> float:
    gates = engine.gates
    wait = gates.permit_wait(call)
    limits = engine.deployment.rate_limits
    if ahead and limits is not None and limits.requests_per_minute is not None:
        whole, rest = divmod(ahead, limits.requests_per_minute)
        together = gates.limiter.wait_for(AcquirePermit(requests=rest + 1))
        if together != math.inf:
            wait = max(wait if wait != math.inf else 0.0, together + whole * _WINDOW_S)
    return 0.0 if wait == math.inf else wait


def _late(
    kind: type[InferenceError], why: str, wait: float, left: float, *, limited_by: str | None = None
) -> InferenceError:
    error = kind(
        f"{why} for {wait:.1f} s, and the request must be over in {max(left, 0.0):.1f} s",
        reason="predicted_wait",
        retry_after=wait,
    )
    if limited_by is not None:
        error.limited_by = limited_by
    return error
