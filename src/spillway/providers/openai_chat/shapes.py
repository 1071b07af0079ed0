"""What chat completions and their chunks look like, and what their parts mean; they have most of it in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from spillway.core.errors import InferenceError
from spillway.core.reply import FinishReason, ToolCallDelta, Usage
from spillway.providers.reading import ABSENT, Count, count

FINISHES = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
"""The finish reasons that are known; any other counts as `stop` and is kept as it came."""

ABOUT = ("id", "model", "service_tier", "system_fingerprint", "prompt_filter_results", "moderation")
"""Fields of an answer as a whole that are passed on."""

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body that says `{"error": …}` although the status was 200."""


class Function(msgspec.Struct, gc=False):
    """A function's name and arguments, or a fragment of them."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct, gc=False):
    """A custom tool's name and input, or a fragment of them."""

    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct, gc=False):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Any = None


class Part(msgspec.Struct, gc=False):
    """A part of a content that is a list."""

    type: str = ""
    text: str | None = None


class Delta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message or a delta that has nothing beside what most of them have; any other field is an error."""

    content: str | list[Part] | None = None
    role: msgspec.Raw = ABSENT
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: msgspec.Raw = ABSENT
    reasoning_content: str | None = None
    reasoning: Any = None


class Said(Delta, gc=False, forbid_unknown_fields=False):
    """A whole message or a delta: they have the same fields."""

    annotations: Any = None
    audio: Any = None
    thinking_blocks: Any = None
    reasoning_details: Any = None
    extra_content: Any = None
    provider_specific_fields: Any = None
    images: Any = None


class Choice(msgspec.Struct, gc=False):
    """One answer of a whole completion."""

    index: int | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    content_filter_results: msgspec.Raw = ABSENT


class InputDetails(msgspec.Struct, gc=False):
    """Classes of input tokens."""

    cached_tokens: Count = None
    cache_write_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    """Classes of output tokens."""

    reasoning_tokens: Count = None
    audio_tokens: Count = None


class UsageShape(msgspec.Struct, gc=False):
    """Token counts, under OpenAI's names and those that LiteLLM adds."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None


def text_of(content: str | list[Part] | None) -> str:
    """Return a content as text; parts that are none are left out."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    return "".join(part.text for part in content if part.type == "text" and part.text)


def reasoning_of(said: Delta) -> str:
    """Return what a message tells of its reasoning, under either of the names that copies of the API use."""
    if said.reasoning_content:
        return said.reasoning_content
    return said.reasoning if isinstance(said.reasoning, str) else ""


_EXTRA = (
    "annotations",
    "audio",
    "thinking_blocks",
    "reasoning_details",
    "extra_content",
    "provider_specific_fields",
    "images",
)


_TOLD = frozenset({"reasoning_content", "thinking_blocks", "refusal"})
"""What LiteLLM says twice: as a field of the message, and among those that are particular to the provider."""


def extra_of(said: Said) -> dict[str, Any] | None:
    """Return the further fields of a message that say something, None when there are none."""
    if not (
        said.annotations
        or said.audio
        or said.thinking_blocks
        or said.reasoning_details
        or said.extra_content
        or said.provider_specific_fields
        or said.images
    ):
        return None
    found = {name: value for name in _EXTRA if (value := getattr(said, name))}
    if "provider_specific_fields" in found and isinstance(found["provider_specific_fields"], Mapping):
        own = {key: value for key, value in found.pop("provider_specific_fields").items() if key not in _TOLD and value}
        if own:
            found["provider_specific_fields"] = own
    return found or None


def logprobs_of(logprobs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return log probabilities without what is null, so that those of chunks add up to those of the whole."""
    kept = {name: value for name, value in logprobs.items() if value}
    return kept or None


def call_delta(call: Call, index: int) -> ToolCallDelta:
    """Return a tool call, or a fragment of one."""
    custom = call.custom is not None and call.function is None
    if call.function is not None:
        name, arguments = call.function.name, call.function.arguments
    elif call.custom is not None:
        name, arguments = call.custom.name, call.custom.input
    else:
        name = arguments = ""
    return ToolCallDelta(
        index=index,
        id=call.id or "",
        name=name or "",
        arguments=arguments or "",
        custom=custom,
        extra={"extra_content": call.extra_content} if call.extra_content else None,
    )


def finish_of(reason: str | None, *, calls: bool, refused: bool) -> FinishReason:
    """Return why an answer ended; calls and refusals decide where the provider says `stop`, as it does then."""
    finish = FINISHES.get(reason or "", FinishReason.STOP)
    if finish is FinishReason.STOP:
        if calls:
            return FinishReason.TOOL_CALLS
        if refused:
            return FinishReason.CONTENT_FILTER
    return finish


def usage_of(usage: UsageShape) -> Usage:
    """Return the counts in our names."""
    read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    within = usage.prompt_tokens_details
    if within is not None:
        read = read if within.cached_tokens is None else within.cached_tokens
        write = write if within.cache_write_tokens is None else within.cache_write_tokens
    out = usage.completion_tokens_details
    if within is None and out is None and read is None and write is None:
        return Usage(input_tokens=count(usage.prompt_tokens), output_tokens=count(usage.completion_tokens))
    return Usage(
        input_tokens=count(usage.prompt_tokens),
        output_tokens=count(usage.completion_tokens),
        cached_tokens=count(read),
        cache_write_tokens=count(write),
        reasoning_tokens=0 if out is None else count(out.reasoning_tokens),
        audio_input_tokens=0 if within is None else count(within.audio_tokens),
        image_input_tokens=0 if within is None else count(within.image_tokens),
        audio_output_tokens=0 if out is None else count(out.audio_tokens),
    )
