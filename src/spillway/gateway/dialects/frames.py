"""One server-sent event as it stands in a stream."""

from __future__ import annotations


def frame(name: bytes | None, data: bytes) -> bytes:
    """Return an event as it is written; data of several lines has as many fields."""
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % data if name is None else b"event: %b\ndata: %b\n\n" % (name, data)
