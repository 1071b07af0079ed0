"""What one holder has of one kind of amount: leased, taken, sent and given back."""

from __future__ import annotations

import math

from spillway.remote.rate_limit.adaptive import FULL_PERCENT
from spillway.remote.rate_limit.dimension import KINDS

_SMOOTH_S = 0.25


class Batch:
    """What was sent within one sub-slot, until it is known where the store has counted it.

    Attributes:
        began: when it was begun.
        at: when the last of it was sent.
        amounts: sent, of each kind.
        owed: of what is being reported, what has come to less meanwhile.
        told: it is being reported, or has been.
        slots: where it was counted; empty: not known yet.
    """

    __slots__ = ("amounts", "at", "began", "owed", "slots", "told")

    def __init__(self, now: float) -> None:
        self.began = self.at = now
        self.amounts = [0, 0, 0, 0]
        self.owed = [0, 0, 0, 0]
        self.told = False
        self.slots: tuple[int, ...] = ()


class Purse:
    """One kind of amount that is limited.

    Attributes:
        have: leased and not taken.
        taken: taken by permits and not sent.
        gone: of what was leased, sent or given back since the last report.
        need: what was refused since then, for want of a lease.
        drawn: taken since then.
        rate: taken a second, smoothed over a quarter of one.
        given: what came to less than it was sent for since then, by the slots where that was counted.
        there: as of the last answer, what all holders have sent in the window and what they hold.
    """

    __slots__ = (
        "drawn",
        "given",
        "gone",
        "have",
        "kind",
        "limit",
        "name",
        "need",
        "provider",
        "rate",
        "taken",
        "there",
    )

    def __init__(self, kind: int, limit: int) -> None:
        self.kind = kind
        self.name = KINDS[kind]
        self.limit = limit
        self.provider = math.inf
        """The limit that the provider says it has."""
        self.have = self.taken = self.gone = self.need = self.drawn = 0
        self.rate = 0.0
        self.given: dict[tuple[int, ...], int] = {}
        self.there: tuple[int, int] = 0, 0

    def ceiling(self, percent: int) -> int:
        """Return what of the limit is used, at this share of it."""
        return max(1, int(min(self.limit, self.provider)) * percent // FULL_PERCENT)

    def give(self, batch: Batch, surplus: int) -> None:
        """Count less of what was sent in `batch`."""
        if batch.slots:
            self.given[batch.slots] = self.given.get(batch.slots, 0) + surplus
        elif batch.told:
            batch.owed[self.kind] += surplus
        else:
            batch.amounts[self.kind] -= surplus

    def void(self) -> None:
        """Give all back that was not taken."""
        self.gone += self.have
        self.have = 0

    def refill(self, elapsed_s: float, *, ahead_s: float, spare_s: float) -> tuple[int, int]:
        """Give back what the coming `spare_s` do not need, all of it where it did not suffice.

        Args:
            elapsed_s: since the last call.
            ahead_s: what the coming so many seconds need is worth a lease.

        Returns:
            What is needed, and what is wanted.
        """
        if elapsed_s > 0:
            self.rate += (self.drawn / elapsed_s - self.rate) * (1.0 - math.exp(-elapsed_s / _SMOOTH_S))
        need, drawn = self.need, self.drawn
        self.need = self.drawn = 0
        if need:
            self.void()
            return need, need + max(int(self.rate * ahead_s), 2 * drawn)
        spare = self.have - int(self.rate * spare_s)
        if spare > 0:
            self.have -= spare
            self.gone += spare
        return 0, max(0, int(self.rate * ahead_s) - self.have)

    def __repr__(self) -> str:
        return f"<Purse {self.name} has {self.have} taken {self.taken} gone {self.gone}>"


class Seats:
    """How many requests may be under way: one holder's part.

    Attributes:
        limit: of all holders; None: any number.
        have: free ones.
        taken: by requests under way.
        gone: given back since the last report.
        need: what was refused since then, for want of a seat.
        most: the most that were taken lately.
    """

    __slots__ = ("gone", "have", "limit", "most", "need", "taken")

    def __init__(self) -> None:
        self.limit: int | None = None
        self.have = self.taken = self.gone = self.need = self.most = 0

    @property
    def short(self) -> bool:
        """Whether somebody lacks one."""
        return self.need > 0

    def void(self) -> None:
        """Give all free ones back."""
        self.gone += self.have
        self.have = 0

    def refill(self, *, pressed: bool) -> tuple[int, int]:
        """Give back what lately was not in use, all free ones where others lack some; return what is needed, wanted."""
        need, self.need = self.need, 0
        self.most = max(self.taken, self.most - 1 - self.most // 8)
        if self.limit is None or need or pressed:
            self.void()
        elif (spare := self.taken + self.have - self.most) > 0:
            spare = min(spare, self.have)
            self.have -= spare
            self.gone += spare
        return need, need + (self.taken // 4 if need else 0)
