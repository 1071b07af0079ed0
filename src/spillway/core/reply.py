"""What comes back: chunks, whole answers, usage, embeddings."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer. Totals are inclusive: the classes below are parts of them.

    Attributes:
        input_tokens: the whole prompt.
        output_tokens: the whole answer.
        cached_tokens: of the input, read from a cache.
        cache_write_tokens: of the input, written to a cache (both durations).
        cache_write_1h_tokens: of the cache writes, those kept for an hour.
        reasoning_tokens: of the output, reasoning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call the model asks for; `arguments` is a JSON string exactly as the model wrote it."""

    id: str
    name: str
    arguments: str = ""


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment of a tool call; `index` tells which, `arguments` is concatenated."""

    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of an answer; every part of it may be absent."""

    text_delta: str = ""
    tool_call_delta: ToolCallDelta | None = None
    reasoning_delta: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None

    @property
    def commits(self) -> bool:
        """Whether it carries content: text, reasoning, a tool call or a finish reason."""
        return bool(
            self.text_delta
            or self.reasoning_delta
            or self.tool_call_delta is not None
            or self.finish_reason is not None
        )


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        cost_usd: what it cost, None when the price is unknown.
        cost_estimated: whether the cost rests on an estimate because the provider reported no usage.
        deployment: the deployment that answered.
        attempts: attempts sent to providers for this request, this one included.
        request_id: the provider's id of the request, or ours.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    cost_usd: float | None = None
    cost_estimated: bool = False
    deployment: str = ""
    attempts: int = 0
    request_id: str = ""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors, one for each input, in order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
    cost_usd: float | None = None
    deployment: str = ""
    attempts: int = 0
    request_id: str = ""


class TokensBuilder:
    """Adds chunks up to a whole answer.

    Complexity: amortised O(1) a chunk.
    """

    __slots__ = ("_reasoning", "_text", "_tools", "finish_reason", "usage")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, list[Any]] = {}
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None

    def add(self, chunk: TokenChunk) -> None:
        """Take one chunk in."""
        if chunk.text_delta:
            self._text.append(chunk.text_delta)
        if chunk.reasoning_delta:
            self._reasoning.append(chunk.reasoning_delta)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        delta = chunk.tool_call_delta
        if delta is not None:
            call = self._tools.setdefault(delta.index, ["", "", []])
            call[0] = call[0] or delta.id
            call[1] = call[1] or delta.name
            call[2].append(delta.arguments)

    def output_chars(self) -> int:
        """Characters of output so far, the basis of an estimate when usage never came."""
        tools = sum(len(part) for call in self._tools.values() for part in call[2])
        return sum(map(len, self._text)) + sum(map(len, self._reasoning)) + tools

    def build(self, **about: Any) -> Tokens:
        """Return the answer so far; `about` sets the remaining fields of `Tokens`."""
        text = self._text
        return Tokens(
            text=text[0] if len(text) == 1 else "".join(text),
            reasoning="".join(self._reasoning),
            tool_calls=self._tool_calls() if self._tools else (),
            usage=self.usage,
            finish_reason=self.finish_reason,
            **about,
        )

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(id=call_id, name=name, arguments="".join(parts))
            for _, (call_id, name, parts) in sorted(self._tools.items())
        )
