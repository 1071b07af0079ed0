"""Gemini's request body, made of an OpenAI-shaped request.

Source: https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses, extra_fields
from spillway.providers.gemini.contents import OWN_FIELDS, RUNTIME, Target, contents_of
from spillway.providers.gemini.generation import choice_of, generation_of, tools_of
from spillway.providers.turns import read_turns

_RENAMED = {
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "top_k": "topK",
    "top_logprobs": "logprobs",
}
"""OpenAI's fields that are fields of `generationConfig` here."""

_UNKNOWN = {
    "audio": "say the voice in generationConfig.speechConfig",
    "logit_bias": "the API has no such field",
    "moderation": "the API has no such field; see safetySettings",
    "prediction": "the API has no such field",
    "reasoning": "use reasoning_effort, or thinkingConfig in generationConfig",
    "safety_identifier": "the API has no such field",
    "store": "the API keeps no answers",
    "user": "the API has no such field",
    "verbosity": "the API has no such field",
    "web_search_options": 'use the tool {"googleSearch": {}}',
}
"""OpenAI's fields that have no counterpart here."""

_NO_EFFECT = ("prompt_cache_key", "prompt_cache_retention", "stream_options")
_TIERS = {"auto": None, "default": "standard", "fast": "priority"}
_OF_VERTEX = ("labels", "modelArmorConfig", "model_armor_config", "routingConfig", "routing_config")
_COUNTED_ON_VERTEX = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})


def encode_contents(request: GenerateRequest, losses: Losses, target: Target) -> dict[str, Any]:
    """Return the body of a `generateContent` request; whether it is streamed is the URL's to say.

    Raises:
        BadRequest: something in the request has no counterpart here; it names the field.
    """
    said = read_turns(request.messages, losses, own=OWN_FIELDS)
    body: dict[str, Any] = {"contents": contents_of(said, target, losses)}
    if said.system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join([text.text for text in said.system])}]}
    config = generation_of(request, target, losses)
    if config:
        body["generationConfig"] = config
    strict = False
    if request.tools:
        body["tools"], strict = tools_of(request.tools, losses)
    if request.tool_choice is not None:
        body["toolConfig"] = {"functionCallingConfig": choice_of(request.tool_choice)}
    if strict:
        calling = body.setdefault("toolConfig", {}).setdefault("functionCallingConfig", {})
        if calling.get("mode", "AUTO") == "AUTO":
            calling["mode"] = "VALIDATED"
    if target.safety:
        body["safetySettings"] = [{"category": one.category, "threshold": one.threshold} for one in target.safety]
    if request.extra:
        _add_extra(body, extra_fields(request, RUNTIME), target, losses)
    return body


def counted_body(body: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return the body of a `countTokens` request for what `body` would generate from."""
    if target.vertex:
        return {name: value for name, value in body.items() if name in _COUNTED_ON_VERTEX}
    return {"generateContentRequest": {"model": f"models/{target.model}", **body}}


def _add_extra(body: dict[str, Any], extra: dict[str, Any], target: Target, losses: Losses) -> None:
    """Merge the provider's own fields in, tables into tables; those of OpenAI's are translated or refused."""
    for name, why in _UNKNOWN.items():
        if extra.pop(name, None):
            losses.drop(f"extra.{name}", why)
    for name in _NO_EFFECT:
        if extra.pop(name, None):
            losses.note(f"extra.{name}", "the API has no such field")
    if extra.pop("parallel_tool_calls", None) is False:
        losses.drop("extra.parallel_tool_calls", "the API can't forbid parallel calls")
    generation = _renamed(extra)
    _add_tier(body, extra.pop("service_tier", None))
    _add_metadata(body, extra.pop("metadata", None), target, losses)
    if not target.vertex:
        for name in _OF_VERTEX:
            if extra.pop(name, None):
                losses.drop(f"extra.{name}", "only Vertex knows it")
    _add_safety(body, extra)
    if generation:
        _merge(body, {"generationConfig": generation})
    _merge(body, extra)


def _renamed(extra: dict[str, Any]) -> dict[str, Any]:
    """Take out what is a field of `generationConfig` here, and return it under its name there."""
    generation: dict[str, Any] = {}
    if extra.get("n") == 1:
        del extra["n"]
    for theirs, ours in _RENAMED.items():
        value = extra.pop(theirs, None)
        if value is not None and value is not False:
            generation[ours] = value
    if "logprobs" in generation:
        generation["responseLogprobs"] = True
    if extra.pop("include_thoughts", None):
        generation["thinkingConfig"] = {"includeThoughts": True}
    modalities = extra.pop("modalities", None)
    if modalities:
        generation["responseModalities"] = [str(one).upper() for one in modalities]
    return generation


def _add_tier(body: dict[str, Any], tier: Any) -> None:
    wanted = _TIERS.get(tier, tier)
    if wanted is not None:
        body["serviceTier"] = wanted


def _add_metadata(body: dict[str, Any], metadata: Any, target: Target, losses: Losses) -> None:
    if not metadata:
        return
    if target.vertex:
        body["labels"] = dict(metadata)
    else:
        losses.drop("extra.metadata", "only Vertex has labels")


def _add_safety(body: dict[str, Any], extra: dict[str, Any]) -> None:
    """Add a request's safety settings to the deployment's; those of the same category are the request's."""
    given = extra.pop("safetySettings", None) or extra.pop("safety_settings", None)
    if not given:
        return
    mine = {str(one.get("category")) for one in given if isinstance(one, Mapping)}
    body["safetySettings"] = [one for one in body.get("safetySettings", ()) if one["category"] not in mine] + list(
        given
    )


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        present = into.get(name)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value)
        else:
            into[name] = value
