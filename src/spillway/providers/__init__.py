"""The providers' runtimes, and what a third party builds one of its own from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.lazy import exporter

if TYPE_CHECKING:
    from spillway.providers.answers import StreamWire
    from spillway.providers.encoding import Losses, encode_body
    from spillway.providers.plain import PlainStream, PlainWire, read_json
    from spillway.providers.wire_runner import Wire, WireRunner
    from spillway.providers.wire_runtime import WireRuntime

__all__ = [
    # a runtime and its runner
    "Wire",
    "WireRunner",
    "WireRuntime",
    # to derive from
    "PlainStream",
    "PlainWire",
    "StreamWire",
    # writing and reading
    "Losses",
    "encode_body",
    "read_json",
]

__getattr__ = exporter(
    __name__,
    {
        "spillway.providers.answers": ("StreamWire",),
        "spillway.providers.encoding": ("Losses", "encode_body"),
        "spillway.providers.plain": ("PlainStream", "PlainWire", "read_json"),
        "spillway.providers.wire_runner": ("Wire", "WireRunner"),
        "spillway.providers.wire_runtime": ("WireRuntime",),
    },
)
