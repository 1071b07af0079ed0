"""Anthropic's request body, made of an OpenAI-shaped request.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.request import GenerateRequest
from spillway.providers.anthropic.blocks import RUNTIME, encode_turn, share_toolsets, text_block
from spillway.providers.anthropic.config import SAMPLING_VERSION, AnthropicConfig
from spillway.providers.anthropic.echo import arrange
from spillway.providers.anthropic.thinking import set_effort
from spillway.providers.anthropic.tools import check_choice, encode_tool, forbid_parallel, set_choice
from spillway.providers.encoding import Losses, drop_openai_fields, extra_fields, stop_list, unsupported
from spillway.providers.turns import read_turns, schema_of

_WARMEST = 1.0
_SAMPLING = ("temperature", "top_p", "top_k")
_OPENAI_ONLY = (
    "frequency_penalty",
    "logit_bias",
    "prediction",
    "presence_penalty",
    "store",
    "verbosity",
    "web_search_options",
)
_NO_EFFECT = ("prompt_cache_key", "prompt_cache_retention")


def encode_messages(
    request: GenerateRequest, losses: Losses, *, model: str, stream: bool, config: AnthropicConfig
) -> dict[str, Any]:
    """Return the body of a message request.

    Args:
        config: its version decides whether sampling can be set, its default how long an answer may be.

    Raises:
        BadRequest: something in the request has no counterpart here; it names the field.
    """
    said = read_turns(request.messages, losses, marks=True, arrange=arrange)
    extra = extra_fields(request, RUNTIME) if request.extra else {}
    room = request.max_tokens
    if extra:
        given = extra.pop("max_completion_tokens", None)
        room = given if given is not None else room
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": config.default_max_tokens if room is None else room,
        "messages": [encode_turn(turn, losses) for turn in said.turns],
    }
    if said.system:
        if any(text.mark for text in said.system):
            body["system"] = [text_block(text) for text in said.system]
        else:
            body["system"] = "\n\n".join([text.text for text in said.system])
    _set_sampling(body, request, extra, config.anthropic_version, losses)
    stops = [] if request.stop is None else _stops(request, losses)
    if stops:
        body["stop_sequences"] = stops
    if request.tools:
        body["tools"] = [encode_tool(tool, at, losses) for at, tool in enumerate(request.tools)]
        share_toolsets(body["messages"])
    if request.tool_choice is not None:
        set_choice(body, request.tool_choice)
    kind, schema = schema_of(request.response_format, RUNTIME)
    if kind == "json_object":
        losses.drop("response_format", "the API has no json_object; give a json_schema")
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if request.reasoning_effort is not None:
        set_effort(body, request.reasoning_effort, losses, model=model, room=extra.get("max_tokens", room))
    if extra:
        _add_extra(body, extra, losses)
    if "tool_choice" in body:
        check_choice(body, losses)
    if stream:
        body["stream"] = True
    return body


def _set_sampling(
    body: dict[str, Any], request: GenerateRequest, extra: dict[str, Any], version: str, losses: Losses
) -> None:
    for name in _SAMPLING:
        value = getattr(request, name, None)
        place = name
        if name in extra:
            value, place = extra.pop(name), f"extra.{name}"
        if value is None:
            continue
        if version != SAMPLING_VERSION:
            losses.drop(place, f"the API takes it only with anthropic_version = {SAMPLING_VERSION!r}")
            continue
        if name == "temperature" and isinstance(value, int | float) and value > _WARMEST:
            losses.drop(place, f"the API takes {_WARMEST} at most")
            value = _WARMEST
        body[name] = value
    if request.seed is not None:
        losses.drop("seed", "the API has none")


def _stops(request: GenerateRequest, losses: Losses) -> list[str]:
    stops = []
    for at, stop in enumerate(stop_list(request.stop) or ()):
        if isinstance(stop, str) and not stop.strip():
            losses.drop(f"stop[{at}]", "the API takes no sequence of blanks alone")
        else:
            stops.append(stop)
    return stops


def _add_extra(body: dict[str, Any], extra: dict[str, Any], losses: Losses) -> None:
    """Merge the provider's own fields in; a few of OpenAI's are translated, the rest is the provider's to judge."""
    if extra.pop("betas", None):
        raise unsupported("extra.betas", RUNTIME, "give them in extra_headers, as anthropic-beta")
    drop_openai_fields(extra, losses)
    for name in _OPENAI_ONLY:
        if extra.pop(name, None):
            losses.drop(f"extra.{name}", "the API has none")
    for name in _NO_EFFECT:
        if extra.pop(name, None):
            losses.note(f"extra.{name}", "the API caches by cache_control")
    extra.pop("stream_options", None)
    users = [extra.pop(name, None) for name in ("safety_identifier", "user")]
    user = users[0] or users[1]
    if user is not None:
        body["metadata"] = {"user_id": user}
    if extra.pop("parallel_tool_calls", None) is False:
        forbid_parallel(body)
    for name in ("metadata", "output_config"):
        given = extra.get(name)
        if isinstance(given, Mapping):
            extra[name] = {**body.get(name, {}), **given}
    body.update(extra)
