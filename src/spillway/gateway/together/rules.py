"""What becomes of each thing that gateways publish, where several are put together.

What a process has for itself (slots, queue, what is under way, counters) is added up. What is held in the store is seen
by every process: of such views the largest counts, of what may still be used the smallest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.limit_store import LIMITER_MODES
from spillway.gateway.admin.history import BUCKETS
from spillway.gateway.admin.journal import KEPT
from spillway.gateway.admin.recent import KEPT_REQUESTS
from spillway.gateway.together.merging import aligned, each, either, fields, first_of, least, most, newest, rows, total
from spillway.remote.cost import BUDGET_MODES
from spillway.telemetry.catalog import METRICS

if TYPE_CHECKING:
    from spillway.gateway.together.merging import Rule

_BREAKER = fields(
    {
        "state": first_of("OPEN", "HALF_OPEN", "CLOSED"),
        "retry_after_s": most,
        "held_closed": most,
        "shared": least,
        "window_calls": total,
        "window_failures": total,
        "opened": most,
    }
)

_WINDOWS = rows("limit", fields({"used": most, "most": most, "in_use": least}))

_BUDGET = fields(
    {
        "mode": first_of(*reversed(BUDGET_MODES)),
        "reserved_usd": most,
        "elsewhere_usd": most,
        "windows": rows("per", fields({"cap_usd": most, "spent_usd": most, "frees_in_s": least})),
    }
)

_POOL_KEY = fields(
    {
        "served": total,
        "busy": total,
        "queued": total,
        "state": first_of("refused", "open", "cooling", "ok"),
        "breaker": first_of("OPEN", "HALF_OPEN", "CLOSED"),
    }
)

DEPLOYMENT = fields(
    {
        "in_service": most,
        "healthy": most,
        "busy": total,
        "workers": total,
        "queued": total,
        "queue_capacity": total,
        "breaker": _BREAKER,
        "limits": fields(
            {
                "windows": _WINDOWS,
                "mode": first_of(*reversed(LIMITER_MODES)),
                "nodes": most,
                "percent": least,
                "blocked_for_s": most,
                "configured": either,
                "changed": either,
                "end_in_s": most,
            }
        ),
        "budget": _BUDGET,
        "spent_usd": total,
        "since_start": total,
        "keys": aligned(_POOL_KEY),
    }
)
"""One deployment, as `GET /admin/deployments` has it."""

KEY = fields({"limits": _WINDOWS, "budget": _BUDGET, "spent_usd": most})
"""One gateway key, likewise."""

GATEWAY = fields({"ready": most, "draining": least, "up_s": most, "reloads": most})

_BUCKET = fields(
    {"kinds": total, "latency": total, "first_content": total, "tokens": total, "cost_pico": total}, rest=either
)


def _track(one: Any, other: Any) -> Any:
    merged = rows("number", _BUCKET)(one, other)
    return None if merged is None else merged[-BUCKETS:]


tracks_together = fields({"whole": _track, "by_deployment": each(_track)})
"""The last 15 minutes, in buckets by the wall."""

_GAUGES: dict[str, Rule] = {
    **dict.fromkeys(("queue_depth", "queue_capacity", "workers", "workers_busy", "requests_in_flight"), total),
    **dict.fromkeys(("limit_ceiling", "budget_left_usd", "key_budget_left_usd", "breaker_shared"), least),
}
"""How gauges are put together, where it is not the largest that counts."""

READINGS = fields(
    {
        name: each(_GAUGES.get(name.removeprefix("spillway_"), most) if metric.kind == "gauge" else total)
        for name, metric in METRICS.items()
    },
    rest=each(most),
)
"""Rows of metrics by labels, by the metric's name; a histogram's is a list, its counts, then how many and their sum."""

PROCESS = fields({"spillway_process_start_time_seconds": least, "spillway_process_max_fds": least}, rest=total)
"""What the system tells of a process, by name."""

STATE = fields(
    {
        "now": fields(
            {
                "gateway": GATEWAY,
                "workers": rows("worker", either),
                "deployments": rows("name", DEPLOYMENT),
                "keys": rows("name", KEY),
                "gauges": READINGS,
                "process": PROCESS,
            }
        ),
        "counts": fields(
            {
                "readings": READINGS,
                "process": total,
                "since_start": each(fields({}, rest=total)),
            }
        ),
        "tracks": tracks_together,
        "newest_tracks": tracks_together,
        "requests": newest(KEPT_REQUESTS, by=("at", "worker", "number")),
        "journal": newest(KEPT, by=("at", "worker", "number")),
    }
)
"""All that a gateway publishes."""

LEFT_BEHIND = ("counts", "tracks", "requests", "journal")
"""What of it outlives the gateway."""
