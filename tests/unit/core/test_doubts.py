"""What `Deployment.validate` doubts, and what it leaves in peace."""

import pytest

from spillway import (
    AnthropicConfig,
    Budget,
    Deployment,
    GeminiConfig,
    OpenAiConfig,
    Pricing,
    RateLimits,
    RetryPolicy,
    Serving,
)
from spillway.core.model_facts import ModelFacts
from spillway.core.provider_tiers import TIERS
from spillway.runtime.prices import facts_of


def doubts(model="gpt-4o-mini", facts=None, **options):
    if limits := options.pop("limits", None):
        options["rate_limits"] = RateLimits(**limits)
    return Deployment(name="d", model=model, **options).validate(facts)


def only(found):
    (one,) = found
    assert one.startswith("d: ")
    assert "\n" not in one
    return one


def test_a_usual_deployment_raises_none():
    limits = {"requests_per_minute": 10_000, "tokens_per_minute": 2_000_000, "concurrent_requests": 200}
    assert doubts(limits=limits) == []
    deployment = Deployment(
        name="d",
        model="claude-sonnet-4-5",
        runtime="anthropic",
        rate_limits=RateLimits(
            requests_per_minute=4_000, input_tokens_per_minute=2_000_000, output_tokens_per_minute=400_000
        ),
        budget=Budget(max_spend_per_day_usd=100.0),
        pricing=Pricing(input_per_mtok_usd=2.5, output_per_mtok_usd=12.0),
    )
    assert deployment.validate(facts_of(deployment)) == []
    assert doubts("a-model-of-mine", limits=limits) == []


@pytest.mark.parametrize(
    ("model", "limits", "words"),
    [
        ("gpt-4o-mini", {"tokens_per_minute": 10_000}, ["tokens_per_minute = 10,000", "one longest answer", "16,384"]),
        ("gpt-4o-mini", {"tokens_per_minute": 100_000}, ["context window", "128,000"]),
        ("claude-opus-4-5", {"output_tokens_per_minute": 8_000}, ["output_tokens_per_minute = 8,000", "64,000"]),
        ("claude-opus-4-5", {"input_tokens_per_minute": 30_000}, ["input_tokens_per_minute = 30,000", "200,000"]),
        ("gpt-4o", {"tokens_per_minute": 300_000, "output_tokens_per_minute": 400_000}, ["never reached"]),
        ("gpt-4o", {"requests_per_minute": 100, "concurrent_requests": 200}, ["longer than a minute"]),
        ("gpt-4o", {"requests_per_minute": 30_000_000}, ["can't be reached by 128 requests", "tier"]),
    ],
)
def test_limits_are_held_against_each_other_and_the_model(model, limits, words):
    found = doubts(model, limits=limits)
    assert all(word in " ".join(found) for word in words), found
    assert len(found) == (2 if "tier" in words else 1)


def test_no_model_is_held_to_a_limit_that_is_only_assumed():
    assert doubts("claude-of-tomorrow", limits={"output_tokens_per_minute": 10_000}) == []
    assert doubts("text-embedding-3-small", limits={"tokens_per_minute": 5_000}) == []


@pytest.mark.parametrize(
    ("model", "options", "limits", "words"),
    [
        ("claude-haiku-4-5", {}, {"requests_per_minute": 4_001}, "anthropic Scale"),
        ("claude-haiku-4-5", {}, {"input_tokens_per_minute": 10_000_001}, "10,000,000"),
        ("claude-fable-5-2", {}, {"input_tokens_per_minute": 4_000_001}, "4,000,000"),
        ("claude-haiku-4-5", {}, {"tokens_per_minute": 10_800_001}, "10,800,000"),
        ("claude-haiku-4-5", {}, {"output_tokens_per_minute": 800_001}, "800,000"),
        ("gpt-5-mini", {}, {"tokens_per_minute": 180_000_001}, "openai 5"),
        ("gpt-5-mini", {}, {"output_tokens_per_minute": 180_000_001}, "180,000,000"),
        ("gemini-2.5-pro", {}, {"input_tokens_per_minute": 30_000_001}, "google 3"),
        ("mine", {"runtime": "openai"}, {"tokens_per_minute": 180_000_001}, "openai 5"),
        (
            "gpt-5",
            {"runtime_config": OpenAiConfig(variant="azure", resource="r", deployment="x", api_version="v")},
            {"tokens_per_minute": 225_000_001},
            "azure 6",
        ),
    ],
)
def test_more_than_the_highest_published_tier_is_doubted_and_its_source_named(model, options, limits, words):
    ((name, most),) = ((key, value - 1) for key, value in limits.items())
    one = only(doubts(model, limits=limits, **options))
    assert words in one
    assert "as of" in one
    assert doubts(model, limits={name: most}, **options) == []


@pytest.mark.parametrize(
    "options",
    [
        {"runtime": "litellm"},
        {"runtime_config": OpenAiConfig(endpoint="http://127.0.0.1:9100/v1")},
        {"runtime_config": OpenAiConfig(endpoint="https://notopenai.com/v1")},
        {"runtime_config": GeminiConfig(variant="vertex", project="p", region="r")},
        {"runtime": "of-mine"},
    ],
)
def test_no_tier_is_known_behind_an_endpoint_that_is_not_the_providers(options):
    assert doubts("gpt-5", limits={"tokens_per_minute": 10**9}, **options) == []


def test_the_providers_own_endpoint_is_its_own():
    config = AnthropicConfig(endpoint="https://api.anthropic.com")
    assert len(doubts("claude-haiku-4-5", limits={"requests_per_minute": 5_000}, runtime_config=config)) == 1


def test_every_tier_names_its_source():
    for tier in TIERS:
        assert tier.source and tier.as_of
        assert tier.requests_per_minute and (tier.tokens_per_minute or tier.input_tokens_per_minute)


def test_a_long_burst_at_azure():
    config = OpenAiConfig(variant="azure", resource="r", deployment="x", api_version="v")
    assert "Azure" in only(doubts(limits={"requests_per_minute": 60, "burst_s": 30.0}, runtime_config=config))
    assert doubts(limits={"requests_per_minute": 60, "burst_s": 10.0}, runtime_config=config) == []
    assert doubts(limits={"requests_per_minute": 60}, runtime_config=config) == []


def test_a_price_that_is_far_from_the_published_one():
    pricing = Pricing(input_per_mtok_usd=150.0, output_per_mtok_usd=0.6, cached_input_per_mtok_usd=0.001)
    deployment = Deployment(name="d", model="gpt-4o-mini", runtime="openai", pricing=pricing)
    first, second = deployment.validate(facts_of(deployment))
    assert "pricing.input_per_mtok_usd = 150 is far from the published 0.15" in first
    assert "cached_input" in second
    free = Deployment(name="d", model="gpt-4o-mini", pricing=Pricing(input_per_mtok_usd=0, output_per_mtok_usd=0))
    assert free.validate(facts_of(free)) == []


def test_a_budget_that_one_answer_is_above():
    def budgeted(**caps):
        deployment = Deployment(name="d", model="claude-opus-4-8", budget=Budget(**caps))
        return deployment.validate(facts_of(deployment))

    assert "max_spend_per_hour_usd = 1 is below 3.2 USD" in only(budgeted(max_spend_per_hour_usd=1.0))
    assert budgeted(max_spend_per_hour_usd=4.0) == []
    assert budgeted(max_spend_per_hour_usd=1.0, on_exceeded="warn") == []
    assert budgeted(max_spend_per_hour_usd=0) == []


def test_a_model_that_ends_or_that_nobody_knows_the_price_of():
    deployment = Deployment(name="d", model="gemini-2.0-flash", runtime="gemini")
    assert "deprecated" in only(deployment.validate(facts_of(deployment)))
    deployment = Deployment(name="d", model="gpt-6.2-sol", runtime="openai")
    assert "the price of the model gpt-6.2-sol is unknown" in only(deployment.validate(facts_of(deployment)))
    assert deployment.validate() == []
    assert deployment.validate(ModelFacts()) == []


def test_what_needs_no_model():
    found = doubts(
        limits={"concurrent_requests": 4},
        serving=Serving(max_concurrent=8),
        retry=RetryPolicy(initial_backoff_s=5.0, max_backoff_s=1.0),
        fallback=("d",),
    )
    assert len(found) == 3
