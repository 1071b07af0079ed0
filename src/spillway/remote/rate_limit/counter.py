"""What every node has counted, by window slot and node: a grow-only counter that merges in any order.

Each entry is what one incarnation of a node has counted in one slot so far, and what it has given back of it. Both only
grow, so the larger of two readings is the newer one. An incarnation is used by one process, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

DIMENSIONS = 4
LARGEST = 1 << 53

Entry = tuple[int, ...]
"""Counted in requests, tokens, input and output tokens, then given back of each: eight whole numbers."""

_NOTHING: Entry = (0,) * (2 * DIMENSIONS)


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one incarnation says of one slot."""

    node: str
    slot: int
    entry: Entry


class SlotCounter:
    """The merged view of one node over the slots of a window.

    Args:
        node: its own incarnation.
        slots: that the window and its guard have.

    Attributes:
        rejected: deltas that could not be true.

    Invariants: `used` is the sum of all live entries; merging is commutative, associative and idempotent; an entry
        never sinks but by leaving the window.
    Complexity: O(1) an entry.
    """

    __slots__ = ("_changed", "_first", "_live", "_slots", "node", "own", "rejected", "used")

    def __init__(self, node: str, slots: int) -> None:
        self.node = node
        self._slots = slots
        self._live: dict[int, dict[str, Entry]] = {}
        self._first = 0
        self._changed: set[int] = set()
        self.used = [0] * DIMENSIONS
        self.own = [0] * DIMENSIONS
        self.rejected = 0

    def add(self, slot: int, amounts: Iterable[int]) -> None:
        """Count amounts of this node in `slot`, or in the oldest live one if that has left."""
        slot = max(slot, self._first)
        before = self._live.setdefault(slot, {}).get(self.node, _NOTHING)
        after = list(before)
        for kind, amount in enumerate(amounts):
            after[kind] += amount
            self.used[kind] += amount
            self.own[kind] += amount
        self._live[slot][self.node] = tuple(after)
        self._changed.add(slot)

    def give_back(self, slot: int, kind: int, amount: int) -> bool:
        """Give back what this node counted in `slot`; False when that has left the window."""
        before = self._live.get(slot, {}).get(self.node)
        if before is None:
            return False
        after = list(before)
        after[DIMENSIONS + kind] += amount
        self._live[slot][self.node] = tuple(after)
        self.used[kind] -= amount
        self.own[kind] -= amount
        self._changed.add(slot)
        return True

    def merge(self, deltas: Iterable[Delta], newest: int) -> bool:
        """Take what others have counted; return whether anything was news.

        Args:
            newest: the slot of now; what claims to be later is rejected, as is what is not eight numbers that may be.
        """
        news = False
        for delta in deltas:
            if delta.node == self.node:
                continue
            if not _is_true(delta, newest):
                self.rejected += 1
                continue
            if delta.slot < self._first:
                continue
            there = self._live.setdefault(delta.slot, {})
            before = there.get(delta.node, _NOTHING)
            after = tuple(max(pair) for pair in zip(before, delta.entry, strict=True))
            if after == before:
                continue
            news = True
            there[delta.node] = after
            for kind in range(DIMENSIONS):
                self.used[kind] += _left(after, kind) - _left(before, kind)
        return news

    def expire(self, newest: int) -> bool:
        """Drop what has left the window that ends with slot `newest`; return whether anything has."""
        first = newest - self._slots + 1
        if first <= self._first:
            return False
        gone = [slot for slot in self._live if slot < first]
        for slot in gone:
            for node, entry in self._live.pop(slot).items():
                for kind in range(DIMENSIONS):
                    left = _left(entry, kind)
                    self.used[kind] -= left
                    if node == self.node:
                        self.own[kind] -= left
            self._changed.discard(slot)
        self._first = first
        return bool(gone)

    def leaves_at(self, kind: int, amount: int) -> int | None:
        """Return the slot after which at least `amount` of what is counted has left, None when there is not so much."""
        gone = 0
        for slot in sorted(self._live):
            gone += sum(_left(entry, kind) for entry in self._live[slot].values())
            if gone >= amount:
                return slot + self._slots
        return None

    def take_changes(self) -> list[Delta]:
        """Return what this node has counted since the last call; to be told again with `tell_again` if it got lost."""
        changed, self._changed = self._changed, set()
        return [Delta(self.node, slot, self._live[slot][self.node]) for slot in sorted(changed)]

    def tell_again(self) -> None:
        """Have the next `take_changes` return all that is live: what was told may not have arrived."""
        self._changed = {slot for slot, there in self._live.items() if self.node in there}

    def nodes(self) -> Mapping[str, int]:
        """Return every node that has counted in the window, with its newest slot."""
        newest: dict[str, int] = {}
        for slot, there in self._live.items():
            for node in there:
                newest[node] = max(slot, newest.get(node, slot))
        return newest

    def __repr__(self) -> str:
        return f"<SlotCounter {self.node} requests {self.used[0]} of them own {self.own[0]}>"


def _left(entry: Entry, kind: int) -> int:
    return entry[kind] - entry[DIMENSIONS + kind]


def _is_true(delta: Delta, newest: int) -> bool:
    entry = delta.entry
    return (
        0 <= delta.slot <= newest + 1
        and len(entry) == 2 * DIMENSIONS
        and all(0 <= amount < LARGEST for amount in entry)
        and all(_left(entry, kind) >= 0 for kind in range(DIMENSIONS))
    )
