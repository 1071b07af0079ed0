"""Answers as providers give them tomorrow: fields, enum values and events that nobody knows yet, in any dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.sim.wire.dialect import json_bytes

UNKNOWN = "x_unknown"

_FINISHES = ("finish_reason", "stop_reason", "finishReason")
_TELLS_THE_END = frozenset({"stop", "end_turn", "completed", "STOP"})
_THE_CALLERS = frozenset({"arguments", "args", "input", "embedding", "values"})
_DATA = b"data: "


def odd_body(body: bytes) -> bytes:
    """Return a whole answer with an unknown field in every object, and an unknown finish reason instead of `stop`."""
    return json_bytes(_odd(msgspec.json.decode(body)))


def odd_frames(frames: list[bytes]) -> list[bytes]:
    """Return a stream's frames so, with an event of an unknown kind and a comment before each of their events."""
    out: list[bytes] = []
    for frame in frames:
        end = b"\r\n\r\n" if frame.endswith(b"\r\n\r\n") else b"\n\n"
        for event in frame.split(end):
            name, data, said = event.partition(_DATA)
            if said.startswith(b"{"):
                out.append(_event(name, end))
                event = name + data + json_bytes(_odd(msgspec.json.decode(said)))  # noqa: PLW2901 # as it goes out
            if event:
                out.append(event + end)
    return out


def _event(name: bytes, end: bytes) -> bytes:
    """Return an event that is not known, in the manner of those that are: with a name where they have one."""
    news: dict[str, Any] = {UNKNOWN: {"why": [1, None]}}
    if name:
        return b": a comment\nevent: " + UNKNOWN.encode() + b"\n" + _DATA + json_bytes({"type": UNKNOWN, **news}) + end
    return b": a comment" + end + _DATA + json_bytes({"object": UNKNOWN, **news}) + end


def _odd(value: Any) -> Any:
    if isinstance(value, list):
        return [_odd(each) for each in value]
    if not isinstance(value, dict):
        return value
    odd = {key: each if key in _THE_CALLERS else _odd(each) for key, each in value.items()}
    for key in _FINISHES:
        if odd.get(key) in _TELLS_THE_END:
            odd[key] = UNKNOWN.upper() if key == "finishReason" else UNKNOWN
    odd[UNKNOWN] = {"why": [1, None]}
    return odd
