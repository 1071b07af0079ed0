"""The states of one circuit breaker over time."""

from __future__ import annotations

from typing import NamedTuple

from spillway.remote.circuit_breaker import BreakerEvent, CircuitState

_MOST = 1024
"""Spans kept exactly; beyond, the past is kept in `_CELLS` cells."""

_CELLS = 256

_SEVERITY = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class Span(NamedTuple):
    """A time in one state; instants of the breaker's clock."""

    begin: float
    end: float
    state: CircuitState


class BreakerTrack:
    """Remembers when a breaker was in which state, in bounded memory.

    Invariants: `entered` and what `seconds` says are exact; so are spans until there are 1,024 of them. After that the
    past is kept in 256 cells, each with the worst state that occurred in it.
    """

    __slots__ = ("_past", "_seconds", "_since", "entered", "exact", "state")

    def __init__(self, now: float, state: CircuitState) -> None:
        self._since = now
        self._past: list[Span] = []
        self._seconds = dict.fromkeys(CircuitState, 0.0)
        self.state = state
        self.entered = dict.fromkeys(CircuitState, 0)
        self.exact = True

    def take(self, event: BreakerEvent) -> None:
        """Note a change of state."""
        at = max(event.at, self._since)
        self._past.append(Span(self._since, at, self.state))
        self._seconds[self.state] += at - self._since
        self._since = at
        self.state = event.state
        self.entered[event.state] += 1
        if len(self._past) >= _MOST:
            self._past = _coarse(self._past)
            self.exact = False

    def spans(self, until: float) -> list[Span]:
        """Return all spans from the first to `until`, without gaps; a moment in which it was closed is left out."""
        every = [*self._past, Span(self._since, max(until, self._since), self.state)]
        return [span for span in every if span.end > span.begin or span.state is not CircuitState.CLOSED] or every[-1:]

    def seconds(self, state: CircuitState, until: float) -> float:
        """Return how long it was in `state`."""
        rest = max(0.0, until - self._since) if state is self.state else 0.0
        return self._seconds[state] + rest

    def __repr__(self) -> str:
        return f"<BreakerTrack {self.state.name} opened {self.entered[CircuitState.OPEN]} times>"


def _coarse(spans: list[Span]) -> list[Span]:
    begin, end = spans[0].begin, spans[-1].end
    cell = (end - begin) / _CELLS
    if cell <= 0:
        return spans[-1:]
    worst = [CircuitState.CLOSED] * _CELLS
    for span in spans:
        first = min(int((span.begin - begin) / cell), _CELLS - 1)
        last = min(int((span.end - begin) / cell), _CELLS - 1)
        for i in range(first, last + 1):
            if _SEVERITY[span.state] > _SEVERITY[worst[i]]:
                worst[i] = span.state
    merged: list[Span] = []
    for i, state in enumerate(worst):
        until = end if i == _CELLS - 1 else begin + (i + 1) * cell
        if merged and merged[-1].state is state:
            merged[-1] = merged[-1]._replace(end=until)
        else:
            merged.append(Span(begin + i * cell, until, state))
    return merged
