"""Whether a JSON schema is one that OpenAI takes as strict: every object closed, and each of its properties required.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Return whether every object in `schema` is closed and requires all its properties.

    Complexity: linear, and not recursive: a schema may nest as deep as it likes.
    """
    found: list[Any] = [schema]
    while found:
        each = found.pop()
        if isinstance(each, list):
            found += each
        elif isinstance(each, Mapping):
            if not _closed(each):
                return False
            found += each.values()
    return True


def _closed(schema: Mapping[str, Any]) -> bool:
    kind, properties = schema.get("type"), schema.get("properties")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return True
    if not isinstance(properties, Mapping) or schema.get("additionalProperties") is not False:
        return False
    required = schema.get("required")
    return (
        isinstance(required, list)
        and all(isinstance(name, str) for name in required)
        and set(properties) <= set(required)
    )
