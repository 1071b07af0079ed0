"""The `x-ratelimit-*` headers of OpenAI, Azure and LiteLLM."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.limits_seen import LimitSeen, LimitsSeen
from spillway.remote.classify import parse_go_duration


def limits_seen(headers: Mapping[str, str]) -> LimitsSeen | None:
    """Return what the headers say, None when they say nothing.

    Resets are Go durations (OpenAI) or whole seconds (Azure); a negative number means that it is not known.
    """
    get = headers.get
    requests = _dimension(
        get("x-ratelimit-limit-requests"), get("x-ratelimit-remaining-requests"), get("x-ratelimit-reset-requests")
    )
    tokens = _dimension(
        get("x-ratelimit-limit-tokens"), get("x-ratelimit-remaining-tokens"), get("x-ratelimit-reset-tokens")
    )
    if requests is None and tokens is None:
        return None
    return LimitsSeen(requests=requests, tokens=tokens)


def _dimension(limit: str | None, remaining: str | None, reset: str | None) -> LimitSeen | None:
    if limit is None and remaining is None:
        return None
    most, left = whole(limit), whole(remaining)
    if most is None and left is None:
        return None
    return LimitSeen(limit=most, remaining=left, reset_s=None if reset is None else _seconds(reset))


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else parse_go_duration(text)


def whole(text: str | None) -> int | None:
    """Return a header's non-negative integer, None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None
