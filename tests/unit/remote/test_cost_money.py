"""Money is counted in whole pico-dollars."""

from decimal import Decimal

import pytest

from spillway.remote.cost import PICO_PER_USD, pico_to_usd, told_pico, usd_to_pico


@pytest.mark.parametrize(
    ("usd", "pico"),
    [
        (0, 0),
        (1, 10**12),
        (0.1, 10**11),
        (0.30, 3 * 10**11),
        (1e-6, 10**6),
        ("0.15", 150_000_000_000),
        ("1e-12", 1),
        (Decimal("0.0000000000005"), 1),
        (Decimal("0.0000000000004999"), 0),
        (1e9, 10**21),
    ],
)
def test_a_number_means_what_it_prints_as(usd, pico):
    assert usd_to_pico(usd) == pico


def test_a_million_times_a_millionth_is_one():
    assert 1_000_000 * usd_to_pico(0.000001) == PICO_PER_USD
    assert sum([usd_to_pico(0.1)] * 10) == usd_to_pico(1)


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -float("inf"), -0.01, -1, "", "ten", Decimal("NaN")])
def test_what_is_no_amount_is_refused(usd):
    with pytest.raises(ValueError, match="money"):
        usd_to_pico(usd)


def test_for_display_it_is_the_nearest_float():
    assert pico_to_usd(usd_to_pico(0.1)) == 0.1
    assert pico_to_usd(1) == 1e-12
    assert pico_to_usd(123_456_789_012_345_678) == 123456.789012345678


@pytest.mark.parametrize(
    ("told", "pico"),
    [
        ("1.35e-05", 13_500_000),
        ("0.000000000001", 1),
        ("4.9e-13", 0),
        ("5E-13", 1),
        ("0.0", 0),
        ("12", 12 * 10**12),
        ("1000001", None),
        ("1e999999999", None),
        ("-0.1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("about 1", None),
        ("0" * 65, None),
        (0.5, None),
        (None, None),
    ],
)
def test_what_a_provider_says_it_cost_is_exact_or_nothing(told, pico):
    assert told_pico(told) == pico
