"""The order that Anthropic asks of messages: who speaks first, results for every call, thinking before the calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spillway.sim.ask import BadAsk

_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


def check_turns(messages: Sequence[Mapping[str, Any]], *, thinking: bool) -> None:
    """Raise `BadAsk` for what is out of order; with `thinking` the turn that called tools must begin with it."""
    if messages[0]["role"] == "assistant":
        raise BadAsk('messages: first message must use the "user" role')
    turns = _merged(messages)
    for at, (role, blocks) in enumerate(turns):
        before = turns[at - 1][1] if at else []
        called = [block.get("id") for block in before if block["type"] == "tool_use"]
        given = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        if role == "user":
            _match(called, given, at)
    if turns[-1][0] == "assistant" and any(block["type"] == "tool_use" for block in turns[-1][1]):
        _match([block.get("id") for block in turns[-1][1] if block["type"] == "tool_use"], [], len(turns))
    if not thinking or len(turns) < 2 or not any(block["type"] == "tool_result" for block in turns[-1][1]):
        return
    first = turns[-2][1][0]["type"]
    if first not in _THOUGHTS:
        raise BadAsk(
            f"messages.{len(turns) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, "
            f"but found `{first}`. When `thinking` is enabled, a final `assistant` message must start with one."
        )


def _match(called: Sequence[Any], given: Sequence[Any], at: int) -> None:
    missing = [each for each in called if each not in given]
    if missing:
        raise BadAsk(
            f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(map(str, missing))}"
        )
    strange = [each for each in given if each not in called]
    if strange:
        raise BadAsk(f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {strange[0]}")


def _merged(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    turns: list[tuple[str, list[Mapping[str, Any]]]] = []
    for message in messages:
        blocks = list(_blocks(message.get("content")))
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((message["role"], blocks))
    return turns


def _blocks(content: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from content
