"""What LiteLLM adds to OpenAI's shape, made the same in whole and in streamed answers.

`thinking_blocks` of a stream come in fragments, the signature in the last of a block; they are put together. What
`provider_specific_fields` repeats of the message's own fields is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.reply import TokenChunk
from spillway.providers.answers import StreamWire
from spillway.remote.sse import RawEvent

_BLOCKS = "thinking_blocks"
_SPECIFIC = "provider_specific_fields"
_REPEATED = frozenset({"thinking_blocks", "reasoning_content", "reasoning"})


class LiteLlmStream:
    """A streamed chat completion whose thinking blocks come whole.

    Args:
        inner: reads the events.
    """

    __slots__ = ("_choices", "_inner")

    def __init__(self, inner: StreamWire) -> None:
        self._inner = inner
        self._choices: dict[int, dict[str, Any]] = {}

    @property
    def finished(self) -> bool:
        """Whether `[DONE]` was seen."""
        return self._inner.finished

    @property
    def answer_id(self) -> str:
        """The completion's id."""
        return self._inner.answer_id

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry; see `StreamWire.take`."""
        at = len(out)
        try:
            self._inner.take(events, out)
        finally:
            self._gather(at, out)

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`."""
        at = len(out)
        try:
            self._inner.end(residue, unended, out)
        finally:
            self._gather(at, out)

    def _gather(self, at: int, out: list[TokenChunk]) -> None:
        empty = False
        for index in range(at, len(out)):
            chunk = out[index]
            if chunk.extra is not None or (self._choices and chunk.finish_reason is not None):
                out[index] = chunk = self._gathered(chunk)
                empty = empty or chunk == TokenChunk(choice=chunk.choice)
        if empty:
            out[at:] = [chunk for chunk in out[at:] if chunk != TokenChunk(choice=chunk.choice)]

    def _gathered(self, chunk: TokenChunk) -> TokenChunk:
        extra = dict(chunk.extra or {})
        whole = []
        for block in extra.pop(_BLOCKS, None) or ():
            whole += self._joined(chunk.choice, block)
        if chunk.finish_reason is not None:
            rest = self._choices.pop(chunk.choice, None)
            whole += [] if rest is None else [rest]
        if whole:
            extra[_BLOCKS] = whole
        return msgspec.structs.replace(chunk, extra=tidy(extra))

    def _joined(self, choice: int, block: Any) -> list[Any]:
        """Take a block or a fragment of one in; return what is whole now."""
        if not isinstance(block, Mapping) or block.get("type") != "thinking":
            rest = self._choices.pop(choice, None)
            return [block] if rest is None else [rest, block]
        held = self._choices.setdefault(choice, {"type": "thinking", "thinking": ""})
        held["thinking"] += block.get("thinking") or ""
        if block.get("signature"):
            held["signature"] = block["signature"]
            return [self._choices.pop(choice)]
        return []


def tidied(chunk: TokenChunk) -> TokenChunk:
    """Return a chunk of a whole answer as its stream would have it."""
    return chunk if chunk.extra is None else msgspec.structs.replace(chunk, extra=tidy(chunk.extra))


def tidy(extra: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the further fields of a message without what is empty or said twice; None when nothing is left."""
    kept = dict(extra)
    blocks = kept.get(_BLOCKS)
    if isinstance(blocks, list):
        kept[_BLOCKS] = [_without_blanks(block) for block in blocks]
    specific = kept.get(_SPECIFIC)
    if isinstance(specific, Mapping):
        kept[_SPECIFIC] = {
            name: value for name, value in specific.items() if name not in _REPEATED and value not in (None, [], {}, "")
        }
    return {name: value for name, value in kept.items() if value} or None


def _without_blanks(block: Any) -> Any:
    if not isinstance(block, Mapping):
        return block
    return {name: value for name, value in block.items() if value is not None and (name != "signature" or value)}
