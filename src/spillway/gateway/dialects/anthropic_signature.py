"""The signature of thinking that another provider did: Anthropic's API asks for one, and would refuse ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

SIGNATURE = "spillway:unsigned"
"""Stands where Anthropic's signature stands, in an answer of a provider that signs nothing."""


def is_ours(block: Any) -> bool:
    """Whether a block is thinking that we signed."""
    return isinstance(block, Mapping) and block.get("type") == "thinking" and block.get("signature") == SIGNATURE


def without_ours(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `body` without the thinking that we signed, which Anthropic would refuse; mostly that is `body` itself.

    A message that holds nothing else is left out.
    """
    messages = body.get("messages")
    if not is_list(messages) or not any(_holds_ours(message) for message in messages):
        return body
    kept = []
    for message in messages:
        if not _holds_ours(message):
            kept.append(message)
            continue
        content = [block for block in message["content"] if not is_ours(block)]
        if content:
            kept.append({**message, "content": content})
    return {**body, "messages": kept}


def _holds_ours(message: Any) -> bool:
    content = message.get("content") if isinstance(message, Mapping) else None
    return is_list(content) and any(is_ours(block) for block in content)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, Sequence) and not isinstance(value, str)
