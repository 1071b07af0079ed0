"""OpenAI-shaped messages as turns of two sides, for the wires that know no other roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.request import Message
from spillway.providers.encoding import unsupported

_OUTPUT_ONLY = frozenset({"annotations", "reasoning", "reasoning_content", "refusal"})
_KEYS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls"}) | _OUTPUT_ONLY,
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of text; `mark` is its `cache_control`, when it has one."""

    text: str
    mark: Any = None


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model; `arguments` is a JSON object, as it was written."""

    id: str
    name: str
    arguments: msgspec.Raw
    signature: str | None = None


class Result(msgspec.Struct, frozen=True):
    """What a tool answered; `name` is the tool's."""

    call_id: str
    name: str
    text: str


Block = Text | Call | Result


class Turn(msgspec.Struct):
    """What one side said before the other spoke; never empty."""

    side: Literal["user", "assistant"]
    blocks: list[Block]


class Conversation(msgspec.Struct):
    """Messages, sorted: the instructions, and turns that alternate."""

    system: list[Text]
    turns: list[Turn]


def read_turns(messages: Sequence[Message], runtime: str, *, marks: bool = False) -> Conversation:
    """Sort messages into instructions and alternating turns; texts without a character are left out.

    Args:
        runtime: named in refusals.
        marks: whether a text may carry `cache_control`.

    Raises:
        BadRequest: a message is malformed, or holds what the runtime can't take; it names the place.

    Complexity: linear.
    """
    system: list[Text] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        role = message.get("role")
        keys = _KEYS.get(role) if isinstance(role, str) else None
        if keys is None:
            raise unsupported(f"messages[{index}].role", runtime, f"the {runtime} runtime has no role {role!r}")
        if not message.keys() <= keys:
            _check_keys(message, keys, index, runtime)
        content = message.get("content")
        blocks: list[Block]
        if content.__class__ is str and role != "tool":
            blocks = [Text(content)] if content else []
        elif role == "tool":
            blocks = [_result(message, content, names, index, runtime)]
        else:
            blocks = list(_texts(content, index, runtime, marks=marks, optional=role == "assistant"))
        if role in {"system", "developer"}:
            system += blocks  # type: ignore[arg-type] # a system message yields texts only
            continue
        if role == "assistant" and len(message) > 2:
            _add_said(message, blocks, names, index, runtime)
        if not blocks:
            continue
        side: Literal["user", "assistant"] = "assistant" if role == "assistant" else "user"
        if turns and turns[-1].side == side:
            turns[-1].blocks += blocks
        else:
            turns.append(Turn(side, blocks))
    if not turns:
        raise BadRequest("messages: no message says anything", provider=runtime)
    return Conversation(system, turns)


def _check_keys(message: Message, keys: frozenset[str], index: int, runtime: str) -> None:
    for key, value in message.items():
        if key not in keys and value:
            raise unsupported(f"messages[{index}].{key}", runtime, f"the {runtime} runtime can't carry it")


def _texts(content: Any, index: int, runtime: str, *, marks: bool, optional: bool = False) -> Iterator[Text]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    where = f"messages[{index}].content"
    if content is None and optional:
        return
    if not isinstance(content, Sequence):
        raise BadRequest(f"{where} must be text or a list of parts", provider=runtime)
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in {"text", "refusal"}:
            named = kind if isinstance(kind, str) else "such"
            why = f"{named} parts are not supported by the {runtime} runtime yet"
            raise unsupported(f"{where}[{at}]", runtime, why)
        text = part.get(kind)
        if not isinstance(text, str):
            raise BadRequest(f"{where}[{at}].{kind} must be text", provider=runtime)
        mark = None
        for key in part:
            if key == "cache_control" and marks:
                mark = part[key]
            elif key not in {"type", kind} and part[key]:
                raise unsupported(f"{where}[{at}].{key}", runtime, f"the {runtime} runtime can't carry it")
        if text:
            yield Text(text, mark)


def _add_said(message: Message, blocks: list[Block], names: dict[str, str], index: int, runtime: str) -> None:
    """Add what else an assistant message says: a refusal, which is text, and tool calls."""
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append(Text(refusal))
    for at, call in enumerate(message.get("tool_calls") or ()):
        where = f"messages[{index}].tool_calls[{at}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise unsupported(where, runtime, "only calls of functions are supported")
        name, call_id = function["name"], str(call.get("id") or "")
        arguments = function.get("arguments") or "{}"
        try:
            _arguments.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError):
            raise BadRequest(f"{where}.function.arguments is not a JSON object", provider=runtime) from None
        names[call_id] = name
        blocks.append(Call(call_id, name, msgspec.Raw(arguments.encode()), _signature(call)))


def _signature(call: Mapping[str, Any]) -> str | None:
    """Return what Google signs a call with, from where its OpenAI-compatible API puts it."""
    content = call.get("extra_content")
    google = content.get("google") if isinstance(content, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else None


def _result(message: Message, content: Any, names: dict[str, str], index: int, runtime: str) -> Result:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str):
        raise BadRequest(f"messages[{index}].tool_call_id must be text", provider=runtime)
    text = "".join(piece.text for piece in _texts(content, index, runtime, marks=False))
    return Result(call_id, message.get("name") or names.get(call_id) or "", text)


def schema_of(response_format: Mapping[str, Any] | None, runtime: str) -> tuple[str, Mapping[str, Any] | None]:
    """Return what an OpenAI-shaped `response_format` asks for: `text`, `json_object` or `json_schema`, and the schema.

    Raises:
        BadRequest: it is none of these.
    """
    if response_format is None:
        return "text", None
    kind = response_format.get("type")
    if kind in {"text", "json_object"}:
        return kind, None
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise unsupported("response_format", runtime, "it must be text, json_object, or json_schema with a schema")
    return "json_schema", schema
