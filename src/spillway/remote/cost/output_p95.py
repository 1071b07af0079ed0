"""How long a deployment's answers are."""

from __future__ import annotations

_FIRST_GUESS = 1_024
_ENOUGH = 20
_KEPT = 128
_SORT_EVERY = 16


class OutputP95:
    """The 95th percentile of the newest 128 answers' output tokens; 1,024 until there are 20.

    Complexity: O(1) a `record`, with a sort of 128 numbers each 16th time.
    """

    __slots__ = ("_count", "_newest", "value")

    def __init__(self) -> None:
        self._newest: list[int] = []
        self._count = 0
        self.value = _FIRST_GUESS
        """The estimate, in tokens; at least 1."""

    def record(self, output_tokens: int) -> None:
        """Take note of one answer."""
        count = self._count
        newest = self._newest
        if count < _KEPT:
            newest.append(output_tokens)
        else:
            newest[count % _KEPT] = output_tokens
        self._count = count = count + 1
        if count >= _ENOUGH and (count == _ENOUGH or count % _SORT_EVERY == 0):
            ranked = sorted(newest)
            self.value = max(ranked[-(-len(ranked) * 95 // 100) - 1], 1)

    def __repr__(self) -> str:
        return f"<OutputP95 {self.value} tokens of {min(self._count, _KEPT)} answers>"
