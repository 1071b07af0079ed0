"""Anthropic's whole answers, as chunks: the same, added up, as those of the streamed one.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from spillway.core.errors import InferenceError, ServerError
from spillway.core.reply import FinishReason, TokenChunk
from spillway.providers.anthropic.echo import TOOL, BlockOrder
from spillway.providers.anthropic.rare import citations_of, decoded, told_as_it_came
from spillway.providers.anthropic.shapes import OF_MESSAGE, Content, Message, arguments_of, call_of
from spillway.providers.anthropic.usage import FINISHES, about_end, add_usage, inclusive
from spillway.providers.reading import UNREADABLE, is_set, unreadable

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body or an event of type `error`."""

_message = msgspec.json.Decoder(Message).decode


def decode_message(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole message as chunks, and its id.

    Raises:
        ServerError: it can't be read, or lacks what every message has.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _message(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if whole.type == "error" or is_set(whole.error):
        raise refuse(body)
    if whole.content is None or whole.stop_reason is None:
        raise ServerError("the answer has no content or no stop_reason", reason="schema")
    about = about_end(whole.model, whole.stop_reason)
    if whole.stop_sequence is not None or whole.stop_details is not None or whole.container is not None:
        about.update({name: value for name in OF_MESSAGE[:3] if (value := getattr(whole, name)) is not None})
    if whole.context_management is not None or whole.input_transformations is not None:
        about.update({name: value for name in OF_MESSAGE[3:] if (value := getattr(whole, name)) is not None})
    usage = whole.usage
    if usage is not None:
        add_usage(about, usage)
    content, text, told = whole.content, "", None
    chunks: list[TokenChunk] = []
    if len(content) == 1 and content[0].type == "text" and not is_set(content[0].citations):
        text = content[0].text or ""
    else:
        order = BlockOrder()
        chunks = _chunks_of(content, body, order)
        told = order.told()
    end = TokenChunk(
        text_delta=text,
        usage=None if usage is None else inclusive(usage),
        finish_reason=FINISHES.get(whole.stop_reason, FinishReason.STOP),
        about=about,
        extra=told,
    )
    return [*chunks, end], whole.id or ""


def _chunks_of(content: Sequence[Content], body: bytes, order: BlockOrder) -> list[TokenChunk]:
    """Return the chunks of blocks that are not one plain text."""
    chunks: list[TokenChunk] = []
    native: list[dict[str, Any]] = []
    calls = 0
    for at, block in enumerate(content):
        if block.type == "text":
            begin = order.chars
            if block.text:
                order.chars += len(block.text)
                chunks.append(TokenChunk(text_delta=block.text))
            annotations = order.add_text(begin, citations_of(block.citations))
            if annotations:
                chunks.append(TokenChunk(extra={"annotations": annotations}))
        elif block.type == "tool_use":
            order.add(TOOL)
            chunks.append(TokenChunk(tool_call_delta=call_of(block, calls, arguments_of(block.input))))
            calls += 1
        else:
            if not native:
                native = decoded(body)["content"]
            if block.type == "thinking" and block.thinking:
                chunks.append(TokenChunk(reasoning_delta=block.thinking))
            chunks.append(told_as_it_came(native[at], order))
    return chunks
