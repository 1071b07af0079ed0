"""The part of shared limits that one holder has in its pocket: pure, `now` comes with each call.

    lease   an amount that the store counts as held by this holder, in every window, until it is reported
    permit  is served from the pocket, without waiting; what it takes stays held until it is sent or given back
    sync    reports what was sent, given back or came late, asks for more, and brings leases

A pocket is good for `silent_s` after the start of the last sync that succeeded, less a margin: after that the store may
have taken its holder for dead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.limit_store import OVER, SENT, AcquirePermit, DimensionSnapshot, Lease, LimitsSnapshot
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.adaptive import FULL_PERCENT, Throttle
from spillway.remote.rate_limit.dimension import INPUT_TOKENS, KINDS, SUB_SLOTS

SILENT_S = 15.0
"""Seconds after which a holder that does not sync is taken for dead."""

_MARGIN_S = 1.0
_AHEAD_S = 0.25
_POLL_S = 0.05
_BURST_SLOTS = 20
_OPTIONS = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
_amounts: Callable[[AcquirePermit], tuple[int, int, int, int]] = attrgetter(*KINDS)


class _Purse:
    """One dimension's leases and what of them is to be reported.

    Attributes:
        have: leased and not taken.
        taken: taken by permits and not sent.
        sent: sent since the last report.
        back: of what was leased, given back since.
        late: counted without a lease, since.
        given: what came to less than it was sent for, by the sub-slots of its report.
        rate: taken a second, smoothed.
    """

    __slots__ = (
        "back",
        "given",
        "have",
        "held_there",
        "kind",
        "late",
        "limit",
        "name",
        "need",
        "rate",
        "sent",
        "taken",
        "used_there",
    )

    def __init__(self, kind: int, limit: int) -> None:
        self.kind = kind
        self.name = KINDS[kind]
        self.limit = limit
        self.have = self.taken = self.sent = self.back = self.late = self.need = 0
        self.given: dict[tuple[int, int], int] = {}
        self.rate = 0.0
        self.used_there = self.held_there = 0


class DimensionSync(msgspec.Struct, kw_only=True):
    """One dimension of a sync, see `limits.lua`."""

    i: int
    limit: int
    ceiling: int
    burst_ceiling: int
    claim: int
    sent: int
    back: int
    late: int
    need: int
    want: int
    given: list[tuple[int, int, int]] | None = None


class Sync(msgspec.Struct, kw_only=True):
    """What one sync says and asks; times in milliseconds."""

    holder: str
    run: str
    known: bool
    leaving: bool
    window_ms: int
    width_ms: float
    burst_ms: float
    burst_width_ms: float
    silent_ms: int
    blocked_ms: int
    concurrent: int
    seats_claimed: int
    seats_needed: int
    seats_wanted: int
    freed: int
    dims: list[DimensionSync]


class SyncAnswer(msgspec.Struct, kw_only=True):
    """What the store answers; times in milliseconds."""

    lapsed: bool
    ready_in: float
    blocked_in: float
    wait: float
    grants: list[int] | dict[str, int]
    seats: int
    used: list[int] | dict[str, int]
    held: list[int] | dict[str, int]
    in_flight: int
    holders: int
    slots: tuple[int, int]


class _Batch:
    """What was sent between two reports: where it was stamped is known once the report is answered."""

    __slots__ = ("slots",)

    def __init__(self) -> None:
        self.slots: tuple[int, int] | None = None


class LeasedWindows:
    """Serves permits from leases; a `LimitWindows`.

    Args:
        limits: what may be sent in `window_s` by all holders together.
        on_want: called when somebody was refused for want of a lease: a sync may help.

    Invariants: the store counts for this holder at least what it has in its pocket, has taken and has sent since.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        on_want: Callable[[], None],
        window_s: float = 60.0,
        gives_back: bool = True,
    ) -> None:
        self._window_s = window_s
        self._gives_back = gives_back
        self._on_want = on_want
        self._throttle = Throttle(window_s)
        self._purses: tuple[_Purse, ...] = ()
        self._seats = self._seats_taken = self._freed = self._seats_needed = 0
        self._batch = _Batch()
        self._good_until = -math.inf
        self._again_at = -math.inf
        self._blocked_until = -math.inf
        self._blocked_news = 0.0
        self._known = False
        self._epoch = 0
        self._reporting: _Batch | None = None
        self._seen_in_flight = 0
        self.closed = False
        """Whether nothing is leased because the store was not reached."""
        self.set_limits(limits)

    # Deciding.

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting."""
        known = {purse.kind: purse for purse in self._purses}
        purses = []
        for kind, option in enumerate(_OPTIONS):
            limit: int | None = getattr(limits, option)
            if limit is None:
                continue
            purse = known.get(kind) or _Purse(kind, limit)
            purse.limit = limit
            purses.append(purse)
        self._purses = tuple(purses)
        self._limits = limits
        self._concurrent = limits.concurrent_requests
        self.unlimited = not purses and limits.concurrent_requests is None

    @property
    def limits(self) -> RateLimits:
        """The configured limits."""
        return self._limits

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        costs = _amounts(want)
        if costs[0] < 0 or (self._concurrent is not None and costs[0] > self._concurrent):
            raise _never("requests at once", costs[0], self._concurrent or 0)
        for purse in self._purses:
            if not 0 <= costs[purse.kind] <= purse.limit:
                raise _never(f"{purse.name.replace('_', ' ')} a minute", costs[purse.kind], purse.limit)

    def take(self, now: float, lease: Lease) -> float:
        """Serve `lease.want` from the pocket and return 0.0, or serve nothing and return the wait."""
        costs = _amounts(lease.want)
        wait = self._lacks(now, costs)
        if wait is not None:
            self.check(lease.want)
            return wait
        for purse in self._purses:
            cost = costs[purse.kind]
            purse.have -= cost
            purse.taken += cost
        if self._concurrent is not None:
            self._seats -= costs[0]
            self._seats_taken += costs[0]
            lease.holds = True
        lease.charged = self._purses
        lease.costs = costs
        return 0.0

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` may fit, `inf` when that is told by whoever makes room."""
        costs = _amounts(want)
        if any(costs[purse.kind] > purse.limit for purse in self._purses):
            return 0.0
        wait = self._lacks(now, costs)
        return 0.0 if wait is None else wait

    def _lacks(self, now: float, costs: tuple[int, ...]) -> float | None:
        """Return None when the pocket serves `costs`; else note what is needed and return the wait."""
        if now < self._throttle.blocked_until or now < self._blocked_until:
            return max(self._throttle.blocked_until, self._blocked_until) - now
        if now >= self._good_until:
            self._empty()
        short = False
        for purse in self._purses:
            if purse.have < costs[purse.kind]:
                purse.need = max(purse.need, costs[purse.kind])
                short = True
        if self._concurrent is not None and self._seats < costs[0]:
            self._seats_needed = max(self._seats_needed, costs[0])
            short = True
        if not short:
            return None
        if now >= self._again_at:
            self._on_want()
            return math.inf
        return self._again_at - now

    def _begin_anew(self) -> None:
        """Go on under another name: what the old one holds counts until it lapses and a window longer."""
        self._known = False
        self._epoch += 1
        self._empty()

    def _empty(self) -> None:
        """Throw the leases away: their holder may have been taken for dead."""
        for purse in self._purses:
            purse.have = 0
        self._seats = 0

    # Settling.

    def stamp(self, now: float, lease: Lease) -> None:  # noqa: ARG002 - the store has the time
        """Note that a held lease was sent."""
        costs = lease.costs
        for purse in lease.charged:
            cost = costs[purse.kind]
            purse.taken -= cost
            purse.sent += cost
        lease.marks = self._batch
        lease.stage = SENT

    def settle(
        self,
        now: float,  # noqa: ARG002 - the store has the time
        lease: Lease,
        tokens: int,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        *,
        streamed: bool = False,
    ) -> bool:
        """Put what a sent lease came to in place of what it asked; whether that made room the next sync tells."""
        lease.stage = OVER
        actuals = (None, tokens, input_tokens, output_tokens)
        late_output = output_tokens if streamed and self._gives_back else None
        for purse in lease.charged:
            actual = actuals[purse.kind]
            if actual is None:
                continue
            surplus = lease.costs[purse.kind] - actual
            late = 0
            if late_output is not None and purse.kind != INPUT_TOKENS:
                late = min(late_output, actual)
                surplus += late
            if surplus > 0 and self._gives_back:
                self._give(purse, lease.marks, surplus)
            elif surplus < 0:
                late -= surplus
            purse.late += late
        return False

    def _give(self, purse: _Purse, batch: _Batch, surplus: int) -> None:
        if batch.slots is not None:
            purse.given[batch.slots] = purse.given.get(batch.slots, 0) + surplus
        elif batch is self._batch:
            purse.sent -= surplus
            purse.back += surplus
        # What is being reported just now is left as it was sent: more is counted than was used.

    def refund(self, lease: Lease) -> bool:
        """Put all of a held lease back into the pocket; return whether that made room."""
        lease.stage = OVER
        for purse in lease.charged:
            cost = lease.costs[purse.kind]
            purse.taken -= cost
            purse.have += cost
        self.release(lease)
        return True

    def release(self, lease: Lease) -> bool:
        """Give back the concurrency of `lease`; return whether that made room."""
        if not lease.holds:
            return False
        lease.holds = False
        self._seats_taken -= lease.costs[0]
        self._seats += lease.costs[0]
        return True

    # What the provider says.

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429: all holders keep the pause, this one lowers its share."""
        self._throttle.grow(now)
        self._throttle.cut(now, retry_after)
        self._blocked_news = max(self._blocked_news, self._throttle.blocked_until - now)

    def observe(self, now: float, seen: LimitsSeen) -> bool:  # noqa: ARG002 - the port's
        """Return False: a provider's headers speak of all holders together, and the store counts those."""
        return False

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        return max(0.0, self._throttle.blocked_until - now, self._blocked_until - now)

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state over all holders, as of the last sync, and this holder's news."""
        found: dict[str, Any] = {}
        for purse in self._purses:
            found[purse.name] = DimensionSnapshot(
                limit=purse.limit,
                ceiling=self._ceiling(purse),
                used=purse.used_there + purse.sent + purse.late,
                unsent=max(0, purse.held_there - purse.sent),
            )
        return LimitsSnapshot(
            **found,
            concurrent_limit=self._concurrent,
            in_flight=self._seen_in_flight,
            percent=self._throttle.percent,
            blocked_for_s=self.blocked_for(now),
        )

    def _ceiling(self, purse: _Purse) -> int:
        return max(1, purse.limit * self._throttle.percent // FULL_PERCENT)

    # Syncing.

    @property
    def wants(self) -> bool:
        """Whether somebody was refused for want of a lease since the last sync."""
        return self._seats_needed > 0 or any(purse.need for purse in self._purses)

    @property
    def again_at(self) -> float:
        """Before it the store's answer would be no again."""
        return self._again_at

    @property
    def idle(self) -> bool:
        """Whether there is nothing to report and nothing in the pocket."""
        return (
            not self.wants
            and not self._freed
            and not any(p.have or p.taken or p.sent or p.back or p.late or p.given for p in self._purses)
        )

    def begin(self, now: float, *, holder: str, run: str, elapsed_s: float, leaving: bool = False) -> Sync:
        """Return what to tell the store; `end` or `failed` follows.

        Args:
            elapsed_s: since the sync before, for the rate.
        """
        self._throttle.grow(now)
        if now >= self._good_until:
            self._empty()
        batch, self._batch = self._batch, _Batch()
        self._reporting = batch
        limits = self._limits
        burst_s = limits.burst_s if limits.burst_s < self._window_s else 0.0
        width = self._window_s / SUB_SLOTS
        dims = []
        for purse in self._purses:
            used = purse.sent + purse.taken
            purse.rate += (used / elapsed_s - purse.rate) * 0.3 if elapsed_s > 0 else 0.0
            ahead = math.ceil(purse.rate * _AHEAD_S)
            extra = max(0, purse.have - 2 * ahead - purse.need) if not leaving else purse.have
            purse.have -= extra
            need = max(0, purse.need - purse.have)
            ceiling = self._ceiling(purse)
            dims.append(
                DimensionSync(
                    i=purse.kind,
                    limit=purse.limit,
                    ceiling=ceiling,
                    burst_ceiling=max(1, int(ceiling * burst_s / self._window_s + 1e-9)) if burst_s else ceiling,
                    claim=0 if self._known else purse.taken,
                    sent=purse.sent,
                    back=purse.back + extra,
                    late=purse.late,
                    need=need,
                    want=max(need, ahead + purse.need - purse.have),
                    given=[(*slots, amount) for slots, amount in purse.given.items()] or None,
                )
            )
        seats = 0
        if self._concurrent is not None:
            spare = self._seats - self._seats_needed
            seats = spare if leaving or spare > 0 else 0
            self._seats -= seats
        sync = Sync(
            holder=f"{holder}.{self._epoch}",
            run=run,
            known=self._known,
            leaving=leaving,
            window_ms=round(self._window_s * 1000),
            width_ms=width * 1000,
            burst_ms=burst_s * 1000,
            burst_width_ms=burst_s * 1000 / _BURST_SLOTS,
            silent_ms=round(SILENT_S * 1000),
            blocked_ms=math.ceil(self._blocked_news * 1000),
            concurrent=self._concurrent or 0,
            seats_claimed=0 if self._known else self._seats_taken,
            seats_needed=max(0, self._seats_needed - self._seats) if self._concurrent is not None else 0,
            seats_wanted=self._seats_needed,
            freed=self._freed + seats,
            dims=dims,
        )
        for purse in self._purses:
            purse.sent = purse.back = purse.late = purse.need = 0
            purse.given = {}
        self._freed = 0
        self._seats_needed = 0
        self._blocked_news = 0.0
        return sync

    def end(self, now: float, sync: Sync, answer: SyncAnswer, *, started: float) -> bool:
        """Take what a sync that began at `started` brought; return whether that made room."""
        self.closed = False
        self._known = True
        batch, self._reporting = self._reporting, None
        if batch is not None:
            batch.slots = answer.slots
        if answer.lapsed:
            self._begin_anew()
        self._good_until = started + SILENT_S - _MARGIN_S
        self._blocked_until = now + answer.blocked_in / 1000.0 if answer.blocked_in > 0 else -math.inf
        wait = answer.ready_in if answer.ready_in > 0 else answer.wait
        asked = any(d.need for d in sync.dims) or sync.seats_needed > 0
        got = answer.seats > 0
        grants, used, held = _list(answer.grants), _list(answer.used), _list(answer.held)
        for purse, granted, sent, owned in zip(self._purses, grants, used, held, strict=True):
            purse.have += granted
            purse.used_there, purse.held_there = sent, owned
            got = got or granted > 0
        self._seats += answer.seats
        self._seen_in_flight = answer.in_flight
        self._again_at = -math.inf
        if asked and not got:
            self._again_at = now + (wait / 1000.0 if wait > 0 else _POLL_S)
        return got

    def failed(self, now: float, sync: Sync) -> None:
        """Take note that it is not known whether a report arrived."""
        batch, self._reporting = self._reporting, None
        if batch is not None:
            batch.slots = None
        for purse, told in zip(self._purses, sync.dims, strict=True):
            # What was sent is counted, or is held there by the name that is given up, which then counts as sent.
            purse.late += told.late
            purse.need = max(purse.need, told.need)
        self._begin_anew()
        self.closed = True
        self._again_at = now + _POLL_S


def _list(packed: list[int] | dict[str, int]) -> list[int]:
    """Return a Lua table as a list; an empty one comes as a map."""
    return packed if isinstance(packed, list) else []


def _never(what: str, cost: int, limit: float) -> BadRequest:
    if cost < 0:
        return BadRequest(f"{cost} {what} can't be asked for", reason="unacquirable_cost")
    return BadRequest(
        f"the request asks for {cost} {what}, the limit is {limit:g}; no wait can make room", reason="unacquirable_cost"
    )
