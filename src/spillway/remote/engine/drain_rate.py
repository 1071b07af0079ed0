"""How fast requests leave, for an honest Retry-After."""

from __future__ import annotations

_SPAN_S = 5.0


class DrainRate:
    """Departures per second over the last five to ten seconds.

    Complexity: O(1), two counters.
    """

    __slots__ = ("_before", "_now", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._now = 0
        self._before = 0

    def count(self, now: float) -> None:
        """Count one departure."""
        if now - self._since >= _SPAN_S:
            self._turn(now)
        self._now += 1

    def per_second(self, now: float) -> float:
        """Return the rate; 0.0 when nothing has left lately."""
        if now - self._since >= _SPAN_S:
            self._turn(now)
        share = (now - self._since) / _SPAN_S
        if not self._before:
            return self._now / max(now - self._since, 0.5)
        return (self._now + self._before * (1 - share)) / _SPAN_S

    def _turn(self, now: float) -> None:
        spans = int((now - self._since) // _SPAN_S)
        self._before = self._now if spans == 1 else 0
        self._now = 0
        self._since += spans * _SPAN_S
