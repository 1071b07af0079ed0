"""What every node has counted, by window slot and node: a grow-only counter that merges in any order.

Each entry is what one incarnation of a node has counted in one slot so far, and what it has given back of it. Both only
grow, so the larger of two readings is the newer one. An incarnation is used by one process, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

DIMENSIONS = 4
LARGEST = 1 << 53
LONGEST_NAME = 200

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
        used: all that is counted, of each kind.
        own: what of it this node has counted.
        rejected: deltas that could not be true.

    Invariants: `used` is the sum of all live entries; merging is commutative, associative and idempotent; an entry
        never sinks but by leaving the window.
    Complexity: O(1) an entry.
    """

    __slots__ = ("_changed", "_first", "_others", "_own", "_slots", "node", "own", "rejected", "used")

    def __init__(self, node: str, slots: int) -> None:
        self.node = node
        self._slots = slots
        self._own: dict[int, list[int]] = {}
        self._others: dict[int, dict[str, Entry]] = {}
        self._first = 0
        self._changed: set[int] = set()
        self.used = [0] * DIMENSIONS
        self.own = [0] * DIMENSIONS
        self.rejected = 0

    # Its own.

    def add(self, slot: int, kind: int, amount: int) -> None:
        """Count an amount of this node in `slot`, or in the oldest live one if that has left."""
        slot = max(slot, self._first)
        mine = self._own.get(slot)
        if mine is None:
            mine = self._own[slot] = list(_NOTHING)
        mine[kind] += amount
        self.used[kind] += amount
        self.own[kind] += amount
        self._changed.add(slot)

    def give_back(self, slot: int, kind: int, amount: int) -> bool:
        """Give back what this node counted in `slot`; False when that has left the window."""
        mine = self._own.get(slot)
        if mine is None:
            return False
        mine[DIMENSIONS + kind] += amount
        self.used[kind] -= amount
        self.own[kind] -= amount
        self._changed.add(slot)
        return True

    def take_changes(self) -> list[Delta]:
        """Return what this node has counted since the last call; to be told again with `tell_again` if it got lost."""
        changed, self._changed = self._changed, set()
        return [Delta(self.node, slot, tuple(self._own[slot])) for slot in sorted(changed)]

    def tell_again(self) -> None:
        """Have the next `take_changes` return all that is live: what was told may not have arrived."""
        self._changed = set(self._own)

    # What others say.

    def merge(self, deltas: Iterable[Delta], newest: int) -> bool:
        """Take what others have counted; return whether anything was news.

        What can't be true changes nothing and is counted in `rejected`: other than eight whole numbers that may be,
        more given back than counted, a slot that has not begun, no name, or more under this node's own name than it
        has counted. What has left the window is no news.

        Args:
            newest: the latest slot that may have begun anywhere.
        """
        news = False
        for delta in deltas:
            if not _may_be(delta, newest) or (delta.node == self.node and not self._is_mine(delta)):
                self.rejected += 1
                continue
            if delta.slot < self._first or delta.node == self.node:
                continue
            there = self._others.setdefault(delta.slot, {})
            before = there.get(delta.node, _NOTHING)
            after = tuple(map(max, before, delta.entry))
            if after != before:
                news = True
                there[delta.node] = after
                for kind in range(DIMENSIONS):
                    self.used[kind] += _left(after, kind) - _left(before, kind)
        return news

    def _is_mine(self, delta: Delta) -> bool:
        mine = self._own.get(delta.slot, _NOTHING)
        return delta.slot < self._first or all(said <= known for said, known in zip(delta.entry, mine, strict=True))

    def heard(self, *, before: int, most: int) -> list[Delta]:
        """Return entries of nodes that have counted nothing since slot `before`, the newest `most` of them."""
        newest: dict[str, int] = {}
        for slot, there in self._others.items():
            for node in there:
                newest[node] = max(slot, newest.get(node, slot))
        found = [
            Delta(node, slot, entry)
            for slot in sorted(self._others, reverse=True)
            for node, entry in self._others[slot].items()
            if newest[node] < before
        ]
        return found[:most]

    def counted_by(self, node: str) -> list[int]:
        """Return what another node is known to have counted in the window, of each kind."""
        entries = [there[node] for there in self._others.values() if node in there]
        return [sum(_left(entry, kind) for entry in entries) for kind in range(DIMENSIONS)]

    # The window.

    def expire(self, newest: int) -> bool:
        """Drop what has left the window that ends with slot `newest`; return whether anything has."""
        first = newest - self._slots + 1
        if first <= self._first:
            return False
        self._first = first
        gone = [slot for slot in self._own if slot < first]
        for slot in gone:
            mine = self._own.pop(slot)
            self._changed.discard(slot)
            for kind in range(DIMENSIONS):
                left = _left(mine, kind)
                self.used[kind] -= left
                self.own[kind] -= left
        others = [slot for slot in self._others if slot < first]
        for slot in others:
            for entry in self._others.pop(slot).values():
                for kind in range(DIMENSIONS):
                    self.used[kind] -= _left(entry, kind)
        return bool(gone or others)

    def leaves_at(self, kind: int, amount: int) -> int | None:
        """Return the slot with whose begin at least `amount` of what is counted has left; None: there is less."""
        gone = 0
        for slot in sorted({*self._own, *self._others}):
            gone += _left(self._own.get(slot, _NOTHING), kind)
            gone += sum(_left(entry, kind) for entry in self._others.get(slot, {}).values())
            if gone >= amount:
                return slot + self._slots
        return None

    def __repr__(self) -> str:
        return f"<SlotCounter {self.node} requests {self.used[0]} of them own {self.own[0]}>"


def _left(entry: Sequence[int], kind: int) -> int:
    return entry[kind] - entry[DIMENSIONS + kind]


def _may_be(delta: Delta, newest: int) -> bool:
    entry = delta.entry
    return (
        0 < len(delta.node) <= LONGEST_NAME
        and 0 <= delta.slot <= newest
        and len(entry) == 2 * DIMENSIONS
        and all(isinstance(amount, int) and 0 <= amount < LARGEST for amount in entry)
        and all(_left(entry, kind) >= 0 for kind in range(DIMENSIONS))
    )
