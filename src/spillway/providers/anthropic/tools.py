"""Tools and the choice among them, made of OpenAI's.

Source: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.errors import BadRequest
from spillway.providers.anthropic.blocks import RUNTIME
from spillway.providers.encoding import Losses, unsupported

_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_OWN_KEYS = ("cache_control", "defer_loading", "eager_input_streaming", "input_examples", "allowed_callers")
_FUNCTION_KEYS = frozenset({"name", "description", "parameters", "strict", *_OWN_KEYS})
_TOOL_KEYS = frozenset({"type", "function", *_OWN_KEYS})
_FORCED = frozenset({"any", "tool"})
_PARALLEL = frozenset({"any", "tool", "auto"})


def encode_tool(tool: Mapping[str, Any], at: int, losses: Losses) -> Mapping[str, Any]:
    """Return one tool; the provider's own pass as they are.

    Raises:
        BadRequest: it has no name, or is of a kind that the API does not have.
    """
    kind = tool.get("type")
    if kind != "function":
        if kind == "custom" and "custom" in tool:
            raise unsupported(f"tools[{at}]", RUNTIME, "the API has no custom tools of free text")
        return tool
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRequest(f"tools[{at}].function has no name", provider=RUNTIME)
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    mine: dict[str, Any] = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        mine["description"] = function["description"]
    if function.get("strict"):
        mine["strict"] = True
    for key in _OWN_KEYS:
        value = tool.get(key, function.get(key))
        if value is not None:
            mine[key] = value
    for place, given, known in (("", tool, _TOOL_KEYS), (".function", function, _FUNCTION_KEYS)):
        for key in given.keys() - known:
            if given[key]:
                losses.drop(f"tools[{at}]{place}.{key}", "a tool of the API has none")
    return mine


def set_choice(body: dict[str, Any], choice: str | Mapping[str, Any]) -> None:
    """Set `tool_choice`, and for a choice of allowed tools leave the others out.

    Raises:
        BadRequest: there is no such choice.
    """
    if isinstance(choice, str):
        kind = _CHOICES.get(choice)
        if kind is None:
            raise unsupported("tool_choice", RUNTIME, f"there is no choice {choice!r}")
        if kind in {"any", "auto"} or body.get("tools"):
            body["tool_choice"] = {"type": kind}
        return
    if choice.get("type") == "function":
        body["tool_choice"] = {"type": "tool", "name": (choice.get("function") or {}).get("name")}
        return
    allowed = choice.get("allowed_tools")
    if choice.get("type") != "allowed_tools" or not isinstance(allowed, Mapping):
        raise unsupported("tool_choice", RUNTIME, "it must be a mode, a function or allowed_tools")
    names = {(tool.get("function") or {}).get("name") for tool in allowed.get("tools") or ()}
    body["tools"] = [tool for tool in body.get("tools") or () if tool.get("name") in names]
    body["tool_choice"] = {"type": _CHOICES.get(allowed.get("mode", "auto"), "auto")}


def forbid_parallel(body: dict[str, Any]) -> None:
    """Ask for one call at a time, where there are tools that can be called."""
    choice = body.setdefault("tool_choice", {"type": "auto"}) if body.get("tools") else None
    if isinstance(choice, dict) and choice.get("type") in _PARALLEL:
        choice["disable_parallel_tool_use"] = True


def check_choice(body: dict[str, Any], losses: Losses) -> None:
    """Report a call that is forced while the model thinks, which the API refuses; left out, the model may choose."""
    thinking, choice = body.get("thinking"), body.get("tool_choice")
    if not isinstance(thinking, Mapping) or not isinstance(choice, Mapping):
        return
    if thinking.get("type") in {"enabled", "adaptive"} and choice.get("type") in _FORCED:
        losses.drop("tool_choice", "the API forces no call while the model thinks")
        body["tool_choice"] = {
            "type": "auto",
            **{key: value for key, value in choice.items() if key == "disable_parallel_tool_use"},
        }
