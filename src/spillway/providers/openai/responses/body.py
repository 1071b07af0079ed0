"""A chat-shaped request as the body of a response, or of a count of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses, extra_fields, unsupported
from spillway.providers.openai.responses.conversation import input_items
from spillway.providers.openai.responses.tools import choice_of, tools_of

ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_NOT_REASONING = ("gpt-3.5", "gpt-4", "chatgpt-", "gpt-5-chat")
"""Models that refuse to be asked for their reasoning, for they have none."""

_NO_COUNTERPART = (
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "prediction",
    "web_search_options",
    "audio",
    "stop",
    "seed",
)
_COUNTED = frozenset(
    {
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "truncation",
        "previous_response_id",
        "conversation",
        "personality",
    }
)


def encode_response(request: GenerateRequest, losses: Losses, *, model: str, stream: bool) -> dict[str, Any]:
    """Return the body of a response.

    It is not stored unless `extra` says so, and then its reasoning comes encrypted, to be sent back with the message.

    Raises:
        BadRequest: a message, a tool or a field can't be carried.
    """
    fields = extra_fields(request, losses.runtime)
    _drop_fields(request, fields, losses)
    body: dict[str, Any] = {"model": model, "input": input_items(request.messages, losses), "store": False}
    limit = fields.pop("max_completion_tokens", None) or fields.pop("max_tokens", None) or request.max_tokens
    fields.pop("max_tokens", None)
    if limit is not None:
        body["max_output_tokens"] = limit
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.tools is not None:
        body["tools"] = tools_of(request.tools)
    if request.tool_choice is not None:
        body["tool_choice"] = choice_of(request.tool_choice)
    text = _text(request, fields, losses.runtime)
    if text:
        body["text"] = text
    effort, reasoning = request.reasoning_effort, fields.pop("reasoning", None)
    if effort is not None or reasoning:
        body["reasoning"] = ({} if effort is None else {"effort": effort}) | dict(reasoning or {})
    include = _include(fields, model)
    if include:
        body["include"] = include
    given = fields.pop("stream_options", None) or {}
    options = {key: value for key, value in given.items() if key != "include_usage"}
    body.update(fields)
    if stream:
        body["stream"] = True
        if options:
            body["stream_options"] = options
    return body


def encode_count(request: GenerateRequest, losses: Losses, *, model: str) -> dict[str, Any]:
    """Return the body that asks how many tokens a request has."""
    body = encode_response(request, losses, model=model, stream=False)
    return {key: value for key, value in body.items() if key in _COUNTED}


def _drop_fields(request: GenerateRequest, fields: dict[str, Any], losses: Losses) -> None:
    """Take out what the Responses API has nothing for."""
    why = "the Responses API has no such field"
    if fields.pop("n", None) not in {None, 1}:
        losses.drop("extra.n", "the Responses API gives one answer a request")
    if "audio" in (fields.pop("modalities", None) or ()):
        losses.drop("extra.modalities", "the Responses API answers without audio")
    if request.stop:
        losses.drop("stop", why)
    if request.seed is not None:
        losses.drop("seed", why)
    for name in _NO_COUNTERPART:
        if fields.pop(name, None):
            losses.drop(f"extra.{name}", why)
    if fields.pop("background", None):
        losses.drop("extra.background", "a response in the background would have to be asked for again")


def _text(request: GenerateRequest, fields: dict[str, Any], runtime: str) -> dict[str, Any]:
    """Return how the text is to be: its format, which is flat here, and its verbosity."""
    text: dict[str, Any] = dict(fields.pop("text", None) or {})
    verbosity = fields.pop("verbosity", None)
    if verbosity is not None:
        text["verbosity"] = verbosity
    wanted = request.response_format
    if wanted is None:
        return text
    named = wanted.get("json_schema")
    if wanted.get("type") != "json_schema" or "schema" in wanted:
        text["format"] = wanted
    elif isinstance(named, Mapping):
        text["format"] = {"type": "json_schema", **named}
    else:
        raise unsupported("response_format", runtime, "a json_schema must be an object with name and schema")
    return text


def _include(fields: dict[str, Any], model: str) -> list[str]:
    include = fields.pop("include", None)
    wanted: list[str] = list(include or ())
    if include is None and not fields.get("store") and not model.startswith(_NOT_REASONING):
        wanted.append(ENCRYPTED)
    if fields.pop("logprobs", None) and _LOGPROBS not in wanted:
        wanted.append(_LOGPROBS)
    return wanted
