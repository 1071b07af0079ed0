"""OpenAI-shaped bodies, read: what is ours to understand is checked, everything else is the provider's.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.request import OPENAI_CHAT, GenerateRequest, NativeBody, as_inputs, as_messages

_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Fields(msgspec.Struct):
    """The fields that are ours to understand; all others are the provider's."""

    model: str | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    stream: bool | None = None
    stream_options: Any = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a body asks for.

    Attributes:
        model: the deployment or group it names, None when it names none.
        stream: whether the answer is to be streamed.
        include_usage: whether the last chunk of a stream is to carry the usage.
    """

    model: str | None
    request: GenerateRequest
    stream: bool = False
    include_usage: bool = False


_UNDERSTOOD = frozenset({*_Fields.__struct_fields__, "messages"})
_EMBEDDINGS = frozenset({"model", "input", "dimensions", "encoding_format", "stream"})


def read_chat(body: Mapping[str, Any], *, idempotency_id: str, native: bool = False) -> Asked:
    """Return what the body of a chat completion asks for.

    Args:
        native: keep the body as the request's `NativeBody`.

    Raises:
        BadRequest: it has no messages, or a field of another type; the message names it.
    """
    fields = _fields(body)
    messages = body.get("messages")
    if messages is None:
        raise BadRequest("messages is missing", param="messages")
    if isinstance(messages, str):
        raise BadRequest("messages is not a list", param="messages")
    extra = None
    if not _UNDERSTOOD.issuperset(body):
        extra = {key: value for key, value in body.items() if key not in _UNDERSTOOD}
    options = fields.stream_options
    request = GenerateRequest(
        messages=as_messages(messages),
        max_tokens=fields.max_tokens if fields.max_completion_tokens is None else fields.max_completion_tokens,
        temperature=fields.temperature,
        top_p=fields.top_p,
        stop=fields.stop,
        seed=fields.seed,
        tools=fields.tools,
        tool_choice=fields.tool_choice,
        response_format=fields.response_format,
        reasoning_effort=fields.reasoning_effort,
        extra=extra,
        native=NativeBody(wire=OPENAI_CHAT, body=body) if native else None,
        idempotency_id=idempotency_id,
    )
    return Asked(
        model=fields.model,
        request=request,
        stream=bool(fields.stream),
        include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def read_embeddings(body: Mapping[str, Any], *, idempotency_id: str) -> Asked:
    """Return what the body of an embeddings request asks for.

    Raises:
        BadRequest: its input can't be embedded, or a field has another type.
    """
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise BadRequest("model must be text", param="model")
    dimensions = body.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise BadRequest("dimensions must be a whole number, at least 1", param="dimensions")
    extra = {key: value for key, value in body.items() if key not in _EMBEDDINGS}
    request = GenerateRequest(
        inputs=as_inputs(body.get("input"), "input"),
        dimensions=dimensions,
        extra=extra or None,
        idempotency_id=idempotency_id,
    )
    return Asked(model=model, request=request)


def _fields(body: Mapping[str, Any]) -> _Fields:
    try:
        return msgspec.convert(body, _Fields)
    except msgspec.ValidationError as error:
        raise invalid_field(error) from None


def invalid_field(error: msgspec.ValidationError) -> BadRequest:
    """Return the refusal of a body of which one field has another type; its `param` is the field's path."""
    what, _, path = str(error).rpartition(" - at `$.")
    if not what:
        return BadRequest(str(error))
    param = path.rstrip("`")
    return BadRequest(f"{param}: {what}", param=param)
