"""Gemini's routes beside generation: embeddings, and counting tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.sim.ask import Ask, BadAsk, fingerprint, text_tokens, whole_number
from spillway.sim.wire import gemini_ask
from spillway.sim.wire.dialect import Route, json_bytes
from spillway.sim.wire.openai_other import DIMENSIONS, vector

MOST_INPUTS = 100
MOST_INSTANCES = 250


def count(body: Mapping[str, Any], route: Route, dialect: str) -> tuple[Ask, bytes]:
    """Answer `:countTokens`; AI Studio counts instructions and tools only inside `generateContentRequest`."""
    whole = body.get("generateContentRequest")
    if dialect == "gemini":
        if isinstance(whole, dict):
            if "contents" in body:
                raise BadAsk("contents and generateContentRequest are mutually exclusive")
            if whole.get("model") != f"models/{route.model}":
                raise BadAsk("generateContentRequest.model must be the model of the path")
            body = {name: value for name, value in whole.items() if name != "model"}
        elif body.keys() - {"contents"}:
            raise BadAsk(f'Invalid JSON payload received. Unknown name "{min(body.keys() - {"contents"})}"')
    ask = gemini_ask.read(body, route, dialect)
    return ask, json_bytes({"totalTokens": ask.input_tokens})


def embed(body: Mapping[str, Any], route: Route) -> tuple[Ask, bytes]:
    """Answer `:embedContent`, `:batchEmbedContents` or Vertex's `:predict`, as the route's variant says."""
    model = route.model or ""
    rows = _rows(body, route)
    texts = gemini_ask.texts_of([content for content, _ in rows])
    vectors = [vector(model, text, size or DIMENSIONS) for text, (_, size) in zip(texts, rows, strict=True)]
    counts = [text_tokens(text) for text in texts]
    ask = Ask(
        model=model, fingerprint=fingerprint("gemini", model, body), input_tokens=sum(counts), last_user=texts[-1]
    )
    usage = {"promptTokenCount": sum(counts)}
    if route.variant == "embedContent":
        return ask, json_bytes({"embedding": {"values": vectors[0]}, "usageMetadata": usage})
    if route.variant == "batchEmbedContents":
        return ask, json_bytes({"embeddings": [{"values": one} for one in vectors], "usageMetadata": usage})
    shown = [
        {"embeddings": {"values": one, "statistics": {"token_count": tokens, "truncated": False}}}
        for one, tokens in zip(vectors, counts, strict=True)
    ]
    return ask, json_bytes({"predictions": shown})


def _rows(body: Mapping[str, Any], route: Route) -> list[tuple[object, int | None]]:
    if route.variant == "embedContent":
        return [(body.get("content"), whole_number(body, "outputDimensionality"))]
    name, most = ("requests", MOST_INPUTS) if route.variant == "batchEmbedContents" else ("instances", MOST_INSTANCES)
    rows = body.get(name)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadAsk(f"* {name}: at least one is required")
    if name == "instances" and (route.model or "").startswith("gemini-embedding"):
        most = 1
    if len(rows) > most:
        raise BadAsk(f"* {name}: at most {most} can be in one batch")
    if name == "requests":
        return [(row.get("content"), whole_number(row, "outputDimensionality")) for row in rows]
    parameters = body.get("parameters")
    size = whole_number(parameters, "outputDimensionality") if isinstance(parameters, dict) else None
    return [({"parts": [{"text": str(row.get("content", ""))}]}, size) for row in rows]
