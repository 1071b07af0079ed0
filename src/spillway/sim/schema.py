"""A value that fits a JSON schema, chosen by bytes of a hash: arguments of tool calls and structured answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spillway.sim.vocabulary import WORDS

MAX_DEPTH = 8


def example(schema: Mapping[str, Any], entropy: Iterator[int], *, depth: int = 0) -> object:
    """Return a value of `schema`, drawn from `entropy`; what is not understood becomes a word.

    Covers `const`, `enum`, `anyOf`/`oneOf`/`allOf` (their first), and the seven types; every property is filled in.
    """
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[next(entropy) % len(choices)]
    for union in ("anyOf", "oneOf", "allOf"):
        options = schema.get(union)
        if isinstance(options, list) and options and isinstance(options[0], Mapping):
            return example(options[0], entropy, depth=depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "null")
    kind = str(kind).lower() if kind is not None else ("object" if "properties" in schema else "string")
    if depth >= MAX_DEPTH:
        return {} if kind == "object" else [] if kind == "array" else None
    return _typed(kind, schema, entropy, depth)


def _typed(kind: str, schema: Mapping[str, Any], entropy: Iterator[int], depth: int) -> object:
    if kind == "object":
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        return {
            name: example(inner if isinstance(inner, Mapping) else {}, entropy, depth=depth + 1)
            for name, inner in properties.items()
        }
    if kind == "array":
        items = schema.get("items")
        return [example(items if isinstance(items, Mapping) else {}, entropy, depth=depth + 1)]
    if kind == "integer":
        low = schema.get("minimum", 0)
        return (int(low) if isinstance(low, int | float) else 0) + next(entropy) % 10
    if kind == "number":
        return next(entropy) / 4
    if kind == "boolean":
        return next(entropy) % 2 == 0
    if kind == "null":
        return None
    return WORDS[next(entropy) % len(WORDS)]
