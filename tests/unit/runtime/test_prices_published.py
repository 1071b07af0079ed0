"""What a deployment's model costs: its own prices, the published ones, or nothing that is known."""

import asyncio
import logging
import random
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice

import spillway.runtime.prices as prices_module
from spillway.core.model_catalog import known_output_limit
from spillway.core.options import Deployment
from spillway.core.reply import Usage
from spillway.providers.openai.config import OpenAiConfig
from spillway.runtime import catalog
from spillway.runtime.catalog import known_models, price_list
from spillway.runtime.catalog_prices import table_of, utc
from spillway.runtime.prices import resolve_prices, resolve_prices_sync
from spillway.testing import run_virtual

PROVIDERS = {"openai": "openai", "azure": "azure", "anthropic": "anthropic", "gemini": "google"}
MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-5.6-terra"),
    ("openai", "gpt-6.1-sol"),
    ("openai", "o3"),
    ("openai", "text-embedding-3-small"),
    ("azure", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-haiku-5-5"),
    ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-4-argon"),
    ("gemini", "gemini-3.8-flash"),
]
DATES = [
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2025, 6, 9, 23, 59, 59, tzinfo=UTC),
    datetime(2025, 6, 10, tzinfo=UTC),
    datetime(2026, 8, 21, 1, tzinfo=timezone(timedelta(hours=2))),
    datetime(2026, 11, 30, 23, tzinfo=UTC),
    datetime(2026, 12, 1, tzinfo=UTC),
    datetime(2027, 5, 5, tzinfo=UTC),
]
SIZES = [1, 10, 4_321, 100_000, 100_001, 200_000, 200_001, 272_000, 272_001, 999_999]


def usages(seed=7):
    rng = random.Random(seed)
    for size in SIZES:
        cached = rng.randrange(size + 1)
        written = rng.randrange(size - cached + 1)
        yield Usage(
            input_tokens=size,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=rng.randrange(written + 1),
            output_tokens=size,
            reasoning_tokens=rng.randrange(size + 1),
        )
        yield Usage(input_tokens=size, output_tokens=rng.randrange(5_000))


def as_listed(usage):
    return ListUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )


def in_pico(total):
    return int((total * 10**12).to_integral_value(rounding="ROUND_HALF_UP"))


def deployment(model, **options):
    return Deployment(name="d", model=model, **options)


@pytest.mark.parametrize(("runtime", "model"), MODELS)
def test_our_table_agrees_with_the_list_to_the_pico_dollar(runtime, model):
    table = resolve_prices_sync(deployment(model, runtime=runtime)).prices
    for when in DATES:
        for usage in usages():
            theirs = calc_price(
                as_listed(usage), model, provider_id=PROVIDERS[runtime], genai_request_timestamp=when
            ).total_price
            assert table.cost(usage, when) == in_pico(theirs), (model, when, usage)


def test_so_does_every_other_model_of_the_list():
    usage = Usage(
        input_tokens=250_000, cached_tokens=10_007, cache_write_tokens=503, output_tokens=1_777, reasoning_tokens=3
    )
    when = datetime(2026, 11, 23, 17, tzinfo=UTC)
    compared = 0
    for provider in get_snapshot().providers:
        for info in provider.models:
            table = table_of(info)
            if table is not None:
                theirs = info.calc_price(as_listed(usage), provider, genai_request_timestamp=when).total_price
                assert table.cost(usage, when) == in_pico(theirs), (provider.id, info.id)
                compared += 1
    assert compared > 2_000


def test_prices_by_the_hour_are_the_lists():
    facts = resolve_prices_sync(deployment("deepseek/deepseek-chat", runtime="litellm"))
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    seen = set()
    for quarter in range(0, 48 * 4):
        when = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
        theirs = calc_price(as_listed(usage), "deepseek-chat", provider_id="deepseek", genai_request_timestamp=when)
        assert facts.prices.cost(usage, when) == in_pico(theirs.total_price), when
        seen.add(theirs.total_price)
    assert len(seen) == 2


def test_a_models_own_prices_win_and_the_list_is_not_even_loaded():
    code = """
import asyncio, sys
from spillway.core.options import Deployment, Pricing
from spillway.runtime.prices import resolve_prices
facts = asyncio.run(resolve_prices(Deployment(name="gpt-4o", runtime="openai", pricing=Pricing(
    input_per_mtok_usd=7, output_per_mtok_usd=9))))
assert facts.source == "deployment.pricing" and facts.prices.entries[0].base.input == 7 * 10**12, facts
facts = asyncio.run(resolve_prices(Deployment(name="gpt-4o"), "a-third-party"))
assert facts.source == "unknown" and facts.prices is None, facts
assert "genai_prices" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_list_is_loaded_once_and_off_the_event_loop():
    price_list.cache_clear()
    threads = []
    loads = catalog.PriceList.__init__

    async def main():
        facts = []

        def loading(self, snapshot):
            try:
                threads.append(asyncio.get_running_loop())
            except RuntimeError:
                threads.append(None)
            loads(self, snapshot)

        catalog.PriceList.__init__ = loading
        try:
            deployments = [deployment("gpt-4o-mini", runtime="openai") for _ in range(20)]
            for each in deployments:
                facts.append(await resolve_prices(each))
        finally:
            catalog.PriceList.__init__ = loads
        return facts

    facts = run_virtual(main())
    assert threads == [None]
    assert len({id(each.prices) for each in facts}) == 1
    assert facts[0].source == "genai-prices"
    assert (facts[0].context_window, facts[0].output_limit) == (128_000, 16_384)


def test_an_unknown_model_has_no_price_and_is_named_once(caplog):
    prices_module._warn_unknown.cache_clear()
    with caplog.at_level(logging.WARNING, logger="spillway.prices"):
        for _ in range(3):
            facts = resolve_prices_sync(deployment("of-my-own", runtime="openai"))
            assert facts.prices is None
            assert facts.source == "unknown"
            assert facts.output_limit == 16_384
        resolve_prices_sync(deployment("another", runtime="openai"))
    assert [record.args[0] for record in caplog.records] == ["of-my-own", "another"]
    assert "[deployment.pricing]" in caplog.text


@pytest.mark.parametrize(
    ("model", "runtime", "listed"),
    [
        ("anthropic/claude-sonnet-4-5", "litellm", ("anthropic", "claude-sonnet-4-5")),
        ("gpt-4o-mini", "litellm", ("openai", "gpt-4o-mini")),
        ("gemini/gemini-2.5-flash", "litellm", ("google", "gemini-2.5-flash")),
        ("claude-sonnet-4-5", "gemini", ("google", "claude-sonnet-4-5")),
        ("gpt-4o-mini", None, ("openai", "gpt-4o-mini")),
        ("hosted_vllm/gpt-4o", "litellm", None),
    ],
)
def test_a_name_finds_its_provider(model, runtime, listed):
    facts = resolve_prices_sync(deployment(model, runtime=runtime))
    if listed is None:
        assert facts.prices is None
        return
    usage = Usage(input_tokens=1_000, output_tokens=500)
    when = datetime(2026, 11, 23, tzinfo=UTC)
    provider, name = listed
    theirs = calc_price(as_listed(usage), name, provider_id=provider, genai_request_timestamp=when).total_price
    assert facts.prices.cost(usage, when) == in_pico(theirs) > 0


def test_azure_is_its_own_provider_of_the_openai_runtime(monkeypatch):
    asked = []
    listing = price_list()
    monkeypatch.setattr(listing, "find", lambda model, provider: asked.append(provider))
    azure = OpenAiConfig(variant="azure", resource="r", deployment="d", api_version="2024-10-21", api_key="k")
    resolve_prices_sync(deployment("gpt-4o", runtime="openai", runtime_config=azure))
    resolve_prices_sync(deployment("gpt-4o", runtime="openai"))
    resolve_prices_sync(deployment("gpt-4o", runtime="openai"), "azure")
    assert asked == ["azure", "openai", "azure"]


def listed_model(**prices):
    return ModelInfo(id="x", match=ClauseEquals("x"), prices=ModelPrice(**prices), context_window=10)


def test_a_model_without_a_price_for_tokens_has_none():
    assert table_of(listed_model(audio_hours=Decimal(1))) is None
    assert table_of(ModelInfo(id="x", match=ClauseEquals("x"), prices=[])) is None
    free = table_of(listed_model(input_mtok=Decimal(0), output_mtok=Decimal(0)))
    assert free.cost(Usage(input_tokens=10**6, output_tokens=10**6), DATES[0]) == 0


def test_a_price_per_request_is_added():
    table = table_of(listed_model(input_mtok=Decimal(1), requests_kcount=Decimal(5)))
    assert table.cost(Usage(input_tokens=1), DATES[0]) == 5 * 10**9 + 10**6


def test_the_window_of_a_model_bounds_an_estimate_but_not_that_of_one_that_embeds():
    table = table_of(listed_model(input_mtok=Decimal(1)), max_input=10)
    assert table.estimate(1_000, 0, DATES[0]) == 10 * 10**6
    assert resolve_prices_sync(deployment("text-embedding-3-small", runtime="openai")).prices.max_input is None


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("gpt-4.1-nano", 32_768),
        ("gpt-5.4-mini", 128_000),
        ("openai/gpt-6.1-sol", 128_000),
        ("o3-pro", 100_000),
        ("claude-3-haiku", 4_096),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("claude-opus-4-1", 32_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-fable-5-2", 128_000),
        ("gemini-2.0-flash-lite", 8_192),
        ("vertex_ai/gemini-2.5-pro", 65_536),
        ("text-embedding-3-large", 0),
        ("gemini-embedding-001", 0),
        ("llama-3.3-70b", None),
    ],
)
def test_output_limits_by_family(model, limit):
    assert known_output_limit(model) == limit


def test_models_can_be_listed_by_pattern():
    names = {(known.provider, known.model) for known in known_models("gpt-4o-mini")}
    assert ("openai", "gpt-4o-mini") in names
    assert all("gpt-4o-mini" in model for _, model in names)
    claude = known_models("anthropic/claude-*")
    assert {known.provider for known in claude} == {"anthropic", "openrouter"}
    assert all("claude-" in known.model for known in claude)
    assert any(known.context_window == 200_000 and known.output_limit == 64_000 for known in claude)
    assert known_models("no-such-model-*") == []
    audio = {known.model: known.input for known in known_models("openai/gpt-audio*")}
    assert "audio" in audio["gpt-audio"]


def test_a_time_of_day_in_another_zone_is_utc():
    assert utc(time(2, 30, tzinfo=timezone(timedelta(hours=3)))) == time(23, 30)
    assert utc(time(2, 30)) == time(2, 30)
