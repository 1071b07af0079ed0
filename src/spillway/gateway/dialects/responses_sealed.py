"""What must come back with an answer's message in the next request, sealed into a reasoning item's `encrypted_content`.

The Responses API knows that field as words which only their writer can read and which its caller returns unread. Here
they hold what another provider wants back: signed blocks of thinking, the signatures of calls, the order of blocks.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.reply import ToolCall

PREFIX = "spillway-1:"
"""What words begin with that were sealed here."""

FIELDS = (
    "thinking_blocks",
    "server_blocks",
    "block_order",
    "reasoning_details",
    "extra_content",
    "native_parts",
    "images",
    "provider_specific_fields",
)
"""Fields of an assistant's message that are sealed; `annotations` goes with a `block_order`, which counts on it."""


class Sealed(msgspec.Struct, frozen=True):
    """What was sealed.

    Attributes:
        message: fields of the assistant's message.
        calls: further fields of its calls, by the id of the call.
    """

    message: dict[str, Any] = {}
    calls: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(Sealed).decode
_encode = msgspec.json.Encoder().encode


def seal(extra: Mapping[str, Any] | None, calls: Sequence[ToolCall] = ()) -> str | None:
    """Return what of an answer must come back, sealed; None when there is nothing.

    Args:
        extra: the further fields of its message.
        calls: its calls, of which only further fields are sealed.
    """
    message = {name: value for name in FIELDS if (value := (extra or {}).get(name))}
    if "block_order" in message and extra and extra.get("annotations"):
        message["annotations"] = extra["annotations"]
    of_calls = {call.id: dict(call.extra) for call in calls if call.extra}
    if not message and not of_calls:
        return None
    return PREFIX + base64.b64encode(_encode(Sealed(message, of_calls))).decode()


def is_sealed(item: Any) -> bool:
    """Whether an input item is one whose words were sealed here."""
    if not isinstance(item, Mapping) or item.get("type") != "reasoning":
        return False
    words = item.get("encrypted_content")
    return isinstance(words, str) and words.startswith(PREFIX)


def unseal(words: str) -> Sealed | None:
    """Return what was sealed, None when the words are not as they were."""
    try:
        sealed = _decode(base64.b64decode(words.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    message = {name: value for name, value in sealed.message.items() if name in FIELDS or name == "annotations"}
    return Sealed(message, sealed.calls)
