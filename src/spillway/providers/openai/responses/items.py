"""What the items of a response say, and what of them an assistant's message carries beside its text and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.reply import FinishReason, ToolCallDelta, Usage
from spillway.providers.reading import Count, count

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that are calls of the caller's tools, and where each has what the tool is to get."""

BETWEEN_THOUGHTS = "\n\n"
_RANKS = {"reasoning": 0, "message": 2, "function_call": 3}
_OF_A_CALL = ("namespace", "caller", "async")
_ABOUT = ("id", "model", "service_tier", "tool_usage", "conversation", "moderation", "content_filters")


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class Response(msgspec.Struct):
    """A response, as a whole answer is one and as a stream's last event tells of it."""

    id: str | None = None
    object: str | None = None
    status: str | None = None
    model: str | None = None
    service_tier: str | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: dict[str, Any] | None = None
    tool_usage: Any = None
    conversation: Any = None
    moderation: Any = None
    content_filters: Any = None

    def about(self) -> dict[str, Any]:
        """Return what it says of the answer as a whole."""
        return {name: value for name in _ABOUT if (value := getattr(self, name))}

    def counted(self, items: Sequence[Mapping[str, Any]]) -> Usage | None:
        """Return its usage; `items` are what it consists of, for searches are counted by number."""
        usage = self.usage
        if usage is None:
            return None
        within, out = usage.input_tokens_details, usage.output_tokens_details
        return Usage(
            input_tokens=count(usage.input_tokens),
            output_tokens=count(usage.output_tokens),
            cached_tokens=0 if within is None else count(within.cached_tokens),
            cache_write_tokens=0 if within is None else count(within.cache_write_tokens),
            reasoning_tokens=0 if out is None else count(out.reasoning_tokens),
            web_searches=sum(_is_search(item) for item in items),
        )

    def finish(self, about: dict[str, Any], *, calls: bool, refused: bool) -> FinishReason:
        """Return why it ended, which it does not say in one word; what it says otherwise goes into `about`."""
        if self.status == "incomplete":
            reason = (self.incomplete_details or {}).get("reason")
            if reason == "content_filter":
                return FinishReason.CONTENT_FILTER
            if reason != "max_output_tokens":
                about["native_finish_reason"] = reason or "incomplete"
            return FinishReason.LENGTH
        if calls:
            return FinishReason.TOOL_CALLS
        return FinishReason.CONTENT_FILTER if refused else FinishReason.STOP


def _is_search(item: Mapping[str, Any]) -> bool:
    """Whether an item is a search of the web, not the opening of a page that one found."""
    action = item.get("action")
    kind = action.get("type") if isinstance(action, Mapping) else "search"
    return item.get("type") == "web_search_call" and kind == "search"


def call_of(item: Mapping[str, Any], index: int, said: str) -> ToolCallDelta:
    """Return a call, with as much of its arguments as is `said` now."""
    return ToolCallDelta(
        index=index,
        id=str(item.get("call_id") or item.get("id") or ""),
        name=str(item.get("name") or ""),
        arguments=said,
        custom=item.get("type") == "custom_tool_call",
        extra=extra_of_call(item),
    )


def extra_of_call(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of a call that go back with it."""
    return {name: item[name] for name in _OF_A_CALL if item.get(name)} or None


def annotation_of(annotation: Mapping[str, Any], offset: int) -> dict[str, Any]:
    """Return an annotation as chat completions have it; `offset` characters of other parts stand before its text."""
    places = {name: annotation[name] + offset for name in ("start_index", "end_index") if _is_int(annotation, name)}
    moved = {**annotation, **places}
    if moved.get("type") != "url_citation":
        return moved
    del moved["type"]
    return {"type": "url_citation", "url_citation": moved}


def _is_int(annotation: Mapping[str, Any], name: str) -> bool:
    return isinstance(annotation.get(name), int)


def parts_of(item: Mapping[str, Any], name: str = "content") -> list[Mapping[str, Any]]:
    """Return the parts of an item that are objects."""
    parts = item.get(name)
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def text_of(part: Mapping[str, Any], name: str = "text") -> str:
    """Return a part's text, "" for none."""
    text = part.get(name)
    return text if isinstance(text, str) else ""


def thoughts_of(item: Mapping[str, Any]) -> list[str]:
    """Return what a reasoning item tells: the parts of its summary, and its text where a model shows that."""
    parts = [*parts_of(item, "summary"), *parts_of(item)]
    return [text for part in parts if (text := text_of(part))]


def kept_of(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what must come back with the message in a later request.

    `reasoning_items`: those that are encrypted, so that the provider can read them again. `output_items`: whatever is
    neither reasoning, message nor call. `phase`: of the one message. `output_order`: what followed what, unless it was
    reasoning, other items, one message, calls.
    """
    reasoning: list[Mapping[str, Any]] = []
    others: list[Mapping[str, Any]] = []
    order: list[dict[str, Any]] = []
    phases: list[Any] = []
    for item in items:
        kind = str(item.get("type") or "")
        if kind == "reasoning":
            if not item.get("encrypted_content"):
                continue
            reasoning.append(item)
            order.append({"type": kind})
        elif kind == "message":
            chars = sum(len(text_of(part)) for part in parts_of(item) if part.get("type") == "output_text")
            phase = item.get("phase")
            phases.append(phase)
            order.append({"type": kind, "chars": chars, **({} if phase is None else {"phase": phase})})
        elif kind in CALLS:
            order.append({"type": "function_call"})
        else:
            others.append(item)
            order.append({"type": "item"})
    kept: dict[str, Any] = {}
    if reasoning:
        kept["reasoning_items"] = reasoning
    if others:
        kept["output_items"] = others
    ranks = [_RANKS.get(step["type"], 1) for step in order]
    if len(phases) > 1 or ranks != sorted(ranks):
        kept["output_order"] = order
    elif phases and phases[0] is not None:
        kept["phase"] = phases[0]
    return kept
