"""What goes wrong, when and for how long: a pure function of scenario, seed and size.

Order: the span of faults is cut into as many sections as there are faults; each holds one fault, which begins and ends
within it, so that no two overlap and the last leaves time to recover. Every kind comes once before any comes twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import msgspec

Item = TypeVar("Item")

KILL, PAUSE, CUT, DELAY, BLACK_HOLE, LOSE_STORE = "kill", "pause", "cut", "delay", "black hole", "lose store"
"""A node dies and starts again; stops and goes on; its link to the store is cut, slow, or takes all and gives nothing;
the store dies and starts again, empty."""

DELAY_S = 0.05
"""How long a slow link takes for each way."""

_WORDS = {
    KILL: "kill node {node}, started again after {for_s}",
    PAUSE: "stop node {node} for {for_s}",
    CUT: "cut node {node} off the store for {for_s}",
    DELAY: "slow the link of node {node} to the store down for {for_s}",
    BLACK_HOLE: "let the link of node {node} to the store swallow everything for {for_s}",
    LOSE_STORE: "kill the store, started again empty after {for_s}",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong.

    Attributes:
        at_s: seconds after the faults' beginning.
        kind: one of the above.
        node: from 1 on; 0 where it is the store.
        for_s: how long it lasts.
        lines: of a batch: it happens once the node has written so many more since it was last started, so that on any
            machine it falls into the middle of the work.
    """

    kind: str
    node: int
    at_s: float = 0.0
    for_s: float = 0.0
    lines: int = 0

    def __str__(self) -> str:
        if self.lines:
            return f"kill node {self.node} after {self.lines} more lines, started again at once"
        return _WORDS[self.kind].format(node=self.node, for_s=f"{self.for_s:.2f} s")


class Dice:
    """Numbers that follow from a seed and a name, the same on every machine and in every version of Python."""

    def __init__(self, seed: int, name: str) -> None:
        self._name = f"{seed}:{name}"
        self._thrown = 0

    def throw(self) -> float:
        """Return the next number in [0, 1)."""
        self._thrown += 1
        digest = hashlib.blake2b(f"{self._name}:{self._thrown}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.throw()

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """Return the items in an order of chance."""
        left = list(items)
        return [left.pop(int(self.throw() * len(left))) for _ in range(len(left))]


def plan(
    name: str, seed: int, kinds: Sequence[str], *, nodes: int, faults: int, span_s: float, longest_s: float
) -> tuple[Fault, ...]:
    """Return the faults of a scenario in their order.

    Args:
        name: the scenario's.
        kinds: what may go wrong.
        span_s: within it all of them come and go.
        longest_s: no fault lasts longer, nor longer than a section has room for.
    """
    dice = Dice(seed, name)
    kinds_left: list[str] = []
    nodes_left: list[int] = []
    found = []
    section_s = span_s / faults
    for index in range(faults):
        kinds_left = kinds_left or dice.shuffled(kinds)
        nodes_left = nodes_left or dice.shuffled(range(1, nodes + 1))
        kind = kinds_left.pop()
        for_s = min(longest_s, section_s * 0.7) * dice.between(0.6, 1.0)
        at_s = index * section_s + dice.between(0.0, 0.25) * (section_s - for_s)
        node = 0 if kind == LOSE_STORE else nodes_left.pop()
        found.append(Fault(at_s=round(at_s, 3), kind=kind, node=node, for_s=round(for_s, 3)))
    return tuple(found)


def kills(name: str, seed: int, *, nodes: int, count: int, fewest: int, most: int) -> tuple[Fault, ...]:
    """Return kills of batch nodes, those of each node in their order, spread evenly over the nodes.

    Args:
        fewest, most: lines that a node writes between two of its kills.
    """
    dice = Dice(seed, name)
    nodes_left: list[int] = []
    found = []
    for _ in range(count):
        nodes_left = nodes_left or dice.shuffled(range(1, nodes + 1))
        lines = int(dice.between(fewest, most + 1))
        found.append(Fault(kind=KILL, node=nodes_left.pop(), lines=lines))
    return tuple(found)
