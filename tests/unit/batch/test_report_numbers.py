"""Numbers and axes of the report as people read them."""

import pytest

from spillway.drawing import amounts
from spillway.drawing.markup import Html, escaped, join, number, tag
from spillway.drawing.scales import linear, log_axis, time_axis


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1, "1"),
        (842, "842"),
        (999.4, "999"),
        (999.9, "1000"),
        (12_345, "12.3k"),
        (999_960, "1M"),
        (4_560_000, "4.56M"),
        (2e9, "2G"),
        (0.0123, "0.0123"),
        (1e-9, "1.0e-09"),
    ],
)
def test_compact(value, shown):
    assert amounts.compact(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.0004, "0.40 ms"),
        (0.0123, "12.3 ms"),
        (0.12, "120 ms"),
        (0.9999, "1.00 s"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (123.4, "123 s"),
    ],
)
def test_seconds(value, shown):
    assert amounts.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 s"),
        (12.3, "12.3 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (86_400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_duration(value, shown):
    assert amounts.duration(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "unknown"),
        (0, "$0"),
        (0.00042, "$0.00042"),
        (0.1234, "$0.1234"),
        (1.5, "$1.50"),
        (1234.5, "$1,234.50"),
        (1e-12, "< $0.000000001"),
    ],
)
def test_usd(value, shown):
    assert amounts.usd(value) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "–"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (999_999, 1_000_000, "> 99.9 %"),
        (1, 1_000_000, "< 0.1 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part, whole, shown):
    assert amounts.percent(part, whole) == shown


@pytest.mark.parametrize("highest", [0, 1e-9, 0.4, 1, 7, 99, 100, 101, 12_345, 3e9, float("inf")])
def test_an_axis_begins_at_nought_and_reaches_the_highest(highest):
    axis = linear(highest, amounts.compact)
    assert axis.ticks[0].at == 0
    assert axis.ticks[-1].at == 1
    assert 2 <= len(axis.ticks) <= 6
    assert axis.top >= highest or highest == float("inf")
    assert axis.share(axis.top) == 1


def test_counts_have_whole_ticks():
    assert [t.label for t in linear(1, amounts.compact, whole=True).ticks] == ["0", "1"]


@pytest.mark.parametrize(
    ("span", "unit", "last"),
    [
        (0.05, "seconds", "0.05"),
        (9.0, "seconds", "8"),
        (100.0, "seconds", "100"),
        (312.0, "minutes", "5"),
        (7000.0, "minutes", "90"),
        (40_000.0, "hours", "10"),
        (1e6, "days", "10"),
    ],
)
def test_time_has_the_unit_that_suits_it(span, unit, last):
    axis = time_axis(span)
    assert (axis.unit, axis.ticks[-1].label) == (unit, last)
    assert len(axis.ticks) <= 7
    assert all(0 <= t.at <= 1 for t in axis.ticks)


@pytest.mark.parametrize("values", [[0.0001], [0.2], [0.09, 0.11], [0.001, 5000.0], [0.3, 9.0]])
def test_a_logarithmic_axis_shows_all_values_and_some_ticks(values):
    axis = log_axis(values, amounts.tick_seconds)
    assert all(0 < axis.share(v) < 1 for v in values)
    assert 1 <= len(axis.ticks) <= 7
    assert [t.at for t in axis.ticks] == sorted(t.at for t in axis.ticks)


def test_text_is_escaped_and_markup_is_not():
    inner = tag("b", "<x>")
    assert inner == "<b>&lt;x&gt;</b>"
    assert tag("p", inner, "&", None, title='"', hidden=True, class_="a", data_label=None, x=1.50) == (
        '<p title="&quot;" hidden class="a" x="1.5"><b>&lt;x&gt;</b>&amp;</p>'
    )
    assert join(["<", Html("<br>")]) == "&lt;<br>"


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x9b", "\ud800", "\u202e", "\u2066"])
def test_what_has_no_place_in_a_page_is_replaced(bad):
    assert escaped(f"a{bad}b") == "a\ufffdb"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (-0.001, "0"), (12.0, "12"), (12.346, "12.35"), (100.0, "100")]
)
def test_coordinates_are_short(value, shown):
    assert number(value) == shown
