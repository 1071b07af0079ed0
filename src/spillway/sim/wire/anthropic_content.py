"""The content blocks of Anthropic's requests: which are allowed where, what they weigh, what they say."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec

from spillway.sim.ask import MEDIA_TOKENS, BadAsk, json_tokens, text_tokens
from spillway.sim.wire.anthropic_cache import Piece
from spillway.sim.wire.anthropic_seals import holds

NEWEST = "2026-10-21"
"""The API version from which on a few things are refused."""

REDACTED = "redacted"
FOUND = "found"

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_SOURCES = {
    "image": frozenset({"base64", "url", "file"}),
    "document": frozenset({"base64", "text", "content", "url", "file"}),
}
_ASSISTANT_ONLY = frozenset({"thinking", "redacted_thinking", "tool_use", "server_tool_use"})
_KNOWN = frozenset(
    {
        "text",
        "image",
        "document",
        "search_result",
        "tool_result",
        "container_upload",
        "tool_reference",
        *_ASSISTANT_ONLY,
    }
)


class Heard(msgspec.Struct):
    """What messages say: their pieces, the text of the newest, what may be cited."""

    pieces: list[Piece] = msgspec.field(default_factory=list)
    text: str = ""
    tool_result: bool = False
    citable: list[Mapping[str, Any]] = msgspec.field(default_factory=list)


def hear(content: object, role: str, where: str, version: str, heard: Heard) -> None:
    """Add a message's content to `heard`; raises `BadAsk` for what the API refuses."""
    heard.text, heard.tool_result = "", False
    if isinstance(content, str):
        heard.text = content
        heard.pieces.append(Piece(text_tokens(content)))
        return
    if not isinstance(content, list):
        raise BadAsk(f"{where}: Input should be a valid list")
    for at, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise BadAsk(f"{where}.{at}: Input should be a valid content block")
        _allow(block, role, f"{where}.{at}", version)
        heard.pieces.append(Piece(_weigh(block, f"{where}.{at}", heard), block.get("cache_control")))


def _allow(block: Mapping[str, Any], role: str, where: str, version: str) -> None:
    kind = block["type"]
    if kind not in _KNOWN and not kind.endswith("_tool_result"):
        raise BadAsk(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    if role == "user" and kind in _ASSISTANT_ONLY:
        raise BadAsk(f"{where}: `{kind}` blocks may only be in `assistant` messages")
    if version < NEWEST:
        return
    if role == "assistant" and kind == "document":
        raise BadAsk(f"{where}: `document` blocks may not be in `assistant` messages")
    if role == "user" and kind == "text" and block.get("citations"):
        raise BadAsk(f"{where}.citations: Extra inputs are not permitted")


def _weigh(block: Mapping[str, Any], where: str, heard: Heard) -> int:
    kind = block["type"]
    if kind == "text":
        text = str(block.get("text", ""))
        if not text:
            raise BadAsk(f"{where}: text content blocks must be non-empty")
        heard.text += text
        return text_tokens(text)
    if kind in _SOURCES:
        return _weigh_source(kind, block, where, heard)
    if kind == "search_result":
        _note_citable(block, heard)
        return json_tokens(block.get("content"))
    if kind == "tool_result":
        heard.tool_result = True
        return _weigh_result(block.get("content"), where, heard)
    if kind == "tool_use":
        return json_tokens(block.get("input"))
    if kind == "thinking":
        if "signature" not in block:
            raise BadAsk(f"{where}.thinking.signature: Field required")
        if not holds(block["signature"], str(block.get("thinking", ""))):
            raise BadAsk(f"{where}: Invalid `signature` in `thinking` block")
    if kind == "redacted_thinking" and not holds(block.get("data"), REDACTED):
        raise BadAsk(f"{where}: Invalid `data` in `redacted_thinking` block")
    if kind == "web_search_tool_result":
        _check_finds(block.get("content"), where)
    return 0


def _weigh_result(content: object, where: str, heard: Heard) -> int:
    if not isinstance(content, list):
        return json_tokens(content)
    inner = Heard(citable=heard.citable)
    hear(content, "tool", f"{where}.content", "", inner)
    return sum(piece.tokens for piece in inner.pieces)


def _weigh_source(kind: str, block: Mapping[str, Any], where: str, heard: Heard) -> int:
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") not in _SOURCES[kind]:
        raise BadAsk(f"{where}.{kind}.source: Input should be one of {', '.join(sorted(_SOURCES[kind]))}")
    form = source["type"]
    if form == "base64":
        mime = source.get("media_type")
        if mime not in (_IMAGES if kind == "image" else {"application/pdf"}):
            raise BadAsk(f"{where}.{kind}.source.base64.media_type: Input should be of another type than {mime!r}")
        try:
            b64decode(str(source.get("data")), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadAsk(f"{where}.{kind}.source.base64.data: invalid base64 data") from error
    elif form in {"url", "file"} and not source.get("url" if form == "url" else "file_id"):
        raise BadAsk(f"{where}.{kind}.source.{form}: Field required")
    if kind == "document":
        _note_citable(block, heard)
        if form == "text":
            return text_tokens(str(source.get("data", "")))
    return MEDIA_TOKENS


def _note_citable(block: Mapping[str, Any], heard: Heard) -> None:
    wanted = block.get("citations")
    if isinstance(wanted, dict) and wanted.get("enabled") is True:
        heard.citable.append(block)


def _check_finds(content: object, where: str) -> None:
    for at, find in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(find, dict) or not holds(find.get("encrypted_content"), FOUND):
            raise BadAsk(f"{where}.content.{at}: Invalid `encrypted_content` in `search_result` block")
