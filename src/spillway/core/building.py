"""Adds the chunks of an answer up to the whole."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from spillway.core.reply import Choice, FinishReason, TokenChunk, Tokens, ToolCall, ToolCallDelta, Usage


class _Said:
    """What one of the answers says so far."""

    __slots__ = ("extra", "finish_reason", "logprobs", "reasoning", "refusal", "text", "tools")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] | None = None
        self.refusal: list[str] | None = None
        self.tools: dict[int, _Call] | None = None
        self.finish_reason: FinishReason | None = None
        self.logprobs: dict[str, Any] | None = None
        self.extra: dict[str, Any] | None = None

    def add(self, chunk: TokenChunk) -> None:
        if chunk.text_delta:
            self.text.append(chunk.text_delta)
        if chunk.reasoning_delta:
            self.reasoning = self.reasoning or []
            self.reasoning.append(chunk.reasoning_delta)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if chunk.tool_call_delta is not None:
            delta = chunk.tool_call_delta
            self.tools = {} if self.tools is None else self.tools
            call = self.tools.get(delta.index)
            if call is None:
                call = self.tools[delta.index] = _Call()
            call.add(delta)
        if chunk.refusal_delta:
            self.refusal = self.refusal or []
            self.refusal.append(chunk.refusal_delta)
        if chunk.logprobs is not None:
            self.logprobs = merged(self.logprobs, chunk.logprobs)
        if chunk.extra is not None:
            self.add_extra(chunk.extra)

    def add_extra(self, extra: Mapping[str, Any]) -> None:
        """Take further fields in; the pieces of spoken audio are put together, not replaced."""
        sound = extra.get("audio")
        if isinstance(sound, Mapping) and self.extra is not None and "audio" in self.extra:
            extra = {**extra, "audio": {**sound, **_spoken(self.extra["audio"], sound)}}
        self.extra = merged(self.extra, extra)

    def chars(self) -> int:
        tools = sum(len(part) for call in (self.tools or {}).values() for part in call.arguments)
        said = (self.text, self.reasoning or (), self.refusal or ())
        return sum(len(piece) for pieces in said for piece in pieces) + tools

    def whole_text(self) -> str:
        text = self.text
        return text[0] if len(text) == 1 else "".join(text)

    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(call.build() for _, call in sorted(self.tools.items())) if self.tools else ()


class _Call:
    __slots__ = ("arguments", "custom", "extra", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.custom = False
        self.extra: dict[str, Any] | None = None

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id
        self.name = self.name or delta.name
        self.custom = self.custom or delta.custom
        self.arguments.append(delta.arguments)
        if delta.extra is not None:
            self.extra = merged(self.extra, delta.extra)

    def build(self) -> ToolCall:
        return ToolCall(
            id=self.id, name=self.name, arguments="".join(self.arguments), extra=self.extra, custom=self.custom
        )


class TokensBuilder:
    """Adds chunks up to a whole answer.

    Complexity: amortised O(1) a chunk.
    """

    __slots__ = ("_about", "_first", "_others", "usage")

    def __init__(self) -> None:
        self._first = _Said()
        self._others: dict[int, _Said] | None = None
        self._about: dict[str, Any] | None = None
        self.usage: Usage | None = None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first answer ended, None as long as it has not."""
        return self._first.finish_reason

    @property
    def about(self) -> Mapping[str, Any] | None:
        """Further fields of the answer as a whole, None as long as none came."""
        return self._about

    def add(self, chunk: TokenChunk) -> None:
        """Take one chunk in."""
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.about is not None:
            self._about = merged(self._about, chunk.about)
        if not chunk.choice:
            self._first.add(chunk)
            return
        if self._others is None:
            self._others = {}
        self._others.setdefault(chunk.choice, _Said()).add(chunk)

    def output_chars(self) -> int:
        """Characters of output so far, the basis of an estimate when usage never came."""
        others = self._others or {}
        return self._first.chars() + sum(said.chars() for said in others.values())

    def build(self, **about: Any) -> Tokens:
        """Return the answer so far; keywords set the remaining fields of `Tokens`."""
        first = self._first
        return Tokens(
            text=first.whole_text(),
            reasoning="".join(first.reasoning) if first.reasoning else "",
            refusal="".join(first.refusal) if first.refusal else "",
            tool_calls=first.calls(),
            finish_reason=first.finish_reason,
            logprobs=first.logprobs,
            extra=first.extra,
            usage=self.usage,
            about=self._about,
            choices=self._choices() if self._others else (),
            **about,
        )

    def _choices(self) -> tuple[Choice, ...]:
        return tuple(
            Choice(
                index=index,
                text=said.whole_text(),
                reasoning="".join(said.reasoning or ()),
                refusal="".join(said.refusal or ()),
                tool_calls=said.calls(),
                finish_reason=said.finish_reason,
                logprobs=said.logprobs,
                extra=said.extra,
            )
            for index, said in sorted({0: self._first, **(self._others or {})}.items())
        )


def _spoken(old: Any, new: Mapping[str, Any]) -> dict[str, str]:
    """Return the transcript and the base64 of both, one after the other."""
    joined: dict[str, str] = {}
    for name in ("transcript", "data"):
        before, after = old.get(name) if isinstance(old, Mapping) else None, new.get(name)
        if isinstance(before, str) and isinstance(after, str):
            joined[name] = _one_base64(before, after) if name == "data" and before.endswith("=") else before + after
    return joined


def _one_base64(before: str, after: str) -> str:
    """Return the base64 of what both stand for: padding may stand at the end only."""
    try:
        return base64.b64encode(base64.b64decode(before) + base64.b64decode(after)).decode()
    except binascii.Error:
        return before + after


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as one: lists appended, objects merged, anything else replaced."""
    if not old:
        return dict(new)
    both = dict(old)
    for name, value in new.items():
        present = both.get(name)
        if isinstance(present, list) and isinstance(value, list):
            both[name] = [*present, *value]
        elif isinstance(present, Mapping) and isinstance(value, Mapping):
            both[name] = merged(present, value)
        else:
            both[name] = value
    return both
