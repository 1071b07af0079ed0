"""An answer that goes back: its blocks in the order in which the provider wrote them.

OpenAI's shape of a message knows one text and the calls behind it. What an answer holds beside that stands in further
fields, and `block_order` tells how it all follows each other; it is there only where that is not the usual order
(thinking, text, calls):

    12          the next 12 characters of `content`, cited as those of the `annotations` say that cover just these
    "content"   the next part of a `content` that is a list
    "thinking"  the next of `thinking_blocks`
    "tool"      the next of `tool_calls`
    "server"    the next of `server_blocks`: calls of the provider's own tools, their results, any block not known
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.request import Message
from spillway.providers.encoding import Losses
from spillway.providers.parts import Native, Text
from spillway.providers.turns import Block, Said

THINKING, TOOL, SERVER, CONTENT = "thinking", "tool", "server", "content"
_USUAL = {THINKING: 0, TOOL: 2}


class BlockOrder(msgspec.Struct):
    """Takes note of the blocks of an answer as they come.

    Attributes:
        chars: the characters of text so far.
    """

    chars: int = 0
    _order: list[int | str] = msgspec.field(default_factory=list)
    _last: int = 0
    _unusual: bool = False

    def add(self, kind: str) -> None:
        """Note a block that is no text."""
        rank = _USUAL.get(kind, 9)
        self._unusual = self._unusual or rank > 2 or rank < self._last
        self._last = max(self._last, rank)
        self._order.append(kind)

    def add_text(self, begin: int, citations: Sequence[Any]) -> list[dict[str, Any]]:
        """Note a text that began at character `begin` and ends here; return the annotations that its citations are."""
        if self.chars > begin:
            self._unusual = self._unusual or bool(citations) or self._last > 1
            self._last = max(self._last, 1)
            self._order.append(self.chars - begin)
        return [_annotation(citation, begin, self.chars) for citation in citations if isinstance(citation, dict)]

    def told(self) -> dict[str, Any] | None:
        """Return what to tell of the order, None when it is the usual one."""
        return {"block_order": self._order} if self._unusual else None


def _annotation(citation: dict[str, Any], begin: int, end: int) -> dict[str, Any]:
    """Return a citation as an annotation: OpenAI's of a web page where it is one, the native one with it always."""
    if citation.get("type") == "web_search_result_location":
        page = {"url": citation.get("url"), "title": citation.get("title"), "start_index": begin, "end_index": end}
        return {"type": "url_citation", "url_citation": page, "citation": citation}
    return {"type": "citation", "start_index": begin, "end_index": end, "citation": citation}


def arrange(message: Message, said: Said, where: str, losses: Losses) -> list[Block]:
    """Return what an assistant message says in the order of its `block_order`.

    Without one, or when the message was changed so that it does not fit: thinking, the provider's own blocks, content,
    calls.
    """
    if message.get("extra_content"):
        losses.note(f"{where}.extra_content", "the API can't carry it")
    server = [
        Native(block, f"{where}.server_blocks[{at}]")
        for at, block in enumerate(message.get("server_blocks") or ())
        if isinstance(block, Mapping)
    ]
    order = message.get("block_order")
    if order:
        ordered = _ordered(order, message, said, server, where)
        if ordered is not None:
            return ordered
        losses.note(f"{where}.block_order", "it does not fit the message, whose blocks go in the usual order")
    if message.get("annotations"):
        losses.note(f"{where}.annotations", "citations go back only with the block_order of their answer")
    return [*said.thoughts, *server, *said.content, *said.calls]


def _ordered(order: Any, message: Message, said: Said, server: Sequence[Block], where: str) -> list[Block] | None:
    if not isinstance(order, Sequence):
        return None
    by_part = CONTENT in order
    texts = [block.text for block in said.content if isinstance(block, Text)]
    if not by_part and len(texts) != len(said.content):
        return None
    text = "" if by_part else "".join(texts)
    cited = _citations(message.get("annotations"))
    queues: dict[str, Iterator[Block]] = {
        THINKING: iter(said.thoughts),
        TOOL: iter(said.calls),
        SERVER: iter(server),
        CONTENT: iter(said.content if by_part else ()),
    }
    blocks: list[Block] = []
    at = 0
    for entry in order:
        if isinstance(entry, int):
            end = at + entry
            citations = cited.get((at, end))
            piece = text[at:end]
            blocks.append(
                Text(piece)
                if citations is None
                else Native({"type": "text", "text": piece, "citations": citations}, f"{where}.content")
            )
            at = end
            continue
        block = next(queues[entry], None) if entry in queues else None
        if block is None:
            return None
        blocks.append(block)
    left = any(next(queue, None) is not None for queue in queues.values())
    return None if left or at != len(text) else blocks


def _citations(annotations: Any) -> dict[tuple[Any, Any], list[Any]]:
    """Return the native citations in annotations by the characters that they cover."""
    cited: dict[tuple[Any, Any], list[Any]] = {}
    for annotation in annotations if isinstance(annotations, Sequence) else ():
        if isinstance(annotation, Mapping) and isinstance(annotation.get("citation"), Mapping):
            page = annotation.get("url_citation")
            covers = page if isinstance(page, Mapping) else annotation
            key = (covers.get("start_index"), covers.get("end_index"))
            cited.setdefault(key, []).append(annotation["citation"])
    return cited
