"""The leases of one holder, and what it reports of them: pure, `now` comes with each call.

    lease    an amount that the store counts as held by this holder, in every window, until it is reported
    report   what was sent when, what is given back, what is needed; the same one again until it is answered
    answer   new leases, good for `lease_s` from when the report was begun: so long the store knows the holder alive

A holder of whom the store has heard nothing for `silent_s` longer than that is taken for dead: what it held counts as
sent just then. It goes on under another name.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from spillway.remote.rate_limit.adaptive import Throttle
from spillway.remote.rate_limit.dimension import SUB_SLOTS
from spillway.stores.shared.holdings import Batch, Purse, Seats
from spillway.stores.shared.lease_messages import LeaseAnswer, LeaseAsk, LeaseReport, listed

if TYPE_CHECKING:
    from spillway.core.options import RateLimits

OPTIONS = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")

_AHEAD_S = 0.25
_AHEAD_OF_WINDOW = 0.1
_BURST_SLOTS = 100
_POLL_S = 0.02
_LONGEST_POLL_S = 0.5
_KEEP_S = 60.0


class Spans(NamedTuple):
    """How long things last.

    Attributes:
        window_s: the "minute".
        silent_s: so long after its leases have ended a holder that is silent is taken for dead.
    """

    window_s: float
    silent_s: float

    @property
    def lease_s(self) -> float:
        """How long a lease is good without news of the store."""
        return min(1.0, self.silent_s / 5.0)

    @property
    def lapse_ms(self) -> int:
        """After so much silence the store takes a holder for dead."""
        return round((self.silent_s + self.lease_s) * 1000)


class Pocket:
    """Leases, and what is to be reported.

    Args:
        holder: this life of this process.

    Attributes:
        purses: what is limited now.
        seats: requests under way.
        good_until: until when the leases may be used.
        again_at: before it the store would refuse again.
        free_at: when `lacked`, which was refused, fits if nothing is given back; `inf`: not known.
        closed_until: nobody is let through before, because the store may have forgotten something.
        blocked_until: likewise, because a provider told any holder so.
        lost: the last report was not answered.
        pressed: another holder lacks what this one may spare.
        stirred: something has happened since the last report.
        in_flight: seats of all holders, as of the last answer.

    Invariants: the store counts for this holder at least what it has, has taken and has not reported; or has counted
        it as sent.
    """

    def __init__(self, spans: Spans, holder: str) -> None:
        self.spans = spans
        self.purses: tuple[Purse, ...] = ()
        self.seats = Seats()
        self.throttle = Throttle(spans.window_s)
        self.good_until = self.again_at = self.closed_until = self.blocked_until = -math.inf
        self.free_at = math.inf
        self.lacked: dict[int, int] = {}
        self.lost = False
        self.in_flight = 0
        self._holder = holder
        self._life = 0
        self._number = 0
        self._known = False
        self._met = ""
        self._retired: list[Purse] = []
        self._batches: deque[Batch] = deque()
        self._width_s = spans.window_s / SUB_SLOTS
        self._burst_s = 0.0
        self._pending: tuple[LeaseReport, list[Purse], list[Batch]] | None = None
        self._last = -math.inf
        self._poll_s = _POLL_S
        self.pressed = self.stirred = False
        self._cut = False
        self._cuts: int | None = None

    def have_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what is held under one that goes is reported to its end."""
        known = {purse.kind: purse for purse in (*self.purses, *self._retired)}
        purses = []
        for kind, option in enumerate(OPTIONS):
            limit: int | None = getattr(limits, option)
            if limit is not None:
                purse = known.pop(kind, None) or Purse(kind, limit)
                purse.limit = limit
                purses.append(purse)
        self._retired = list(known.values())
        self.purses = tuple(purses)
        self.seats.limit = limits.concurrent_requests
        self._burst_s = limits.burst_s if limits.burst_s < self.spans.window_s else 0.0
        self._width_s = min(self.spans.window_s / SUB_SLOTS, self._burst_s / _BURST_SLOTS or math.inf)
        self.again_at = -math.inf

    # What happens between two reports.

    def void(self) -> None:
        """Give back what was not taken: it is too late to use it."""
        for purse in self.purses:
            purse.void()
        self.seats.void()

    def batch(self, now: float) -> Batch:
        """Return what is sent now, to be added to."""
        batches = self._batches
        if batches and now - batches[-1].began < self._width_s:
            batch = batches[-1]
            batch.at = now
            return batch
        batch = Batch(now)
        batches.append(batch)
        return batch

    def note_cut(self) -> None:
        """Have all holders know that the provider said it was too much."""
        self._cut = True

    @property
    def has_met(self) -> bool:
        """Whether the store has ever answered."""
        return bool(self._met)

    @property
    def wants(self) -> bool:
        """Whether somebody was refused for want of a lease."""
        return self.seats.short or any(purse.need for purse in self.purses)

    @property
    def has_news(self) -> bool:
        """Whether there is something to report."""
        return bool(self._batches or self._cut or self.seats.gone or any(p.gone or p.given for p in self._all()))

    @property
    def has_spare(self) -> bool:
        """Whether there are leases that nobody has taken."""
        return self.seats.have > 0 or any(purse.have for purse in self._all())

    def _all(self) -> tuple[Purse, ...]:
        return (*self.purses, *self._retired)

    # Reporting.

    def report(self, now: float, run: str, *, leaving: bool) -> LeaseReport:
        """Return what to tell the store; `answered` or `unanswered` follows."""
        self.throttle.grow(now)
        self.stirred = False
        if now >= self.good_until or leaving:
            self.void()
        if self._pending is None:
            self._pending = self._compose(now, leaving=leaving)
        report = self._pending[0]
        report.run, report.met, report.leaving = run, run == self._met, leaving
        return report

    def _compose(self, now: float, *, leaving: bool) -> tuple[LeaseReport, list[Purse], list[Batch]]:
        spans, seats, width_s = self.spans, self.seats, self.spans.window_s / SUB_SLOTS
        window_ms, burst_ms = round(spans.window_s * 1000), round(self._burst_s * 1000)
        purses, batches = list(self._all()), list(self._batches)
        self._batches.clear()
        self._number += 1
        claimed = 0 if self._known else seats.taken + seats.gone
        seats_needed, seats_wanted = seats.refill(pressed=self.pressed)
        report = LeaseReport(
            holder=f"{self._holder}.{self._life}",
            number=self._number,
            run="",
            met=False,
            known=self._known,
            leaving=False,
            window_ms=window_ms,
            width_ms=width_s * 1000,
            burst_ms=burst_ms,
            burst_width_ms=max(1.0, burst_ms / _BURST_SLOTS),
            lapse_ms=spans.lapse_ms,
            keep_ms=2 * window_ms + spans.lapse_ms + round(_KEEP_S * 1000),
            pressed_ms=round(2 * _LONGEST_POLL_S * 1000),
            blocked_ms=max(0, math.ceil((self.throttle.blocked_until - now) * 1000)) if self._cut else 0,
            cut=self._cut,
            concurrent=seats.limit or 0,
            seats_claimed=claimed,
            seats_gone=seats.gone,
            seats_needed=0 if leaving or seats.limit is None else seats_needed,
            seats_wanted=0 if leaving or seats.limit is None else seats_wanted,
            sent=[[max(0, int((now - batch.at) * 1000) - 1), *batch.amounts] for batch in batches],
            given=[(purse.kind, amount, *slots) for purse in purses for slots, amount in purse.given.items()],
            parts=[self._ask(now, purse, leaving=leaving) for purse in purses],
        )
        for batch in batches:
            batch.told = True
        for purse in purses:
            purse.gone, purse.given = 0, {}
        seats.gone = 0
        self._cut = False
        self._last = now
        return report, purses, batches

    def _ask(self, now: float, purse: Purse, *, leaving: bool) -> LeaseAsk:
        claim = 0 if self._known else purse.taken + purse.gone
        window_s = self._burst_s or self.spans.window_s
        ahead_s = 0.0 if self.pressed else min(_AHEAD_S, window_s * _AHEAD_OF_WINDOW)
        if leaving or purse in self._retired:
            purse.void()
            need = want = 0
        else:
            spare_s = 2 * ahead_s or _POLL_S
            need, want = purse.refill(now - self._last, ahead_s=ahead_s, spare_s=spare_s)
        ceiling = purse.ceiling(self.throttle.percent)
        share = self._burst_s / self.spans.window_s
        return LeaseAsk(
            kind=purse.kind,
            ceiling=ceiling,
            # The tiny addend undoes a product that came out an ulp below a whole number.
            burst_ceiling=max(1, int(ceiling * share + 1e-9)) if share else ceiling,
            claim=claim,
            gone=purse.gone,
            need=need,
            want=want,
        )

    def answered(self, now: float, answer: LeaseAnswer, *, started: float) -> bool:
        """Take what a report that was begun at `started` brought; return whether that made room."""
        if self._pending is None:
            return False
        (report, purses, batches), self._pending = self._pending, None
        self.lost, self._known, self._met = False, True, report.run
        self._settle_batches(batches, listed(answer.slots))
        opened = max(self.closed_until, self.blocked_until) > -math.inf and not (answer.closed_in or answer.blocked_in)
        self.closed_until = now + answer.closed_in / 1000.0 if answer.closed_in > 0 else -math.inf
        self.blocked_until = now + answer.blocked_in / 1000.0 if answer.blocked_in > 0 else -math.inf
        if answer.cuts != self._cuts:
            if not report.cut and self._cuts is not None and self._cuts < answer.cuts:
                self.throttle.grow(now)
                self.throttle.cut(now, answer.blocked_in / 1000.0)
            self._cuts = answer.cuts
        self.pressed, self.in_flight = answer.pressed, answer.in_flight
        if answer.lapsed:
            self._begin_anew()
            return False
        self.good_until = started + self.spans.lease_s
        granted = listed(answer.granted)
        for purse, amount in zip(purses, granted, strict=False):
            purse.have += amount
        for purse, used, held in zip(purses, listed(answer.used), listed(answer.held), strict=False):
            purse.there = used, held
        self.seats.have += answer.seats
        self._retired = [p for p in self._retired if p.have or p.taken or p.gone or p.given]
        got = any(granted) or answer.seats > 0
        lacked = {} if got else {part.kind: part.need for part in report.parts if part.need}
        if lacked or (report.seats_needed and not got):
            self._plan(now, answer, lacked)
        else:
            self.again_at, self.free_at, self._poll_s = -math.inf, math.inf, _POLL_S
        if got:
            # Whoever was refused meanwhile is told of room, and says again what is lacking if it does not suffice.
            self.seats.need = 0
            for purse in self.purses:
                purse.need = 0
        return got or opened

    def _settle_batches(self, batches: list[Batch], slots: list[tuple[int, ...]]) -> None:
        by_kind = {purse.kind: purse for purse in self._all()}
        for batch, where in zip(batches, slots, strict=False):
            batch.slots = tuple(where)
            for kind, owed in enumerate(batch.owed):
                if owed and kind in by_kind:
                    by_kind[kind].give(batch, owed)

    def _plan(self, now: float, answer: LeaseAnswer, lacked: dict[int, int]) -> None:
        """Note when to ask again: when there will be room, and before, should something be given back."""
        self.lacked = lacked
        self.free_at = now + answer.wait / 1000.0 if answer.wait > 0 else math.inf
        self.again_at = min(self.free_at, now + self._poll_s)
        self._poll_s = min(2 * self._poll_s, _LONGEST_POLL_S)

    def _begin_anew(self) -> None:
        """Go on under another name: what the old one held counts as sent, and what was sent since is reported."""
        self._known = False
        self._life += 1
        self._number = 0
        for purse in self._all():
            purse.have = 0
            purse.gone = 0
        self.seats.have = self.seats.gone = 0
        self.good_until = -math.inf

    def unanswered(self) -> None:
        """Take note that it is not known whether the report has arrived: it will be told again."""
        self.lost = True
        self._poll_s = _POLL_S
