"""Chat-shaped messages as the input items of a response."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.errors import BadRequest
from spillway.core.request import Message
from spillway.providers.encoding import Losses, unsupported

Item = Mapping[str, Any]

_CARRIED = frozenset(
    {"role", "content", "refusal", "tool_calls", "reasoning_items", "output_items", "output_order", "phase"}
)
_OF_NO_WEIGHT = frozenset({"content_filter_results"})
_KEYS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}


def input_items(messages: Sequence[Message], losses: Losses) -> list[Item]:
    """Return messages as items: calls and their results are items of their own, reasoning stands where it stood.

    Raises:
        BadRequest: a message is malformed, or holds what can't be carried; it names the place.
    """
    items: list[Item] = []
    custom: set[str] = set()
    for at, message in enumerate(messages):
        role, where = message.get("role"), f"messages[{at}]"
        if role == "assistant":
            items += _assistant(message, where, custom, losses)
            continue
        keys = _KEYS.get(role) if isinstance(role, str) else None
        if keys is None:
            raise unsupported(f"{where}.role", losses.runtime, f"the Responses API has no role {role!r}")
        for key in message.keys() - keys:
            if message[key]:
                losses.drop(f"{where}.{key}", "the Responses API has no such field")
        content = _content(message.get("content"), f"{where}.content", losses)
        if role != "tool":
            items.append({"role": role, "content": content})
            continue
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str):
            raise BadRequest(f"{where}.tool_call_id must be text", provider=losses.runtime)
        kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
        items.append({"type": kind, "call_id": call_id, "output": content})
    return items


def _assistant(message: Message, where: str, custom: set[str], losses: Losses) -> list[Item]:
    """Return an earlier answer as the items that it was, in their order as far as it is told."""
    for key in message.keys() - _CARRIED - _OF_NO_WEIGHT:
        signed = key in {"reasoning", "reasoning_content"} and message.get("reasoning_items")
        if message[key] and not signed:
            losses.note(f"{where}.{key}", "the Responses API does not take it back")
    reasoning = deque(message.get("reasoning_items") or ())
    others = deque(message.get("output_items") or ())
    calls = deque(_call(call, f"{where}.tool_calls[{at}]", custom, losses) for at, call in _calls(message))
    content = message.get("content")
    items: list[Item] = []
    for step in message.get("output_order") or ():
        kind = step.get("type")
        if kind == "message" and isinstance(content, str):
            chars = step.get("chars", len(content))
            items += _said(content[:chars], step.get("phase"))
            content = content[chars:]
            continue
        queue = {"reasoning": reasoning, "function_call": calls}.get(kind, others)
        if kind != "message" and queue:
            items.append(queue.popleft())
    items += [*reasoning, *others]
    phase = message.get("phase")
    if isinstance(content, str):
        items += _said(content, phase)
    elif content:
        items += _said(_content(content, f"{where}.content", losses, assistant=True), phase)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        items += _said([{"type": "refusal", "refusal": refusal}], phase)
    return [*items, *calls]


def _said(content: str | list[Any], phase: Any) -> list[Item]:
    if not content:
        return []
    said = {"role": "assistant", "content": content}
    return [said if phase is None else {**said, "phase": phase}]


def _calls(message: Message) -> Sequence[tuple[int, Any]]:
    return list(enumerate(message.get("tool_calls") or ()))


def _call(call: Any, where: str, custom: set[str], losses: Losses) -> Item:
    function = call.get("function") if isinstance(call, Mapping) else None
    own = call.get("custom") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) and not isinstance(own, Mapping):
        raise unsupported(where, losses.runtime, "only calls of functions and of custom tools are known")
    call_id = str(call.get("id") or "")
    more = {key: value for key, value in call.items() if key not in {"id", "type", "function", "custom", "index"}}
    if more.pop("extra_content", None):
        losses.note(f"{where}.extra_content", "the Responses API does not take it back")
    if isinstance(function, Mapping):
        said = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
        return {"type": "function_call", "call_id": call_id, **said, **more}
    custom.add(call_id)
    return {
        "type": "custom_tool_call",
        "call_id": call_id,
        "name": own.get("name") if own else None,
        "input": (own.get("input") if own else None) or "",
        **more,
    }


def _content(content: Any, where: str, losses: Losses, *, assistant: bool = False) -> str | list[Any]:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise BadRequest(f"{where} must be text or a list of parts", provider=losses.runtime)
    return [_part(part, f"{where}[{at}]", losses.runtime, assistant=assistant) for at, part in enumerate(content)]


def _part(part: Any, where: str, runtime: str, *, assistant: bool) -> Any:
    """Return a part under the name it has here; one that is not chat-shaped is passed on."""
    words = "output_text" if assistant else "input_text"
    if isinstance(part, str):
        return {"type": words, "text": part}
    if not isinstance(part, Mapping):
        raise BadRequest(f"{where} is neither text nor an object", provider=runtime)
    kind = part.get("type")
    if kind == "text":
        return {**part, "type": words}
    named = part.get(kind) if kind in {"image_url", "file"} else None
    if named is None:
        return part
    more = {key: value for key, value in part.items() if key not in {"type", kind}}
    if kind == "image_url":
        image = dict(named) if isinstance(named, Mapping) else {"url": named}
        return {"type": "input_image", "image_url": image.pop("url", None), "detail": "auto", **image, **more}
    if not isinstance(named, Mapping):
        raise BadRequest(f"{where}.file must be an object", provider=runtime)
    return {"type": "input_file", **named, **more}
