"""What one node knows of all that was counted, and since when it knows nothing new."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spillway.core.limit_store import APPROXIMATE, JOINING, SHARE, STALE_ROUNDS, LimiterMode
from spillway.remote.rate_limit.counter import Delta, SlotCounter
from spillway.remote.rate_limit.dimension import SUB_SLOTS
from spillway.remote.rate_limit.telling import Heard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.remote.rate_limit.gossip_dimension import GossipDimension

"""Rounds without a sync after which a node takes itself for cut off; a sync that fails says so at once."""

SLOTS = SUB_SLOTS + 2
"""One more for the slot that the window begins in, one for the guard."""

_AHEAD_S = 0.3
"""How far ahead of this node's reading of the store's clock another's may be: a sync's longest."""

_GRAIN_S = 0.001
"""What the store's clock may be ahead of what it tells in whole milliseconds."""

_RETOLD = 2000


class GossipView:
    """The counter, kept by the store's clock; `now` is this node's own.

    Args:
        node: this incarnation.

    Attributes:
        counter: all that is known.
        solo: what was counted here since the node was cut off; None while it is not.
        heard: at the last sync.
        next_slot: when something may leave the window.
        synced_at: the last sync that succeeded.

    Invariants: what is counted counts from the latest instant that the store's clock may show, and leaves at the
        earliest, so that the length of a sync is no error of the window.
    """

    __slots__ = (
        "_earliest",
        "_latest",
        "_sync_s",
        "_told_until",
        "counter",
        "heard",
        "next_slot",
        "solo",
        "synced_at",
        "width_s",
    )

    def __init__(self, node: str, *, sync_s: float, window_s: float) -> None:
        self.width_s = window_s / SUB_SLOTS
        self.counter = SlotCounter(node, SLOTS)
        self.solo: SlotCounter | None = None
        self.heard = Heard()
        self.next_slot = self.synced_at = self._told_until = -math.inf
        self._sync_s = sync_s
        self._earliest = self._latest = 0.0

    def mode(self, now: float) -> LimiterMode:
        """Return `joining`, `approximate` or `share`.

        One that has heard nothing for three rounds, and has not failed to reach the store either, was stopped: others
        may have taken it for dead, so it joins again.
        """
        if self.solo is not None:
            return SHARE
        return APPROXIMATE if now - self.synced_at <= STALE_ROUNDS * self._sync_s else JOINING

    def cut_off(self, now: float) -> None:
        """Count apart, from now on, what nobody else learns of; it has been synced before."""
        if self.solo is None and self.synced_at != -math.inf:
            self.solo = SlotCounter(self.counter.node, SLOTS)
            self.expire(now)
            # What others had under way then is sent by then, and has left a window later.
            self._told_until = now + SLOTS * self.width_s

    def hear(self, now: float, heard: Heard, *, began: float) -> None:
        """Take what a sync brought that began at `began` and ended now."""
        self._earliest = heard.store_now - now
        self._latest = heard.store_now + _GRAIN_S - began
        self.heard = heard
        self.solo = None
        self.expire(now)
        self.counter.merge(heard.deltas, self.slot(now + _AHEAD_S))
        self.synced_at = now

    def told(self, now: float, kind: int) -> int:
        """Return what others had granted and not sent, as long as that may be."""
        return self.heard.unsent[kind] if self.solo is None or now < self._told_until else 0

    def gone(self) -> list[Delta]:
        """Return what is known of nodes that have not counted for some rounds."""
        rounds = STALE_ROUNDS * self._sync_s
        before = math.floor((self.synced_at + self._earliest - rounds) / self.width_s)
        return self.counter.heard(before=before, most=_RETOLD)

    def slot(self, now: float) -> int:
        """Return the slot that what is sent now counts in."""
        return math.floor((now + self._latest) / self.width_s)

    def begins_at(self, slot: float) -> float:
        """Return when what leaves with the begin of a slot has left."""
        return slot * self.width_s - self._earliest

    def expire(self, now: float) -> None:
        """Drop what has left the window."""
        slot = math.floor((now + self._earliest) / self.width_s)
        self.counter.expire(slot)
        if self.solo is not None:
            self.solo.expire(slot)
        self.next_slot = self.begins_at(slot + 1)

    def count(self, now: float, slot: int, dimension: GossipDimension, amount: int) -> None:
        """Count an amount of this node."""
        self.counter.add(slot, dimension.kind, amount)
        if self.solo is not None:
            self.solo.add(slot, dimension.kind, amount)
        if dimension.burst is not None:
            dimension.burst.add(now, amount)

    def give_back(self, marks: tuple[int, SlotCounter | None], kind: int, surplus: int) -> bool:
        """Give back what was counted at `marks`: a slot, and the counter of being cut off then."""
        slot, solo = marks
        if solo is not None and solo is self.solo:
            solo.give_back(slot, kind, surplus)
        return self.counter.give_back(slot, kind, surplus)

    def kept(self) -> tuple[float, list[Sequence[int]]]:
        """Return the part of nodes that may be cut off, and what each of them is known to have counted."""
        silent = self.heard.silent if self.solo is None else ()
        return sum(part for _, part in silent), [self.counter.counted_by(node) for node, _ in silent]

    def __repr__(self) -> str:
        return f"<GossipView {self.counter!r} of {self.heard.nodes} nodes{' cut off' if self.solo else ''}>"
