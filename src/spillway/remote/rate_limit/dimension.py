"""One limit of a deployment: requests, tokens, input tokens or output tokens a minute."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spillway.core.limit_store import DimensionSnapshot
from spillway.core.limits_seen import LimitSeen
from spillway.remote.rate_limit.adaptive import FULL_PERCENT, SeenAllowance
from spillway.remote.rate_limit.slot_log import Slot, SlotLog

KINDS = ("requests", "tokens", "input_tokens", "output_tokens")
_INPUT_TOKENS = 2
SUB_SLOTS = 120
_BURST_SLOTS = 1000

Mark = tuple[Slot, Slot | None]
"""Where an amount was stamped: in the minute, and in the burst's window if there is one."""


def burst_log(limit: int, burst_s: float, window_s: float) -> SlotLog | None:
    """Return the window of a burst, None where none is shorter than the minute.

    It is exact, one entry an instant, where few fit; kept in thousandths of the span where it would grow long.
    """
    if burst_s >= window_s:
        return None
    exact = limit * burst_s / window_s <= _BURST_SLOTS
    return SlotLog(burst_s, width_s=0.0 if exact else burst_s / _BURST_SLOTS)


def corrected(kind: int, cost: int, actual: int, late_output: int | None) -> tuple[int, int]:
    """Return what goes back to where `cost` was counted, and what counts now, once it has come to `actual`.

    Args:
        kind: its place in `KINDS`.
        late_output: tokens of a stream's output, which came long after the request was counted; None: it did not.
    """
    late = 0 if late_output is None or kind == _INPUT_TOKENS else min(late_output, actual)
    surplus = cost - actual + late
    return (surplus, late) if surplus > 0 else (0, late - surplus)


class Dimension:
    """A limit with its two windows, both hard.

    The minute is kept in 120 sub-slots and a guard of one more; under it, at most `max(1, limit * burst_s / window_s)`
    in any sliding `burst_s`. What is granted and not sent counts in both. An amount above a ceiling, but not above the
    limit, passes when nothing else counts.

    Attributes:
        name: the amount of `AcquirePermit` that it limits; `kind` is its place in `KINDS`.
        limit: as configured.
        ceiling: what of it is used now.
        burst_ceiling: the most in any `burst_s`.
        unsent: granted, not sent.
        seen: what the provider said remains, until its reset.
    """

    __slots__ = (
        "_burst_share",
        "_provider_limit",
        "_window_s",
        "burst",
        "burst_ceiling",
        "ceiling",
        "kind",
        "limit",
        "minute",
        "name",
        "seen",
        "unsent",
    )

    def __init__(self, name: str, limit: int, *, burst_s: float, window_s: float) -> None:
        self.name = name
        self.kind = KINDS.index(name)
        self.unsent = 0
        self.seen: SeenAllowance | None = None
        self.burst: SlotLog | None = None
        self._window_s = window_s
        width = window_s / SUB_SLOTS
        self.minute = SlotLog(window_s, width_s=width, guard_s=width)
        self._provider_limit = limit
        self.configure(limit, burst_s, FULL_PERCENT)

    def configure(self, limit: int, burst_s: float, percent: int) -> None:
        """Have another limit from now on; what was sent keeps counting."""
        self.limit = self._provider_limit = limit
        self._burst_share = burst_s / self._window_s
        before, self.burst = self.burst, burst_log(limit, burst_s, self._window_s)
        if before is not None and self.burst is not None:
            before.move_to(self.burst)
        self.set_percent(percent)

    def set_percent(self, percent: int) -> None:
        """Use this share of the limit from now on."""
        self.ceiling = self._ceiling(percent)
        self.burst_ceiling = self._burst_of(self.ceiling)

    def _ceiling(self, percent: int) -> int:
        return max(1, min(self.limit, self._provider_limit) * percent // 100)

    def _burst_of(self, ceiling: int) -> int:
        # The tiny addend undoes a product that came out an ulp below a whole number.
        return max(1, int(ceiling * self._burst_share + 1e-9))

    def fits_minute(self, now: float, cost: int) -> bool:
        """Whether the minute has room for `cost`, which is positive and at most the limit."""
        minute = self.minute
        if now >= minute.next_leave:
            minute.expire(now)
        counted = self.unsent + minute.used
        return not counted or counted + cost <= self.ceiling

    def fits_rest(self, now: float, cost: int) -> bool:
        """Whether the burst's window and the provider's word have room for `cost`."""
        burst = self.burst
        if burst is not None:
            if now >= burst.next_leave:
                burst.expire(now)
            counted = self.unsent + burst.used
            if counted and counted + cost > self.burst_ceiling:
                return False
        seen = self.seen
        if seen is not None:
            if now >= seen.full_at:
                self.seen = None
            elif now < seen.room_at(cost):
                return False
        return True

    def room_at(self, now: float, cost: int, outlook: Sequence[tuple[float, int]]) -> float:
        """Return the earliest instant at which `cost` fits everywhere, if nothing else happens.

        Args:
            now: not before it.
            cost: positive, at most the limit.
            outlook: from when on which percentage of the limit is used.
        """
        self.minute.expire(now)
        if self.burst is not None:
            self.burst.expire(now)
        # A share that holds from some instant on holds from then on, or a larger one does.
        at = min(max(start, self._falls_below(percent, cost)) for start, percent in outlook)
        seen = self.seen
        return at if seen is None or now >= seen.full_at else max(at, seen.room_at(cost))

    def _falls_below(self, percent: int, cost: int) -> float:
        ceiling = self._ceiling(percent)
        at = self._falls_to(self.minute, cost, ceiling)
        return at if self.burst is None else max(at, self._falls_to(self.burst, cost, self._burst_of(ceiling)))

    def _falls_to(self, log: SlotLog, cost: int, ceiling: int) -> float:
        counted = self.unsent + log.used
        if not counted or counted + cost <= ceiling:
            return -math.inf
        if self.unsent + cost <= ceiling:
            return log.leaves_at(counted + cost - ceiling)
        # Only into an empty window, which it is not before what is unsent is given back.
        return math.inf if self.unsent else log.leaves_at(log.used)

    def uncharge(self, cost: int) -> None:
        """Take back what was granted and not sent."""
        self.unsent -= cost
        if self.seen is not None:
            self.seen.spend(-cost)

    def add(self, now: float, amount: int) -> None:
        """Count `amount` that nobody granted as sent now, room or not."""
        self.minute.add(now, amount)
        if self.burst is not None:
            self.burst.add(now, amount)

    def give_back(self, mark: Mark, amount: int) -> bool:
        """Take `amount` out of where it was stamped, if that still counts; return whether it did."""
        in_minute, in_burst = mark
        if in_burst is not None and self.burst is not None:
            self.burst.give_back(in_burst, amount)
        return self.minute.give_back(in_minute, amount)

    def observe(self, now: float, seen: LimitSeen, percent: int) -> bool:
        """Take note of a header; return whether the ceiling rose. What is not positive, or not finite, says nothing."""
        before = self.ceiling
        if seen.limit is not None and seen.limit > 0:
            self._provider_limit = seen.limit
            self.set_percent(percent)
        full = min(self.limit, self._provider_limit)
        reset_s = self._window_s if seen.reset_s is None else seen.reset_s
        if seen.remaining is not None and 0 <= seen.remaining < full and 0.0 < reset_s < math.inf:
            limit = max(full, seen.limit or 0)
            news = SeenAllowance(now, remaining=seen.remaining - self.unsent, limit=limit, reset_s=reset_s)
            if self.seen is None or now >= self.seen.full_at or news.stricter_than(self.seen, now):
                self.seen = news
        return self.ceiling > before

    def snapshot(self, now: float) -> DimensionSnapshot:
        """Return the state."""
        self.minute.expire(now)
        return DimensionSnapshot(limit=self.limit, ceiling=self.ceiling, used=self.minute.used, unsent=self.unsent)
