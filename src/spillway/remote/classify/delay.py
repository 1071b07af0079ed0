"""How long a provider asks to wait, wherever it says so.

1  retry-after-ms
2  retry-after, a date counted from the answer's own Date
3  the body: Gemini's RetryInfo, or the message's own words
4  the reset of each exhausted dimension of its rate limits, the latest of them
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from spillway.remote.classify.body import read_error_body
from spillway.remote.classify.durations import parse_go_duration, parse_number
from spillway.remote.classify.retry_after import parse_http_date, parse_retry_after, parse_retry_after_ms

_REMAINING = "remaining"
_FAMILIES = ("x-ratelimit-remaining-", "anthropic-ratelimit-")


def retry_delay(
    headers: Mapping[str, str], body: str | bytes | None = None, now: datetime | None = None
) -> float | None:
    """Return the seconds to wait that a refusal asks for, None when it does not.

    Args:
        headers: of the answer, names in any case.
        body: of the answer.
        now: aware; None: the wall clock. Not used where the answer has a valid Date.
    """
    named = {name.lower(): value for name, value in reversed(list(headers.items()))}
    told = parse_retry_after_ms(named.get("retry-after-ms"))
    if told is not None:
        return told
    if now is None:
        now = datetime.now(UTC)  # noqa: TID251 - the published default; whoever owns a clock hands in its reading
    here = parse_http_date(named.get("date", "").strip(" \t"), now) or now
    told = parse_retry_after(named.get("retry-after"), here)
    if told is None:
        told = read_error_body(body).retry_in
    return _latest_reset(named, here) if told is None else told


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what `x-should-retry` says, None when it says nothing."""
    for name, value in headers.items():
        if name.lower() == "x-should-retry":
            return {"true": True, "false": False}.get(value.strip(" \t").lower())
    return None


def _latest_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    resets = []
    for name, value in headers.items():
        if name.startswith(_FAMILIES) and _REMAINING in name and value.strip(" \t") == "0":
            reset = _seconds(headers.get(name.replace(_REMAINING, "reset"), "").strip(" \t"), now)
            if reset is not None:
                resets.append(reset)
    return max(resets, default=None)


def _seconds(text: str, now: datetime) -> float | None:
    """Return a reset as Azure (seconds), OpenAI (Go duration) or Anthropic (RFC 3339) writes it."""
    seconds = parse_number(text)
    if seconds is None:
        seconds = parse_go_duration(text)
    if seconds is not None or "T" not in text:
        return seconds
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now) / timedelta(seconds=1))
