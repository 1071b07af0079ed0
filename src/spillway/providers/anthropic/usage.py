"""What Anthropic's answers tell of tokens, and of the answer as a whole.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from spillway.core.reply import FinishReason, Usage
from spillway.providers.reading import Count, count

FINISHES = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""Our finish reasons; an unknown stop reason is `stop`, and its own name stands in `about`."""


class Written(msgspec.Struct, gc=False):
    """Tokens written to the cache, by how long they are kept."""

    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output."""

    thinking_tokens: Count = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage` as it comes; its counts are disjoint, and cumulative over the events of a stream."""

    input_tokens: Count = None
    output_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation: Written | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None
    server_tool_use: Any = None
    iterations: Any = None


def newer(old: WireUsage | None, new: WireUsage) -> WireUsage:
    """Return `new`, which is cumulative, with what it does not repeat taken from `old`."""
    if old is None:
        return new
    given = {name: value for name in new.__struct_fields__ if (value := getattr(new, name)) is not None}
    return msgspec.structs.replace(old, **given)


def inclusive(usage: WireUsage) -> Usage:
    """Return the counts as inclusive totals; those of a compaction, which `usage` leaves out, are added."""
    total = _of_one(usage)
    if isinstance(usage.iterations, list):
        for each in usage.iterations:
            if isinstance(each, dict) and each.get("type") == "compaction":
                with suppress(msgspec.ValidationError):
                    total = _sum(total, _of_one(msgspec.convert(each, WireUsage)))
    return total


def _of_one(usage: WireUsage) -> Usage:
    read, written, longer = count(usage.cache_read_input_tokens), count(usage.cache_creation_input_tokens), 0
    by_ttl = usage.cache_creation
    if by_ttl is not None:
        longer = count(by_ttl.ephemeral_1h_input_tokens)
        if usage.cache_creation_input_tokens is None:
            written = longer + count(by_ttl.ephemeral_5m_input_tokens)
    thinking = usage.output_tokens_details
    return Usage(
        input_tokens=count(usage.input_tokens) + written + read,
        output_tokens=count(usage.output_tokens),
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=longer,
        reasoning_tokens=0 if thinking is None else count(thinking.thinking_tokens),
    )


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in one.__struct_fields__})


def about_end(model: str | None, stop_reason: str) -> dict[str, Any]:
    """Return what is known of every answer at its end: its model, and the provider's own word for why it ended."""
    if model is None:
        return {"native_finish_reason": stop_reason}
    return {"model": model, "native_finish_reason": stop_reason}


def add_usage(about: dict[str, Any], usage: WireUsage) -> dict[str, Any]:
    """Add what `usage` tells beside tokens: how it was served, and what the provider's own tools were used for."""
    if usage.service_tier is not None:
        about["service_tier"] = usage.service_tier
    if usage.speed is not None:
        about["speed"] = usage.speed
    if usage.inference_geo is not None:
        about["inference_geo"] = usage.inference_geo
    if usage.iterations is not None:
        about["iterations"] = usage.iterations
    used = usage.server_tool_use
    if isinstance(used, dict) and any(used.values()):
        about["server_tool_use"] = used
    return about
