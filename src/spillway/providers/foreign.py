"""A request in Anthropic's words, on its way to a provider that speaks others: what has a counterpart gets it here.

The rest is refused, or left out with a word, as the deployment says; what no answer depends on (cache marks, ids of
users, how thinking is shown) is no reason to refuse. A request that no caller wrote in Anthropic's words never comes
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses
from spillway.providers.foreign_messages import messages_of, without_blocks
from spillway.providers.takes import Takes

_LONGEST_USER = 64
_LEAST_BUDGETS = (("high", 16_384), ("medium", 4_096))
"""Efforts, and the thinking budgets at which they begin; below them it is `low`."""

_TIERS = {"standard_only": "default"}
_OF_NO_WEIGHT = frozenset({"cache_control", "context_management", "diagnostics"})
_TOOL_HINTS = frozenset({"cache_control", "eager_input_streaming"})
_PLAIN_CALLERS = ["direct"]


def in_chat_words(request: GenerateRequest, losses: Losses, takes: Takes) -> GenerateRequest:
    """Return `request` in what `takes` tells that its provider has.

    Args:
        losses: what can't be carried goes there.

    Raises:
        BadRequest: something can't be carried, and must not be left out; it names the field.
    """
    given = request.native.body if request.native is not None else {}
    fields = dict(request.extra or {})
    if takes.anthropic:
        effort = _pop_effort(fields)
        messages: Iterable[Mapping[str, Any]] = without_blocks(request.messages, losses)
        tools = request.tools
    else:
        effort = _thinking(fields, losses, takes)
        translated = _translated(fields, losses, takes)
        for name in [name for name in fields if name in given and name not in takes.fields]:
            _leave_out(name, fields.pop(name), losses)
        fields.update(translated)
        messages = messages_of(request.messages, losses, takes)
        tools = None if request.tools is None else [*_tools(request.tools, losses)]
        if not tools:
            fields.pop("parallel_tool_calls", None)
    return msgspec.structs.replace(
        request,
        messages=list(messages),
        tools=tools or None,
        tool_choice=request.tool_choice if tools else None,
        extra=fields or None,
        reasoning_effort=effort,
    )


def _pop_effort(fields: dict[str, Any]) -> str | None:
    config = fields.get("output_config")
    if not isinstance(config, Mapping) or not isinstance(config.get("effort"), str):
        return None
    rest = {name: value for name, value in config.items() if name != "effort"}
    if rest:
        fields["output_config"] = rest
    else:
        del fields["output_config"]
    return str(config["effort"])


def _thinking(fields: dict[str, Any], losses: Losses, takes: Takes) -> str | None:
    """Return how hard to think; ask for the thinking to be told where the caller did and the provider can."""
    effort = _pop_effort(fields)
    thinking = fields.pop("thinking", None)
    for name, value in (fields.pop("output_config", None) or {}).items():
        losses.drop(f"output_config.{name}", f"the {losses.runtime} runtime has no counterpart of {_shown(value)}")
    if not isinstance(thinking, Mapping):
        return effort
    kind = thinking.get("type")
    if kind == "disabled":
        return "none"
    if thinking.get("display") != "omitted":
        fields.update(takes.thoughts)
    budget = thinking.get("budget_tokens")
    if effort is None and isinstance(budget, int):
        effort = next((name for name, least in _LEAST_BUDGETS if budget >= least), "low")
    return effort


def _translated(fields: dict[str, Any], losses: Losses, takes: Takes) -> dict[str, Any]:
    """Take out the fields that are called otherwise elsewhere, and return them under their other names."""
    named: dict[str, Any] = {}
    metadata = fields.pop("metadata", None)
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if isinstance(user, str) and takes.user and len(user) <= _LONGEST_USER:
        named["safety_identifier"] = user
    elif user is not None:
        losses.note("metadata.user_id", f"the {losses.runtime} runtime can't carry it")
    tier = fields.pop("service_tier", None)
    if isinstance(tier, str):
        named["service_tier"] = _TIERS.get(tier, tier)
    if fields.get("speed") == "standard":
        del fields["speed"]
    return named


def _leave_out(name: str, value: Any, losses: Losses) -> None:
    if name in _OF_NO_WEIGHT:
        losses.note(name, f"the {losses.runtime} runtime can't carry it")
    elif value:
        losses.drop(name, f"the {losses.runtime} runtime has no counterpart")


def _tools(tools: Iterable[Mapping[str, Any]], losses: Losses) -> Iterable[Mapping[str, Any]]:
    hinted: set[str] = set()
    for at, tool in enumerate(tools):
        if tool.get("type") != "function":
            losses.drop(f"tools[{at}]", f"the {losses.runtime} runtime has no tool {tool.get('type')!r}")
            continue
        for name in tool.keys() - {"type", "function"}:
            if name in _TOOL_HINTS:
                hinted.add(name)
            elif tool[name] and tool[name] != _PLAIN_CALLERS:
                losses.drop(f"tools[{at}].{name}", f"the {losses.runtime} runtime has no counterpart")
        yield {"type": "function", "function": tool["function"]}
    for name in sorted(hinted):
        losses.note(f"tools: {name}", f"the {losses.runtime} runtime can't carry it")


def _shown(value: Any) -> str:
    return repr(value)[:80]
