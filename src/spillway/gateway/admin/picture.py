"""What an operator sees: deployments, keys and the gateway at one instant, as plain values without a secret."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.limit_store import LIMITER_MODES
from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.core.limit_store import LimitsSnapshot
    from spillway.gateway.callers import Caller
    from spillway.remote.circuit_breaker import BreakerSnapshot
    from spillway.remote.cost import CostLedger
    from spillway.runtime.deployed import Deployed

LIMITS = {
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
    "input_tokens": "input_tokens_per_minute",
    "output_tokens": "output_tokens_per_minute",
}
"""The windows of a limiter, and the option that each is set by."""

_WORST = ("OPEN", "HALF_OPEN", "CLOSED")


def deployment(found: Deployed, *, limits_end_in_s: float | None = None) -> dict[str, Any]:
    """Return the state of one deployment.

    Args:
        limits_end_in_s: when the configured limits come back, None where that is not planned.
    """
    options, metrics = found.options, found.metrics()
    breakers = [found.circuit_breaker(key).snapshot() for key in range(found.keys)]
    return {
        "name": found.name,
        "group": options.group or None,
        "model": options.provider_model,
        "runtime": found.runtime,
        "weight": options.weight,
        "fallback": list(options.fallback),
        "limit_group": options.limit_group or None,
        "in_service": not found.paused,
        "healthy": found.healthy(),
        "busy": metrics.busy,
        "workers": sum(not slot.retired for slot in found.workers()),
        "queued": metrics.queued,
        "queue_capacity": options.serving.queue_capacity * found.keys,
        "breaker": _breaker(breakers),
        "limits": _limits(found, limits_end_in_s),
        "budget": _budget(found.budget()),
        "spent_usd": metrics.cost_usd,
        "since_start": {
            "requests": metrics.requests,
            "succeeded": metrics.succeeded,
            "failed": metrics.failed,
            "cancelled": metrics.cancelled,
            "refused": metrics.refused,
            "attempts": metrics.attempts,
            "retried": metrics.retried,
            "fell_back": metrics.fell_back,
            "input_tokens": metrics.input_tokens,
            "output_tokens": metrics.output_tokens,
            "errors": metrics.errors,
        },
        "keys": [msgspec.to_builtins(key) for key in metrics.per_key],
    }


def caller(found: Caller) -> dict[str, Any]:
    """Return the state of one gateway key; the key itself is not in it."""
    return {
        "name": found.name,
        "models": list(found.models),
        "max_priority": found.ceiling.name.lower(),
        "limits": _windows([found.used()]),
        "budget": _budget(found.ledger),
        "spent_usd": pico_to_usd(found.ledger.spent_pico),
    }


def _breaker(keys: Sequence[BreakerSnapshot]) -> dict[str, Any]:
    """Return the breaker of a deployment; of a key pool's, the one that lets most through."""
    best = max(keys, key=lambda snapshot: _WORST.index(snapshot.state.name))
    wait = best.retry_after
    return {
        "state": best.state.name,
        "retry_after_s": None if math.isinf(wait) else wait,
        "held_closed": best.held_closed,
        "shared": best.shared,
        "window_calls": best.window_calls,
        "window_failures": best.window_failures,
        "opened": sum(count for state, count in best.transitions.items() if state.name == "OPEN"),
    }


def _limits(found: Deployed, end_in_s: float | None) -> dict[str, Any]:
    snapshots = [found.rate_limiter(key).snapshot() for key in range(found.keys)]
    configured, in_force = found.options.rate_limits, found.limits()
    changed = [
        option
        for option in (*LIMITS.values(), "concurrent_requests")
        if getattr(in_force, option) != getattr(configured, option, None)
    ]
    return {
        "windows": _windows(snapshots),
        "mode": max((snapshot.mode for snapshot in snapshots), key=LIMITER_MODES.index),
        "nodes": max(snapshot.nodes for snapshot in snapshots),
        "percent": min(snapshot.percent for snapshot in snapshots),
        "blocked_for_s": min(snapshot.blocked_for_s for snapshot in snapshots),
        "changed": changed,
        "configured": {
            option: getattr(configured, option, None) for option in (*LIMITS.values(), "concurrent_requests")
        },
        "end_in_s": end_in_s if changed else None,
    }


def _windows(snapshots: Sequence[LimitsSnapshot]) -> list[dict[str, Any]]:
    """Return every limit there is: of several keys, their sum."""
    windows: list[dict[str, Any]] = []
    for name, option in LIMITS.items():
        found = [one for snapshot in snapshots if (one := getattr(snapshot, name)) is not None]
        if found:
            windows.append(
                {
                    "limit": option,
                    "used": sum(one.used + one.unsent for one in found),
                    "most": sum(one.limit for one in found),
                    "in_use": sum(one.ceiling for one in found),
                }
            )
    at_once = [one for one in snapshots if one.concurrent_limit is not None]
    if at_once:
        most = sum(one.concurrent_limit or 0 for one in at_once)
        used = sum(one.in_flight for one in at_once)
        windows.append({"limit": "concurrent_requests", "used": used, "most": most, "in_use": most})
    return windows


def _budget(ledger: CostLedger | None) -> dict[str, Any] | None:
    if ledger is None:
        return None
    snapshot = ledger.snapshot()
    if not snapshot.windows:
        return None
    return {
        "on_exceeded": snapshot.on_exceeded,
        "mode": snapshot.mode,
        "reserved_usd": pico_to_usd(snapshot.reserved_pico),
        "elsewhere_usd": pico_to_usd(snapshot.elsewhere_pico),
        "windows": [
            {
                "per": window.name,
                "cap_usd": pico_to_usd(window.cap_pico),
                "spent_usd": pico_to_usd(window.committed_pico),
                "frees_in_s": window.frees_in_s,
            }
            for window in snapshot.windows
        ],
    }
