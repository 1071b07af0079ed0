"""Chat-shaped tools as the Responses API takes them: flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ANY_OBJECT = {"type": "object", "properties": {}}


def tools_of(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return tools; those that are not chat-shaped, such as the provider's own, are passed on."""
    return [_tool(tool) for tool in tools]


def choice_of(choice: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return which tool is to be called."""
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    named = choice.get(kind) if isinstance(kind, str) else None
    if not isinstance(named, Mapping):
        return choice
    if kind == "allowed_tools":
        return {"type": kind, **named, "tools": [choice_of(tool) for tool in named.get("tools") or ()]}
    return {"type": kind, **named}


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = tool.get("type")
    function, custom = tool.get("function"), tool.get("custom")
    if kind == "function" and isinstance(function, Mapping):
        # Here a function is strict unless it says otherwise; in a chat completion it is not.
        return {"type": kind, "parameters": _ANY_OBJECT, "strict": False, **function}
    if kind == "custom" and isinstance(custom, Mapping):
        form = custom.get("format")
        grammar = form.get("grammar") if isinstance(form, Mapping) else None
        if isinstance(grammar, Mapping):
            return {"type": kind, **custom, "format": {"type": "grammar", **grammar}}
        return {"type": kind, **custom}
    return tool
