"""OpenAI-shaped messages as turns of two sides, for the wires that know no other roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.request import Message
from spillway.providers.encoding import Losses, unsupported
from spillway.providers.parts import Media, Native, Text, read_parts

_THOUGHT_KEYS = frozenset({"thinking_blocks", "extra_content", "server_blocks", "block_order"})
_OUTPUT_ONLY = frozenset({"annotations", "audio", "reasoning", "reasoning_content", "refusal"})
_RESPONSES_ONLY = frozenset({"output_items", "output_order", "phase", "reasoning_items"})
_KEYS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "cache_control"}),
    "developer": frozenset({"role", "content", "cache_control"}),
    "user": frozenset({"role", "content", "cache_control"}),
    "assistant": frozenset({"role", "content", "tool_calls", "cache_control"})
    | _OUTPUT_ONLY
    | _THOUGHT_KEYS
    | _RESPONSES_ONLY,
    "tool": frozenset({"role", "content", "tool_call_id", "name", "is_error", "cache_control"}),
}
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model; `arguments` is a JSON object, as it was written.

    Attributes:
        extra: the fields beside id and function: a signature, a cache mark.
    """

    id: str
    name: str
    arguments: msgspec.Raw
    extra: Mapping[str, Any] = {}


class Result(msgspec.Struct, frozen=True):
    """What a tool answered; `name` is the tool's."""

    call_id: str
    name: str
    parts: tuple[Text | Media | Native, ...] = ()
    is_error: bool = False
    mark: Any = None

    @property
    def text(self) -> str:
        """Its texts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Thought(msgspec.Struct, frozen=True):
    """A block of thinking as its provider wrote it, signature included."""

    block: Mapping[str, Any]


Block = Text | Media | Native | Call | Result | Thought


class Said(msgspec.Struct):
    """What one assistant message says, sorted: its thinking, its content, its calls."""

    thoughts: list[Block]
    content: list[Block]
    calls: list[Block]


Arrange = Callable[[Message, Said, str, Losses], list[Block]]
"""Puts what an assistant message at a place says in order; `annotations`, `server_blocks` and `block_order` are its own
to read, from the message."""


class Turn(msgspec.Struct):
    """What one side said before the other spoke; never empty, but for what `own` holds.

    Attributes:
        own: the assistant's messages that have fields which only their runtime reads: where the blocks of such a
            message begin, where they end, and the message.
    """

    side: Literal["user", "assistant"]
    blocks: list[Block]
    own: list[tuple[int, int, Message]] = []


class Conversation(msgspec.Struct):
    """Messages, sorted: the instructions, and turns that alternate."""

    system: list[Text]
    turns: list[Turn]


def read_turns(
    messages: Sequence[Message],
    losses: Losses,
    *,
    marks: bool = False,
    arrange: Arrange | None = None,
    own: frozenset[str] = frozenset(),
) -> Conversation:
    """Sort messages into instructions and alternating turns; texts without a character are left out.

    Args:
        losses: what of the messages can't be carried goes there.
        marks: whether a message, a part or a call may carry `cache_control`.
        arrange: orders the blocks of an assistant message; without it thinking, content and calls follow each other.
        own: fields of the assistant's messages that the runtime reads by itself; see `Turn.own`.

    Raises:
        BadRequest: a message is malformed, or holds what the runtime can't take; it names the place.

    Complexity: linear.
    """
    system: list[Text] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    runtime = losses.runtime
    for index, message in enumerate(messages):
        role = message.get("role")
        keys = _KEYS.get(role) if isinstance(role, str) else None
        if keys is None:
            raise unsupported(f"messages[{index}].role", runtime, f"the {runtime} runtime has no role {role!r}")
        if not message.keys() <= keys:
            _check_keys(message, keys | own if role == "assistant" else keys, index, losses)
        content = message.get("content")
        where = f"messages[{index}].content"
        blocks: list[Block]
        if content.__class__ is str and role != "tool":
            blocks = [Text(content)] if content else []
        elif role == "tool":
            blocks = [_result(message, content, names, index, losses, marks=marks)]
        else:
            blocks = list(read_parts(content, where, losses, marks=marks, optional=role == "assistant"))
        if role == "assistant" and (len(message) > 2 or "content" not in message):
            blocks = _said(message, blocks, names, index, losses, arrange, own)
        if "cache_control" in message:
            _mark(blocks, message["cache_control"], f"messages[{index}].cache_control", losses, marks=marks)
        if role in {"system", "developer"}:
            system += _only_texts(blocks, where, runtime)
            continue
        has_own = role == "assistant" and any(message.get(name) for name in own)
        if not blocks and not has_own:
            continue
        side: Literal["user", "assistant"] = "assistant" if role == "assistant" else "user"
        if not turns or turns[-1].side != side:
            turns.append(Turn(side, []))
        turn = turns[-1]
        turn.blocks += blocks
        if has_own:
            turn.own.append((len(turn.blocks) - len(blocks), len(turn.blocks), message))
    if not turns:
        raise BadRequest("messages: no message says anything", provider=runtime)
    return Conversation(system, turns)


def _check_keys(message: Message, keys: frozenset[str], index: int, losses: Losses) -> None:
    for key, value in message.items():
        if key not in keys and value:
            losses.drop(f"messages[{index}].{key}", f"the {losses.runtime} runtime can't carry it")


def _only_texts(blocks: Sequence[Block], where: str, runtime: str) -> Iterator[Text]:
    for block in blocks:
        if not isinstance(block, Text):
            raise unsupported(where, runtime, "a system message holds text only")
        yield block


def _mark(blocks: list[Block], mark: Any, where: str, losses: Losses, *, marks: bool) -> None:
    """Put a message's cache mark on the last of its blocks that can bear one."""
    if not mark:
        return
    if not marks:
        losses.drop(where, f"the {losses.runtime} runtime can't carry it")
        return
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if isinstance(block, Thought):
            continue
        if isinstance(block, Call):
            blocks[at] = msgspec.structs.replace(block, extra={**block.extra, "cache_control": mark})
        elif isinstance(block, Native):
            blocks[at] = Native({**block.part, "cache_control": mark}, block.where)
        else:
            blocks[at] = msgspec.structs.replace(block, mark=mark)
        return
    losses.note(where, "the message has no block that can bear it")


def _said(
    message: Message,
    content: list[Block],
    names: dict[str, str],
    index: int,
    losses: Losses,
    arrange: Arrange | None,
    own: frozenset[str],
) -> list[Block]:
    """Return what an assistant message says, in the order of `arrange`, else thinking, content, refusal and calls."""
    where = f"messages[{index}]"
    thoughts: list[Block] = [
        Thought(block) for block in message.get("thinking_blocks") or () if isinstance(block, Mapping)
    ]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        content = [*content, Text(refusal)]
    calls: list[Block] = [
        _call(call, names, f"{where}.tool_calls[{at}]", losses.runtime)
        for at, call in enumerate(message.get("tool_calls") or ())
    ]
    if not thoughts:
        for key in ("reasoning_content", "reasoning", "reasoning_items"):
            if message.get(key):
                losses.note(f"{where}.{key}", "reasoning goes back only with the signature of its provider")
                break
    for key in ("annotations", "audio", "server_blocks", "output_items"):
        if message.get(key) and key not in own and (arrange is None or key in {"audio", "output_items"}):
            losses.note(f"{where}.{key}", f"the {losses.runtime} runtime can't carry it")
    if arrange is not None:
        return arrange(message, Said(thoughts, content, calls), where, losses)
    return [*thoughts, *content, *calls]


def _call(call: Any, names: dict[str, str], where: str, runtime: str) -> Call:
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
    extra = {key: value for key, value in call.items() if key not in {"id", "type", "function", "index"}}
    return Call(call_id, name, msgspec.Raw(arguments.encode()), extra)


def _result(
    message: Message, content: Any, names: dict[str, str], index: int, losses: Losses, *, marks: bool
) -> Result:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str):
        raise BadRequest(f"messages[{index}].tool_call_id must be text", provider=losses.runtime)
    parts = tuple(read_parts(content, f"messages[{index}].content", losses, marks=marks))
    name = message.get("name") or names.get(call_id) or ""
    return Result(call_id, name, parts, bool(message.get("is_error")), message.get("cache_control"))


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
