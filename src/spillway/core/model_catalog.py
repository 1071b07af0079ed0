"""What is known of models by their names: how long an answer can be, how much they read, what they take and give.

Sources, read in November 2026: developers.openai.com/api/docs/models, platform.claude.com/docs/en/models,
ai.google.dev/gemini-api/docs/models.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Modality = Literal["text", "image", "audio", "video", "pdf", "vector"]

DEFAULT_OUTPUT_LIMIT = 16_384
"""Assumed of a model that no family is known of, in tokens."""

_PARTS: dict[str, Modality] = {"t": "text", "i": "image", "a": "audio", "v": "video", "p": "pdf", "n": "vector"}


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True):
    """What all models have in common whose names begin alike.

    Attributes:
        provider: `openai`, `anthropic` or `google`.
        output_limit: the most tokens of an answer, reasoning included, 0 for one that embeds; None: not known.
        context_window: the most input tokens; None: not known.
        input: what it takes; empty: not known.
        output: what it gives; `vector` for one that embeds.
        assumed: whether it stands for models that nothing is published of, by the example of their elder siblings.
    """

    provider: str
    prefix: str
    output_limit: int | None
    context_window: int | None
    input: tuple[Modality, ...]
    output: tuple[Modality, ...]
    assumed: bool = False


# (prefix, output limit, context window, takes > gives); `?` before a prefix marks what is assumed.
_OPENAI = (
    ("?gpt-", 128_000, None, ">"),
    ("gpt-3.5", 4_096, 16_385, "t>t"),
    ("gpt-4", 8_192, 8_192, "t>t"),
    ("gpt-4-32k", 32_768, 32_768, "t>t"),
    ("gpt-4-turbo", 4_096, 128_000, "ti>t"),
    ("gpt-4-1106", 4_096, 128_000, "t>t"),
    ("gpt-4-0125", 4_096, 128_000, "t>t"),
    ("gpt-4-vision", 4_096, 128_000, "ti>t"),
    ("gpt-4o", 16_384, 128_000, "ti>t"),
    ("gpt-4o-2024-05-13", 4_096, 128_000, "ti>t"),
    ("gpt-4o-audio", 16_384, 128_000, "ta>ta"),
    ("gpt-4o-mini-audio", 16_384, 128_000, "ta>ta"),
    ("gpt-4o-realtime", 4_096, 32_000, "ta>ta"),
    ("gpt-4o-mini-realtime", 4_096, 16_000, "ta>ta"),
    ("gpt-4o-search", 16_384, 128_000, "t>t"),
    ("gpt-4o-mini-search", 16_384, 128_000, "t>t"),
    ("gpt-4o-transcribe", 2_000, 16_000, "ta>t"),
    ("gpt-4o-mini-transcribe", 2_000, 16_000, "ta>t"),
    ("gpt-4o-mini-tts", None, None, "t>a"),
    ("gpt-4.1", 32_768, 1_047_576, "ti>t"),
    ("gpt-4.5", 16_384, 128_000, "ti>t"),
    ("gpt-5", 128_000, 400_000, "ti>t"),
    ("gpt-5-pro", 272_000, 400_000, "ti>t"),
    ("gpt-5-chat", 16_384, 128_000, "ti>t"),
    ("gpt-5-image", None, None, "ti>ti"),
    ("gpt-5.1-chat", 16_384, 128_000, "ti>t"),
    ("gpt-5.2-chat", 16_384, 128_000, "ti>t"),
    ("gpt-5.3-chat", 16_384, 128_000, "ti>t"),
    ("gpt-5.4", 128_000, 1_050_000, "ti>t"),
    ("gpt-5.4-mini", 128_000, 400_000, "ti>t"),
    ("gpt-5.4-nano", 128_000, 400_000, "ti>t"),
    ("gpt-5.4-image", None, None, "ti>ti"),
    ("gpt-5.5", 128_000, 1_050_000, "ti>t"),
    ("gpt-5.6", 128_000, 1_050_000, "ti>t"),
    ("?gpt-5.7", 128_000, None, "ti>t"),
    ("?gpt-5.8", 128_000, None, "ti>t"),
    ("?gpt-5.9", 128_000, None, "ti>t"),
    ("?gpt-6", 128_000, None, "ti>t"),
    ("gpt-6-astra", 128_000, 1_050_000, "ti>t"),
    ("gpt-6-sol", 128_000, 1_050_000, "ti>t"),
    ("gpt-6-luna", 128_000, 1_050_000, "ti>t"),
    ("gpt-6.1-sol", 128_000, 1_050_000, "ti>t"),
    ("?gpt-6.1", 128_000, 1_050_000, "ti>t"),
    ("gpt-audio", 16_384, 128_000, "ta>ta"),
    ("gpt-image", None, None, "ti>i"),
    ("gpt-oss", 131_072, 131_072, "t>t"),
    ("gpt-realtime", 4_096, 32_000, "tia>ta"),
    ("?gpt-realtime-2", 4_096, 128_000, "tia>ta"),
    ("chatgpt-4o", 16_384, 128_000, "ti>t"),
    ("chatgpt-image", None, None, "ti>i"),
    ("codex-mini", 100_000, 200_000, "ti>t"),
    ("computer-use", 1_024, 8_192, "ti>t"),
    ("o1", 100_000, 200_000, "ti>t"),
    ("o1-mini", 65_536, 128_000, "t>t"),
    ("o1-preview", 32_768, 128_000, "t>t"),
    ("o3", 100_000, 200_000, "ti>t"),
    ("o3-mini", 100_000, 200_000, "t>t"),
    ("o4-mini", 100_000, 200_000, "ti>t"),
    ("?o4", 100_000, 200_000, "ti>t"),
    ("text-embedding", 0, 8_192, "t>n"),
)
_ANTHROPIC = (
    ("?claude", 128_000, None, "tip>t"),
    ("claude-2", 4_096, 200_000, "t>t"),
    ("claude-instant", 4_096, 100_000, "t>t"),
    ("claude-3", 4_096, 200_000, "ti>t"),
    ("claude-3-5", 8_192, 200_000, "tip>t"),
    ("claude-3-7", 128_000, 200_000, "tip>t"),
    ("claude-haiku-4", 64_000, 200_000, "tip>t"),
    ("claude-sonnet-4", 64_000, 200_000, "tip>t"),
    ("claude-sonnet-4-6", 128_000, 1_000_000, "tip>t"),
    ("claude-opus-4", 32_000, 200_000, "tip>t"),
    ("claude-opus-4-5", 64_000, 200_000, "tip>t"),
    ("claude-opus-4-6", 128_000, 1_000_000, "tip>t"),
    ("claude-opus-4-7", 128_000, 1_000_000, "tip>t"),
    ("claude-opus-4-8", 128_000, 1_000_000, "tip>t"),
    ("claude-opus-5", 128_000, 1_000_000, "tip>t"),
    ("claude-sonnet-5", 128_000, 1_000_000, "tip>t"),
    ("claude-haiku-5", 128_000, 1_000_000, "tip>t"),
    ("claude-fable-5", 128_000, 1_000_000, "tip>t"),
    ("?claude-mythos-5", 128_000, 1_000_000, "tip>t"),
)
_GOOGLE = (
    ("?gemini-", 65_536, None, ">"),
    ("gemini-1", 8_192, 32_768, "t>t"),
    ("gemini-1.5-pro", 8_192, 2_097_152, "tiavp>t"),
    ("gemini-1.5-flash", 8_192, 1_048_576, "tiavp>t"),
    ("gemini-2.0", 8_192, 1_048_576, "tiavp>t"),
    ("gemini-2.5", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-2.5-flash-image", 32_768, 65_536, "ti>ti"),
    ("gemini-2.5-flash-tts", 16_384, 8_192, "t>a"),
    ("gemini-2.5-pro-tts", 16_384, 8_192, "t>a"),
    ("gemini-2.5-flash-preview-tts", 16_384, 8_192, "t>a"),
    ("gemini-2.5-pro-preview-tts", 16_384, 8_192, "t>a"),
    ("gemini-3-", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3-pro-image", 32_768, 65_536, "ti>ti"),
    ("?gemini-3.", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.1-pro", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.1-flash-lite", 65_536, 1_048_576, "tiavp>t"),
    ("?gemini-3.1-flash-image", 32_768, 131_072, "ti>ti"),
    ("gemini-3.5-flash", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.6-flash", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.7-flash", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.8-flash", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-3.8-live", None, 131_072, "tiav>ta"),
    ("gemini-2.5-flash-lite-preview-tts", None, 8_192, "t>a"),
    ("gemini-3.1-flash-lite-image", None, None, "ti>ti"),
    ("gemini-3.1-flash-tts", None, None, "t>a"),
    ("gemini-3.1-flash-live", None, None, ">"),
    ("gemini-3.8-flash-tts", None, None, "t>a"),
    ("gemini-3.8-flash-lite-tts", None, None, "t>a"),
    ("gemini-live", None, None, ">"),
    ("gemini-omni", None, None, ">"),
    ("gemini-nano-banana", None, None, "ti>ti"),
    ("gemini-4-argon", 65_536, 1_048_576, "tiavp>t"),
    ("?gemini-4", 65_536, 1_048_576, "tiavp>t"),
    ("gemini-embedding", 0, 2_048, "t>n"),
    ("gemini-embedding-2", 0, 8_192, "tiavp>n"),
)


def _family(provider: str, row: tuple[str, int | None, int | None, str]) -> ModelFamily:
    prefix, limit, window, kinds = row
    takes, _, gives = kinds.partition(">")
    return ModelFamily(
        provider=provider,
        prefix=prefix.removeprefix("?"),
        output_limit=limit,
        context_window=window,
        input=tuple(_PARTS[kind] for kind in takes),
        output=tuple(_PARTS[kind] for kind in gives),
        assumed=prefix.startswith("?"),
    )


FAMILIES: tuple[ModelFamily, ...] = tuple(
    _family(provider, row)
    for provider, rows in (("openai", _OPENAI), ("anthropic", _ANTHROPIC), ("google", _GOOGLE))
    for row in rows
)
"""Every known family; the longest prefix of a model's name decides."""


def family_of(model: str) -> ModelFamily | None:
    """Return the family of a model, None when its name tells of none.

    Whatever stands before the last `/` of the name, or before `anthropic.`, is a provider's, a region's or a path; a
    fine-tuned model is one of its base's family.
    """
    name = model.rpartition("/")[2].lower().rpartition("anthropic.")[2].removeprefix("ft:")
    if name.startswith("claude"):
        name = name.replace(".", "-")
    found = [family for family in FAMILIES if name.startswith(family.prefix)]
    return max(found, key=lambda family: len(family.prefix)) if found else None


def known_output_limit(model: str) -> int | None:
    """Return the most tokens `model` answers with, 0 for one that embeds, None when it is of no known family."""
    family = family_of(model)
    if family is None:
        return 0 if "embed" in model.rpartition("/")[2].lower() else None
    return family.output_limit
