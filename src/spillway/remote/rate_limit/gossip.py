"""Limits that several nodes keep together by telling what they have counted: pure, `now` comes with each call.

    joining      before the first sync nothing is admitted: nobody is known
    approximate  admits while all that is known, and not sent, has room; between two syncs no more than the allowance
    share        cut off: admits while what it knows has room, and no more than its share of it

With N nodes, an allowance of A and news that are at most D old, no window holds more than L + (N-1) * A * ceil(D / S).
Through a store that each asks every S, D is 2 S: news wait up to S to be told, and up to S to be heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from spillway.core.limit_store import (
    APPROXIMATE,
    JOINING,
    OVER,
    SENT,
    SHARE,
    AcquirePermit,
    Lease,
    LimiterMode,
    LimitsSnapshot,
)
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.adaptive import FULL_PERCENT, Throttle
from spillway.remote.rate_limit.counter import Delta
from spillway.remote.rate_limit.dimension import KINDS, corrected
from spillway.remote.rate_limit.gossip_dimension import GossipDimension
from spillway.remote.rate_limit.gossip_view import GossipView
from spillway.remote.rate_limit.machine import never_fits
from spillway.remote.rate_limit.telling import Heard, News

_TINY = 1e-9
_OPTIONS = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
_amounts: Callable[[AcquirePermit], tuple[int, int, int, int]] = attrgetter(*KINDS)


class GossipMachine:
    """Takes, stamps, settles and gives back leases over limits that are shared by telling; a `LimitWindows`.

    Args:
        node: this incarnation of this node; no other process ever uses it.
        limits: what may be sent in `window_s` by all nodes together.
        sync_s: seconds between two syncs.
        allowance_s: what may be granted of each limit between two syncs: what it is for so many seconds; None: for
            `sync_s`.
        weight: of this node, where something is shared out.

    Invariants: a refusal takes nothing; between two refills at most the allowance is granted, or as much more as the
        last request was larger than what was left of it, which the next ones get less.
    """

    def __init__(
        self,
        node: str,
        limits: RateLimits,
        *,
        sync_s: float = 1.0,
        window_s: float = 60.0,
        gives_back: bool = True,
        allowance_s: float | None = None,
        weight: float = 1.0,
    ) -> None:
        self.weight = weight
        self._sync_s = sync_s
        self._window_s = window_s
        self._gives_back = gives_back
        self._allowance_s = sync_s if allowance_s is None else allowance_s
        self._throttle = Throttle(window_s)
        self._view = GossipView(node, sync_s=sync_s, window_s=window_s)
        self._dimensions: tuple[GossipDimension, ...] = ()
        self._valid_until = -math.inf
        self.refilled_at = -math.inf
        """When the round began; another may a `sync_s` later."""
        self._in_flight = self._in_flight_then = 0
        self._blocked_until = -math.inf
        self.set_limits(limits)

    # Configured.

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting where there was a limit."""
        self._limits = limits
        known = {dimension.kind: dimension for dimension in self._dimensions}
        dimensions = []
        for kind, option in enumerate(_OPTIONS):
            limit: int | None = getattr(limits, option)
            if limit is None:
                continue
            dimension = known.get(kind) or GossipDimension(kind)
            dimension.configure(
                limit,
                burst_s=limits.burst_s,
                window_s=self._window_s,
                allowance_s=self._allowance_s,
            )
            dimensions.append(dimension)
        self._dimensions = tuple(dimensions)
        self._concurrent = limits.concurrent_requests
        self.unlimited = not dimensions and limits.concurrent_requests is None
        self._count_ceilings()

    @property
    def limits(self) -> RateLimits:
        """The configured limits."""
        return self._limits

    @property
    def node(self) -> str:
        """This incarnation."""
        return self._view.counter.node

    def bound(self, kind: int = 0, *, nodes: int, delay_s: float | None = None) -> int:
        """Return what no window ever holds more of, of requests that ask for one each.

        Args:
            nodes: all that were alive in a window.
            delay_s: how old news may be; None: as through a store, twice `sync_s`.
        """
        rounds = 2 if delay_s is None else math.ceil(delay_s / self._sync_s - _TINY)
        return next(d.limit + (nodes - 1) * d.allowance * rounds for d in self._dimensions if d.kind == kind)

    def mode(self, now: float) -> LimiterMode:
        """Return `joining`, `approximate` or `share`."""
        alone = self._view.solo is not None
        mode = self._view.mode(now)
        if (mode == SHARE) != alone:
            self._count_ceilings()
        return mode

    def _count_ceilings(self) -> None:
        """Note what of each limit is used: less after a 429, and less what nodes may send that are cut off."""
        part, counted = self._view.kept()
        for dimension in self._dimensions:
            sent = sum(each[dimension.kind] for each in counted)
            dimension.use(self._throttle.percent, kept=part, counted=sent)

    # Deciding.

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        costs = _amounts(want)
        if not 0 <= costs[0] <= (math.inf if self._concurrent is None else self._concurrent):
            raise never_fits("requests at once", costs[0], self._concurrent or 0)
        for dimension in self._dimensions:
            cost = costs[dimension.kind]
            if not 0 <= cost <= dimension.limit:
                raise never_fits(f"{KINDS[dimension.kind].replace('_', ' ')} a minute", cost, dimension.limit)

    def take(self, now: float, lease: Lease) -> float:
        """Charge `lease.want` to every limit and return 0.0, or charge none and return the wait."""
        costs = _amounts(lease.want)
        if not self._fits(now, costs):
            self.check(lease.want)
            wait = self._wait(now, costs)
            if wait:
                return wait
        dimensions = self._dimensions
        for dimension in dimensions:
            dimension.grant(costs[dimension.kind])
        if self._concurrent is not None:
            self._in_flight += costs[0]
            lease.holds = True
        lease.charged = dimensions
        lease.costs = costs
        return 0.0

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` fits if nothing else happens; `inf` when something must be told first."""
        costs = _amounts(want)
        return 0.0 if self._fits(now, costs) else self._wait(now, costs)

    def _fits(self, now: float, costs: tuple[int, ...]) -> bool:
        """Whether nothing stands in the way, where that is plain."""
        view = self._view
        if now >= self._valid_until or now >= view.next_slot or view.solo is not None or self._concurrent is not None:
            return False
        if self._throttle.percent < FULL_PERCENT or now < self._blocked_until or now < self._throttle.blocked_until:
            return False
        used, told = view.counter.used, view.heard.unsent
        for dimension in self._dimensions:
            kind = dimension.kind
            cost = costs[kind]
            if cost and (
                cost < 0
                or dimension.left <= 0
                or dimension.burst is not None
                or used[kind] + dimension.unsent + told[kind] + cost > dimension.ceiling
            ):
                return False
        return costs[0] >= 0

    def _wait(self, now: float, costs: tuple[int, ...]) -> float:
        """Return 0.0 when `costs` fit, or never will."""
        if any(costs[dimension.kind] > dimension.limit for dimension in self._dimensions):
            return 0.0
        paused = max(self._throttle.blocked_until, self._blocked_until)
        if now < paused:
            return paused - now
        if self.unlimited:
            return 0.0
        if now >= self._throttle.grows_at:
            self._throttle.grow(now)
            self._count_ceilings()
        mode = self.mode(now)
        if mode == JOINING or (mode == APPROXIMATE and now >= self._valid_until):
            # A sync is under way; what is granted before it ends would be news to nobody for too long.
            return math.inf
        if self._concurrent is not None and self._in_flight + costs[0] > self._seats(mode):
            return math.inf
        self._view.expire(now)
        at = now
        part = self._view.heard.part
        for dimension in self._dimensions:
            cost = costs[dimension.kind]
            if cost:
                at = max(at, self._room_at(now, dimension, cost), dimension.burst_at(now, cost, part))
        if at == math.inf:
            return math.inf
        wait = at - now
        while now + wait < at:
            wait = math.nextafter(wait, math.inf)
        return wait

    def _room_at(self, now: float, dimension: GossipDimension, cost: int) -> float:
        view = self._view
        told = view.told(now, dimension.kind)
        if view.solo is not None:
            fits = dimension.fits_alone(cost, view.counter, view.solo, told, view.heard.part)
            return now if fits else now + view.width_s
        at = view.begins_at(dimension.room_at(cost, view.counter, told))
        rounds = dimension.rounds_until_left()
        return max(at, self.refilled_at + rounds * self._sync_s) if rounds else at

    def _seats(self, mode: LimiterMode) -> int:
        """Return how many requests may be under way here: those at the last sync, and a share of the free ones."""
        most, heard, then = self._concurrent or 0, self._view.heard, self._in_flight_then
        if mode == SHARE:
            return int(most * heard.part + _TINY)
        free = most - heard.in_flight - then
        return then + max(1, int(free * heard.part + _TINY)) if free > 0 else then

    # Settling.

    def stamp(self, now: float, lease: Lease) -> None:
        """Note that a held lease was sent now."""
        view = self._view
        slot = view.slot(now)
        costs = lease.costs
        for dimension in lease.charged:
            cost = costs[dimension.kind]
            if cost:
                dimension.unsent -= cost
                view.count(now, slot, dimension, cost)
        lease.marks = slot, view.solo
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
        """Put what a sent lease came to in place of what it asked; return whether that made room."""
        lease.stage = OVER
        actuals = (None, tokens, input_tokens, output_tokens)
        late_output = output_tokens if streamed and self._gives_back else None
        room = False
        for dimension in lease.charged:
            kind = dimension.kind
            actual = actuals[kind]
            if actual is None:
                continue
            surplus, late = corrected(kind, lease.costs[kind], actual, late_output)
            if surplus and self._gives_back and self._view.give_back(lease.marks, kind, surplus):
                room = True
            if late:
                self._view.count(now, self._view.slot(now), dimension, late)
        return room

    def refund(self, lease: Lease) -> bool:
        """Give back all of a held lease, its concurrency too; return whether that made room."""
        lease.stage = OVER
        for dimension in lease.charged:
            dimension.ungrant(lease.costs[dimension.kind])
        self.release(lease)
        return True

    def release(self, lease: Lease) -> bool:
        """Give back the concurrency of `lease`; return whether that made room."""
        if not lease.holds:
            return False
        lease.holds = False
        self._in_flight -= lease.costs[0]
        return True

    # Telling and being told.

    def begin(self, now: float) -> News:
        """Return what to tell; `synced` or `failed` follows."""
        unsent = [0] * len(KINDS)
        for dimension in self._dimensions:
            dimension.begin()
            unsent[dimension.kind] = dimension.unsent
        return News(
            deltas=self._view.counter.take_changes(),
            unsent=tuple(unsent),
            in_flight=self._in_flight,
            blocked_s=self.blocked_for(now),
        )

    def synced(self, now: float, heard: Heard, *, began: float) -> None:
        """Take what others have counted; another round begins if the last one began long enough before `began`."""
        self._view.hear(now, heard, began=began)
        self._valid_until = began + self._sync_s
        self._in_flight_then = self._in_flight
        if began >= self.refilled_at + self._sync_s - _TINY:
            self.refilled_at = now
            for dimension in self._dimensions:
                dimension.refill()
        if heard.blocked_s > 0:
            self._blocked_until = max(self._blocked_until, now + heard.blocked_s)
        self._throttle.grow(now)
        self._count_ceilings()

    def failed(self, now: float) -> None:
        """Take note that the store was not reached, and what was told may not have arrived."""
        self._view.counter.tell_again()
        self._view.cut_off(now)
        self._count_ceilings()

    def retell(self) -> list[Delta]:
        """Have all that this node has counted told again; return what is known of nodes that have gone."""
        self._view.counter.tell_again()
        return self._view.gone()

    def have_name(self, node: str) -> None:
        """Be another incarnation; only before the first sync, while nothing has been counted."""
        if self._view.synced_at != -math.inf:
            raise ValueError(f"{self.node} has begun to count")
        self._view.counter.node = node

    # What the provider says.

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429 that asks for `retry_after` seconds of silence; the share in use sinks."""
        self._throttle.grow(now)
        self._throttle.cut(now, retry_after)
        self._count_ceilings()

    def observe(self, now: float, seen: LimitsSeen) -> bool:  # noqa: ARG002 - the port's
        """Return False: a provider's headers speak of all nodes together, and those tell each other."""
        return False

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        return max(0.0, self._throttle.blocked_until - now, self._blocked_until - now)

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state in this node's view: its share alone where it is cut off."""
        mode, view = self.mode(now), self._view
        if mode != JOINING:
            view.expire(now)
        alone = mode == SHARE
        found: dict[str, Any] = {
            KINDS[d.kind]: d.snapshot(view.counter, view.heard, alone=alone) for d in self._dimensions
        }
        return LimitsSnapshot(
            **found,
            concurrent_limit=self._concurrent,
            in_flight=self._in_flight + (0 if alone else view.heard.in_flight),
            percent=self._throttle.percent,
            blocked_for_s=self.blocked_for(now),
            mode=mode,
            nodes=view.heard.nodes,
            rejected=view.counter.rejected,
        )

    def __repr__(self) -> str:
        view = self._view
        seen = [(KINDS[d.kind], d.snapshot(view.counter, view.heard, alone=False)) for d in self._dimensions]
        words = [f"{kind} {one.used + one.unsent}/{one.ceiling}" for kind, one in seen]
        return f"<GossipMachine {self.node} {', '.join(words) or 'unlimited'}>"
