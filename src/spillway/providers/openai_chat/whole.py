"""Whole chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.errors import ServerError
from spillway.core.reply import FinishReason, TokenChunk, Usage
from spillway.providers.openai_chat.shapes import (
    FINISHES,
    Choice,
    Refuse,
    Said,
    UsageShape,
    call_delta,
    extra_of,
    finish_of,
    logprobs_of,
    reasoning_of,
    text_of,
    usage_of,
)
from spillway.providers.reading import ABSENT, UNREADABLE, is_set, unreadable


class Completion(msgspec.Struct, gc=False):
    """A whole completion."""

    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    choices: list[Choice] | None = None
    usage: UsageShape | None = None
    error: msgspec.Raw = ABSENT
    prompt_filter_results: Any = None
    moderation: Any = None


_completion = msgspec.json.Decoder(Completion).decode


def decode_chat(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole completion as chunks, and its id.

    Raises:
        ServerError: it can't be read, or lacks what every completion has.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _completion(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(whole.error):
        raise refuse(body)
    if not whole.choices:
        raise ServerError("the answer has no choices", reason="schema")
    chunks: list[TokenChunk] = []
    about: dict[str, Any] = {}
    for name in ("id", "model", "service_tier", "system_fingerprint", "prompt_filter_results", "moderation"):
        value = getattr(whole, name)
        if value:
            about[name] = value
    last = len(whole.choices) - 1
    for at, choice in enumerate(whole.choices):
        if choice.finish_reason is not None and choice.finish_reason not in FINISHES:
            about["native_finish_reason"] = choice.finish_reason
        if at < last:
            _add_choice(chunks, choice, at)
    usage = None if whole.usage is None else usage_of(whole.usage)
    _add_choice(chunks, whole.choices[last], last, usage, about or None)
    return chunks, whole.id or ""


def _add_choice(
    chunks: list[TokenChunk],
    choice: Choice,
    at: int,
    usage: Usage | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Append one answer; its last chunk carries the finish reason, and `usage` and `about` if they are given."""
    said = choice.message
    if said is None:
        raise ServerError("the answer's choice has no message", reason="schema")
    text, reasoning, refusal = text_of(said.content), reasoning_of(said), said.refusal or ""
    calls, extra = said.tool_calls, extra_of(said)
    finish = finish_of(choice.finish_reason, calls=bool(calls), refused=bool(refusal))
    if said.content is None and finish is FinishReason.STOP and _says_nothing(said, text, reasoning):
        raise ServerError("the answer has neither content nor tool calls", reason="schema")
    index = at if choice.index is None else choice.index
    if choice.content_filter_results is not ABSENT and is_set(choice.content_filter_results):
        extra = extra or {}
        extra["content_filter_results"] = msgspec.json.decode(choice.content_filter_results)
    if calls:
        if text or reasoning:
            chunks.append(TokenChunk(text_delta=text, reasoning_delta=reasoning, choice=index))
        chunks += [TokenChunk(tool_call_delta=call_delta(call, i), choice=index) for i, call in enumerate(calls)]
        text = reasoning = ""
    chunks.append(
        TokenChunk(
            text_delta=text,
            reasoning_delta=reasoning,
            refusal_delta=refusal,
            usage=usage,
            finish_reason=finish,
            choice=index,
            logprobs=None if choice.logprobs is None else logprobs_of(choice.logprobs),
            extra=extra,
            about=about,
        )
    )


def _says_nothing(said: Said, text: str, reasoning: str) -> bool:
    return not (text or reasoning or said.refusal or said.tool_calls or said.audio or said.images)
