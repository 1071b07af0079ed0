"""Answers written as OpenAI chat completions, whole and as chunks, whoever gave them.

Source: https://platform.openai.com/docs/api-reference/chat/object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.reply import Choice, Embeddings, TokenChunk, Tokens, ToolCallDelta, Usage, assistant_message

_TIERS = {**dict.fromkeys(("auto", "default", "flex", "scale", "priority", "fast")), "standard": "default"}
"""OpenAI's tiers of service, and what another provider's is among them where it has a name of its own."""


def completion(tokens: Tokens, *, model: str, completion_id: str, created: int) -> dict[str, Any]:
    """Return a whole answer as a `chat.completion`.

    Args:
        model: what the caller asked for.
        created: seconds since 1970.
    """
    said: tuple[Choice | Tokens, ...] = tokens.choices or (tokens,)
    body: dict[str, Any] = {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(each, index) for index, each in enumerate(said)],
    }
    if tokens.about:
        body.update(answer_fields(tokens.about))
    if tokens.usage is not None:
        body["usage"] = usage_shape(tokens.usage)
    return body


def completion_chunk(chunk: TokenChunk, *, model: str, completion_id: str, created: int) -> dict[str, Any]:
    """Return one piece of an answer as a `chat.completion.chunk`; one that carries usage alone has no choices."""
    body: dict[str, Any] = {
        "id": completion_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [],
    }
    delta = _delta(chunk)
    if delta or chunk.finish_reason is not None or chunk.logprobs is not None:
        choice: dict[str, Any] = {"index": chunk.choice, "delta": delta, "finish_reason": chunk.finish_reason}
        if chunk.logprobs is not None:
            choice["logprobs"] = chunk.logprobs
        body["choices"] = [choice]
    if chunk.about:
        body.update(answer_fields(chunk.about))
    if chunk.usage is not None:
        body["usage"] = usage_shape(chunk.usage)
    return body


def embeddings_list(embeddings: Embeddings, *, model: str) -> dict[str, Any]:
    """Return vectors as OpenAI's `list` of `embedding` objects."""
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(embeddings.vectors)
        ],
        "model": model,
    }
    if embeddings.usage is not None:
        count = embeddings.usage.input_tokens
        body["usage"] = {"prompt_tokens": count, "total_tokens": count}
    return body


def usage_shape(usage: Usage) -> dict[str, Any]:
    """Return token counts in OpenAI's names; classes that are zero are left out."""
    shown: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    inside = {
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.audio_input_tokens,
    }
    outside = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens}
    for name, counts in (("prompt_tokens_details", inside), ("completion_tokens_details", outside)):
        told = {kind: count for kind, count in counts.items() if count}
        if told:
            shown[name] = told
    return shown


def tier_of(about: Mapping[str, Any]) -> str | None:
    """Return the tier of service of an answer as OpenAI names it; None where it has no name there."""
    tier = about.get("service_tier")
    return (_TIERS[tier] or tier) if isinstance(tier, str) and tier in _TIERS else None


def answer_fields(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an answer as a whole stands in a completion and in each of its chunks."""
    told = {"service_tier": tier_of(about), "system_fingerprint": about.get("system_fingerprint")}
    return {name: value for name, value in told.items() if value is not None}


def _choice(said: Choice | Tokens, index: int) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "message": assistant_message(said),
        "finish_reason": said.finish_reason or "stop",
    }
    if said.logprobs is not None:
        choice["logprobs"] = said.logprobs
    return choice


def _delta(chunk: TokenChunk) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    if chunk.text_delta:
        delta["content"] = chunk.text_delta
    if chunk.reasoning_delta:
        delta["reasoning_content"] = chunk.reasoning_delta
    if chunk.refusal_delta:
        delta["refusal"] = chunk.refusal_delta
    if chunk.tool_call_delta is not None:
        delta["tool_calls"] = [_call_delta(chunk.tool_call_delta)]
    if chunk.extra:
        delta.update(chunk.extra)
    return delta


def _call_delta(call: ToolCallDelta) -> dict[str, Any]:
    shape: dict[str, Any] = {"index": call.index}
    if call.id:
        shape["id"] = call.id
        shape["type"] = "custom" if call.custom else "function"
    words: dict[str, Any] = {"input" if call.custom else "arguments": call.arguments}
    if call.name:
        words["name"] = call.name
    shape["custom" if call.custom else "function"] = words
    if call.extra:
        shape.update(call.extra)
    return shape
