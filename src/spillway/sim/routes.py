"""Which dialect and which route a path leads to.

| path | dialect |
| --- | --- |
| /v1/chat/completions, /v1/embeddings, /v1/models | OpenAI; LiteLLM when the key begins with `sk-litellm` |
| /v1/responses, /v1/responses/input_tokens | OpenAI's Responses API |
| /litellm/v1/… (v1 may be left out); /litellm/health/liveliness, without a key | LiteLLM |
| /openai/deployments/{d}/chat/completions, …/embeddings; /openai/responses; /openai/v1/… | Azure |
| /v1/messages, /v1/messages/count_tokens; /v1/models with `anthropic-version` | Anthropic |
| /v1beta/models/{m}:generateContent and its kin, /v1beta/models (v1 too) | Gemini |
| /v1/projects/{p}/locations/{l}/publishers/google/models/{m}:… (v1beta1 too) | Vertex |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from spillway.sim.wire.anthropic import AnthropicDialect
from spillway.sim.wire.azure import AzureDialect
from spillway.sim.wire.dialect import Dialect, Route
from spillway.sim.wire.gemini import GeminiDialect, VertexDialect
from spillway.sim.wire.litellm import LiteLlmDialect
from spillway.sim.wire.openai import OpenAiDialect
from spillway.sim.wire.openai_responses import AzureResponsesDialect, ResponsesDialect

OPENAI = OpenAiDialect()
RESPONSES = ResponsesDialect()
AZURE = AzureDialect()
AZURE_RESPONSES = AzureResponsesDialect()
LITELLM = LiteLlmDialect()
ANTHROPIC = AnthropicDialect()
GEMINI = GeminiDialect()
VERTEX = VertexDialect()

LITELLM_KEY_PREFIX = "sk-litellm"


class Target(NamedTuple):
    """A dialect and what it is asked for."""

    dialect: Dialect
    route: Route


_OPENAI_ROUTES = {
    "chat/completions": Route(action="generate"),
    "embeddings": Route(action="embed"),
    "models": Route(action="models"),
}
_ANTHROPIC_ACTIONS = {"/v1/messages": "generate", "/v1/messages/count_tokens": "count"}
_GOOGLE_ACTIONS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
    "predict": "embed",
}

_openai = re.compile(r"(/litellm)?(?:/v1)?/(chat/completions|embeddings|models)")
_alive = "/litellm/health/liveliness"
_azure = re.compile(r"/openai/(?:v1|deployments/([^/]+))/(chat/completions|embeddings|models)")
_responses = re.compile(r"(/openai)?(?:/v1)?/responses(/input_tokens)?")
_gemini = re.compile(r"/v1(?:beta)?/models/([^/:]+):(\w+)")
_vertex = re.compile(r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/:]+):(\w+)")


def resolve(path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Target | None:
    """Return where a request leads, None for nowhere."""
    match = _openai.fullmatch(path)
    if match is not None:
        return _openai_target(match, headers)
    if path == _alive:
        return Target(LITELLM, Route(action="alive"))
    action = _ANTHROPIC_ACTIONS.get(path)
    if action is not None:
        variant = f"{headers.get('anthropic-version', '')} {headers.get('anthropic-beta', '')}"
        return Target(ANTHROPIC, Route(action=action, variant=variant))
    match = _azure.fullmatch(path)
    if match is not None:
        plain = _OPENAI_ROUTES[match[2]]
        return Target(AZURE, Route(action=plain.action, model=match[1]) if match[1] else plain)
    match = _responses.fullmatch(path)
    if match is not None:
        return _responses_target(match)
    match = _gemini.fullmatch(path)
    if match is not None:
        return _google(GEMINI, match, query)
    match = _vertex.fullmatch(path)
    if match is not None:
        return _google(VERTEX, match, query)
    return Target(GEMINI, Route(action="models")) if path == "/v1beta/models" else None


def family(path: str) -> Dialect:
    """Return the dialect whose words a path without a route is refused in."""
    prefixes: tuple[tuple[str, Dialect], ...] = (
        ("/litellm", LITELLM),
        ("/openai/", AZURE),
        ("/v1/messages", ANTHROPIC),
        ("/v1/projects/", VERTEX),
        ("/v1beta1/", VERTEX),
        ("/v1beta/", GEMINI),
        ("/v1/models/", GEMINI),
    )
    return next((dialect for prefix, dialect in prefixes if path.startswith(prefix)), OPENAI)


def _openai_target(match: re.Match[str], headers: Mapping[str, str]) -> Target | None:
    route = _OPENAI_ROUTES[match[2]]
    if match[1]:
        return Target(LITELLM, route)
    if not match[0].startswith("/v1/"):
        return None
    if route.action == "models" and "anthropic-version" in headers:
        return Target(ANTHROPIC, route)
    if LITELLM.key(headers, {}).startswith(LITELLM_KEY_PREFIX):
        return Target(LITELLM, route)
    return Target(OPENAI, route)


def _responses_target(match: re.Match[str]) -> Target | None:
    """Return where the Responses API leads; Azure counts no tokens, and OpenAI has all under `/v1`."""
    counts = match[2] is not None
    if match[1]:
        return None if counts else Target(AZURE_RESPONSES, Route(action="generate"))
    if not match[0].startswith("/v1/"):
        return None
    return Target(RESPONSES, Route(action="count" if counts else "generate"))


def _google(dialect: Dialect, match: re.Match[str], query: Mapping[str, str]) -> Target | None:
    model, verb = match[1], match[2]
    action = _GOOGLE_ACTIONS.get(verb)
    if action is None:
        return None
    stream = verb == "streamGenerateContent"
    variant = verb if action == "embed" else "sse" if stream and query.get("alt") == "sse" else ""
    return Target(dialect, Route(action=action, model=model, stream=stream, variant=variant))
