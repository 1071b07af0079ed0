"""What comes back: chunks, whole answers, usage, embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer. Totals are inclusive: the classes below are parts of them.

    Attributes:
        input_tokens: the whole prompt.
        output_tokens: the whole answer.
        cached_tokens: of the input, read from a cache.
        cache_write_tokens: of the input, written to a cache (both durations).
        cache_write_1h_tokens: of the cache writes, those kept for an hour.
        reasoning_tokens: of the output, reasoning.
        audio_input_tokens: of the input, audio, what is cached of it included; image and video likewise.
        cached_audio_tokens: of the cached input, audio; image likewise.
        audio_output_tokens: of the output, audio; image likewise.
        web_searches: searches of the web that the provider made and bills by number.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    video_input_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    web_searches: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call the model asks for; `arguments` is a JSON string exactly as the model wrote it.

    Attributes:
        extra: further fields of the call that go back with it, such as a signature; None for none.
        custom: whether it is a call of a custom tool, whose `arguments` are free text.
    """

    id: str
    name: str
    arguments: str = ""
    extra: Mapping[str, Any] | None = None
    custom: bool = False


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment of a tool call; `index` tells which, `arguments` is concatenated, the rest is set once."""

    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Mapping[str, Any] | None = None
    custom: bool = False


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of an answer; every part of it may be absent.

    Attributes:
        refusal_delta: text in which the model declines, where the provider tells it apart from content.
        choice: which answer it belongs to, when a request asks for several.
        logprobs: OpenAI-shaped log probabilities of its tokens; lists are appended.
        extra: further fields of the assistant's message (`annotations`, `thinking_blocks`, `audio`, `extra_content`,
            …), each as it is to stand there; lists are appended, objects merged.
        about: further fields of the answer as a whole (`model`, `service_tier`, `native_finish_reason`, …).
        raw: an event of the provider that none of the other fields tells of, as it came.
    """

    text_delta: str = ""
    tool_call_delta: ToolCallDelta | None = None
    reasoning_delta: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    refusal_delta: str = ""
    choice: int = 0
    logprobs: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    about: Mapping[str, Any] | None = None
    raw: bytes | None = None

    @property
    def commits(self) -> bool:
        """Whether it carries content: text, reasoning, a tool call, a refusal, another part or a finish reason."""
        return bool(
            self.text_delta
            or self.reasoning_delta
            or self.tool_call_delta is not None
            or self.finish_reason is not None
            or self.refusal_delta
            or self.extra is not None
        )


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of several to the same request; fields as in `Tokens`."""

    index: int = 0
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    finish_reason: FinishReason | None = None
    logprobs: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        refusal: text in which the model declined, where the provider tells it apart from content.
        cost_usd: what it cost, None when the price is unknown.
        cost_estimated: whether the cost rests on an estimate because the provider reported no usage.
        deployment: the deployment that answered.
        attempts: attempts sent to providers for this request, this one included.
        request_id: the provider's id of the request, or ours.
        logprobs: OpenAI-shaped log probabilities, None unless they were asked for.
        extra: further fields of the assistant's message, as OpenAI-compatible APIs name them; None for none.
        about: further fields of the answer as a whole, such as `model` and `service_tier`; None for none.
        choices: all answers where the request asked for several, the one above included; else empty.
        warnings: what of the request could not be carried to this provider and was left out, a line each.
        raw: the body of a unary answer as it came; empty for a stream.
        wire: the API in whose words `raw` is, where it answers a `NativeBody` of that API; else empty.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    cost_usd: float | None = None
    cost_estimated: bool = False
    deployment: str = ""
    attempts: int = 0
    request_id: str = ""
    refusal: str = ""
    logprobs: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    about: Mapping[str, Any] | None = None
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    raw: bytes = b""
    wire: str = ""

    def message(self) -> dict[str, Any]:
        """Return it as an OpenAI-shaped assistant message, to be appended to the messages of the next request."""
        return assistant_message(self)


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors, one for each input, in order; the other fields are those of `Tokens`."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
    cost_usd: float | None = None
    cost_estimated: bool = False
    deployment: str = ""
    attempts: int = 0
    request_id: str = ""
    warnings: tuple[str, ...] = ()


def assistant_message(said: Tokens | Choice) -> dict[str, Any]:
    """Return an answer as an OpenAI-shaped assistant message; `reasoning` stands as `reasoning_content`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said.text if said.text or not (said.tool_calls or said.refusal) else None,
    }
    if said.refusal:
        message["refusal"] = said.refusal
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.tool_calls:
        message["tool_calls"] = [_call_shape(call) for call in said.tool_calls]
    if said.extra:
        message.update(said.extra)
    return message


def _call_shape(call: ToolCall) -> dict[str, Any]:
    shape: dict[str, Any] = {"id": call.id, "type": "custom" if call.custom else "function"}
    if call.custom:
        shape["custom"] = {"name": call.name, "input": call.arguments}
    else:
        shape["function"] = {"name": call.name, "arguments": call.arguments}
    if call.extra:
        shape.update(call.extra)
    return shape
