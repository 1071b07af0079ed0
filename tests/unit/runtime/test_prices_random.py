"""Random usages over every published model, date and service: our tables and the list's own sum agree."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from genai_prices import Usage as ListUsage
from genai_prices.data_snapshot import get_snapshot

from spillway.core.reply import Usage
from spillway.runtime.catalog_prices import table_of

CONTEXTS = {
    None: None,
    "default": {"service_tier": "default"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "batch": {"processing": "batch"},
}
DATES = [
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2026, 10, 12, 1, tzinfo=timezone(timedelta(hours=2))),
    datetime(2026, 10, 12, tzinfo=UTC),
    datetime(2026, 11, 23, 17, tzinfo=UTC),
    datetime(2026, 12, 1, tzinfo=UTC),
    datetime(2027, 5, 5, 20, tzinfo=UTC),
]
SIZES = [0, 1, 10, 4_321, 100_000, 100_001, 128_001, 200_000, 200_001, 272_000, 272_001, 999_999]
NAMES = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "audio_input_tokens": "input_audio_tokens",
    "image_input_tokens": "input_image_tokens",
    "video_input_tokens": "input_video_tokens",
    "cached_audio_tokens": "cache_audio_read_tokens",
    "cached_image_tokens": "cache_image_read_tokens",
    "audio_output_tokens": "output_audio_tokens",
    "image_output_tokens": "output_image_tokens",
    "web_searches": "web_searches",
}


def some_usage(rng):
    def part(whole):
        return rng.choice([0, rng.randrange(whole + 1)])

    whole = rng.choice(SIZES)
    audio = part(whole)
    image = part(whole - audio)
    video = part(whole - audio - image)
    text = whole - audio - image - video
    cached_audio, cached_image, cached_text = part(audio), part(image), part(text)
    written = part(text - cached_text)
    said = rng.choice([0, 5, 1_777, 70_000])
    spoken = part(said)
    drawn = part(said - spoken)
    return Usage(
        input_tokens=whole,
        cached_tokens=cached_audio + cached_image + cached_text,
        cache_write_tokens=written,
        cache_write_1h_tokens=part(written),
        audio_input_tokens=audio,
        image_input_tokens=image,
        video_input_tokens=video,
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        output_tokens=said,
        audio_output_tokens=spoken,
        image_output_tokens=drawn,
        reasoning_tokens=part(said - spoken - drawn),
        web_searches=rng.randrange(4),
    )


def as_listed(usage):
    return ListUsage(**{theirs: getattr(usage, ours) for ours, theirs in NAMES.items()})


def in_pico(total):
    return int((total * 10**12).to_integral_value(rounding="ROUND_HALF_UP"))


def test_no_class_of_ours_is_left_out():
    assert set(NAMES) == set(Usage.__struct_fields__)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "azure", "mistral", "x-ai", "groq", "deepseek"])
def test_every_model_date_and_service_agrees_with_the_list_to_the_pico_dollar(provider):
    rng = random.Random(provider)
    (source,) = [one for one in get_snapshot().providers if one.id == provider]
    compared = 0
    for info in source.models:
        table = table_of(info)
        if table is None:
            continue
        for when in DATES:
            for service, context in CONTEXTS.items():
                usage = some_usage(rng)
                theirs = info.calc_price(
                    as_listed(usage), source, genai_request_timestamp=when, price_context=context
                ).total_price
                ours = table.of_service(service).cost(usage, when)
                assert ours == in_pico(theirs), (info.id, when, service, usage)
                compared += 1
    assert compared >= 36


def test_an_estimate_is_never_below_any_cost_it_stands_for():
    """Web searches, and writes to the one-hour cache, are the two that it does not promise to cover."""
    rng = random.Random(5)
    for source in get_snapshot().providers:
        if source.id not in {"openai", "anthropic", "google"}:
            continue
        for info in source.models:
            table = table_of(info)
            if table is None:
                continue
            for when in DATES:
                usage = some_usage(rng)
                usage = Usage(**{
                    name: 0 if name in {"web_searches", "cache_write_1h_tokens"} else getattr(usage, name)
                    for name in NAMES
                })  # fmt: skip
                for service in CONTEXTS:
                    sizes = usage.input_tokens, usage.output_tokens
                    most = table.estimate(*sizes, when, service=service, media=True)
                    assert most >= table.cost(usage, when)
                    assert most >= table.of_service(service).cost(usage, when), (info.id, when, service)
