"""Facts about the known models that no price list carries: how long an answer can be."""

from __future__ import annotations

DEFAULT_OUTPUT_LIMIT = 16_384
"""Assumed of a model that no family is known of, in tokens."""

# The longest prefix of a model's name decides. OpenAI: developers.openai.com/api/docs/models; Anthropic:
# platform.claude.com models overview; Gemini: ai.google.dev/gemini-api/docs/models.
_OUTPUT_LIMITS = {
    "gpt-3.5": 4_096,
    "gpt-4": 8_192,
    "gpt-4-turbo": 4_096,
    "gpt-4-1106": 4_096,
    "gpt-4-0125": 4_096,
    "gpt-4o": 16_384,
    "gpt-4o-2024-05-13": 4_096,
    "gpt-4.1": 32_768,
    "gpt-4.5": 16_384,
    "gpt-5": 128_000,
    "gpt-5-pro": 272_000,
    "gpt-5-chat": 16_384,
    "gpt-5.1-chat": 16_384,
    "gpt-5.2-chat": 16_384,
    "gpt-5.3-chat": 16_384,
    "gpt-6": 128_000,
    "gpt-audio": 16_384,
    "chatgpt-4o": 16_384,
    "o1": 100_000,
    "o1-mini": 65_536,
    "o1-preview": 32_768,
    "o3": 100_000,
    "o4": 100_000,
    "claude-2": 4_096,
    "claude-3": 4_096,
    "claude-3-5": 8_192,
    "claude-3-7": 128_000,
    "claude-haiku-4": 64_000,
    "claude-sonnet-4": 64_000,
    "claude-sonnet-4-6": 128_000,
    "claude-opus-4": 32_000,
    "claude-opus-4-5": 64_000,
    "claude-opus-4-6": 128_000,
    "claude-opus-4-7": 128_000,
    "claude-opus-4-8": 128_000,
    "claude": 128_000,
    "gemini-1": 8_192,
    "gemini-2.0": 8_192,
    "gemini-2.5": 65_536,
    "gemini-2.5-flash-image": 32_768,
    "gemini-3": 65_536,
    "gemini-4": 65_536,
}


def known_output_limit(model: str) -> int | None:
    """Return the most tokens `model` answers with, 0 for one that embeds, None when it is of no known family.

    Whatever stands before the last `/` of the name is a provider's or a path.
    """
    name = model.rpartition("/")[2].lower()
    if "embed" in name:
        return 0
    prefixes = [prefix for prefix in _OUTPUT_LIMITS if name.startswith(prefix)]
    return _OUTPUT_LIMITS[max(prefixes, key=len)] if prefixes else None
