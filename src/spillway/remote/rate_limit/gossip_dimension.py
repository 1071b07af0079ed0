"""One limit that nodes keep together by telling: what of it may be granted here, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spillway.core.limit_store import DimensionSnapshot
from spillway.remote.rate_limit.adaptive import FULL_PERCENT
from spillway.remote.rate_limit.dimension import KINDS, burst_log

if TYPE_CHECKING:
    from spillway.remote.rate_limit.counter import SlotCounter
    from spillway.remote.rate_limit.slot_log import SlotLog
    from spillway.remote.rate_limit.telling import Heard

_TINY = 1e-9
"""Undoes a product that came out an ulp below a whole number."""


class GossipDimension:
    """A limit as one node sees it.

    Attributes:
        kind: its place in `KINDS`.
        limit: as configured.
        ceiling: what of it all nodes together use now.
        allowance: what may be granted here between two refills.
        left: of the allowance; below nothing by what the last request was larger than what was left.
        unsent: granted here and not sent.
        burst: what was sent here, exactly, where a shorter span has a limit of its own.
    """

    __slots__ = ("_burst_part", "_since_begin", "allowance", "burst", "ceiling", "kind", "left", "limit", "unsent")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.limit = self.ceiling = self.allowance = 0
        self.left = self.unsent = self._since_begin = 0
        self.burst: SlotLog | None = None
        self._burst_part = 1.0

    def configure(self, limit: int, *, burst_s: float, window_s: float, allowance_s: float) -> None:
        """Have another limit from now on; what was sent keeps counting."""
        self.limit = limit
        self.allowance = max(1, math.ceil(limit * allowance_s / window_s - _TINY))
        self.left = min(self.left, self.allowance)
        self._burst_part = burst_s / window_s
        before, self.burst = self.burst, burst_log(limit, burst_s, window_s)
        if before is not None and self.burst is not None:
            before.move_to(self.burst)

    def use(self, percent: int, *, kept: float = 0.0, counted: int = 0) -> None:
        """Use `percent` of the limit, less what is kept for nodes that may be cut off.

        Args:
            kept: their part of it.
            counted: what of that they have sent already.
        """
        ceiling = max(1, self.limit * percent // FULL_PERCENT)
        self.ceiling = max(1, ceiling - max(0, int(ceiling * kept + _TINY) - counted))

    # The allowance.

    def grant(self, cost: int) -> None:
        """Grant `cost`."""
        self.unsent += cost
        self.left -= cost
        self._since_begin += cost

    def ungrant(self, cost: int) -> None:
        """Take back what was granted and not sent."""
        self.unsent -= cost
        self.left = min(self.left + cost, self.allowance)
        self._since_begin -= min(cost, self._since_begin)

    def begin(self) -> None:
        """Take note that what was granted until now is being told."""
        self._since_begin = 0

    def refill(self) -> None:
        """Begin another round: since the last `begin` no more than the allowance is granted until the next refill."""
        self.left = min(self.allowance - self._since_begin, self.left + self.allowance)

    # When it fits.

    def room_at(self, cost: int, counter: SlotCounter, told: int) -> float:
        """Return the slot with whose begin `cost` fits into what all nodes may send.

        `-inf` when it fits now, `inf` when that must be told first.

        Args:
            told: what others have granted and not sent.
        """
        used, unsent = counter.used[self.kind], self.unsent + told
        over = used + unsent + cost - self.ceiling
        if over <= 0 or not used + unsent:
            return -math.inf
        if unsent and unsent + cost > self.ceiling:
            return math.inf
        slot = counter.leaves_at(self.kind, min(used, over))
        return math.inf if slot is None else slot

    def rounds_until_left(self) -> int:
        """Return after how many refills something is left of the allowance, 0 when something is."""
        return 0 if self.left > 0 else math.ceil((1 - self.left) / self.allowance)

    def fits_alone(self, cost: int, counter: SlotCounter, solo: SlotCounter, told: int, part: float) -> bool:
        """Whether `cost` fits into this node's part of the limit, and of the room that opens in it.

        Args:
            solo: what was counted here since this node was cut off.
            told: what others had granted and not sent then.
            part: of this node.
        """
        kind, more = self.kind, self.unsent + cost
        room = self.ceiling - (counter.used[kind] - solo.used[kind]) - told
        own_fits = counter.own[kind] + more <= int(self.ceiling * part + _TINY)
        return own_fits and solo.used[kind] + more <= int(room * part + _TINY)

    def burst_at(self, now: float, cost: int, part: float) -> float:
        """Return when `cost` fits into this node's part of a burst."""
        burst = self.burst
        if burst is None:
            return now
        burst.expire(now)
        counted = burst.used + self.unsent
        over = counted + cost - max(1, int(self.ceiling * part * self._burst_part + _TINY))
        if over <= 0 or not counted:
            return now
        if self.unsent and over > burst.used:
            return math.inf
        return burst.leaves_at(min(burst.used, over))

    def snapshot(self, counter: SlotCounter, heard: Heard, *, alone: bool) -> DimensionSnapshot:
        """Return the state: of all nodes, or of this one where it is cut off."""
        kind = self.kind
        return DimensionSnapshot(
            limit=self.limit,
            ceiling=int(self.ceiling * heard.part + _TINY) if alone else self.ceiling,
            used=counter.own[kind] if alone else counter.used[kind],
            unsent=self.unsent if alone else self.unsent + heard.unsent[kind],
        )

    def __repr__(self) -> str:
        return f"<GossipDimension {KINDS[self.kind]} {self.ceiling} of {self.limit}, left {self.left}>"
