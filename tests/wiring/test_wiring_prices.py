"""Published prices, through a Cluster: the service that answered, the instant it began, what is set aside for it."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from stage import Reply, World, ended, now, perform

import spillway
from spillway import Budget, BudgetExceeded, TokenChunk, Usage
from spillway.core.model_catalog import FAMILIES
from spillway.remote.cost import usd_to_pico
from spillway.runtime.prices import _warn_unknown
from spillway.testing import ScriptedRunner

THOUSAND = Usage(input_tokens=1_000, output_tokens=1_000)


class Listed(ScriptedRunner):
    """A scripted runner whose model is looked up in the price list; `about` goes with its first piece."""

    def __init__(self, kind, usage=THOUSAND, *, about=None, **reply):
        super().__init__((Reply(usage=usage, **reply),))
        self.runtime_kind = kind
        self._about = about

    async def execute(self, batch):
        return Telling(await super().execute(batch), self._about)


class Telling:
    """A handle that puts a chunk about the answer before the answer."""

    def __init__(self, answer, about):
        self._answer = answer
        self._about = about

    async def __aiter__(self):
        if self._about is not None:
            yield [TokenChunk(about=self._about)]
        async for chunks in self._answer:
            yield chunks

    def __getattr__(self, name):
        return getattr(self._answer, name)


def listed(test, model, runner, **options):
    """`await test(world)` with a deployment `m` of a published model."""
    deployment = spillway.Deployment(name="m", model=model, **options)
    return perform(test, deployments=[deployment], scripts={"m": runner})


def cost_of(model, kind, usage=THOUSAND, *, about=None, stream=False, **asked):
    async def test(world: World):
        if not stream:
            tokens = await world.ask(**asked)
            return round(tokens.cost_usd * 1e12)
        async with world.stream(**asked) as stream_:
            async for _ in stream_:
                pass
        return world.seen.attempts[0].cost_pico

    return listed(test, model, Listed(kind, usage, about=about))


def the_wall_stands_at(monkeypatch, start):
    """The wall clock begins at `start` with the loop's, and goes with it."""
    monkeypatch.setattr("spillway.remote.engine.gates.wall_now", lambda: start + timedelta(seconds=now()))


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    ("model", "kind", "about", "usd"),
    [
        ("gpt-5.5", "openai", None, "0.035"),
        ("gpt-5.5", "openai", {"model": "gpt-5.5-2026-04-23"}, "0.035"),
        ("gpt-5.5", "openai", {"service_tier": "default"}, "0.035"),
        ("gpt-5.5", "openai", {"service_tier": "flex"}, "0.0175"),
        ("gpt-5.5", "openai", {"service_tier": "priority"}, "0.0875"),
        ("gpt-5.5", "openai", {"service_tier": "fast"}, "0.0875"),
        ("gpt-5.5", "openai", {"service_tier": None}, "0.035"),
        ("gpt-5.5", "openai", {"service_tier": "of-tomorrow"}, "0.035"),
        ("claude-opus-4-8", "anthropic", {"service_tier": "standard", "speed": "standard"}, "0.03"),
        ("claude-opus-4-8", "anthropic", {"service_tier": "standard", "speed": "fast"}, "0.06"),
        ("claude-opus-4-8", "anthropic", {"service_tier": "batch"}, "0.015"),
        ("gemini-3.8-flash-tts", "gemini", {"serviceTier": "FLEX"}, "0.00475"),
    ],
)
def test_the_service_that_answered_is_paid(monkeypatch, model, kind, about, usd, stream):
    the_wall_stands_at(monkeypatch, datetime(2026, 11, 23, tzinfo=UTC))
    assert cost_of(model, kind, about=about, stream=stream) == usd_to_pico(usd)


@pytest.mark.parametrize(
    ("model", "kind", "usage", "usd"),
    [
        ("gpt-4o-mini", "openai", Usage(input_tokens=1_000_000, cached_tokens=400_000), "0.12"),
        ("o3", "openai", Usage(output_tokens=1_000, reasoning_tokens=900), "0.008"),
        ("claude-sonnet-4-5", "anthropic", Usage(input_tokens=200_000), "0.6"),
        ("claude-sonnet-4-5", "anthropic", Usage(input_tokens=200_001), "1.200006"),
        (
            "claude-haiku-4-5",
            "anthropic",
            Usage(input_tokens=10_000, cache_write_tokens=6_000, cache_write_1h_tokens=1_000, cached_tokens=1_000),
            "0.01135",
        ),
        ("claude-haiku-4-5", "anthropic", Usage(input_tokens=1_000, web_searches=3), "0.031"),
        (
            "gpt-audio",
            "openai",
            Usage(input_tokens=1_000, audio_input_tokens=900, output_tokens=500, audio_output_tokens=400),
            "0.05565",
        ),
        (
            "gemini-2.5-flash",
            "gemini",
            Usage(input_tokens=10_000, audio_input_tokens=8_000, cached_tokens=5_000, cached_audio_tokens=4_000),
            "0.00473",
        ),
        ("gemini-3-pro-image-preview", "gemini", Usage(output_tokens=1_300, image_output_tokens=1_200), "0.1452"),
        ("gemini-3.8-live", "gemini", Usage(input_tokens=1_000, image_input_tokens=600), "0.0009"),
        ("gpt-4o-mini", "openai", Usage(input_tokens=1_000, audio_input_tokens=900), "0.00015"),
    ],
)
def test_every_class_of_tokens_is_paid_at_its_price(monkeypatch, model, kind, usage, usd):
    the_wall_stands_at(monkeypatch, datetime(2026, 11, 23, tzinfo=UTC))
    assert cost_of(model, kind, usage) == usd_to_pico(usd)


def test_the_price_is_that_of_the_instant_an_attempt_began(monkeypatch):
    """gemini-4-argon doubles on the first of December 2026; the answer takes ten seconds."""

    async def test(world):
        the_wall_stands_at(monkeypatch, datetime(2026, 11, 30, 23, 59, 55, tzinfo=UTC) - timedelta(seconds=now()))
        before = await world.ask()
        after = await world.ask()
        return before.cost_usd, after.cost_usd

    assert listed(test, "gemini-4-argon", Listed("gemini", delay_s=10.0)) == (0.012, 0.024)


def test_what_is_set_aside_follows_the_date_too(monkeypatch):
    async def test(world):
        began = datetime(2026, 11, 30, 23, 59, 55, tzinfo=UTC) - timedelta(seconds=now())
        the_wall_stands_at(monkeypatch, began)
        first = asyncio.create_task(world.ask(max_tokens=1_000))
        await asyncio.sleep(1.0)
        cheap = world.cluster.deployment("m").budget().snapshot().reserved_pico
        await first
        second = asyncio.create_task(world.ask(max_tokens=1_000))
        await asyncio.sleep(1.0)
        dear = world.cluster.deployment("m").budget().snapshot().reserved_pico
        await second
        return cheap, dear

    runner = Listed("gemini", delay_s=10.0)
    cheap, dear = listed(test, "gemini-4-argon", runner, budget=Budget(max_spend_per_hour_usd=1.0))
    assert (cheap, dear) == (usd_to_pico("0.010036"), usd_to_pico("0.020072"))


@pytest.mark.parametrize(
    ("extra", "factor"),
    [
        (None, 1),
        ({"service_tier": "auto"}, 1),
        ({"service_tier": "flex"}, 1),
        ({"service_tier": "priority"}, 2.5),
        ({"service_tier": "fast"}, 2.5),
    ],
)
def test_the_dearer_of_the_standard_service_and_the_one_asked_for_is_set_aside(monkeypatch, extra, factor):
    monkeypatch.setattr("spillway.remote.engine.gates.wall_now", lambda: datetime(2026, 11, 23, tzinfo=UTC))

    async def test(world):
        call = asyncio.create_task(world.ask(prompt="", max_tokens=1_000, extra=extra))
        await asyncio.sleep(1.0)
        reserved = world.cluster.deployment("m").budget().snapshot().reserved_pico
        await call
        return reserved

    reserved = listed(test, "gpt-5.5", Listed("openai", delay_s=10.0), budget=Budget(max_spend_per_hour_usd=1.0))
    size = 16 + (0 if extra is None else len(f'{{"service_tier":"{extra["service_tier"]}"}}'))
    assert reserved == factor * (size * usd_to_pico("0.000005") + 1_000 * usd_to_pico("0.00003"))


def test_audio_in_a_prompt_is_set_aside_at_the_price_of_audio_and_text_is_not():
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A" * 1600}}]}]
    text = [{"role": "user", "content": [{"type": "text", "text": "A" * 100}]}]

    async def test(world):
        deployment = world.cluster.deployment("m")
        spoken, written = deployment.estimate_cost(audio, max_tokens=1), deployment.estimate_cost(text, max_tokens=1)
        return [(one.input_tokens, round((one.cost_usd * 1e6 - 64) / one.input_tokens, 6)) for one in (spoken, written)]

    (heard, audio_usd), (read, text_usd) = listed(test, "gpt-audio", Listed("openai"))
    assert (audio_usd, text_usd) == (32.0, 2.5)
    assert (heard, read) == (117, 116)


KINDS = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
MODELS = {
    "openai": [
        ("gpt-6-astra", 128_000), ("gpt-6.1-sol", 128_000), ("gpt-6-luna", 128_000), ("gpt-5.6-sol", 128_000),
        ("gpt-5.5", 128_000), ("gpt-5.4-mini", 128_000), ("gpt-5.3-codex", 128_000), ("gpt-5-nano", 128_000),
        ("gpt-5-pro", 272_000), ("gpt-4.1", 32_768), ("gpt-4o-mini", 16_384), ("gpt-4o", 16_384), ("o3", 100_000),
        ("o4-mini", 100_000), ("gpt-audio", 16_384),
    ],
    "anthropic": [
        ("claude-fable-5-2", 128_000), ("claude-opus-5-5", 128_000), ("claude-opus-4-6", 128_000),
        ("claude-opus-4-5", 64_000), ("claude-opus-4-1", 32_000), ("claude-sonnet-5-5", 128_000),
        ("claude-sonnet-4-5", 64_000), ("claude-sonnet-4-0", 64_000), ("claude-haiku-5-5", 128_000),
        ("claude-haiku-4-5", 64_000), ("claude-3-7-sonnet-latest", 128_000), ("claude-3-5-haiku-latest", 8_192),
        ("claude-3-haiku", 4_096),
    ],
    "google": [
        ("gemini-4-argon", 65_536), ("gemini-3.8-flash", 65_536), ("gemini-3.1-pro-preview", 65_536),
        ("gemini-3-flash-preview", 65_536), ("gemini-2.5-pro", 65_536), ("gemini-2.5-flash-lite", 65_536),
        ("gemini-2.0-flash", 8_192),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "model", "limit"),
    [(KINDS[provider], model, limit) for provider, models in MODELS.items() for model, limit in models],
)
def test_an_estimate_uses_the_models_own_output_limit(kind, model, limit):
    """A budget that is one pico-dollar short of the longest answer refuses it, and one that has it lets it pass."""

    async def bounds(world):
        deployment = world.cluster.deployment("m")
        return [deployment.estimate_cost("hi", max_tokens=asked) for asked in (None, 100, limit, 10**9)]

    free, short, full, absurd = listed(bounds, model, Listed(kind))
    assert [one.max_output_tokens for one in (free, short, full, absurd)] == [limit, 100, limit, limit]
    assert free.cost_usd == full.cost_usd == absurd.cost_usd > short.cost_usd > 0

    async def ask(world):
        outcomes = [await ended(world.ask(**asked)) for asked in ({}, {"max_tokens": 10**9}, {"max_tokens": 100})]
        return [isinstance(one, BudgetExceeded) for one, _ in outcomes]

    nothing = Usage(input_tokens=0, output_tokens=0)
    for cap, refused in ((free.cost_usd * (1 - 1e-9), [True, True, False]), (free.cost_usd * (1 + 1e-9), [False] * 3)):
        budget = Budget(max_spend_per_hour_usd=cap)
        assert listed(ask, model, Listed(kind, nothing), budget=budget) == refused


def test_several_answers_cost_as_many_times_as_much():
    async def test(world):
        one, _ = await ended(world.ask(max_tokens=10**9))
        two, _ = await ended(world.ask(max_tokens=10**9, extra={"n": 2}))
        return isinstance(one, BudgetExceeded), isinstance(two, BudgetExceeded)

    budget = Budget(max_spend_per_hour_usd=16_384 * 0.6e-6 * 1.5)
    nothing = Usage(input_tokens=0, output_tokens=0)
    assert listed(test, "gpt-4o-mini", Listed("openai", nothing), budget=budget) == (False, True)


def test_a_limit_that_is_only_assumed_caps_no_max_tokens():
    assumed = {family.prefix for family in FAMILIES if family.assumed}
    assert "claude" in assumed

    async def test(world):
        return world.cluster.deployment("m").estimate_cost("hi", max_tokens=500_000).max_output_tokens

    assert listed(test, "claude-of-tomorrow", Listed("anthropic")) == 500_000
    assert listed(test, "a-model-of-mine", Listed("openai")) == 500_000


def test_a_prompt_counts_no_more_than_the_context_window_and_goes_out_whatever_its_size():
    prompt = "ж" * 3_000_000

    async def test(world):
        most = world.cluster.deployment("m").estimate_cost(prompt, max_tokens=1)
        await world.ask(prompt=prompt, max_tokens=1)
        return most, len(world.calls)

    budget = Budget(max_spend_per_hour_usd=0.02)
    most, calls = listed(test, "gpt-4o-mini", Listed("openai"), budget=budget)
    assert (most.input_tokens, calls) == (128_000, 1)
    assert most.cost_usd == pytest.approx(128_000 * 0.15e-6 + 0.6e-6)
    own = spillway.Pricing(input_per_mtok_usd=0.15, output_per_mtok_usd=0.6)
    most, calls = listed(test, "gpt-4o-mini", Listed("openai"), budget=budget, pricing=own)
    assert (most.input_tokens, calls) == (128_000, 1)


def test_explicit_zeros_stay_zero_in_every_service(monkeypatch):
    monkeypatch.setattr("spillway.remote.engine.gates.wall_now", lambda: datetime(2026, 11, 23, tzinfo=UTC))

    async def test(world):
        return (await world.ask()).cost_usd

    runner = Listed("openai", about={"service_tier": "priority"})
    assert listed(test, "gpt-5.5", runner, pricing=spillway.Pricing(input_per_mtok_usd=0)) == 0.075
    free = spillway.Pricing(input_per_mtok_usd=0, output_per_mtok_usd=0)
    assert listed(test, "gpt-5.5", runner, pricing=free) == 0.0


def test_an_unknown_price_is_said_once_and_is_never_zero(caplog):
    _warn_unknown.cache_clear()

    async def test(world):
        tokens = [await world.ask() for _ in range(3)]
        return [one.cost_usd for one in tokens], world.metrics().cost_usd, world.seen.attempts[0].cost_pico

    with caplog.at_level(logging.WARNING, logger="spillway.prices"):
        assert listed(test, "gpt-6.2-sol", Listed("openai")) == ([None] * 3, None, None)
    assert len(caplog.records) == 1
    assert "gpt-6.2-sol" in caplog.text
