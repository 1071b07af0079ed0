"""Anthropic's request bodies, read: messages, tools and choices in OpenAI's shape, everything else the provider's.

What Anthropic's own runtime makes of it is the body again, but for what says the same in other words: a text alone in a
list, system blocks without a cache mark, a `type` of `custom`, an empty result. It is given the body itself anyway.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.request import ANTHROPIC, GenerateRequest, NativeBody
from spillway.gateway.dialects.anthropic_blocks import assistant_message, part_of, user_messages
from spillway.gateway.dialects.anthropic_signature import without_ours
from spillway.gateway.dialects.strictness import is_strict

HEADERS = "anthropic-"
"""How the names of the caller's headers begin that are Anthropic's to read."""

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TOOL_KEYS = frozenset({"type", "name", "description", "input_schema", "strict"})
_FUNCTION = frozenset({None, "custom"})


class _Fields(msgspec.Struct):
    """The fields that are ours to understand; all others are the provider's."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    system: str | list[Any] | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None


_UNDERSTOOD = frozenset({*_Fields.__struct_fields__, "messages"})


class AskedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a body asks for.

    Attributes:
        model: the deployment or group it names, None when it names none.
        stream: whether the answer is to be streamed.
    """

    model: str | None
    request: GenerateRequest
    stream: bool = False


def read_message(
    body: Mapping[str, Any], headers: Mapping[str, str], *, idempotency_id: str, counts: bool = False
) -> AskedMessage:
    """Return what the body of a message request, or of a count of its tokens, asks for.

    Args:
        headers: the caller's, names in lower case.

    Raises:
        BadRequest: it has no messages, or a field of another type; the message names it.
    """
    try:
        fields = msgspec.convert(body, _Fields)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    if fields.max_tokens is not None and fields.max_tokens < 0:
        raise BadRequest("max_tokens must not be negative", param="max_tokens")
    extra = {name: value for name, value in body.items() if name not in _UNDERSTOOD}
    response_format = _format(fields, extra)
    choice = _choice(fields.tool_choice, extra)
    request = GenerateRequest(
        messages=_messages(body.get("messages"), fields.system),
        max_tokens=fields.max_tokens,
        temperature=fields.temperature,
        top_p=fields.top_p,
        stop=fields.stop_sequences or None,
        tools=None if fields.tools is None else [_tool(tool, at) for at, tool in enumerate(fields.tools)],
        tool_choice=choice,
        response_format=response_format,
        extra=extra or None,
        counts=counts,
        native=NativeBody(
            wire=ANTHROPIC,
            body=without_ours(body),
            headers={name: value for name, value in headers.items() if name.startswith(HEADERS)},
        ),
        idempotency_id=idempotency_id,
    )
    return AskedMessage(model=fields.model, request=request, stream=bool(fields.stream))


def _messages(given: Any, system: str | list[Any] | None) -> list[Mapping[str, Any]]:
    if given is None:
        raise BadRequest("messages is missing", param="messages")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BadRequest("messages is not a list", param="messages")
    if not given:
        raise BadRequest("messages is empty", param="messages")
    messages: list[Mapping[str, Any]] = []
    if system:
        messages.append({"role": "system", "content": _parts(system)})
    for at, message in enumerate(given):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BadRequest(f"messages[{at}] is not an object with a role", param="messages")
        role, content = message["role"], message.get("content")
        if not message.keys() <= {"role", "content"}:
            messages.append({**message, "content": _parts(content)})
        elif role == "user":
            messages += user_messages(content)
        elif role == "assistant":
            messages.append(assistant_message(content))
        else:
            messages.append({"role": role, "content": _parts(content)})
    return messages


def _parts(content: Any) -> Any:
    return [part_of(block) for block in content] if isinstance(content, list) else content


def _tool(tool: Any, at: int) -> Mapping[str, Any]:
    """Return a tool of the caller's as a function, one of the provider's as it is."""
    if not isinstance(tool, Mapping):
        raise BadRequest(f"tools[{at}] is not an object", param="tools")
    if tool.get("type") not in _FUNCTION or "input_schema" not in tool:
        return tool
    function: dict[str, Any] = {"name": tool.get("name")}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    function["parameters"] = tool["input_schema"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    more = {name: value for name, value in tool.items() if name not in _TOOL_KEYS and value is not None}
    return {"type": "function", "function": function, **more}


def _choice(choice: Mapping[str, Any] | None, extra: dict[str, Any]) -> str | Mapping[str, Any] | None:
    if choice is None:
        return None
    kind = choice.get("type")
    if choice.get("disable_parallel_tool_use") is True:
        extra["parallel_tool_calls"] = False
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    known = _CHOICES.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise BadRequest(f"tool_choice.type: there is no choice {str(kind)[:50]!r}", param="tool_choice")
    return known


def _format(fields: _Fields, extra: dict[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the answer, from either of its places; the rest of `output_config` stays in `extra`."""
    config = dict(fields.output_config or {})
    given = config.pop("format", None) or fields.output_format
    if config:
        extra["output_config"] = config
    if not given:
        return None
    schema = given.get("schema") if isinstance(given, Mapping) else None
    if not isinstance(schema, Mapping) or given.get("type") != "json_schema":
        raise BadRequest("output_config.format must be a json_schema with a schema", param="output_config")
    named: dict[str, Any] = {"name": "answer", "schema": schema}
    if is_strict(schema):
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}
