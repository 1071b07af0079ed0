"""The counter by slot and node: what it takes, what it refuses, what leaves."""

import pytest

from spillway.remote.rate_limit.counter import LARGEST, Delta, SlotCounter

ONE = (1, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def counter():
    counter = SlotCounter("me", 10)
    counter.expire(100)
    counter.merge([Delta("other", 100, ONE)], 100)
    return counter


def test_counts_its_own_and_what_it_is_told(counter):
    counter.add(100, 0, 2)
    counter.add(100, 1, 50)
    assert repr(counter) == "<SlotCounter me requests 3 of them own 2>"
    assert (counter.used, counter.own) == ([3, 50, 0, 0], [2, 50, 0, 0])
    assert counter.take_changes() == [Delta("me", 100, (2, 50, 0, 0, 0, 0, 0, 0))]
    assert counter.take_changes() == []
    assert counter.give_back(100, 1, 20)
    assert counter.take_changes() == [Delta("me", 100, (2, 50, 0, 0, 0, 20, 0, 0))]


def test_what_leaves_the_window_is_gone(counter):
    counter.add(101, 0, 2)
    assert counter.leaves_at(0, 1) == 110
    assert counter.leaves_at(0, 2) == 111
    assert counter.leaves_at(0, 4) is None
    assert not counter.expire(109)
    assert counter.expire(110)
    assert counter.used[0] == 2
    assert counter.expire(111)
    assert counter.used[0] == counter.own[0] == 0
    assert not counter.give_back(101, 0, 1)
    assert counter.take_changes() == []


def test_what_was_sent_before_the_window_counts_in_its_oldest_slot(counter):
    counter.add(3, 0, 1)
    assert counter.take_changes() == [Delta("me", 91, ONE)]


def test_tells_again_all_that_counts(counter):
    counter.add(100, 0, 1)
    counter.add(101, 0, 1)
    counter.take_changes()
    counter.tell_again()
    assert [delta.slot for delta in counter.take_changes()] == [100, 101]


def test_knows_what_nodes_have_counted_that_went(counter):
    counter.merge([Delta("gone", 95, ONE), Delta("gone", 96, ONE)], 100)
    assert counter.heard(before=100, most=5) == [Delta("gone", 96, ONE), Delta("gone", 95, ONE)]
    assert counter.heard(before=100, most=1) == [Delta("gone", 96, ONE)]
    assert counter.counted_by("gone") == [2, 0, 0, 0]
    assert counter.counted_by("nobody") == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param(Delta("other", 100, (-1, 0, 0, 0, 0, 0, 0, 0)), id="negative"),
        pytest.param(Delta("other", 100, (2**63, 0, 0, 0, 0, 0, 0, 0)), id="2^63"),
        pytest.param(Delta("other", 100, (LARGEST, 0, 0, 0, 0, 0, 0, 0)), id="larger than a store can hold"),
        pytest.param(Delta("other", 100, (1.5, 0, 0, 0, 0, 0, 0, 0)), id="no whole number"),
        pytest.param(Delta("other", 100, (1, 0, 0, 0, 2, 0, 0, 0)), id="more given back than counted"),
        pytest.param(Delta("other", 100, (1, 0, 0, 0)), id="truncated"),
        pytest.param(Delta("other", 100, ()), id="empty"),
        pytest.param(Delta("other", 101, ONE), id="a slot that has not begun"),
        pytest.param(Delta("other", -1, ONE), id="a slot before all time"),
        pytest.param(Delta("", 100, ONE), id="nobody"),
        pytest.param(Delta("x" * 201, 100, ONE), id="a name without end"),
        pytest.param(Delta("me", 100, ONE), id="this node's own name"),
    ],
)
def test_what_can_not_be_true_changes_nothing_and_is_counted(counter, delta):
    before = counter.used[:]
    assert not counter.merge([delta], 100)
    assert counter.used == before
    assert counter.counted_by("other") == [1, 0, 0, 0]
    assert counter.rejected == 1
    counter.merge([Delta("other", 100, (5, 0, 0, 0, 0, 0, 0, 0))], 100)
    assert counter.used[0] == 5, "the same node is believed when it says what may be"


def test_its_own_words_come_back_without_harm(counter):
    counter.add(100, 0, 2)
    assert not counter.merge([Delta("me", 100, ONE), Delta("me", 100, (2, 0, 0, 0, 0, 0, 0, 0))], 100)
    assert (counter.used[0], counter.rejected) == (3, 0)


def test_what_has_left_already_is_no_news(counter):
    assert not counter.merge([Delta("late", 90, ONE)], 100)
    assert (counter.used[0], counter.rejected) == (1, 0)
