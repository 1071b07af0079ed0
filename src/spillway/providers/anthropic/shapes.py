"""The shapes of Anthropic's answers and events, as far as they are read.

What is only passed on is not typed, so that no news in it makes an answer unreadable.
"""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.reply import ToolCallDelta
from spillway.providers.anthropic.usage import WireUsage
from spillway.providers.reading import ABSENT

OF_MESSAGE = ("stop_sequence", "stop_details", "container", "context_management", "input_transformations")
"""What is known of a message beside its content: fields of it, of the event that ends it, or of that event's delta."""


class Content(msgspec.Struct, gc=False):
    """A block, whole or at its begin."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    citations: msgspec.Raw = ABSENT
    caller: Any = None
    toolset_name: Any = None


class Message(msgspec.Struct, gc=False):
    """A whole message, or what is known of one at its begin."""

    type: str = ""
    id: str | None = None
    model: str | None = None
    content: list[Content] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None
    context_management: Any = None
    input_transformations: Any = None
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT


class Delta(msgspec.Struct, gc=False):
    """What most events add to a block."""

    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None


class Event(msgspec.Struct, gc=False):
    """An event as far as most need reading."""

    type: str = ""
    delta: Delta | None = None


class EndDelta(msgspec.Struct, gc=False):
    """What the end of a message adds to it, or a citation to a text."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None
    citation: msgspec.Raw = ABSENT


class RareEvent(msgspec.Struct, gc=False):
    """An event as far as those need reading that are few in a message."""

    type: str = ""
    delta: EndDelta | None = None
    content_block: Content | None = None
    message: Message | None = None
    usage: WireUsage | None = None
    context_management: Any = None
    input_transformations: Any = None
    error: msgspec.Raw = ABSENT


def call_of(block: Content, index: int, arguments: str) -> ToolCallDelta:
    """Return a call as one fragment, with what of its block goes back beside name and input."""
    extra: dict[str, Any] | None = None
    if block.caller is not None or block.toolset_name is not None:
        given = {"caller": block.caller, "toolset_name": block.toolset_name}
        extra = {name: value for name, value in given.items() if value is not None}
    return ToolCallDelta(index=index, id=block.id or "", name=block.name or "", arguments=arguments, extra=extra)


def arguments_of(raw: msgspec.Raw) -> str:
    """Return the input of a call as the provider wrote it."""
    return bytes(raw).decode("utf-8", "replace") or "{}"
