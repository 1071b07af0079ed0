"""A drill in words: rows of tables, one line, plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spillway.drill.drill import Drilled
from spillway.drill.plan import Fault

HELD, BROKEN = "held", "BROKEN"


def plan_rows(name: str, faults: Sequence[Fault]) -> list[tuple[str, str, str]]:
    """Return the plan of a scenario as rows of a table: scenario, when, what."""
    return [(name, "" if fault.lines else f"{fault.at_s:.2f} s", str(fault)) for fault in faults]


def promise_rows(drilled: Drilled) -> list[tuple[str, str, str, str, str]]:
    """Return all promises as rows of a table: scenario, promise, promised, measured, whether it held."""
    return [
        (found.name, promise.name, promise.promised, promise.measured, HELD if promise.holds else BROKEN)
        for found in drilled.scenarios
        for promise in found.promises
    ]


def conclusion(drilled: Drilled) -> str:
    """Return the whole in one line."""
    held, total = drilled.counts
    return f"{held} of {total} promises held, seed {drilled.seed}, {drilled.elapsed_s:.0f} s"


def as_values(drilled: Drilled) -> dict[str, Any]:
    """Return everything but curves as plain values."""
    size = drilled.size
    return {
        "seed": drilled.seed,
        "nodes": size.nodes,
        "window_s": size.window_s,
        "limit": size.limit,
        "held": drilled.holds,
        "elapsed_s": drilled.elapsed_s,
        "scenarios": [
            {
                "name": found.name,
                "held": found.holds,
                "plan": [{"at_s": fault.at_s, "what": str(fault)} for fault in found.faults],
                "promises": [
                    {"name": p.name, "promised": p.promised, "measured": p.measured, "held": p.holds}
                    for p in found.promises
                ],
                "remarks": dict(found.remarks),
                "span_s": found.span_s,
            }
            for found in drilled.scenarios
        ],
    }
