"""What a provider takes of a request in Anthropic's words, beside what OpenAI's API has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Takes(msgspec.Struct, frozen=True, kw_only=True):
    """What a wire takes; a wire that says nothing takes what OpenAI's chat completions have.

    Attributes:
        anthropic: Anthropic's own fields, tools, cache marks and thinking: it knows what to make of them.
        failures: that a tool failed (`is_error`).
        media: pictures and files in the results of tools.
        text_files: files of plain text.
        user: `safety_identifier`.
        fields: of Anthropic's fields, those it has under the same name.
        thoughts: further fields with which it tells its thinking, for a caller who asks for that.
    """

    anthropic: bool = False
    failures: bool = False
    media: bool = False
    text_files: bool = False
    user: bool = False
    fields: frozenset[str] = frozenset()
    thoughts: Mapping[str, Any] = {}
