"""What is known of every line in a few bytes each, so that memory hardly grows with the input."""

from __future__ import annotations

from array import array

_FREE = 0
_LEAST = 1024


class LineSet:
    """A set of line numbers.

    Complexity: one bit a line.
    """

    __slots__ = ("_bits", "count")

    def __init__(self, lines: int = 0) -> None:
        self._bits = bytearray(lines // 8 + 1)
        self.count = 0

    def add(self, number: int) -> bool:
        """Take a number in; return whether it is new."""
        byte, bit = number >> 3, 1 << (number & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        if self._bits[byte] & bit:
            return False
        self._bits[byte] |= bit
        self.count += 1
        return True

    def __contains__(self, number: int) -> bool:
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] & (1 << (number & 7)))

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<LineSet of {self.count}>"


class IdSet:
    """A set of texts by 64 bits of their hash, in open addressing.

    Two different texts are taken for one with a probability below n²/2⁶⁵: 3e-8 for a million ids.

    Args:
        expected: ids to come; more are taken in too.

    Complexity: at most 24 bytes an id; O(1) to add.
    """

    __slots__ = ("_mask", "_slots", "count")

    def __init__(self, expected: int = 0) -> None:
        size = _LEAST
        while size * 2 < expected * 3:
            size *= 2
        self._slots = array("Q", bytes(8 * size))
        self._mask = size - 1
        self.count = 0

    def add(self, text: str) -> bool:
        """Take a text in; return whether it is new."""
        if self.count * 4 >= len(self._slots) * 3:
            self._grow()
        mark = hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1
        if not self._place(mark):
            return False
        self.count += 1
        return True

    def _place(self, mark: int) -> bool:
        slots, mask = self._slots, self._mask
        at = mark & mask
        while (held := slots[at]) != _FREE:
            if held == mark:
                return False
            at = (at + 1) & mask
        slots[at] = mark
        return True

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        self._mask = len(self._slots) - 1
        for mark in old:
            if mark != _FREE:
                self._place(mark)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<IdSet {self.count} in {len(self._slots)}>"
