"""The blocks of Anthropic's messages, made of the parts of OpenAI-shaped ones.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.errors import BadRequest
from spillway.providers.encoding import Losses, unsupported
from spillway.providers.parts import Media, Native, Text
from spillway.providers.turns import Block, Call, Result, Thought, Turn

RUNTIME = "anthropic"

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_DOCUMENT_KEYS = frozenset({"title", "context", "citations"})
_CALL_KEYS = frozenset({"caller", "cache_control", "toolset_name"})
_NATIVE = {
    "user": frozenset({"image", "document", "search_result", "container_upload", "tool_result", "text"}),
    "assistant": frozenset(
        {"thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "container_upload"}
        | {"compaction", "fallback", "mcp_tool_listing", "image", "document", "search_result", "text"}
    ),
    "tool": frozenset({"image", "document", "search_result", "tool_reference", "browser_state", "text"}),
}
"""The provider's own blocks that pass as they are, by who says them; `*_tool_result` of an assistant besides."""


def encode_turn(turn: Turn, losses: Losses) -> dict[str, Any]:
    """Return one turn as a message.

    Raises:
        BadRequest: a part of it has no counterpart here; it names the place.
    """
    blocks = turn.blocks
    only = blocks[0]
    if len(blocks) == 1 and isinstance(only, Text) and only.mark is None:
        return {"role": turn.side, "content": only.text}
    return {"role": turn.side, "content": [_block(block, turn.side, losses) for block in blocks]}


def text_block(text: Text) -> dict[str, Any]:
    """Return a text as a block of its own."""
    block: dict[str, Any] = {"type": "text", "text": text.text}
    return _marked(block, text.mark)


def _block(block: Block, side: str, losses: Losses) -> Mapping[str, Any]:
    if isinstance(block, Text):
        return text_block(block)
    if isinstance(block, Call):
        return _call(block, losses)
    if isinstance(block, Thought):
        return block.block
    if isinstance(block, Media):
        return _media(block, losses)
    if isinstance(block, Native):
        return _native(block, side)
    return _result(block, losses)


def _marked(block: dict[str, Any], mark: Any) -> dict[str, Any]:
    if mark is not None:
        block["cache_control"] = mark
    return block


def _native(block: Native, side: str) -> Mapping[str, Any]:
    kind = block.part.get("type")
    if not isinstance(kind, str):
        raise BadRequest(f"{block.where}.type must be text", provider=RUNTIME)
    if (
        kind in _NATIVE[side]
        or (side == "assistant" and kind.endswith("_tool_result"))
        or ".server_blocks" in block.where
    ):
        return block.part
    raise unsupported(block.where, RUNTIME, f"the API has no {kind!r} parts here")


def _call(call: Call, losses: Losses) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "tool_use",
        "id": safe_id(call.id),
        "name": call.name,
        "input": call.arguments,
    }
    for key, value in call.extra.items():
        if key in _CALL_KEYS:
            block[key] = value
        elif value:
            losses.note(f"messages: tool_calls.{key}", "the API can't carry it")
    return block


def _result(result: Result, losses: Losses) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": safe_id(result.call_id)}
    parts = result.parts
    if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].mark is None:
        block["content"] = parts[0].text
    elif parts:
        block["content"] = [_block(part, "tool", losses) for part in parts]
    if result.is_error:
        block["is_error"] = True
    return _marked(block, result.mark)


def _media(media: Media, losses: Losses) -> dict[str, Any]:
    if media.kind == "audio":
        raise unsupported(media.where, RUNTIME, "the API takes no audio")
    if media.kind == "image" or (media.mime or "").startswith("image/"):
        for key in media.more:
            losses.drop(f"{media.where}.file.{key}", "an image has none")
        return _marked({"type": "image", "source": _image_source(media)}, media.mark)
    document: dict[str, Any] = {"type": "document", "source": _document_source(media)}
    if media.name:
        document["title"] = media.name
    for key, value in media.more.items():
        if key in _DOCUMENT_KEYS:
            document[key] = value
        else:
            losses.drop(f"{media.where}.file.{key}", "a document has none")
    return _marked(document, media.mark)


def _image_source(media: Media) -> dict[str, Any]:
    if media.data is None:
        return _named_source(media)
    mime = "image/jpeg" if media.mime == "image/jpg" else media.mime
    if mime not in _IMAGES:
        raise unsupported(media.where, RUNTIME, f"an image must be JPEG, PNG, GIF or WebP, not {mime or 'untyped'}")
    return {"type": "base64", "media_type": mime, "data": media.data}


def _document_source(media: Media) -> dict[str, Any]:
    if media.data is None:
        return _named_source(media)
    mime = media.mime or ""
    if mime == "application/pdf":
        return {"type": "base64", "media_type": mime, "data": media.data}
    if not mime.startswith("text/"):
        raise unsupported(media.where, RUNTIME, f"a document must be a PDF or text, not {mime}")
    try:
        text = b64decode(media.data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadRequest(f"{media.where}.file.file_data is no text in base64", provider=RUNTIME) from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _named_source(media: Media) -> dict[str, Any]:
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    url = media.url or ""
    if not url.startswith(("https://", "http://")):
        raise unsupported(media.where, RUNTIME, "a URL must be http or https")
    return {"type": "url", "url": url}


def safe_id(call_id: str) -> str:
    """Return an id in the API's alphabet; a call and its result get the same one."""
    if call_id and _ID_CHARACTERS.issuperset(call_id):
        return call_id
    return "".join(char if char in _ID_CHARACTERS else f"-{ord(char):x}-" for char in call_id) or "call"


def share_toolsets(messages: Sequence[Mapping[str, Any]]) -> None:
    """Name, in the results of calls of a toolset, the toolset of the call, as the API asks."""
    toolsets: dict[str, Any] = {}
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            continue
        for block in content:
            if block["type"] == "tool_use" and "toolset_name" in block:
                toolsets[block["id"]] = block["toolset_name"]
            elif block["type"] == "tool_result" and block.get("tool_use_id") in toolsets:
                block.setdefault("toolset_name", toolsets[block["tool_use_id"]])
