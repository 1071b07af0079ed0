"""Whole answers as Anthropic's messages, whoever gave them; and what a message tells in the same words when streamed.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.reply import FinishReason, Tokens, Usage
from spillway.gateway.dialects.anthropic_signature import SIGNATURE

_decode = msgspec.json.Decoder().decode

_STOPS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}
_NATIVE_STOPS = frozenset({*_STOPS.values(), "stop_sequence", "pause_turn", "model_context_window_exceeded"})
_TIERS = frozenset({"standard", "priority", "batch"})
UNREAD = "INVALID_JSON"
"""The name under which arguments that are no JSON object stand in an `input`, as the provider's guide has it."""


def message_of(tokens: Tokens, *, model: str, message_id: str) -> dict[str, Any]:
    """Return a whole answer as a message.

    Args:
        model: what the caller asked for.
    """
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _content(tokens, message_id),
        **ending_of(tokens.finish_reason, tokens.about, tokens.refusal),
        "usage": usage_of(tokens.usage, tokens.about),
    }


def ending_of(finish: FinishReason | None, about: Mapping[str, Any] | None, refusal: str = "") -> dict[str, Any]:
    """Return why an answer ended: the provider's own word where it is one of Anthropic's."""
    about = about or {}
    native = about.get("native_finish_reason")
    named = isinstance(native, str) and native in _NATIVE_STOPS
    ending: dict[str, Any] = {
        "stop_reason": native if named else "end_turn" if finish is None else _STOPS[finish],
        "stop_sequence": about.get("stop_sequence"),
    }
    if refusal and not named:
        ending["stop_reason"] = "refusal"
    if about.get("stop_details") is not None:
        ending["stop_details"] = about["stop_details"]
    elif refusal:
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal}
    return ending


def usage_of(usage: Usage | None, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return token counts as Anthropic counts: what was read from a cache or written to one is no `input_tokens`."""
    usage = usage or Usage()
    written, longer = usage.cache_write_tokens, usage.cache_write_1h_tokens
    told: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if written:
        told["cache_creation"] = {
            "ephemeral_5m_input_tokens": written - longer,
            "ephemeral_1h_input_tokens": longer,
        }
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.web_searches:
        told["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    tier = (about or {}).get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        told["service_tier"] = tier
    return told


def call_block(call_id: str, name: str, given: Any) -> dict[str, Any]:
    """Return a call as a block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def call_id_of(given: str, message_id: str, place: int) -> str:
    """Return the id of a call, one of its own for a call that has none."""
    return given or f"toolu_{message_id.removeprefix('msg_')}_{place}"


def read_arguments(arguments: str) -> Any:
    """Return the input of a call; what is no JSON object stands in one, as it was written."""
    if not arguments.strip():
        return {}
    try:
        found = _decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {UNREAD: arguments}


def thought_block(thinking: str) -> dict[str, Any]:
    """Return thinking that its provider did not sign."""
    return {"type": "thinking", "thinking": thinking, "signature": SIGNATURE}


def signed(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a block of thinking as it is, with our signature if it has none."""
    if block.get("type") == "thinking" and not block.get("signature"):
        return {**block, "signature": SIGNATURE}
    return block


def image_block(part: Any) -> dict[str, Any] | None:
    """Return a picture that was answered, an `image_url` part, as a block; None for what is none."""
    named = part.get("image_url") if isinstance(part, Mapping) else None
    url = named.get("url") if isinstance(named, Mapping) else named
    if not isinstance(url, str) or not url:
        return None
    head, _, data = url.partition(";base64,")
    if head.startswith("data:") and data:
        return {"type": "image", "source": {"type": "base64", "media_type": head[5:], "data": data}}
    return {"type": "image", "source": {"type": "url", "url": url}}


def listed(extra: Mapping[str, Any] | None, name: str) -> Sequence[Any]:
    """Return a list among an answer's further fields, an empty one where there is none."""
    found = (extra or {}).get(name)
    return found if isinstance(found, list) else ()


def _content(tokens: Tokens, message_id: str) -> list[Any]:
    extra = tokens.extra
    blocks: list[Any] = [signed(block) for block in listed(extra, "thinking_blocks") if isinstance(block, Mapping)]
    if tokens.reasoning and not blocks:
        blocks.append(thought_block(tokens.reasoning))
    blocks += listed(extra, "server_blocks")
    text = tokens.text + tokens.refusal
    if text:
        blocks.append({"type": "text", "text": text})
    blocks += [block for part in listed(extra, "images") if (block := image_block(part)) is not None]
    for at, call in enumerate(tokens.tool_calls):
        blocks.append(call_block(call_id_of(call.id, message_id, at), call.name, read_arguments(call.arguments)))
    return blocks
