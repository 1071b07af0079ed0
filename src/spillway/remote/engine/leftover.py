"""What more important requests leave to those of the class `background`: slots, and room in the limits.

In the queue a background request already comes after all others. That does not help the one that arrives when every
slot is in a long background request, or when background requests have used the minute up. So they leave free what the
others have lately needed:

slots    as many as others had in use at once in the last minute, at most half of all
limits   as much as others used in the busiest minute of the last two, and a tenth more; what they use now counts
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

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


class LiveUse(NamedTuple):
    """What more important requests take of the limits: requests, tokens, input and output tokens.

    Attributes:
        present: in the last minute.
        busiest: in the busiest of the last two.
    """

    present: _Amounts = _NOTHING
    busiest: _Amounts = _NOTHING

    def plus(self, other: LiveUse) -> LiveUse:
        """Return both together."""
        return LiveUse(_sum(self.present, other.present), _sum(self.busiest, other.busiest))


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
        elsewhere: says what is used elsewhere of the same limits; None: nobody else has them.
        asked_at: when a background request was here last.

    Complexity: half a microsecond a request; 24 spans are looked through for a background one.
    """

    __slots__ = ("_gates", "_spans", "asked_at", "busy", "elsewhere")

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._spans: deque[_Span] = deque([_Span(-1, 0)], maxlen=_KEPT)
        self.busy = 0
        self.elsewhere: Callable[[], LiveUse] | None = None
        self.asked_at = float("-inf")

    def use(self, now: float) -> LiveUse:
        """Return what more important requests use of the limits now, and used in the busiest minute of the last two."""
        newest = int(now // SPAN_S)
        minutes = [_within(self._spans, at) for at in range(newest - _MINUTE + 1, newest + 1)]
        requests, tokens, inputs, outputs = (max(amounts) for amounts in zip(*minutes, strict=True))
        return LiveUse(minutes[-1], (requests, tokens, inputs, outputs))

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
        self.asked_at = now
        newest = int(now // SPAN_S)
        peak = max((span.peak for span in self._spans if span.number > newest - _MINUTE), default=0)
        return free <= min(peak, slots // 2) - self.busy or self._lacks_room(call, now)

    def _lacks_room(self, call: Call, now: float) -> bool:
        use = self.use(now)
        if self.elsewhere is not None:
            use = use.plus(self.elsewhere())
        if not any(use.busiest):
            return False
        seen = self._gates.limiter.snapshot()
        wanted = _amounts(self._gates.permit_for(call))
        for name, want, most, present in zip(_AMOUNTS, wanted, use.busiest, use.present, strict=True):
            limit = getattr(seen, name)
            if limit is None or not most:
                continue
            reserved = min(int(most * _GROWTH) + 1 - present, limit.ceiling)
            if reserved > 0 and limit.used + limit.unsent + want + reserved > limit.ceiling:
                return True
        return False

    def __repr__(self) -> str:
        return f"<Leftover {self.busy} more important, at most {max(span.peak for span in self._spans)} at once>"


def _within(spans: Iterable[_Span], last: int) -> _Amounts:
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
