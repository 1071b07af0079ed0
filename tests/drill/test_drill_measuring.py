"""What is measured: windows, use, episodes, and who came back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.drill.measuring import Worst, books, climb, episodes, levels, sliding, use, worst_window


def test_a_window_is_half_open():
    assert sliding([0.0, 1.0, 2.0], 2.0) == [1, 2, 2]
    assert sliding([0.0, 1.0, 1.999], 2.0) == [1, 2, 3]
    assert sliding([], 2.0) == []


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 50))
def test_it_counts_what_a_naive_count_does(ticks, window):
    times = sorted(tick / 8 for tick in ticks)
    width = window / 8
    counts = sliding(times, width)
    for index, at in enumerate(times):
        assert counts[index] == sum(at - width < other <= at for other in times[: index + 1])


def test_the_worst_window_is_the_first_that_is_as_full():
    times = [0.0, 0.1, 5.0, 5.1, 9.0]
    assert worst_window(times, 1.0) == Worst(2, 0.1)
    assert worst_window(times, 1.0, from_s=1.0) == Worst(2, 5.1)
    assert worst_window([], 1.0) == Worst(0, 0.0)


def test_use_is_of_whole_windows():
    times = [i * 0.1 for i in range(1, 41)]
    assert use(times, 20, 2.0, from_s=0.0, windows=2) == pytest.approx(1.0)
    assert use(times, 20, 2.0, from_s=2.0, windows=2) == pytest.approx(0.5)


def test_episodes_are_divided_by_gaps():
    assert episodes([0.0, 0.1, 2.0, 2.1, 2.2], 1.0) == [(0.0, 0.1, 2), (2.0, 2.2, 3)]
    assert episodes([], 1.0) == []


def test_books():
    found = books(["a", "b", "c", "d"], ["a", "b", "b", "x"])
    assert (found.once, found.missing, found.repeated, found.unknown) == (1, 2, 1, 1)
    assert not found.balanced
    assert books(["a"], ["a"]).balanced
    assert books([], []).balanced


def test_what_is_drawn_keeps_the_peaks():
    assert levels([0.1, 0.2, 4.0, 9.9], 3.0, 10.0, 5) == [(1.0, 2), (3.0, 2), (5.0, 1), (7.0, 1), (9.0, 1)]
    assert levels([], 3.0, 10.0, 2) == [(2.5, 0), (7.5, 0)]
    assert climb([0.0, 1.0, 4.0], 4.0, 2) == [(0.0, 1), (2.0, 2), (4.0, 3)]
