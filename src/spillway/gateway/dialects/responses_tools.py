"""Tools, flat as the Responses API has them, as a chat has them; the way back of the provider's `tools.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_OF_A_CHAT = frozenset({"function", "custom"})


def tools_of(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return tools; a provider's own, and those that are chat-shaped already, are passed on."""
    return [_tool(tool) for tool in tools]


def choice_of(choice: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return which tool is to be called."""
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    rest = {key: value for key, value in choice.items() if key != "type"}
    if kind in _OF_A_CHAT and kind not in choice:
        return {"type": kind, kind: rest}
    if kind == "allowed_tools" and kind not in choice:
        tools = [choice_of(tool) for tool in rest.get("tools") or () if isinstance(tool, Mapping)]
        return {"type": kind, kind: {**rest, "tools": tools}}
    return choice


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = tool.get("type")
    if kind not in _OF_A_CHAT or kind in tool:
        return tool
    rest = {key: value for key, value in tool.items() if key != "type" and value is not None}
    form = rest.get("format")
    if isinstance(form, Mapping) and form.get("type") == "grammar" and "grammar" not in form:
        grammar = {key: value for key, value in form.items() if key != "type"}
        rest["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": kind, str(kind): rest}
