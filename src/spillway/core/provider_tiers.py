"""The highest usage tiers that providers publish: above them a limit is a custom agreement, or a slip.

Providers change these without notice; they bound nothing and refuse nothing, they only raise a doubt.
"""

from __future__ import annotations

import msgspec


class ProviderTier(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's highest published tier, for the models whose names begin with one of `prefixes`.

    Attributes:
        name: what the provider calls it.
        tokens_per_minute: input and output together.
        source: where it is published.
        as_of: of when the copy is that was read.
    """

    provider: str
    prefixes: tuple[str, ...]
    name: str
    source: str
    as_of: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None


_ANTHROPIC = "platform.claude.com/docs/en/api/rate-limits"
_OPENAI = "developers.openai.com/api/docs/models, tier 5 of each model"
_AZURE = "learn.microsoft.com/azure/foundry/openai/quotas-limits"
_GEMINI = "ai.google.dev/gemini-api/docs/rate-limits, the last table with numbers"

TIERS: tuple[ProviderTier, ...] = (
    ProviderTier(
        provider="anthropic",
        prefixes=("claude-fable", "claude-mythos"),
        name="Scale",
        source=_ANTHROPIC,
        as_of="2026-10-17",
        requests_per_minute=4_000,
        input_tokens_per_minute=4_000_000,
        output_tokens_per_minute=800_000,
    ),
    ProviderTier(
        provider="anthropic",
        prefixes=("",),
        name="Scale",
        source=_ANTHROPIC,
        as_of="2026-10-17",
        requests_per_minute=4_000,
        input_tokens_per_minute=10_000_000,
        output_tokens_per_minute=800_000,
    ),
    ProviderTier(
        provider="openai",
        prefixes=("",),
        name="5",
        source=_OPENAI,
        as_of="2025-09",
        requests_per_minute=30_000,
        tokens_per_minute=180_000_000,
    ),
    ProviderTier(
        provider="azure",
        prefixes=("",),
        name="6",
        source=_AZURE,
        as_of="early 2026",
        requests_per_minute=2_250_000,
        tokens_per_minute=225_000_000,
    ),
    ProviderTier(
        provider="google",
        prefixes=("",),
        name="3",
        source=_GEMINI,
        as_of="2025-09",
        requests_per_minute=30_000,
        input_tokens_per_minute=30_000_000,
    ),
)
"""The most specific row of a provider comes first."""


def highest_tier(provider: str, model: str) -> ProviderTier | None:
    """Return the highest tier that a provider publishes for a model, None when it publishes none."""
    name = model.rpartition("/")[2].lower()
    return next((tier for tier in TIERS if tier.provider == provider and name.startswith(tier.prefixes)), None)
