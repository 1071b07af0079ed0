"""Durations as providers write them; each parser returns seconds, or None for what it does not take."""

from __future__ import annotations

import re
import sys

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(h|ms|us|µs|μs|ns|m|s)")
_PROTOBUF = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)s")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def parse_number(text: str) -> float | None:
    """Return decimal digits, with or without a fraction, as a finite float; what is too large becomes the largest."""
    if _NUMBER.fullmatch(text) is None:
        return None
    return min(float(text), sys.float_info.max)


def parse_go_duration(text: str) -> float | None:
    """Return a duration as Go prints it, e.g. `1m30.5s`, `12ms`, `0s`, in seconds."""
    seconds, end = 0.0, 0
    while end < len(text):
        part = _GO_PART.match(text, end)
        if part is None:
            return None
        seconds += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    return seconds if end else None


def parse_protobuf_duration(text: str) -> float | None:
    """Return the JSON form of a `google.protobuf.Duration`, e.g. `36.429760048s`; None for a negative one."""
    match = _PROTOBUF.fullmatch(text)
    return None if match is None else float(match[1])
