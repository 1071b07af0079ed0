"""What a scenario found: each promise against its measurement, and the curves that show it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from spillway.drill.plan import Fault


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was promised, what was measured, and whether it held."""

    name: str
    promised: str
    measured: str
    holds: bool


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done to the cluster, or that happened in it.

    Attributes:
        from_s: seconds since the scenario's beginning.
        to_s: when it was over; the same where it was an instant.
        kind: of the fault, or empty.
        what: in words.
    """

    from_s: float
    to_s: float
    kind: str
    what: str


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A chart of something over time.

    Attributes:
        title: of the chart.
        unit: what is counted.
        points: (seconds since the scenario's beginning, value).
        bound: a line that must not be crossed, and what it is called.
        lesser: another line for orientation.
        shares: the same by node, drawn beneath each other; none: not drawn.
    """

    title: str
    unit: str
    points: Sequence[tuple[float, float]]
    bound: tuple[float, str] | None = None
    lesser: tuple[float, str] | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All about one scenario.

    Attributes:
        name: of the scenario.
        says: what it does, in a sentence.
        faults: its plan.
        promises: what it was about.
        remarks: further measurements, by name.
        events: what was done, and when.
        curves: what is drawn.
        arrivals: instants at which requests arrived at the provider, by node.
        span_s: how long it took.
    """

    name: str
    says: str
    faults: Sequence[Fault]
    promises: Sequence[Promise]
    remarks: dict[str, str] = {}
    events: Sequence[Event] = ()
    curves: Sequence[Curve] = ()
    arrivals: dict[int, list[float]] = {}
    span_s: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether all promises held."""
        return all(promise.holds for promise in self.promises)
