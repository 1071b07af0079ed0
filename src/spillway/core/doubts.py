"""What is doubtful about a deployment: options that are allowed, and yet hardly what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spillway.core.model_catalog import family_of
from spillway.core.model_facts import ModelFacts
from spillway.core.provider_tiers import highest_tier

if TYPE_CHECKING:
    from spillway.core.options import Budget, Deployment, Pricing, RateLimits

_MTOK = 1_000_000
_FAR_OFF = 10
_AZURE_JUDGES_OVER_S = 10.0
_FASTEST_ANSWER_S = 0.1
_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
_CAPS = ("max_spend_per_hour_usd", "max_spend_per_day_usd", "max_spend_per_month_usd")
_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
_HOSTS = {"openai": "openai.com", "anthropic": "anthropic.com", "google": "googleapis.com", "azure": "azure.com"}


def doubts_of(deployment: Deployment, facts: ModelFacts | None = None) -> list[str]:
    """Return the doubts about a deployment, one line each, each beginning with its name.

    Args:
        facts: what is known of its model; default: what the model's name tells.
    """
    if facts is None:
        facts = ModelFacts.of(deployment.provider_model)
    return [f"{deployment.name}: {doubt}" for doubt in _doubts(deployment, facts)]


def _doubts(deployment: Deployment, facts: ModelFacts) -> Iterator[str]:
    limits = deployment.rate_limits
    if limits is not None:
        yield from _of_concurrency(deployment, limits)
        yield from _of_sizes(limits, facts, deployment.provider_model)
        yield from _of_tier(deployment, limits)
    if deployment.retry.max_backoff_s < deployment.retry.initial_backoff_s:
        yield "retry.max_backoff_s is below initial_backoff_s"
    if deployment.name in deployment.fallback:
        yield "fallback names itself"
    if facts.deprecated:
        yield f"the model {deployment.provider_model} is deprecated by its provider"
    if facts.price_source == "unknown":
        model = deployment.provider_model
        yield f"the price of the model {model} is unknown: its requests have no cost; give it in [deployment.pricing]"
    if deployment.pricing is not None and facts.published is not None:
        yield from _of_pricing(deployment.pricing, facts)
    if deployment.budget is not None:
        yield from _of_budget(deployment.budget, _longest_answer_usd(deployment, facts))


def _of_concurrency(deployment: Deployment, limits: RateLimits) -> Iterator[str]:
    at_once, per_minute = limits.concurrent_requests, limits.requests_per_minute
    pool = deployment.serving.max_concurrent * deployment.replicas
    if at_once is not None and at_once < pool:
        yield (
            f"rate_limits.concurrent_requests = {at_once} is below "
            f"the {pool} workers of serving.max_concurrent; the rest will wait"
        )
    if at_once is not None and per_minute is not None and at_once > per_minute:
        yield (
            f"rate_limits.concurrent_requests = {at_once:,} is above requests_per_minute = {per_minute:,}: so many "
            "can be in flight only when each takes longer than a minute"
        )
    lanes = min(pool, pool if at_once is None else at_once)
    if per_minute is not None and per_minute > lanes * 60 / _FASTEST_ANSWER_S:
        yield (
            f"rate_limits.requests_per_minute = {per_minute:,} can't be reached by {lanes} requests at once, unless "
            f"each is answered within {lanes * 60 / per_minute:.2g} s"
        )
    if _is_azure(deployment) and per_minute is not None and _AZURE_JUDGES_OVER_S < limits.burst_s < 60.0:
        yield f"rate_limits.burst_s = {limits.burst_s:g}: Azure judges limits over 1 or 10 s, and refuses longer bursts"


def _of_sizes(limits: RateLimits, facts: ModelFacts, model: str) -> Iterator[str]:
    total, in_, out = limits.tokens_per_minute, limits.input_tokens_per_minute, limits.output_tokens_per_minute
    answer = facts.output_limit if facts.output_limit_known else 0
    window = facts.context_window or 0
    if out is not None and out < answer:
        yield (
            f"rate_limits.output_tokens_per_minute = {out:,} is less than one longest answer of {model}, "
            f"{answer:,} tokens; a larger max_tokens is refused"
        )
    for name, limit in (("tokens_per_minute", total), ("input_tokens_per_minute", in_)):
        if limit is None:
            continue
        if name == "tokens_per_minute" and limit < answer:
            yield (
                f"rate_limits.{name} = {limit:,} is less than one longest answer of {model}, {answer:,} tokens; "
                "a larger max_tokens is refused"
            )
        elif limit < window and answer:
            yield (
                f"rate_limits.{name} = {limit:,} is less than one full context window of {model}, {window:,} tokens: "
                "a prompt of that size takes more than a minute's share"
            )
    for name, part in (("input_tokens_per_minute", in_), ("output_tokens_per_minute", out)):
        if total is not None and part is not None and part > total:
            yield f"rate_limits.{name} = {part:,} is never reached: tokens_per_minute = {total:,} counts both"


def _of_tier(deployment: Deployment, limits: RateLimits) -> Iterator[str]:
    provider = _provider(deployment)
    tier = None if provider is None else highest_tier(provider, deployment.provider_model)
    if tier is None:
        return
    total = tier.tokens_per_minute
    if total is None and tier.input_tokens_per_minute is not None and tier.output_tokens_per_minute is not None:
        total = tier.input_tokens_per_minute + tier.output_tokens_per_minute
    published = {
        "requests_per_minute": tier.requests_per_minute,
        "tokens_per_minute": total,
        "input_tokens_per_minute": tier.input_tokens_per_minute or tier.tokens_per_minute,
        "output_tokens_per_minute": tier.output_tokens_per_minute or tier.tokens_per_minute,
    }
    for name in _LIMITS:
        set_, most = getattr(limits, name), published[name]
        if set_ is not None and most is not None and set_ > most:
            yield (
                f"rate_limits.{name} = {set_:,} is above {most:,}, the most of the highest published tier "
                f"({tier.provider} {tier.name}, {tier.source}, as of {tier.as_of}); a custom agreement may allow it"
            )


def _of_pricing(pricing: Pricing, facts: ModelFacts) -> Iterator[str]:
    for name, published in (facts.published or {}).items():
        own = getattr(pricing, name, None)
        if own and published and not 1 / _FAR_OFF <= own / published <= _FAR_OFF:
            yield (
                f"pricing.{name} = {own:g} is far from the published {published:g} USD per million tokens; "
                "is the unit right?"
            )


def _of_budget(budget: Budget, answer_usd: float | None) -> Iterator[str]:
    if answer_usd is None or budget.on_exceeded == "warn":
        return
    for name in _CAPS:
        cap = getattr(budget, name)
        if cap is not None and 0 < cap < answer_usd:
            yield (
                f"budget.{name} = {cap:g} is below {answer_usd:.2g} USD, what one longest answer may cost: a request "
                "without max_tokens is refused"
            )


def _longest_answer_usd(deployment: Deployment, facts: ModelFacts) -> float | None:
    """Return what the longest answer costs, None when its price is not known."""
    price = None if deployment.pricing is None else deployment.pricing.output_per_mtok_usd
    if price is None:
        price = (facts.published or {}).get("output_per_mtok_usd")
    return None if price is None else price * facts.output_limit / _MTOK


def _is_azure(deployment: Deployment) -> bool:
    return getattr(deployment.runtime_config, "variant", None) == "azure"


def _provider(deployment: Deployment) -> str | None:
    """Return whose tiers apply: none's behind an endpoint that is not the provider's own."""
    runtime = deployment.runtime or getattr(deployment.runtime_config, "runtime", None)
    if _is_azure(deployment):
        provider = "azure"
    elif getattr(deployment.runtime_config, "variant", None) == "vertex":
        return None
    elif runtime is not None:
        provider = _PROVIDERS.get(runtime, "")
    else:
        family = family_of(deployment.provider_model)
        provider = "" if family is None else family.provider
    endpoint = getattr(deployment.runtime_config, "endpoint", None)
    host = _HOSTS.get(provider)
    if host is None:
        return None
    own = endpoint is None or f".{urlsplit(endpoint).hostname or ''}".endswith(f".{host}")
    return provider if own else None
