"""Answers as a pure function."""

import json

import msgspec
import pytest

from spillway.sim.answers import compose
from spillway.sim.ask import Ask, Tool, fingerprint, text_tokens
from spillway.sim.prices import PriceList
from spillway.sim.stats import key_label
from spillway.sim.vocabulary import WORDS
from spillway.sim.wire.anthropic_errors import rfc3339
from spillway.sim.wire.openai_errors import go_duration


def ask(text="hello", **changes):
    plain = Ask(
        model="m", fingerprint=fingerprint("d", "m", {"q": text}), input_tokens=text_tokens(text), last_user=text
    )
    return msgspec.structs.replace(plain, **changes)


def test_one_byte_picks_one_word():
    assert len(set(WORDS)) == 256


def test_answers_depend_on_seed_and_question_only():
    assert compose(1, ask()) == compose(1, ask())
    assert compose(1, ask()) != compose(2, ask())
    assert compose(1, ask()) != compose(1, ask("other"))
    assert fingerprint("d", "m", {"a": 1, "b": 2}) == fingerprint("d", "m", {"b": 2, "a": 1})


@pytest.mark.parametrize("seed", range(50))
def test_lengths_and_counts(seed):
    answer = compose(seed, ask(thinking=seed % 2 == 0))
    assert 8 <= len(answer.pieces) <= 64
    assert answer.output_tokens == len(answer.thought) + len(answer.pieces)
    assert answer.text.endswith(".")
    assert len(answer.text.split()) == len(answer.pieces)
    assert answer.text[0].isupper()


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_limits_bound_the_output(limit):
    whole = compose(0, ask("in 40 words", thinking=True))
    cut = compose(0, ask("in 40 words", thinking=True, max_output=limit))
    assert cut.output_tokens == min(limit, whole.output_tokens)
    assert whole.text.startswith(cut.text)
    assert cut.finish == ("length" if limit < whole.output_tokens else "stop")


def test_lengths_on_request():
    assert len(compose(0, ask("write 1000 words")).pieces) == 1000
    assert len(compose(0, ask("write 999999 words")).pieces) == 200_000
    assert len(compose(0, ask("write 0 words")).pieces) == 1


def test_stop_sequences_cut_inside_a_word():
    whole = compose(0, ask())
    stop = whole.text[12:15]
    cut = compose(0, ask(stop=("§", stop)))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish, cut.stop_sequence) == ("stop_sequence", stop)


def test_arguments_fit_their_schema():
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "one": {"const": 1},
            "many": {"type": "array", "items": {"type": "number"}},
            "flag": {"type": ["boolean", "null"]},
            "either": {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string"}]},
            "open": {},
            "nothing": {"type": "null"},
        },
    }
    answer = compose(0, ask("call f", tools=(Tool("f", schema),)))
    assert answer.call is not None
    arguments = json.loads(answer.call.arguments)
    assert set(arguments) == set(schema["properties"])
    assert arguments["kind"] in {"a", "b"}
    assert arguments["one"] == 1
    assert isinstance(arguments["flag"], bool)
    assert arguments["either"] >= 5
    assert "".join(answer.pieces).encode() == answer.call.arguments


def test_recursive_schemas_end():
    schema = {"type": "object", "properties": {}}
    schema["properties"]["self"] = schema
    assert compose(0, ask("call f", tools=(Tool("f", schema),))).call is not None


def test_tokens_are_bytes():
    assert [text_tokens(text) for text in ("", "a", "abcd", "abcde", "€€")] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.012, "12ms"), (8.64, "8.64s"), (60, "1m0s"), (90.5, "1m30.5s"), (7384, "2h3m4s"), (0.0001, "1ms")],
)
def test_go_durations(seconds, text):
    assert go_duration(seconds) == text


def test_instants_round_up():
    from datetime import UTC, datetime

    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
    assert rfc3339(datetime(2026, 1, 1, 0, 0, 59, 1, tzinfo=UTC)) == "2026-01-01T00:01:00Z"


def test_prices_by_name_prefix_and_default():
    prices = PriceList({"free": (0.0, 0.0)}, default=(2.0, 2.0))
    assert prices.cost_pico("gpt-4o-mini", 1, 1) == 750_000
    assert prices.cost_pico("openai/gpt-4o-mini-2024-07-18", 1, 1) == 750_000
    assert prices.cost_pico("free", 1000, 1000) == 0
    assert prices.cost_pico("nobody", 1, 1) == 4_000_000


def test_key_labels():
    assert [key_label(key) for key in ("", "a", "sk-sim-0123456789abcdef", "sk-proj-0123456789")] == [
        "(none)",
        "a",
        "sk-sim-0123456789abcdef",
        "…6789",
    ]
