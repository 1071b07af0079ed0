"""What an answer says about itself beside its parts: sources, log probabilities, ratings.

Sources: https://ai.google.dev/gemini-api/docs/google-search, https://ai.google.dev/api/generate-content#candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from spillway.providers.gemini.response import Candidate, UsageMetadata
from spillway.providers.reading import ABSENT, UNREADABLE

_NOTED = (
    "citation_metadata",
    "grounding_metadata",
    "url_context_metadata",
    "safety_ratings",
    "avg_logprobs",
    "finish_message",
    "continuation_token",
)
_DETAILS = (
    "prompt_tokens_details",
    "candidates_tokens_details",
    "cache_tokens_details",
    "tool_use_prompt_tokens_details",
)


def note(candidate: Candidate, into: dict[str, Any]) -> None:
    """Add what a candidate says about itself, in the provider's own words; of what comes again the later counts."""
    for name in _NOTED:
        raw = getattr(candidate, name)
        if raw is ABSENT:
            continue
        value = _value(raw)
        old = into.get(name)
        if name == "citation_metadata" and isinstance(old, dict) and isinstance(value, dict):
            value = {key: [*_list(old.get(key)), *_new(value[key], old.get(key))] for key in value} | {
                key: old[key] for key in old.keys() - value.keys()
            }
        elif isinstance(old, dict) and isinstance(value, dict):
            value = {**old, **value}
        if value not in (None, {}, []):
            into[name] = value


def url_citations(noted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an answer's sources as OpenAI's `url_citation`s; positions count UTF-8 bytes, as the provider counts."""
    return [
        *_of_citations(_mapping(noted.get("citation_metadata"))),
        *_of_grounding(_mapping(noted.get("grounding_metadata"))),
    ]


def logprobs(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Return a `logprobsResult` in OpenAI's shape; `bytes` is null, for the provider does not give them."""
    result = _mapping(_value(raw))
    tops = _list(result.get("topCandidates"))
    content = []
    for at, chosen in enumerate(_list(result.get("chosenCandidates"))):
        ranked = _mapping(tops[at]).get("candidates") if at < len(tops) else None
        content.append({**_token(chosen), "top_logprobs": [_token(one) for one in _list(ranked)]})
    return {"content": content} if content else None


def usage_details(usage: UsageMetadata) -> dict[str, Any]:
    """Return what the counts say beyond `Usage`: the kind of traffic, and tokens by modality if not all is text."""
    about: dict[str, Any] = {}
    if usage.traffic_type:
        about["traffic_type"] = usage.traffic_type
    details = {name: _list(_value(getattr(usage, name))) for name in _DETAILS if getattr(usage, name) is not ABSENT}
    if any(_mapping(one).get("modality") != "TEXT" for rows in details.values() for one in rows):
        about["tokens_details"] = {name: rows for name, rows in details.items() if rows}
    return about


def _of_citations(metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for source in [*_list(metadata.get("citationSources")), *_list(metadata.get("citations"))]:
        said = _mapping(source)
        if said.get("uri"):
            yield _citation(said, str(said["uri"]), str(said.get("title") or ""))


def _of_grounding(metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    chunks = [_mapping(chunk) for chunk in _list(metadata.get("groundingChunks"))]
    for support in _list(metadata.get("groundingSupports")):
        said = _mapping(support)
        for number in _list(said.get("groundingChunkIndices")):
            if isinstance(number, int) and 0 <= number < len(chunks):
                chunk = chunks[number]
                source = next(
                    (_mapping(chunk[kind]) for kind in ("web", "retrievedContext", "maps") if kind in chunk), {}
                )
                if source.get("uri"):
                    segment = _mapping(said.get("segment"))
                    yield _citation(segment, str(source["uri"]), str(source.get("title") or ""))


def _citation(span: Mapping[str, Any], url: str, title: str) -> dict[str, Any]:
    begins, ends = span.get("startIndex") or 0, span.get("endIndex") or 0
    return {
        "type": "url_citation",
        "url_citation": {"start_index": begins, "end_index": ends, "url": url, "title": title},
    }


def _token(said: Any) -> dict[str, Any]:
    one = _mapping(said)
    return {"token": one.get("token", ""), "logprob": one.get("logProbability", 0.0), "bytes": None}


def _new(rows: Any, old: Any) -> list[Any]:
    known = _list(old)
    return [row for row in _list(rows) if row not in known]


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw) if raw is not ABSENT else None
    except UNREADABLE:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
