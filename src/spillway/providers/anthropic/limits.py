"""The `anthropic-ratelimit-*` headers. Those of the priority tier and of subscriptions tell of other limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from spillway.core.clock import WallClock
from spillway.core.limits_seen import LimitSeen, LimitsSeen

_NAMES = {
    name: tuple(f"anthropic-ratelimit-{name}-{part}" for part in ("limit", "remaining", "reset"))
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
}


def limits_seen(headers: Mapping[str, str], wall: WallClock) -> LimitsSeen | None:
    """Return what the headers say, None when they say nothing; resets are RFC 3339 instants."""
    if not any(names[0] in headers for names in _NAMES.values()):
        return None
    now = wall()
    return LimitsSeen(
        requests=_dimension(headers, "requests", now),
        tokens=_dimension(headers, "tokens", now),
        input_tokens=_dimension(headers, "input-tokens", now),
        output_tokens=_dimension(headers, "output-tokens", now),
    )


def _dimension(headers: Mapping[str, str], name: str, now: datetime) -> LimitSeen | None:
    limit_name, remaining_name, reset_name = _NAMES[name]
    limit, remaining = _whole(headers.get(limit_name)), _whole(headers.get(remaining_name))
    if limit is None and remaining is None:
        return None
    return LimitSeen(limit=limit, remaining=remaining, reset_s=_seconds_until(headers.get(reset_name), now))


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None


def _seconds_until(text: str | None, now: datetime) -> float | None:
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() - now.timestamp())
