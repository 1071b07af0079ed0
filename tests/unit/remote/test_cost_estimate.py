"""Bounds before a request is sent, and what stands in for usage that never came."""

from collections import UserDict, UserList
from datetime import UTC, datetime

import pytest

from spillway.core.options import Pricing
from spillway.core.reply import Usage
from spillway.core.request import GenerateRequest
from spillway.remote.cost import OutputP95, PriceTable, input_bound, lost_attempt_cost, output_bound, service_of
from spillway.remote.cost.estimate import (
    IMAGE_TOKENS,
    MAX_PAGES,
    MESSAGE_TOKENS,
    ORIGINAL_IMAGE_TOKENS,
    PAGE_TOKENS,
    UNSEEN_PAGES,
    has_media,
)

WHEN = datetime(2026, 6, 1, tzinfo=UTC)


def bound(*contents, **fields):
    messages = [{"role": "user", "content": content} for content in contents]
    return input_bound(GenerateRequest(messages=messages, **fields))


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("hello", 5), ("é", 2), ("日本", 6), ("🦆", 4), ("\ud800", 3), ("a" * 99_999, 99_999)]
)
def test_text_counts_its_bytes_and_a_message_sixteen(text, size):
    assert bound(text) == size + MESSAGE_TOKENS
    assert bound([{"type": "text", "text": text}]) == size + MESSAGE_TOKENS
    assert bound(text, text) == 2 * (size + MESSAGE_TOKENS)


def test_a_text_of_a_type_of_its_own_counts_too():
    class Text(str):
        __slots__ = ()

    assert bound(Text("日本")) == 6 + MESSAGE_TOKENS
    assert bound([Text("日本")]) == 6 + MESSAGE_TOKENS


def test_everything_that_is_sent_counts():
    plain = bound("hi")
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 500}}
    assert bound("hi", tools=[tool]) > plain + 500
    assert bound("hi", tools=[UserDict(tool)]) > plain + 500
    assert bound("hi", tools=UserList([tool])) > plain + 500
    assert bound("hi", response_format={"schema": "s" * 300}) > plain + 300
    assert bound("hi", extra={"system": "s" * 200}) > plain + 200
    assert bound("hi", extra={"odd": object()}) > plain
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    assert input_bound(GenerateRequest(messages=[message])) > 400
    assert input_bound(GenerateRequest(inputs=["abc", "日"])) == 2 * MESSAGE_TOKENS + 6


def test_an_image_counts_its_maximum_however_long_its_data():
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}
    assert bound([data]) == MESSAGE_TOKENS + IMAGE_TOKENS
    assert bound([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, data]) == (
        MESSAGE_TOKENS + 2 * IMAGE_TOKENS
    )
    original = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "original"}}
    assert bound([original]) == MESSAGE_TOKENS + ORIGINAL_IMAGE_TOKENS


def test_a_document_counts_pages():
    def inline(chars):
        return [{"type": "file", "file": {"filename": "a.pdf", "file_data": "A" * chars}}]

    assert bound(inline(3 * 2_048)) == MESSAGE_TOKENS + 4 * PAGE_TOKENS
    assert bound(inline(9_000_000)) == MESSAGE_TOKENS + MAX_PAGES * PAGE_TOKENS
    assert bound([{"type": "file", "file": {"file_id": "file-1"}}]) == MESSAGE_TOKENS + UNSEEN_PAGES * PAGE_TOKENS
    counted = {"type": "file", "file": {"file_data": "A" * 3_000, "pages": 2, "tags": ["A" * 9_000]}}
    assert bound([counted]) == MESSAGE_TOKENS + 2 * PAGE_TOKENS
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "word " * 100}}
    assert 500 < bound([plain]) < 700


def test_audio_counts_time_and_an_unknown_part_its_bytes():
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 1_600, "format": "mp3"}}
    assert bound([audio]) == MESSAGE_TOKENS + 101
    assert bound([{"type": "new_thing", "payload": "x" * 100}]) > 100
    assert bound(["loose text", 7]) == MESSAGE_TOKENS + 10 + 1
    assert bound({"parts": ["x" * 50]}) > 50
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "y" * 60}]}
    assert bound([result]) == 2 * MESSAGE_TOKENS + 60


def test_the_longest_answer_is_what_is_asked_for_else_the_models_limit():
    def longest(**fields):
        return output_bound(GenerateRequest(messages=[{"role": "user", "content": "x"}], **fields), 16_384)

    assert longest() == 16_384
    assert longest(max_tokens=50) == 50
    assert longest(extra={"max_completion_tokens": 70}) == 70
    assert longest(extra={"n": 3}) == 3 * 16_384
    assert longest(max_tokens=50, extra={"n": 2, "max_completion_tokens": 999}) == 100
    assert longest(extra={"n": "many", "max_output_tokens": None}) == 16_384
    assert longest(inputs=["a"]) == 0


@pytest.mark.parametrize(
    ("sent", "stream", "cost"),
    [(False, False, 0), (False, True, 0), (True, False, 77), (True, True, 10 * 1_000_000 + 3 * 2_000_000)],
)
def test_a_lost_attempt_costs_what_can_be_told_of_it(sent, stream, cost):
    prices = PriceTable.from_pricing(Pricing(input_per_mtok_usd=1, output_per_mtok_usd=2))
    lost = lost_attempt_cost(
        sent=sent, stream=stream, reserved_pico=77, input_tokens=10, output_tokens_seen=3, prices=prices, when=WHEN
    )
    assert lost == cost


def test_a_lost_stream_without_a_price_costs_nothing():
    lost = lost_attempt_cost(
        sent=True, stream=True, reserved_pico=0, input_tokens=10, output_tokens_seen=3, prices=None, when=WHEN
    )
    assert lost == 0


def test_usage_that_comes_in_pieces_is_priced_by_its_last_totals():
    prices = PriceTable.from_pricing(
        Pricing(input_per_mtok_usd=1, output_per_mtok_usd=2, cached_input_per_mtok_usd=0.5)
    )
    cumulative = [Usage(input_tokens=10, cached_tokens=4, output_tokens=n, reasoning_tokens=n // 2) for n in range(9)]
    assert prices.cost(cumulative[-1], WHEN) == 6 * 1_000_000 + 4 * 500_000 + 8 * 2_000_000


def test_output_is_guessed_until_there_are_enough_answers():
    p95 = OutputP95()
    assert p95.value == 1_024
    for _ in range(19):
        p95.record(10)
    assert p95.value == 1_024
    p95.record(10)
    assert p95.value == 10
    assert repr(p95) == "<OutputP95 10 tokens of 20 answers>"


def test_of_twenty_answers_one_may_be_longer():
    p95 = OutputP95()
    for tokens in range(20, 0, -1):
        p95.record(tokens)
    assert p95.value == 19


def test_output_follows_the_newest_answers():
    p95 = OutputP95()
    for tokens in range(1, 129):
        p95.record(tokens)
    assert p95.value == 122
    for _ in range(6):
        p95.record(100_000)
    assert p95.value == 122
    for _ in range(128):
        p95.record(0)
    assert p95.value == 1


@pytest.mark.parametrize(
    ("fields", "service"),
    [
        (None, None),
        ({}, None),
        ({"service_tier": "flex"}, "flex"),
        ({"serviceTier": "PRIORITY"}, "priority"),
        ({"speed": "fast", "service_tier": "standard"}, "fast"),
        ({"speed": "standard"}, None),
        ({"service_tier": 7}, None),
    ],
)
def test_the_service_that_fields_name(fields, service):
    assert service_of(fields) == service


@pytest.mark.parametrize(
    ("content", "media"),
    [
        ("text", False),
        (None, False),
        ([{"type": "text", "text": "a"}, {"text": "b"}, "c"], False),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}], True),
        ([{"inlineData": {"data": "AAAA"}}], True),
        ({"odd": 1}, True),
    ],
)
def test_whether_a_prompt_holds_anything_but_text(content, media):
    assert has_media(GenerateRequest(messages=[{"role": "user", "content": content}])) == media


def test_contents_of_the_providers_own_may_hold_anything():
    assert has_media(GenerateRequest(messages=[], extra={"contents": []}))


def test_the_published_limit_caps_what_is_asked_for_times_the_answers():
    def most(**fields):
        return output_bound(GenerateRequest(messages=[], **fields), 100, most=100)

    assert most() == most(max_tokens=1_000) == most(extra={"max_output_tokens": 1_000}) == 100
    assert most(max_tokens=7) == 7
    assert most(max_tokens=1_000, extra={"n": 3}) == 300
    assert most(extra={"generationConfig": {"candidateCount": 2}}) == 200
    assert most(extra={"generationConfig": "odd", "n": 0}) == 100
