"""Limits that are exact over all holders, served from one holder's leases: pure, `now` comes with each call."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from spillway.core.limit_store import (
    CLOSED,
    JOINING,
    OVER,
    SENT,
    STRICT,
    AcquirePermit,
    DimensionSnapshot,
    Lease,
    LimiterMode,
    LimitsSnapshot,
)
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.dimension import KINDS, corrected
from spillway.remote.rate_limit.machine import never_fits
from spillway.stores.shared.pocket import Pocket
from spillway.stores.shared.port import SILENT_S

if TYPE_CHECKING:
    from spillway.stores.shared.holdings import Batch
    from spillway.stores.shared.pocket import Spans

__all__ = ["SILENT_S", "LeasedWindows"]

_amounts: Callable[[AcquirePermit], tuple[int, int, int, int]] = attrgetter(*KINDS)


class LeasedWindows:
    """Serves permits from leases; a `LimitWindows`.

    What the leases do not serve is noted as needed, and `on_want` is called; whether that helped is told as room.

    Args:
        limits: what may be sent by all holders together.
        holder: this life of this process.
        on_want: called when it may want to be synced sooner: somebody lacks a lease, or there is something to report.

    Attributes:
        pocket: the leases.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        spans: Spans,
        holder: str,
        on_want: Callable[[], None],
        gives_back: bool = True,
    ) -> None:
        self.pocket = Pocket(spans, holder)
        self._gives_back = gives_back
        self._on_want = on_want
        self.set_limits(limits)

    # Deciding.

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting."""
        self.pocket.have_limits(limits)
        self._limits = limits
        self.unlimited = not self.pocket.purses and limits.concurrent_requests is None

    @property
    def limits(self) -> RateLimits:
        """The configured limits."""
        return self._limits

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        costs = _amounts(want)
        at_once = self.pocket.seats.limit
        if costs[0] < 0 or (at_once is not None and costs[0] > at_once):
            raise never_fits("requests at once", costs[0], at_once or 0)
        for purse in self.pocket.purses:
            if not 0 <= costs[purse.kind] <= purse.limit:
                raise never_fits(f"{purse.name.replace('_', ' ')} a minute", costs[purse.kind], purse.limit)

    def take(self, now: float, lease: Lease) -> float:
        """Serve `lease.want` from the leases and return 0.0, or serve nothing and return the wait."""
        pocket = self.pocket
        costs = _amounts(lease.want)
        if not self._serves(now, costs):
            self.check(lease.want)
            return self._need(now, costs)
        purses = pocket.purses
        for purse in purses:
            cost = costs[purse.kind]
            purse.have -= cost
            purse.taken += cost
            purse.drawn += cost
        seats = pocket.seats
        if seats.limit is not None:
            seats.have -= costs[0]
            seats.taken += costs[0]
            lease.holds = True
        lease.charged = purses
        lease.costs = costs
        return 0.0

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` may fit, `inf` when that is told by whoever makes room.

        0.0 also for what never fits: `take` says so.
        """
        costs = _amounts(want)
        at_once = self.pocket.seats.limit
        if any(costs[purse.kind] > purse.limit for purse in self.pocket.purses) or costs[0] > (at_once or math.inf):
            return 0.0
        return 0.0 if self._serves(now, costs) else self._outlook(now, costs)

    def _serves(self, now: float, costs: tuple[int, ...]) -> bool:
        pocket = self.pocket
        if now < pocket.throttle.blocked_until or now < pocket.blocked_until:
            return False
        if now >= pocket.good_until:
            pocket.void()
        seats = pocket.seats
        if seats.limit is not None and not 0 <= costs[0] <= seats.have:
            return False
        return all(0 <= costs[purse.kind] <= purse.have for purse in pocket.purses)

    def _need(self, now: float, costs: tuple[int, ...]) -> float:
        """Have the next report ask for what was refused; return the wait."""
        pocket = self.pocket
        if self.blocked_for(now) > 0 or now < pocket.closed_until:
            return self._outlook(now, costs)
        news = not pocket.wants
        for purse in pocket.purses:
            purse.need = max(purse.need, costs[purse.kind])
        if pocket.seats.limit is not None:
            pocket.seats.need = max(pocket.seats.need, costs[0])
        if news:
            self._on_want()
        return self._outlook(now, costs)

    def _outlook(self, now: float, costs: tuple[int, ...]) -> float:
        pocket = self.pocket
        wait = max(self.blocked_for(now), pocket.closed_until - now)
        if wait > 0 or pocket.lost:
            return wait if wait > 0 else math.inf
        # What the store has said holds for as much as it was asked for, or more.
        if pocket.free_at <= now or any(costs[kind] < lacked for kind, lacked in pocket.lacked.items()):
            return math.inf
        return pocket.free_at - now

    # Settling.

    def stamp(self, now: float, lease: Lease) -> None:
        """Note that a held lease was sent now."""
        batch: Batch = self.pocket.batch(now)
        costs, amounts = lease.costs, batch.amounts
        for purse in lease.charged:
            kind = purse.kind
            cost = costs[kind]
            purse.taken -= cost
            purse.gone += cost
            amounts[kind] += cost
        lease.marks = batch
        lease.stage = SENT
        self._stir()

    def _stir(self) -> None:
        """Have what happens first after a report looked at: there may be something to report soon."""
        pocket = self.pocket
        if not pocket.stirred:
            pocket.stirred = True
            self._on_want()

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
        """Put what a sent lease came to in place of what it asked; whether that made room an answer tells.

        Less goes back where it was counted, more is counted now; so is the whole output of a stream, which came late.
        """
        lease.stage = OVER
        actuals = (None, tokens, input_tokens, output_tokens)
        late_output = output_tokens if streamed and self._gives_back else None
        for purse in lease.charged:
            actual = actuals[purse.kind]
            if actual is None:
                continue
            surplus, late = corrected(purse.kind, lease.costs[purse.kind], actual, late_output)
            if surplus and self._gives_back:
                purse.give(lease.marks, surplus)
            if late:
                self.pocket.batch(now).amounts[purse.kind] += late
        self._stir()
        return False

    def refund(self, lease: Lease) -> bool:
        """Put all of a held lease back among the leases; return whether that made room."""
        lease.stage = OVER
        for purse in lease.charged:
            cost = lease.costs[purse.kind]
            purse.taken -= cost
            purse.have += cost
            purse.drawn = max(0, purse.drawn - cost)
        self.release(lease)
        self._stir()
        return True

    def release(self, lease: Lease) -> bool:
        """Give back the concurrency of `lease`; return whether that made room."""
        if not lease.holds:
            return False
        lease.holds = False
        seats = self.pocket.seats
        seats.taken -= lease.costs[0]
        seats.have += lease.costs[0]
        self._stir()
        return True

    # What the provider says.

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429: all holders keep the pause, and lower their share."""
        throttle = self.pocket.throttle
        throttle.grow(now)
        throttle.cut(now, retry_after)
        self.pocket.note_cut()
        self._on_want()

    def observe(self, now: float, seen: LimitsSeen) -> bool:  # noqa: ARG002 - the port's
        """Take note of the provider's own limit, which only ever lowers; return whether an earlier lowering ended.

        What it says remains is of all holders together: the store counts that.
        """
        rose = False
        for purse in self.pocket.purses:
            said = getattr(seen, purse.name)
            if said is not None and said.limit is not None and said.limit > 0:
                rose = rose or min(said.limit, purse.limit) > min(purse.provider, purse.limit)
                purse.provider = said.limit
        return rose

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        return max(0.0, self.pocket.throttle.blocked_until - now, self.pocket.blocked_until - now)

    # What to say.

    def mode(self, now: float) -> LimiterMode:
        """Return `strict`, `closed` while the store is lost or waits, `joining` while it is and was never reached."""
        pocket = self.pocket
        if pocket.lost:
            return CLOSED if pocket.has_met else JOINING
        return CLOSED if now < pocket.closed_until else STRICT

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state over all holders, as of the last answer."""
        pocket = self.pocket
        pocket.throttle.grow(now)
        found: dict[str, Any] = {}
        for purse in pocket.purses:
            used, held = purse.there
            found[purse.name] = DimensionSnapshot(
                limit=purse.limit, ceiling=purse.ceiling(pocket.throttle.percent), used=used, unsent=held
            )
        return LimitsSnapshot(
            **found,
            concurrent_limit=pocket.seats.limit,
            in_flight=pocket.in_flight,
            percent=pocket.throttle.percent,
            blocked_for_s=self.blocked_for(now),
            mode=self.mode(now),
        )

    def __repr__(self) -> str:
        words = [f"{purse.name} {purse.have} leased {purse.taken} taken" for purse in self.pocket.purses]
        return f"<LeasedWindows {', '.join(words) or 'unlimited'}{' lost' if self.pocket.lost else ''}>"
