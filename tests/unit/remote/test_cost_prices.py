"""A price table: classes of tokens, input sizes, dates and times of day."""

from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from spillway.core.options import Pricing
from spillway.core.reply import Usage
from spillway.remote.cost import PriceEntry, PriceTable, Rates, usd_to_pico

WHEN = datetime(2026, 6, 1, 12, tzinfo=UTC)


def usd(**per_mtok):
    return Rates(**{name: usd_to_pico(price) for name, price in per_mtok.items()})


def flat(**per_mtok):
    return PriceTable([PriceEntry(base=usd(**per_mtok))])


def test_a_list_price_is_exact_per_token():
    table = PriceTable.from_pricing(Pricing(input_per_mtok_usd=0.15, output_per_mtok_usd=0.6))
    assert table.cost(Usage(input_tokens=1), WHEN) == 150_000
    assert table.cost(Usage(output_tokens=1), WHEN) == 600_000
    assert table.cost(Usage(input_tokens=1_000_000, output_tokens=1_000_000), WHEN) == usd_to_pico(0.75)


def test_every_class_has_its_own_price():
    table = PriceTable.from_pricing(
        Pricing(
            input_per_mtok_usd=3,
            output_per_mtok_usd=15,
            cached_input_per_mtok_usd=0.3,
            cache_write_per_mtok_usd=3.75,
            cache_write_1h_per_mtok_usd=6,
            reasoning_per_mtok_usd=20,
        )
    )
    usage = Usage(
        input_tokens=1_000,
        cached_tokens=100,
        cache_write_tokens=300,
        cache_write_1h_tokens=200,
        output_tokens=50,
        reasoning_tokens=20,
    )
    per_mtok = 600 * 3 + 100 * 0.3 + 100 * 3.75 + 200 * 6 + 30 * 15 + 20 * 20
    assert table.cost(usage, WHEN) == usd_to_pico(f"{per_mtok / 1e6:.12f}")


def test_an_absent_class_is_priced_as_the_one_it_is_part_of():
    table = flat(input=2, output=10)
    usage = Usage(
        input_tokens=1_000,
        cached_tokens=400,
        cache_write_tokens=300,
        cache_write_1h_tokens=100,
        output_tokens=70,
        reasoning_tokens=60,
    )
    assert table.cost(usage, WHEN) == table.cost(Usage(input_tokens=1_000, output_tokens=70), WHEN)
    written = flat(input=2, output=10, cache_write=3)
    hour = Usage(input_tokens=10, cache_write_tokens=10, cache_write_1h_tokens=10)
    assert written.cost(hour, WHEN) == 10 * 3_000_000


def test_an_explicit_zero_is_free_and_not_absent():
    table = PriceTable.from_pricing(
        Pricing(
            input_per_mtok_usd=1,
            output_per_mtok_usd=2,
            cached_input_per_mtok_usd=0.0,
            cache_write_per_mtok_usd=0.0,
            reasoning_per_mtok_usd=0.0,
        )
    )
    usage = Usage(input_tokens=30, cached_tokens=10, cache_write_tokens=20, output_tokens=5, reasoning_tokens=5)
    assert table.cost(usage, WHEN) == 0


def test_all_of_the_input_pays_the_tier_it_reaches():
    table = PriceTable(
        [
            PriceEntry(
                base=usd(input=3, output=15), tiers=((200_000, usd(input=6, output=22.5)), (500_000, usd(input=9)))
            )
        ]
    )
    assert table.cost(Usage(input_tokens=200_000, output_tokens=1), WHEN) == 200_000 * 3_000_000 + 15_000_000
    assert table.cost(Usage(input_tokens=200_001, output_tokens=2), WHEN) == 200_001 * 6_000_000 + 2 * 22_500_000
    assert table.cost(Usage(input_tokens=500_000), WHEN) == 500_000 * 6_000_000
    assert table.cost(Usage(input_tokens=500_001), WHEN) == 500_001 * 9_000_000
    # The tier is chosen by the whole input, cached tokens included.
    assert table.cost(Usage(input_tokens=200_001, cached_tokens=200_000), WHEN) == 200_001 * 6_000_000


def test_a_sum_is_rounded_half_up_once():
    table = PriceTable([PriceEntry(base=Rates(input=250_000, output=250_000))])
    assert table.cost(Usage(input_tokens=1), WHEN) == 0
    assert table.cost(Usage(input_tokens=1, output_tokens=1), WHEN) == 1
    assert table.cost(Usage(input_tokens=4, output_tokens=1), WHEN) == 1
    assert table.cost(Usage(input_tokens=6), WHEN) == 2


def test_a_request_may_have_a_price_of_its_own():
    assert PriceTable([PriceEntry(base=Rates(request=5_000_000))]).cost(Usage(), WHEN) == 5


def test_a_dated_price_holds_from_its_instant_in_either_order_of_asking():
    table = PriceTable(
        [
            PriceEntry(base=usd(input=10)),
            PriceEntry(base=usd(input=2), since=datetime(2025, 6, 10, tzinfo=UTC)),
            PriceEntry(base=usd(input=4), since=datetime(2026, 12, 1, tzinfo=UTC)),
        ]
    )
    one = Usage(input_tokens=1)
    tick = timedelta(microseconds=1)
    first, second = datetime(2025, 6, 10, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    asked = [first - tick, first, second - tick, second, first, first - tick, second + 99 * 365 * timedelta(days=1)]
    assert [table.cost(one, when) // 1_000_000 for when in asked] == [10, 2, 2, 4, 2, 10, 4]
    elsewhere = datetime(2025, 6, 10, 1, tzinfo=timezone(timedelta(hours=2)))
    assert table.cost(one, elsewhere) == 10_000_000


@pytest.mark.parametrize(
    ("daily", "off_peak"),
    [((time(16, 30), time(0, 30)), (0, 17, 23)), ((time(1), time(4)), (1, 2, 3))],
)
def test_a_daily_price_holds_between_its_hours_over_midnight_too(daily, off_peak):
    table = PriceTable([PriceEntry(base=usd(input=2)), PriceEntry(base=usd(input=1), daily=daily)])
    one = Usage(input_tokens=1)
    midnight = datetime(2026, 2, 28, tzinfo=UTC)
    for hour in (*range(72), *reversed(range(72))):
        cheap = hour % 24 in off_peak or (hour % 24 >= 17 and daily[0] > daily[1])
        assert table.cost(one, midnight + timedelta(hours=hour)) == (1_000_000 if cheap else 2_000_000)


def test_an_estimate_follows_the_date_too():
    entries = [PriceEntry(base=usd(input=1)), PriceEntry(base=usd(input=4), since=datetime(2026, 12, 1, tzinfo=UTC))]
    table = PriceTable(entries)
    assert table.entries == tuple(entries)
    assert table.estimate(1, 0, WHEN) == 1_000_000
    assert table.estimate(1, 0, datetime(2026, 12, 1, tzinfo=UTC)) == 4_000_000
    assert table.estimate(1, 0, WHEN) == 1_000_000
    assert repr(table) == "<PriceTable 4 in, 0 out, USD per Mtok (tiers or dates)>"


def test_where_no_entry_holds_the_first_does():
    table = PriceTable([PriceEntry(base=usd(input=7), since=datetime(2030, 1, 1, tzinfo=UTC))] * 2)
    assert table.cost(Usage(input_tokens=1), WHEN) == 7_000_000
    alone = PriceTable([PriceEntry(base=usd(input=7), since=datetime(2030, 1, 1, tzinfo=UTC))])
    assert alone.cost(Usage(input_tokens=1), WHEN) == 7_000_000


def test_counts_that_contradict_each_other_are_priced_and_never_negative():
    table = flat(input=2, output=4, cached_input=1)
    assert table.cost(Usage(input_tokens=5, cached_tokens=8), WHEN) == 8_000_000
    assert table.cost(Usage(output_tokens=2, reasoning_tokens=3), WHEN) == 12_000_000


def test_an_estimate_is_never_below_the_cost_of_what_it_bounds():
    table = PriceTable(
        [
            PriceEntry(
                base=usd(input=3, output=15, cached_input=0.3, cache_write=3.75, reasoning=18),
                tiers=((100, usd(input=2, output=5)),),
            )
        ]
    )
    for tokens in (1, 100, 101, 5_000):
        usages = [
            Usage(input_tokens=tokens, output_tokens=9),
            Usage(input_tokens=tokens, cache_write_tokens=tokens, output_tokens=9, reasoning_tokens=9),
            Usage(input_tokens=min(tokens, 100), output_tokens=9),
        ]
        assert table.estimate(tokens, 9, WHEN) >= max(table.cost(usage, WHEN) for usage in usages)


def test_an_estimate_counts_no_more_input_than_the_model_takes():
    entries = [PriceEntry(base=usd(input=1, output=0))]
    assert PriceTable(entries, max_input=1_000).estimate(50_000, 0, WHEN) == 1_000 * 1_000_000
    assert PriceTable(entries).estimate(50_000, 0, WHEN) == 50_000 * 1_000_000


@pytest.mark.parametrize("price", [-1, 0.5, float("nan")])
def test_a_price_is_a_whole_number_of_pico_dollars(price):
    with pytest.raises(ValueError, match="input"):
        Rates(input=price)


@pytest.mark.parametrize("price", [-0.1, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused_where_it_is_given(price):
    with pytest.raises(ValueError, match="output_per_mtok_usd"):
        Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=price)


def test_a_table_says_what_it_asks():
    assert repr(flat(input=0.15, output=0.6)) == "<PriceTable 0.15 in, 0.6 out, USD per Mtok>"
    with pytest.raises(ValueError, match="entry"):
        PriceTable([])


def test_media_are_parts_of_their_totals_and_priced_once():
    table = flat(input=1, output=10, cached_input=0.5, audio_input=8, cached_audio=2, image_input=3, audio_output=40)
    usage = Usage(
        input_tokens=1_000, cached_tokens=300, audio_input_tokens=400, cached_audio_tokens=100, image_input_tokens=200,
        output_tokens=100, audio_output_tokens=30, image_output_tokens=20, reasoning_tokens=10,
    )  # fmt: skip
    fresh_text = 1_000 - 300 - 300 - 200
    per_mtok = fresh_text + 200 * 0.5 + 300 * 8 + 100 * 2 + 200 * 3 + 70 * 10 + 30 * 40
    assert table.cost(usage, WHEN) == usd_to_pico(f"{per_mtok / 1e6:.12f}")


def test_cached_media_without_a_price_are_cached_input_else_the_medium():
    usage = Usage(input_tokens=10, cached_tokens=10, audio_input_tokens=10, cached_audio_tokens=10)
    assert flat(input=1, audio_input=8, cached_input=0.5).cost(usage, WHEN) == usd_to_pico("0.000005")
    assert flat(input=1, audio_input=8).cost(usage, WHEN) == usd_to_pico("0.00008")


def test_media_larger_than_their_total_count_in_full_and_nothing_is_negative():
    table = flat(input=10, output=10, audio_input=1, audio_output=1)
    assert table.cost(Usage(audio_input_tokens=5, audio_output_tokens=5), WHEN) == usd_to_pico("0.00001")


def test_searches_are_paid_by_number():
    assert flat(input=1, web_search=10_000).cost(Usage(web_searches=2), WHEN) == usd_to_pico("0.02")
    table = flat(input=1, audio_input=8, web_search=10_000)
    assert table.cost(Usage(input_tokens=1, web_searches=2), WHEN) == usd_to_pico("0.020001")


def test_a_service_has_its_own_prices_and_an_override_holds_in_all():
    table = PriceTable(
        [PriceEntry(base=usd(input=2, output=10))],
        max_input=100,
        services={"priority": [PriceEntry(base=usd(input=4, output=20))], "flex": [PriceEntry(base=usd(output=5))]},
    )
    assert table.of_service(None) is table is table.of_service("unheard-of")
    assert table.of_service("priority").max_input == 100
    assert table.estimate(0, 10, WHEN, service="priority") == usd_to_pico("0.0002")
    assert table.estimate(0, 10, WHEN, service="flex") == table.estimate(0, 10, WHEN) == usd_to_pico("0.0001")
    own = table.with_pricing(Pricing(output_per_mtok_usd=1))
    assert own.of_service("priority").cost(Usage(input_tokens=1, output_tokens=1), WHEN) == usd_to_pico("0.000005")
    assert not table.is_dated


def test_an_estimate_of_media_takes_the_dearest_medium():
    table = flat(input=1, audio_input=8, cached_image=9)
    assert table.estimate(1, 0, WHEN) == usd_to_pico("0.000001")
    assert table.estimate(1, 0, WHEN, media=True) == usd_to_pico("0.000009")
