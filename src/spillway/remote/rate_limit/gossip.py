"""Limits that several nodes keep together by telling what they have counted: pure, `now` comes with each call.

    view     what all nodes are known to have counted in the window, and what this one has granted and not sent
    round    between two syncs a node grants at most its allowance, so that what others don't know yet is bounded
    share    a node that has not synced for three rounds keeps to `limit / nodes` of its own

With N nodes, an allowance of A and news that are at most D old, no window holds more than L + (N-1) * A * ceil(D / S).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from spillway.core.errors import BadRequest
from spillway.core.limit_store import OVER, SENT, AcquirePermit, DimensionSnapshot, Lease, LimitsSnapshot
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.adaptive import FULL_PERCENT, Throttle
from spillway.remote.rate_limit.counter import DIMENSIONS, Delta, SlotCounter
from spillway.remote.rate_limit.dimension import INPUT_TOKENS, KINDS, SUB_SLOTS
from spillway.remote.rate_limit.slot_log import SlotLog

STALE_ROUNDS = 3
JOINING, TOGETHER, ALONE = "joining", "approximate", "share"
"""Before the first sync; while news come; after three rounds without any."""

_OPTIONS = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
_amounts: Callable[[AcquirePermit], tuple[int, int, int, int]] = attrgetter(*KINDS)


class GossipMachine:
    """Takes, stamps, settles and gives back leases over limits that are shared by telling; a `LimitWindows`.

    Args:
        node: this incarnation of this node; no other process ever uses it.
        limits: what may be sent in `window_s` by all nodes together.
        sync_s: seconds between two syncs.
        weight: this node's share of what is shared out, among the sum of all nodes' weights.

    Invariants: a refusal takes nothing; between two syncs at most the allowance is granted, or one larger request.
    """

    def __init__(
        self,
        node: str,
        limits: RateLimits,
        *,
        sync_s: float = 1.0,
        window_s: float = 60.0,
        gives_back: bool = True,
        allowance: int | None = None,
        weight: float = 1.0,
    ) -> None:
        self.node = node
        self.weight = weight
        self._sync_s = sync_s
        self._window_s = window_s
        self._width_s = window_s / SUB_SLOTS
        self._gives_back = gives_back
        self._allowance = allowance
        self._throttle = Throttle(window_s)
        # One more for the slot that the window begins in, one for the guard.
        self._counter = SlotCounter(node, SUB_SLOTS + 2)
        self._offset = 0.0
        self._synced_at = -math.inf
        self._share = 1.0
        self._unsent = [0] * DIMENSIONS
        self._granted = [0] * DIMENSIONS
        self._bursts: list[SlotLog | None] = [None] * DIMENSIONS
        self._in_flight = 0
        self._others_in_flight = 0
        self._blocked_until = -math.inf
        self.set_limits(limits)

    # Deciding.

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting."""
        self._limits = limits
        self._asked: tuple[int | None, ...] = tuple(getattr(limits, option) for option in _OPTIONS)
        self._kinds = tuple(kind for kind, limit in enumerate(self._asked) if limit is not None)
        self._concurrent = limits.concurrent_requests
        self.unlimited = not self._kinds and self._concurrent is None
        bursts = limits.burst_s < self._window_s
        for kind in self._kinds:
            before = self._bursts[kind]
            self._bursts[kind] = SlotLog(limits.burst_s, width_s=0.0) if bursts else None
            after = self._bursts[kind]
            if before is not None and after is not None:
                before.move_to(after)

    @property
    def limits(self) -> RateLimits:
        """The configured limits."""
        return self._limits

    def mode(self, now: float) -> str:
        """Return `joining`, `approximate` or `share`."""
        if self._synced_at == -math.inf:
            return JOINING
        return TOGETHER if now - self._synced_at <= STALE_ROUNDS * self._sync_s else ALONE

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        costs = _amounts(want)
        if not 0 <= costs[0] <= (math.inf if self._concurrent is None else self._concurrent):
            raise _never("requests at once", costs[0], self._concurrent or 0)
        for kind in self._kinds:
            limit = self._asked[kind]
            if limit is not None and not 0 <= costs[kind] <= limit:
                raise _never(f"{KINDS[kind].replace('_', ' ')} a minute", costs[kind], limit)

    def take(self, now: float, lease: Lease) -> float:
        """Charge `lease.want` to every limit and return 0.0, or charge none and return the wait."""
        costs = _amounts(lease.want)
        wait = self._wait(now, costs)
        if wait:
            self.check(lease.want)
            return wait
        self.check(lease.want)
        for kind in self._kinds:
            self._unsent[kind] += costs[kind]
            self._granted[kind] += costs[kind]
        if self._concurrent is not None:
            self._in_flight += costs[0]
            lease.holds = True
        lease.charged = self._kinds
        lease.costs = costs
        return 0.0

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` fits if nothing else happens; `inf` when something must be told first."""
        return self._wait(now, _amounts(want))

    def _wait(self, now: float, costs: tuple[int, ...]) -> float:
        """Return 0.0 when `costs` fit, or never will."""
        if any(costs[kind] > (self._asked[kind] or 0) for kind in self._kinds):
            return 0.0
        paused = max(self._throttle.blocked_until, self._blocked_until)
        if now < paused:
            return paused - now
        if now >= self._throttle.grows_at:
            self._throttle.grow(now)
        mode = self.mode(now)
        if mode == JOINING:
            return math.inf
        if self._concurrent is not None and self._in_flight + costs[0] > self._seats(mode):
            return math.inf
        counter = self._counter
        counter.expire(self._slot(now))
        at = now
        for kind in self._kinds:
            cost = costs[kind]
            if cost:
                at = max(at, self._room_at(now, kind, cost, mode))
        return at - now

    def _room_at(self, now: float, kind: int, cost: int, mode: str) -> float:
        counter = self._counter
        ceiling = self._ceiling(kind)
        unsent = self._unsent[kind]
        at = now
        counted = counter.used[kind] + unsent
        if counted and counted + cost > ceiling:
            if unsent and unsent + cost > ceiling:
                return math.inf
            slot = counter.leaves_at(kind, min(counter.used[kind], counted + cost - ceiling))
            at = math.inf if slot is None else self._begins(slot)
        if mode == TOGETHER:
            granted = self._granted[kind]
            if granted and granted + cost > self._round_of(ceiling):
                # The next sync begins another round, and tells of room.
                at = max(at, self._synced_at + self._sync_s)
                if at <= now:
                    return math.inf
        else:
            own = counter.own[kind] + unsent
            if own + cost > int(ceiling * self._share):
                return math.inf if unsent else max(at, now + self._width_s)
        burst = self._bursts[kind]
        if burst is not None:
            burst.expire(now)
            most = max(1, int(ceiling * self._share * self._limits.burst_s / self._window_s + 1e-9))
            counted = burst.used + unsent
            if counted and counted + cost > most:
                leave = burst.leaves_at(min(burst.used, counted + cost - most))
                at = max(at, leave)
        return at

    def _seats(self, mode: str) -> int:
        limit = self._concurrent or 0
        if mode == TOGETHER:
            return max(0, limit - self._others_in_flight)
        return max(1, int(limit * self._share))

    def _ceiling(self, kind: int) -> int:
        return max(1, (self._asked[kind] or 0) * self._throttle.percent // FULL_PERCENT)

    def _round_of(self, ceiling: int) -> int:
        if self._allowance is not None:
            return self._allowance
        return max(1, math.ceil(ceiling * self._sync_s / self._window_s))

    def _slot(self, now: float) -> int:
        return math.floor((now + self._offset) / self._width_s)

    def _begins(self, slot: int) -> float:
        return slot * self._width_s - self._offset

    # Settling.

    def stamp(self, now: float, lease: Lease) -> None:
        """Note that a held lease was sent now."""
        slot = self._slot(now)
        counter = self._counter
        counter.expire(slot)
        amounts = [0] * DIMENSIONS
        for kind in lease.charged:
            cost = lease.costs[kind]
            amounts[kind] = cost
            self._unsent[kind] -= cost
            burst = self._bursts[kind]
            if burst is not None and cost:
                burst.add(now, cost)
        counter.add(slot, amounts)
        lease.marks = slot
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
        late = [0] * DIMENSIONS
        for kind in lease.charged:
            actual = actuals[kind]
            if actual is None:
                continue
            surplus = lease.costs[kind] - actual
            if late_output is not None and kind != INPUT_TOKENS:
                late[kind] = min(late_output, actual)
                surplus += late[kind]
            if surplus > 0:
                room = (self._gives_back and self._counter.give_back(lease.marks, kind, surplus)) or room
            else:
                late[kind] -= surplus
        if any(late):
            slot = self._slot(now)
            self._counter.expire(slot)
            self._counter.add(slot, late)
        return room

    def refund(self, lease: Lease) -> bool:
        """Give back all of a held lease, its concurrency too; return whether that made room."""
        lease.stage = OVER
        for kind in lease.charged:
            self._unsent[kind] -= lease.costs[kind]
            self._granted[kind] -= min(lease.costs[kind], self._granted[kind])
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

    def news(self) -> list[Delta]:
        """Return what this node has counted since the last call."""
        return self._counter.take_changes()

    @property
    def in_flight(self) -> int:
        """Requests of this node that are under way, where they are limited."""
        return self._in_flight

    def synced(
        self,
        now: float,
        deltas: Sequence[Delta],
        *,
        store_now: float,
        share: float,
        others_in_flight: int = 0,
        blocked_s: float = 0.0,
    ) -> None:
        """Take what others have counted; another round begins.

        Args:
            store_now: seconds of the clock that all nodes share.
            share: of this node, by weight among all that live.
            blocked_s: for which the provider told any of them to pause.
        """
        self._offset = store_now - now
        newest = self._slot(now)
        self._counter.expire(newest)
        self._counter.merge(deltas, newest)
        self._granted = [0] * DIMENSIONS
        self._share = share
        self._others_in_flight = others_in_flight
        self._synced_at = now
        if blocked_s > 0:
            self._blocked_until = max(self._blocked_until, now + blocked_s)

    def not_synced(self) -> None:
        """Take note that what was told may not have arrived."""
        self._counter.tell_again()

    # What the provider says.

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429 that asks for `retry_after` seconds of silence; the share in use sinks."""
        self._throttle.grow(now)
        self._throttle.cut(now, retry_after)

    def observe(self, now: float, seen: LimitsSeen) -> bool:  # noqa: ARG002 - the port's
        """Return False: a provider's headers speak of all nodes together, and those tell each other."""
        return False

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        return max(0.0, self._throttle.blocked_until - now, self._blocked_until - now)

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state in this node's view."""
        self._counter.expire(self._slot(now))
        found: dict[str, Any] = {}
        for kind in self._kinds:
            found[KINDS[kind]] = DimensionSnapshot(
                limit=self._asked[kind] or 0,
                ceiling=self._ceiling(kind),
                used=self._counter.used[kind],
                unsent=self._unsent[kind],
            )
        return LimitsSnapshot(
            **found,
            concurrent_limit=self._concurrent,
            in_flight=self._in_flight + self._others_in_flight,
            percent=self._throttle.percent,
            blocked_for_s=self.blocked_for(now),
        )

    def __repr__(self) -> str:
        words = [f"{KINDS[k]} {self._counter.used[k] + self._unsent[k]}/{self._ceiling(k)}" for k in self._kinds]
        return f"<GossipMachine {self.node} {', '.join(words) or 'unlimited'}>"


def _never(what: str, cost: int, limit: float) -> BadRequest:
    if cost < 0:
        return BadRequest(f"{cost} {what} can't be asked for", reason="unacquirable_cost")
    return BadRequest(
        f"the request asks for {cost} {what}, the limit is {limit:g}; no wait can make room", reason="unacquirable_cost"
    )
