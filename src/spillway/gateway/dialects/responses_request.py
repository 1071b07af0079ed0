"""A request for a response, read: what is ours to understand is checked, everything else is the provider's.

Source: https://platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from spillway.core.chat_request import invalid_field
from spillway.core.errors import BadRequest
from spillway.core.request import OPENAI_RESPONSES, GenerateRequest, NativeBody
from spillway.gateway.dialects.responses_input import messages_of
from spillway.gateway.dialects.responses_sealed import is_sealed
from spillway.gateway.dialects.responses_tools import choice_of, tools_of

LOGPROBS = "message.output_text.logprobs"

_NOT_KEPT = {
    "previous_response_id": "no responses are kept here; send the whole conversation in input",
    "conversation": "no conversations are kept here; send the whole conversation in input",
    "background": "no responses are kept here that could be fetched later; ask with stream instead",
    "prompt": "no prompts are kept here; send its words in instructions and input",
}
_OURS = frozenset(
    {
        "input",
        "instructions",
        "include",
        "metadata",
        "model",
        "max_output_tokens",
        "reasoning",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        *_NOT_KEPT,
    }
)
_DEFAULTS = {"truncation": "disabled", "top_logprobs": 0, "parallel_tool_calls": True, "service_tier": "auto"}
"""What further fields say that say nothing: no provider has to know them."""


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Fields(msgspec.Struct):
    model: str | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    stream: bool | None = None


class AskedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a body asks for; `echo` is the body, whose settings the response repeats."""

    model: str | None
    request: GenerateRequest
    echo: Mapping[str, Any]
    stream: bool = False


def read_response(body: Mapping[str, Any], *, idempotency_id: str) -> AskedResponse:
    """Return what the body of a response asks for.

    Raises:
        BadRequest: it lacks its input, a field has another type, or it asks for what is kept at OpenAI only; the
            message names it.
    """
    for name, why in _NOT_KEPT.items():
        if body.get(name):
            raise BadRequest(f"{name}: {why}", reason="not_kept", param=name)
    try:
        fields = msgspec.convert(body, _Fields)
    except msgspec.ValidationError as error:
        raise invalid_field(error) from None
    given = body.get("input")
    if given is None:
        raise BadRequest("input is missing", param="input")
    text = fields.text or _Text()
    request = GenerateRequest(
        messages=messages_of(given, body.get("instructions")),
        max_tokens=fields.max_output_tokens,
        temperature=fields.temperature,
        top_p=fields.top_p,
        tools=tools_of(fields.tools) if fields.tools else None,
        tool_choice=choice_of(fields.tool_choice) if fields.tools and fields.tool_choice is not None else None,
        response_format=_format(text.format),
        reasoning_effort=None if fields.reasoning is None else fields.reasoning.effort,
        extra=_extra(body, text, fields.include or ()) or None,
        native=NativeBody(wire=OPENAI_RESPONSES, body=_native(body, given)),
        idempotency_id=idempotency_id,
    )
    return AskedResponse(model=fields.model, request=request, echo=body, stream=bool(fields.stream))


def _format(form: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the format of a text as chat completions have it: the schema nested, and nothing for plain text."""
    if form is None or form.get("type") == "text":
        return None
    if form.get("type") != "json_schema" or "json_schema" in form:
        return form
    named = {key: value for key, value in form.items() if key != "type" and value is not None}
    return {"type": "json_schema", "json_schema": named}


def _extra(body: Mapping[str, Any], text: _Text, include: Sequence[str]) -> dict[str, Any]:
    """Return the fields that are the provider's, without those that only say what holds anyway."""
    extra = {
        key: value
        for key, value in body.items()
        if key not in _OURS and value is not None and value != _DEFAULTS.get(key)
    }
    if text.verbosity is not None:
        extra["verbosity"] = text.verbosity
    if LOGPROBS in include or "top_logprobs" in extra:
        extra["logprobs"] = True
    return extra


def _native(body: Mapping[str, Any], given: Any) -> Mapping[str, Any]:
    """Return the body for a deployment that speaks this API: without what was sealed here, which it can't read."""
    if isinstance(given, str) or not any(is_sealed(item) for item in given):
        return body
    return {**body, "input": [item for item in given if not is_sealed(item)]}
