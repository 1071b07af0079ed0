"""Anthropic's request body, made of an OpenAI-shaped request.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.providers.anthropic.config import SAMPLING_VERSION
from spillway.providers.encoding import Losses, drop_openai_fields, extra_fields, stop_list, unsupported
from spillway.providers.parts import Media, Native, Text
from spillway.providers.turns import Block, Call, Thought, Turn, read_turns, schema_of

RUNTIME = "anthropic"
DEFAULT_MAX_TOKENS = 4096
"""Sent when a request names no `max_tokens`, which the API requires."""

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def encode_messages(
    request: GenerateRequest, losses: Losses, *, model: str, stream: bool, version: str
) -> dict[str, Any]:
    """Return the body of a message request.

    Args:
        version: the API's; it decides whether sampling can be set.

    Raises:
        BadRequest: something in the request has no counterpart here; it names the field.
    """
    said = read_turns(request.messages, losses, marks=True)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        "messages": [_turn(turn) for turn in said.turns],
    }
    if said.system:
        if any(text.mark for text in said.system):
            body["system"] = [_block(text) for text in said.system]
        else:
            body["system"] = "\n\n".join([text.text for text in said.system])
    _set_sampling(body, request, version, losses)
    stops = stop_list(request.stop)
    if stops:
        body["stop_sequences"] = stops
    if request.tools:
        body["tools"] = [_tool(tool, at) for at, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        _choose(body, request.tool_choice)
    kind, schema = schema_of(request.response_format, RUNTIME)
    if kind == "json_object":
        raise unsupported("response_format", RUNTIME, "the API has no json_object; give a json_schema")
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if request.reasoning_effort is not None:
        _set_effort(body, request.reasoning_effort)
    if request.extra:
        _add_extra(body, extra_fields(request, RUNTIME), losses)
    if stream:
        body["stream"] = True
    return body


def _set_sampling(body: dict[str, Any], request: GenerateRequest, version: str, losses: Losses) -> None:
    for name in ("temperature", "top_p"):
        value = getattr(request, name)
        if value is not None:
            if version != SAMPLING_VERSION:
                losses.drop(name, f"the API takes it only with anthropic_version = {SAMPLING_VERSION!r}")
                continue
            body[name] = value
    if request.seed is not None:
        losses.drop("seed", "the API has none")


def _turn(turn: Turn) -> dict[str, Any]:
    blocks = turn.blocks
    only = blocks[0]
    if len(blocks) == 1 and isinstance(only, Text) and only.mark is None:
        return {"role": turn.side, "content": only.text}
    return {"role": turn.side, "content": [_block(block) for block in blocks]}


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        text: dict[str, Any] = {"type": "text", "text": block.text}
        if block.mark is not None:
            text["cache_control"] = block.mark
        return text
    if isinstance(block, Call):
        return {"type": "tool_use", "id": _safe_id(block.id), "name": block.name, "input": block.arguments}
    if isinstance(block, Thought):
        return dict(block.block)
    if isinstance(block, Media | Native):
        raise unsupported(block.where, RUNTIME, "only text is supported yet")
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _safe_id(block.call_id)}
    if block.text:
        result["content"] = block.text
    return result


def _safe_id(call_id: str) -> str:
    """Return an id in the API's alphabet; a call and its result get the same one."""
    if call_id and _ID_CHARACTERS.issuperset(call_id):
        return call_id
    return "".join(char if char in _ID_CHARACTERS else f"-{ord(char):x}-" for char in call_id) or "call"


def _tool(tool: Mapping[str, Any], at: int) -> Mapping[str, Any]:
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
    if tool.get("cache_control"):
        mine["cache_control"] = tool["cache_control"]
    return mine


def _choose(body: dict[str, Any], choice: str | Mapping[str, Any]) -> None:
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


def _set_effort(body: dict[str, Any], effort: str) -> None:
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort in _EFFORTS:
        body.setdefault("output_config", {})["effort"] = _EFFORTS[effort]
    else:
        raise unsupported("reasoning_effort", RUNTIME, f"there is no effort {effort!r}")


def _add_extra(body: dict[str, Any], extra: dict[str, Any], losses: Losses) -> None:
    """Merge the provider's own fields in; a few of OpenAI's are translated, the rest is the provider's to judge."""
    drop_openai_fields(extra, losses)
    limit = extra.pop("max_completion_tokens", None)
    if limit is not None:
        body["max_tokens"] = limit
    user = extra.pop("safety_identifier", None) or extra.pop("user", None)
    if user is not None:
        body["metadata"] = {"user_id": user}
    if extra.pop("parallel_tool_calls", None) is False and body.get("tools"):
        body.setdefault("tool_choice", {"type": "auto"})["disable_parallel_tool_use"] = True
    config = extra.pop("output_config", None)
    if isinstance(config, Mapping):
        body["output_config"] = {**body.get("output_config", {}), **config}
    elif config is not None:
        body["output_config"] = config
    body.update(extra)
