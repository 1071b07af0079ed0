"""How many lines of one target may be under way: all that fit, or in an outage one at a time until it is over."""

from __future__ import annotations

from spillway.batch.verdict import LONGEST_WAIT_S, SHORTEST_WAIT_S


class Pace:
    """The gait of one lane; instants in seconds of one clock.

    While trouble stands one line at a time finds out, after a pause that doubles up to 5 s; each answer then lets one
    more go, so that a provider that is back is not run over.

    Attributes:
        allowed: lines that may be under way.
        closed_until: before that none is started.
        reason: why, None when nothing is wrong.

    Invariants: 1 <= allowed <= capacity.
    """

    __slots__ = ("_pause", "allowed", "capacity", "closed_until", "reason", "since")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.allowed = capacity
        self.closed_until = 0.0
        self.reason: str | None = None
        self.since: float | None = None
        self._pause = SHORTEST_WAIT_S

    def may_start(self, active: int, now: float) -> bool:
        """Return whether one more line may be started beside `active` others."""
        return active < self.allowed and now >= self.closed_until

    def trouble(self, now: float, delay_s: float, reason: str) -> None:
        """Take note of a line that met trouble which is not its own."""
        if self.since is None:
            self.since = now
            self._pause = SHORTEST_WAIT_S
        elif now >= self.closed_until:
            self._pause = min(2 * self._pause, LONGEST_WAIT_S)
        self.reason = reason
        self.allowed = 1
        self.closed_until = max(self.closed_until, now + min(max(self._pause, delay_s), LONGEST_WAIT_S))

    def answered(self) -> None:
        """Take note of an answer: whatever stood in the way is gone."""
        self.since = None
        self.reason = None
        self.closed_until = 0.0
        if self.allowed < self.capacity:
            self.allowed += 1

    def hurry(self, now: float) -> None:
        """Let one line find out now: something has told that it may pass."""
        self.closed_until = min(self.closed_until, now)

    def __repr__(self) -> str:
        return f"<Pace {self.allowed}/{self.capacity} {self.reason or 'clear'}>"
