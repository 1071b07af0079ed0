"""All limits of one deployment, decided together: pure, `now` comes with each call."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter

from spillway.core.errors import BadRequest
from spillway.core.limit_store import LOCAL, OVER, SENT, STRICT, AcquirePermit, Lease, LimiterMode, LimitsSnapshot
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.adaptive import FULL_PERCENT, Throttle
from spillway.remote.rate_limit.dimension import KINDS, Dimension, Mark, corrected

_OPTIONS = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
_amounts: Callable[[AcquirePermit], tuple[int, int, int, int]] = attrgetter(*KINDS)


class LimitMachine:
    """Takes, stamps, settles and gives back leases over requests, tokens and concurrency; a `LimitWindows`.

    Args:
        limits: what may be sent in `window_s`.
        window_s: the length of the "minute".
        gives_back: whether the provider gives back what a request asked and did not use.

    Invariants: a refusal takes nothing; in any half-open `window_s` at most the limit is stamped, in any `burst_s` at
        most its share, but for what a settle adds above the estimate, which later grants wait for.
    Complexity: O(limits) for what fits, O(limits * slots) for the wait of what does not.
    """

    __slots__ = (
        "_concurrent",
        "_counts_in_flight",
        "_dimensions",
        "_gives_back",
        "_in_flight",
        "_limits",
        "_throttle",
        "_uneasy",
        "_window_s",
        "unlimited",
    )

    def __init__(self, limits: RateLimits, *, window_s: float = 60.0, gives_back: bool = True) -> None:
        if not 0.0 < window_s < math.inf:
            raise ValueError(f"window_s must be a number > 0, not {window_s!r}")
        self._window_s = window_s
        self._gives_back = gives_back
        self._throttle = Throttle(window_s)
        self._dimensions: tuple[Dimension, ...] = ()
        self._in_flight = 0
        self._uneasy = False
        self.set_limits(limits)

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting where there was a limit."""
        known = {dimension.name: dimension for dimension in self._dimensions}
        percent = self._throttle.percent
        dimensions: list[Dimension] = []
        for name, option in zip(KINDS, _OPTIONS, strict=True):
            limit: int | None = getattr(limits, option)
            if limit is None:
                continue
            dimension = known.get(name)
            if dimension is None:
                dimension = Dimension(name, limit, burst_s=limits.burst_s, window_s=self._window_s)
                dimension.set_percent(percent)
            else:
                dimension.configure(limit, limits.burst_s, percent)
            dimensions.append(dimension)
        self._dimensions = tuple(dimensions)
        self._concurrent: float = math.inf if limits.concurrent_requests is None else limits.concurrent_requests
        self._counts_in_flight = limits.concurrent_requests is not None
        self._limits = limits
        self.unlimited = not dimensions and limits.concurrent_requests is None

    @property
    def limits(self) -> RateLimits:
        """The configured limits."""
        return self._limits

    def mode(self, now: float) -> LimiterMode:  # noqa: ARG002 - it never changes
        """Return `strict` where that was asked for, else `local`; what this process holds alone is exact."""
        return STRICT if self._limits.strict else LOCAL

    # Deciding.

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        costs = _amounts(want)
        if not 0 <= costs[0] <= self._concurrent:
            raise never_fits("requests at once", costs[0], self._concurrent)
        for dimension in self._dimensions:
            cost = costs[dimension.kind]
            if not 0 <= cost <= dimension.limit:
                raise never_fits(f"{dimension.name.replace('_', ' ')} a minute", cost, dimension.limit)

    def take(self, now: float, lease: Lease) -> float:
        """Charge `lease.want` to every limit and return 0.0, or charge none and return the wait."""
        costs = _amounts(lease.want)
        if not self._fits(now, costs):
            self.check(lease.want)
            return self._wait(now, costs)
        dimensions = self._dimensions
        if self._counts_in_flight:
            self._in_flight += costs[0]
            lease.holds = True
        for dimension in dimensions:
            cost = costs[dimension.kind]
            dimension.unsent += cost
            if dimension.seen is not None:
                dimension.seen.spend(cost)
        lease.charged = dimensions
        lease.costs = costs
        return 0.0

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` fits if nothing else happens, 0.0 for what never does."""
        costs = _amounts(want)
        return 0.0 if self._fits(now, costs) else self._wait(now, costs)

    def _fits(self, now: float, costs: tuple[int, ...]) -> bool:
        if self._uneasy and not self._at_ease(now):
            return False
        requests = costs[0]
        if requests < 0 or self._in_flight + requests > self._concurrent:
            return False
        for dimension in self._dimensions:
            cost = costs[dimension.kind]
            if cost:
                minute = dimension.minute
                plain = (
                    cost > 0 and now < minute.next_leave and dimension.unsent + minute.used + cost <= dimension.ceiling
                )
                if not plain and not (0 < cost <= dimension.limit and dimension.fits_minute(now, cost)):
                    return False
                if (dimension.burst is not None or dimension.seen is not None) and not dimension.fits_rest(now, cost):
                    return False
        return True

    def _at_ease(self, now: float) -> bool:
        """Take the steps up that are due; return whether the provider lets anybody through."""
        throttle = self._throttle
        if now >= throttle.grows_at:
            throttle.grow(now)
            for dimension in self._dimensions:
                dimension.set_percent(throttle.percent)
        paused = now < throttle.blocked_until
        self._uneasy = paused or throttle.percent < FULL_PERCENT
        return not paused

    def _wait(self, now: float, costs: tuple[int, ...]) -> float:
        requests = costs[0]
        if requests > self._concurrent:
            return 0.0
        endless = self._in_flight + requests > self._concurrent
        at = max(now, self._throttle.blocked_until)
        outlook = self._throttle.outlook(now)
        for dimension in self._dimensions:
            cost = costs[dimension.kind]
            if cost > dimension.limit:
                return 0.0
            if cost > 0:
                at = max(at, dimension.room_at(now, cost, outlook))
        if endless or at == math.inf:
            return math.inf
        wait = max(0.0, at - now)
        while now + wait < at:
            wait = math.nextafter(wait, math.inf)
        return wait

    # Settling.

    def stamp(self, now: float, lease: Lease) -> None:
        """Note that a held lease was sent now."""
        marks: list[Mark | None] = [None, None, None, None]
        costs = lease.costs
        for dimension in lease.charged:
            kind = dimension.kind
            cost = costs[kind]
            if cost:
                dimension.unsent -= cost
                burst = dimension.burst
                marks[kind] = (dimension.minute.add(now, cost), None if burst is None else burst.add(now, cost))
        lease.marks = marks
        lease.stage = SENT

    def settle(
        self,
        now: float,
        lease: Lease,
        tokens: int,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        *,
        streamed: bool = False,
    ) -> bool:
        """Put what a sent lease came to in place of what it asked; return whether that made room.

        Less goes back where it was stamped, more is added now; so is the whole output of a stream, which came late.
        """
        lease.stage = OVER
        gives_back = self._gives_back
        actuals = (None, tokens, input_tokens, output_tokens)
        late_output = output_tokens if streamed and gives_back else None
        room = False
        marks = lease.marks
        for dimension in lease.charged:
            kind = dimension.kind
            actual = actuals[kind]
            if actual is None:
                continue
            mark = marks[kind]
            surplus, late = corrected(kind, lease.costs[kind], actual, late_output)
            if surplus and gives_back and mark is not None and dimension.give_back(mark, surplus):
                room = True
            if late:
                dimension.add(now, late)
        return room

    def refund(self, lease: Lease) -> bool:
        """Give back all of a held lease, its concurrency too; return whether that made room."""
        lease.stage = OVER
        for dimension in lease.charged:
            dimension.uncharge(lease.costs[dimension.kind])
        self.release(lease)
        return True

    def release(self, lease: Lease) -> bool:
        """Give back the concurrency of `lease`; return whether that made room."""
        if not lease.holds:
            return False
        lease.holds = False
        self._in_flight -= lease.costs[0]
        return True

    # What the provider says.

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429 that asks for `retry_after` seconds of silence; the share in use sinks."""
        self._throttle.grow(now)
        self._throttle.cut(now, retry_after)
        self._uneasy = True
        for dimension in self._dimensions:
            dimension.set_percent(self._throttle.percent)

    def observe(self, now: float, seen: LimitsSeen) -> bool:
        """Take note of the provider's headers, which only ever lower; return whether an earlier lowering ended."""
        rose = False
        for dimension in self._dimensions:
            said = getattr(seen, dimension.name)
            if said is not None:
                rose = dimension.observe(now, said, self._throttle.percent) or rose
        return rose

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        return max(0.0, self._throttle.blocked_until - now)

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state."""
        self._at_ease(now)
        by_name = {dimension.name: dimension.snapshot(now) for dimension in self._dimensions}
        return LimitsSnapshot(
            requests=by_name.get("requests"),
            tokens=by_name.get("tokens"),
            input_tokens=by_name.get("input_tokens"),
            output_tokens=by_name.get("output_tokens"),
            concurrent_limit=self._limits.concurrent_requests,
            in_flight=self._in_flight,
            percent=self._throttle.percent,
            blocked_for_s=self.blocked_for(now),
            mode=self.mode(now),
        )

    def __repr__(self) -> str:
        names = [f"{d.name} {d.minute.used + d.unsent}/{d.ceiling}" for d in self._dimensions]
        return f"<LimitMachine {', '.join(names) or 'unlimited'}>"


def never_fits(what: str, cost: int, limit: float) -> BadRequest:
    """Return the refusal of an amount that no wait can make room for."""
    if cost < 0:
        return BadRequest(f"{cost} {what} can't be asked for", reason="unacquirable_cost")
    return BadRequest(
        f"the request asks for {cost} {what}, the limit is {limit:g}; no wait can make room", reason="unacquirable_cost"
    )
