"""Google's JSON takes a field in camel case or as its schema has it, in snake case; Google's own SDK mixes both."""

from __future__ import annotations

from typing import Any

_THE_CALLERS = frozenset(
    {
        "args",
        "default",
        "enum",
        "labels",
        "parameters",
        "parametersJsonSchema",
        "properties",
        "response",
        "responseJsonSchema",
        "responseSchema",
        "schema",
    }
)
"""Fields whose keys are their caller's own."""


def in_camel_case(value: Any) -> Any:
    """Return a body with the names of all its fields in camel case."""
    if isinstance(value, list):
        return [in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {_camel(key): each for key, each in value.items()}
    return {key: each if key in _THE_CALLERS else in_camel_case(each) for key, each in named.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
