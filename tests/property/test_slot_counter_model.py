"""The counter of limits that are kept together by telling, against the sum of what was counted."""

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.remote.rate_limit.counter import Delta, SlotCounter

SLOTS = 10_000
NODES = ("a", "b", "c")

steps = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.sampled_from(["add", "give_back", "tell", "hear"]),
        st.integers(0, 5),
        st.integers(0, 3),
        st.integers(1, 9),
    ),
    max_size=40,
)
entries = st.lists(st.integers(0, 50), min_size=4, max_size=4).flatmap(
    lambda counted: st.tuples(*(st.integers(0, most) for most in counted)).map(lambda back: (*counted, *back))
)
deltas = st.lists(st.builds(Delta, node=st.sampled_from(NODES), slot=st.integers(0, 5), entry=entries), max_size=8)


def view(counter):
    """Return all that a counter knows of others and of itself."""
    known = {kind: counter.used[kind] for kind in range(4)}
    return known, {node: counter.counted_by(node) for node in NODES}


def merged(*batches):
    counter = SlotCounter("here", SLOTS)
    for batch in batches:
        counter.merge(batch, 5)
    return view(counter)


def histories(examples):
    return lambda test: settings(max_examples=examples, deadline=None)(test)


@histories(300)
@given(deltas, deltas, deltas)
def test_merging_is_commutative_associative_and_idempotent(one, two, three):
    whole = merged(one, two, three)
    assert all(merged(*order) == whole for order in itertools.permutations((one, two, three)))
    assert merged(one, [*two, *three]) == merged([*one, *two], three) == whole
    assert merged(one, one, two, three, two) == whole


def run(history, delivery):
    """Play a history in which what is told gets lost, comes twice, late and in another order; then let all hear all."""
    counters = {node: SlotCounter(node, SLOTS) for node in NODES}
    acked = [0] * 4
    on_the_way = []
    told = []
    for node, what, slot, kind, amount in history:
        mine = counters[node]
        before = mine.used[:]
        if what == "add":
            mine.add(slot, kind, amount)
            acked[kind] += amount
        elif what == "give_back":
            free = mine.own[kind] and sum(
                delta.entry[kind] - delta.entry[4 + kind] for delta in everything(mine) if delta.slot == slot
            )
            back = min(free, amount)
            if back and mine.give_back(slot, kind, back):
                acked[kind] -= back
        elif what == "tell":
            batch = mine.take_changes()
            told += batch
            on_the_way += [(batch, other) for other in NODES if other != node]
        elif on_the_way:
            batch, other = on_the_way[delivery(len(on_the_way))]
            counters[other].merge(batch, 5)
            continue
        if what != "give_back":
            assert all(now >= then for now, then in zip(mine.used, before, strict=True)), "a count sank"
    # In whatever order it comes, and again: everything that was ever told, then all that there is.
    for node in NODES:
        counters[node].tell_again()
    last = [delta for node in NODES for delta in counters[node].take_changes()]
    for other in NODES:
        counters[other].merge(told[::-1], 5)
        counters[other].merge(last, 5)
        counters[other].merge(last[::-1], 5)
        counters[other].merge(told, 5)
    return counters, acked


def everything(counter):
    changed = counter._changed.copy()
    counter.tell_again()
    all_of_it = counter.take_changes()
    counter._changed = changed
    return all_of_it


def check_convergence(history, delivery):
    counters, acked = run(history, delivery)
    for counter in counters.values():
        assert counter.used == acked
        assert counter.rejected == 0


@histories(300)
@given(steps, st.randoms(use_true_random=False))
def test_every_replica_comes_to_the_sum_of_what_was_counted(history, random):
    check_convergence(history, random.randrange)


@pytest.mark.long
@histories(10_000)
@given(steps, st.randoms(use_true_random=False))
def test_ten_thousand_histories_come_to_the_sum_of_what_was_counted(history, random):
    check_convergence(history, random.randrange)


@histories(200)
@given(deltas)
def test_what_is_read_lies_between_nothing_and_what_was_told(batch):
    counter = SlotCounter("here", SLOTS)
    counter.merge(batch, 5)
    largest = functools.reduce(
        lambda most, d: most | {(d.node, d.slot): tuple(map(max, most.get((d.node, d.slot), d.entry), d.entry))},
        batch,
        {},
    )
    for kind in range(4):
        assert counter.used[kind] == sum(entry[kind] - entry[4 + kind] for entry in largest.values())
