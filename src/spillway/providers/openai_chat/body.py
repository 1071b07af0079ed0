"""Requests as OpenAI's API takes them: bodies of chat completions and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.request import GenerateRequest, Message, NativeBody
from spillway.providers.encoding import Losses, encode_body, extra_fields
from spillway.providers.native import native_fields

_NOT_SENT_BACK = frozenset(
    {
        "annotations",
        "extra_content",
        "images",
        "output_items",
        "provider_specific_fields",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "reasoning_items",
        "thinking_blocks",
    }
)
"""What an answer may tell beside its message that OpenAI's own API does not take in a conversation."""

_OF_NO_WEIGHT = frozenset({"content_filter_results", "output_order", "phase"})
"""The same, but nothing that the model said."""


def encode_chat(
    request: GenerateRequest,
    *,
    model: str,
    runtime: str,
    stream: bool,
    max_tokens_field: str,
    strict_history: Losses | None = None,
) -> dict[str, Any]:
    """Return the body of a chat completion.

    Args:
        max_tokens_field: `max_completion_tokens`, or `max_tokens` for servers that know only that.
        strict_history: for a server that refuses fields of a message which it does not know: what of earlier answers
            is left out goes there.

    Raises:
        BadRequest: a field of `extra` can't be passed on.
    """
    messages = request.messages if strict_history is None else _history(request.messages, strict_history)
    body: dict[str, Any] = {"model": model, "messages": messages}
    if request.max_tokens is not None:
        body[max_tokens_field] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop is not None:
        body["stop"] = request.stop
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tools is not None:
        body["tools"] = request.tools
    if request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    if request.extra:
        extra = extra_fields(request, runtime)
        if extra.keys() & {"max_tokens", "max_completion_tokens"}:
            body.pop(max_tokens_field, None)
        body.update(extra)
    if stream:
        body["stream"] = True
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    else:
        body.pop("stream_options", None)
    return body


def encode_native(
    native: NativeBody,
    request: GenerateRequest,
    *,
    model: str,
    stream: bool,
    max_tokens_field: str,
    strict_history: Losses | None = None,
) -> dict[str, Any]:
    """Return the body of a chat completion as its caller wrote it, with what is the deployment's to say.

    Args:
        request: the same, read; its messages and `max_tokens` stand for the body's, as in `encode_chat`.
    """
    body = native_fields(native)
    messages = request.messages if strict_history is None else _history(request.messages, strict_history)
    body = {"model": model, **body, "messages": messages}
    if request.max_tokens is not None:
        for name in ("max_tokens", "max_completion_tokens"):
            body.pop(name, None)
        body[max_tokens_field] = request.max_tokens
    if stream:
        options = body.get("stream_options")
        body["stream"] = True
        body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
    else:
        body.pop("stream_options", None)
    return body


def encode_embeddings(request: GenerateRequest, *, model: str, runtime: str, encoding: str = "float") -> bytes:
    """Return the body of an embeddings request.

    Args:
        encoding: how the vectors come unless the request says: `float`, or `base64`, which is a third as long.

    Raises:
        BadRequest: a field of `extra` can't be passed on.
    """
    body = {"model": model, "input": request.inputs, "encoding_format": encoding, **extra_fields(request, runtime)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return encode_body(body)


def _history(messages: Sequence[Message], losses: Losses) -> Sequence[Message]:
    """Return messages whose earlier answers hold only what OpenAI's API takes back."""
    if not any(len(message) > 2 and message["role"] == "assistant" for message in messages):
        return messages
    return [
        _sent_back(message, f"messages[{at}]", losses) if message["role"] == "assistant" else message
        for at, message in enumerate(messages)
    ]


def _sent_back(message: Message, where: str, losses: Losses) -> Message:
    kept = {key: value for key, value in message.items() if key not in _NOT_SENT_BACK and key not in _OF_NO_WEIGHT}
    for key in message:
        if key in _NOT_SENT_BACK and message[key]:
            losses.note(f"{where}.{key}", "this API does not take it back")
    audio = kept.get("audio")
    if isinstance(audio, Mapping) and len(audio) > 1 and "id" in audio:
        kept["audio"] = {"id": audio["id"]}
    calls = kept.get("tool_calls")
    if isinstance(calls, Sequence) and any(isinstance(call, Mapping) and "extra_content" in call for call in calls):
        losses.note(f"{where}.tool_calls.extra_content", "this API does not take it back")
        kept["tool_calls"] = [{key: value for key, value in call.items() if key != "extra_content"} for call in calls]
    return kept
