"""What the provider's answers teach: 429s lower the rate for a while, headers say what it still takes."""

from __future__ import annotations

import math

FULL_PERCENT = 100
FLOOR_PERCENT = 5
STEP_PERCENT = 5
_CUT = 0.7
_STEPS_A_WINDOW = 30
_SPACINGS_A_WINDOW = 20
_LONGEST_RESET_S = 3600.0


class Throttle:
    """The share of the limits in use, and the pause a provider asked for.

    A 429 lowers the share to 0.7 of itself, not below 5 %; it grows by 5 % of the limit each 30th of a window (2 s)
    without another. All 429s of one pause, or of one 20th of a window (3 s), count once: they were under way already.

    Invariants: 5 <= percent <= 100; `blocked_until` never moves back.
    """

    __slots__ = ("_next_cut", "_spacing_s", "_step_s", "blocked_until", "grows_at", "percent")

    def __init__(self, window_s: float) -> None:
        self._step_s = window_s / _STEPS_A_WINDOW
        self._spacing_s = window_s / _SPACINGS_A_WINDOW
        self._next_cut = -math.inf
        self.percent = FULL_PERCENT
        self.grows_at = math.inf
        """When the share takes its next step up."""
        self.blocked_until = -math.inf

    def cut(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429; `retry_after` that is not a finite positive number asks for no pause."""
        if retry_after is not None and 0.0 < retry_after < math.inf:
            self.blocked_until = max(self.blocked_until, now + retry_after)
        if now >= self._next_cut:
            self.percent = max(FLOOR_PERCENT, int(self.percent * _CUT))
            self._next_cut = now + self._spacing_s
        quiet_from = max(now, self.blocked_until)
        self._next_cut = max(self.blocked_until, self._next_cut)
        self.grows_at = quiet_from + self._step_s

    def grow(self, now: float) -> None:
        """Take the steps up that are due."""
        while now >= self.grows_at:
            self.percent = min(FULL_PERCENT, self.percent + STEP_PERCENT)
            self.grows_at = math.inf if self.percent == FULL_PERCENT else self.grows_at + self._step_s

    def outlook(self, now: float) -> list[tuple[float, int]]:
        """Return from when on which share holds if no 429 comes; the first is now's, the last is 100."""
        steps = [(now, self.percent)]
        at, percent = self.grows_at, self.percent
        while percent < FULL_PERCENT:
            percent = min(FULL_PERCENT, percent + STEP_PERCENT)
            steps.append((at, percent))
            at += self._step_s
        return steps


class SeenAllowance:
    """What a provider said it still takes, growing evenly to its limit at the reset.

    Args:
        now: when its answer came.
        remaining: what it said remains, less what was granted and not sent by then.
        limit: what there will be at the reset.
        reset_s: seconds until then, at most an hour is believed.
    """

    __slots__ = ("_at", "_limit", "_remaining", "_spent", "full_at")

    def __init__(self, now: float, *, remaining: int, limit: int, reset_s: float) -> None:
        self._at = now
        self._remaining = remaining
        self._limit = limit
        self._spent = 0
        self.full_at = now + min(reset_s, _LONGEST_RESET_S)

    def spend(self, amount: int) -> None:
        """Count what was granted since; negative: what was given back unsent."""
        self._spent += amount

    def room_at(self, cost: int) -> float:
        """Return when `cost` fits; at the reset everything does."""
        need = cost + self._spent - self._remaining
        if need <= 0:
            return self._at
        growth = self._limit - self._remaining
        if need >= growth:
            return self.full_at
        return self._at + (self.full_at - self._at) * need / growth

    def stricter_than(self, other: SeenAllowance, now: float) -> bool:
        """Whether it takes less now, or as little for longer."""
        return (self._free(now), -self.full_at) < (other._free(now), -other.full_at)

    def _free(self, now: float) -> float:
        grown = (self._limit - self._remaining) * (now - self._at) / (self.full_at - self._at)
        return self._remaining + grown - self._spent
