"""The blocks of an answer that are neither plain text nor a plain call, put together from their events."""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.reply import TokenChunk
from spillway.providers.anthropic.echo import SERVER, THINKING, BlockOrder
from spillway.providers.reading import UNREADABLE, is_set, reread

_decode = msgspec.json.decode
_THINKING = frozenset({"thinking", "redacted_thinking"})


def decoded(data: bytes) -> Any:
    """Return JSON as plain values, with U+FFFD for what is not UTF-8; raises ServerError for what is none."""
    try:
        return _decode(data)
    except UNREADABLE as error:
        return reread(_decode, data, error)


def citations_of(raw: msgspec.Raw) -> list[Any]:
    """Return the citations of a text, an empty list when it has none."""
    found = decoded(bytes(raw)) if is_set(raw) else None
    return found if isinstance(found, list) else []


def told_as_it_came(block: dict[str, Any], order: BlockOrder) -> TokenChunk:
    """Return the chunk that holds a block as it came, and note its place."""
    thinks = block.get("type") in _THINKING
    order.add(THINKING if thinks else SERVER)
    return TokenChunk(extra={"thinking_blocks" if thinks else "server_blocks": [block]})


class RareBlock:
    """A block of thinking, of the provider's own tools, or of a type not known, while it comes.

    Args:
        data: the event that begins it.
    """

    __slots__ = ("_input", "_thinking", "block")

    def __init__(self, data: bytes) -> None:
        self.block: dict[str, Any] = decoded(data)["content_block"]
        self._thinking: list[str] = []
        self._input: list[str] = []

    def think(self, text: str) -> None:
        """Add a piece of thinking."""
        self._thinking.append(text)

    def fold(self, data: bytes) -> None:
        """Add any other delta: a fragment of input, a signature, or fields by name, of which texts are joined."""
        block = self.block
        for name, value in decoded(data)["delta"].items():
            present = block.get(name)
            if name == "type":
                continue
            if name == "partial_json":
                self._input.append(value)
            elif name != "signature" and isinstance(present, str) and isinstance(value, str):
                block[name] = present + value
            elif isinstance(present, list) and isinstance(value, list):
                block[name] = [*present, *value]
            elif value is not None or name not in block:
                block[name] = value

    def whole(self) -> dict[str, Any]:
        """Return the block at its end; input that can't be read stays the text that came."""
        block = self.block
        if self._thinking:
            block["thinking"] = (block.get("thinking") or "") + "".join(self._thinking)
        written = "".join(self._input)
        if written:
            try:
                block["input"] = _decode(written)
            except UNREADABLE:
                block["input"] = written
        return block
