"""What a caller's headers ask of a request, beside its body."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.core.errors import BadRequest


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """The `x-spillway-*` headers of a request.

    Attributes:
        priority: as it was written; None: none was.
        timeout_s: the deadline for everything.
        fallback: whether other deployments may be asked.
        max_cost_usd: it is refused when the estimate is above it.
    """

    priority: str | None = None
    timeout_s: float | None = None
    fallback: bool = True
    max_cost_usd: float | None = None


_NAMES = frozenset({"x-spillway-fallback", "x-spillway-priority", "x-spillway-timeout-s", "x-spillway-max-cost-usd"})
_NONE = Wishes()


def read_wishes(headers: Mapping[str, str]) -> Wishes:
    """Return what the headers ask.

    Raises:
        BadRequest: one of them can't be read; the message names it.
    """
    if _NAMES.isdisjoint(headers):
        return _NONE
    fallback = headers.get("x-spillway-fallback", "on").strip().lower()
    if fallback not in {"on", "off"}:
        raise BadRequest("x-spillway-fallback must be on or off", param="x-spillway-fallback")
    return Wishes(
        priority=headers.get("x-spillway-priority"),
        timeout_s=_number(headers, "x-spillway-timeout-s", above_zero=True),
        fallback=fallback == "on",
        max_cost_usd=_number(headers, "x-spillway-max-cost-usd"),
    )


def _number(headers: Mapping[str, str], name: str, *, above_zero: bool = False) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    plain = text.strip()
    digits = plain.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or len(plain) > 20 or (above_zero and float(plain) <= 0):
        raise BadRequest(f"{name} must be a number{' above 0' if above_zero else ''}, not {plain[:50]!r}", param=name)
    return float(plain)
