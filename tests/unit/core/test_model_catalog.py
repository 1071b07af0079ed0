"""What a model's name tells."""

import pytest
from genai_prices.data_snapshot import get_snapshot

from spillway.core.model_catalog import FAMILIES, family_of, known_output_limit
from spillway.core.model_facts import ModelFacts


@pytest.mark.parametrize(
    ("model", "prefix", "limit", "window"),
    [
        ("gpt-4o", "gpt-4o", 16_384, 128_000),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13", 4_096, 128_000),
        ("GPT-4o-Mini", "gpt-4o", 16_384, 128_000),
        ("ft:gpt-4o-mini:acme::abc", "gpt-4o", 16_384, 128_000),
        ("openai/gpt-6.1-sol", "gpt-6.1-sol", 128_000, 1_050_000),
        ("gpt-5.4-nano", "gpt-5.4-nano", 128_000, 400_000),
        ("o3-pro", "o3", 100_000, 200_000),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4", 64_000, 200_000),
        ("anthropic/claude-sonnet-4.6", "claude-sonnet-4-6", 128_000, 1_000_000),
        ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4", 64_000, 200_000),
        ("models/gemini-2.5-pro", "gemini-2.5", 65_536, 1_048_576),
        ("text-embedding-3-small", "text-embedding", 0, 8_192),
        ("gemini-3.8-live", "gemini-3.8-live", None, 131_072),
    ],
)
def test_the_longest_prefix_decides(model, prefix, limit, window):
    family = family_of(model)
    assert (family.prefix, family.output_limit, family.context_window) == (prefix, limit, window)
    assert not family.assumed


@pytest.mark.parametrize("model", ["gpt-7", "gpt-6.2-sol", "claude-opus-6", "gemini-5-xenon"])
def test_a_model_of_tomorrow_is_taken_for_its_siblings_and_marked(model):
    facts = ModelFacts.of(model)
    assert facts.output_limit >= 65_536
    assert not facts.output_limit_known


def test_what_is_not_known_is_not_guessed():
    assert family_of("llama-3.3-70b") is None
    assert known_output_limit("llama-3.3-70b") is None
    assert known_output_limit("voyage/voyage-embed-4") == 0
    facts = ModelFacts.of("llama-3.3-70b")
    assert (facts.output_limit, facts.output_limit_known, facts.context_window, facts.input) == (
        16_384,
        False,
        None,
        (),
    )
    assert not ModelFacts.of("gpt-4o-mini-tts").output_limit_known


def test_modalities():
    assert ModelFacts.of("gpt-audio").output == ("text", "audio")
    assert ModelFacts.of("claude-haiku-4-5").input == ("text", "image", "pdf")
    assert ModelFacts.of("gemini-embedding-2").output == ("vector",)


def test_every_row_is_a_fact_that_can_be():
    assert len({family.prefix for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.provider in {"openai", "anthropic", "google"}
        assert family.output_limit is None or 0 <= family.output_limit <= 272_000
        if family.context_window and family.output_limit and "audio" not in family.output:
            assert family.output_limit <= family.context_window, family
        assert bool(family.input) == bool(family.output)


def test_the_list_knows_no_larger_window_than_we_do_except_where_it_says_more():
    """A window that is too small would bound an estimate below what a request can cost."""
    smaller = []
    for source in get_snapshot().providers:
        if source.id not in {"openai", "anthropic", "google"}:
            continue
        for info in source.models:
            family = family_of(info.id)
            known = None if family is None else family.context_window
            if known and info.context_window and known < info.context_window * 0.9:
                smaller.append(info.id)
    assert set(smaller) <= {
        "gemini-2.5-flash-image",
        "gemini-3-pro-image-preview",
        "gemini-3.1-flash-image-preview",
        "claude-3-haiku",
        "gpt-realtime-2",
    }
