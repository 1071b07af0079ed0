"""What more important requests leave to those of the class `background`: slots, and room in the limits.

In the queue a background request already comes after all others. That does not help the one that arrives when every
slot is in a long background request, or when background requests have used the minute up. So they leave free what the
others have lately needed:

slots    as many as others had in use at once in the last minute, at most half of all
limits   as much as others used in the busiest minute of the last two, and a tenth more; what they use now counts
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from spillway.core.priority import Priority

if TYPE_CHECKING:
    from spillway.core.limit_store import AcquirePermit
    from spillway.remote.engine.call import Call
    from spillway.remote.engine.gates import Gates

SPAN_S = 5.0
_MINUTE = 12
_KEPT = 2 * _MINUTE
_GROWTH = 1.1

AGAIN_S = 0.25
"""Seconds after which a background request that was held up looks again."""

_AMOUNTS = ("requests", "tokens", "input_tokens", "output_tokens")
_Amounts = tuple[int, int, int, int]
_NOTHING: _Amounts = (0, 0, 0, 0)


class _Span:
    """Five seconds of more important requests: what they took of each limit, and the most slots at once."""

    __slots__ = ("number", "peak", "taken")

    def __init__(self, number: int, peak: int) -> None:
        self.number = number
        self.peak = peak
        self.taken = _NOTHING


class Leftover:
    """Learns what more important requests of one engine need, and holds background ones up for it.

    Args:
        gates: say what a request takes of the limits, and what is left of them.

    Attributes:
        busy: more important requests in slots.

    Complexity: half a microsecond a request; 24 spans are looked through for a background one.
    """

    __slots__ = ("_gates", "_spans", "busy")

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._spans: deque[_Span] = deque([_Span(-1, 0)], maxlen=_KEPT)
        self.busy = 0

    def began(self, call: Call, now: float) -> None:
        """Note that a request has got its slot and its permit."""
        if call.priority == Priority.BACKGROUND:
            return
        self.busy += 1
        span = self._spans[-1]
        number = int(now // SPAN_S)
        if span.number != number:
            span = _Span(number, self.busy)
            self._spans.append(span)
        span.peak = max(span.peak, self.busy)
        span.taken = _sum(span.taken, _amounts(self._gates.permit_for(call)))

    def ended(self, call: Call) -> None:
        """Note that it has left its slot."""
        if call.priority != Priority.BACKGROUND:
            self.busy -= 1

    def holds_up(self, call: Call, now: float, *, free: int, slots: int) -> bool:
        """Return whether a request must leave to others what there is now.

        Args:
            free: slots that nobody has.
            slots: that there are.
        """
        if call.priority != Priority.BACKGROUND:
            return False
        newest = int(now // SPAN_S)
        spans = [span for span in self._spans if span.number > newest - _KEPT and span.number >= 0]
        if not spans:
            return False
        peak = max((span.peak for span in spans if span.number > newest - _MINUTE), default=0)
        if free <= min(peak, slots // 2) - self.busy:
            return True
        return self._lacks_room(call, spans, newest)

    def _lacks_room(self, call: Call, spans: list[_Span], newest: int) -> bool:
        present = _within(spans, newest)
        busiest = [max(amounts) for amounts in zip(*(_within(spans, at) for at in range(newest - 11, newest + 1)))]  # noqa: B905
        if not any(busiest):
            return False
        seen = self._gates.limiter.snapshot()
        wanted = _amounts(self._gates.permit_for(call))
        for name, want, most, now in zip(_AMOUNTS, wanted, busiest, present, strict=True):
            limit = getattr(seen, name)
            reserved = min(int(most * _GROWTH) + 1 - now, limit.ceiling if limit is not None else 0) if most else 0
            if limit is not None and reserved > 0 and limit.used + limit.unsent + want + reserved > limit.ceiling:
                return True
        return False

    def __repr__(self) -> str:
        return f"<Leftover {self.busy} more important, at most {max(span.peak for span in self._spans)} at once>"


def _within(spans: list[_Span], last: int) -> _Amounts:
    """Return what was taken in the minute that ends with the span `last`."""
    total = _NOTHING
    for span in spans:
        if last - _MINUTE < span.number <= last:
            total = _sum(total, span.taken)
    return total


def _amounts(want: AcquirePermit) -> _Amounts:
    return want.requests, want.tokens, want.input_tokens, want.output_tokens


def _sum(one: _Amounts, other: _Amounts) -> _Amounts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]
