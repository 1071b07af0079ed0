"""The plan of a drill: the same seed is the same plan, and a plan that can be carried out."""

import subprocess
import sys

import pytest

from spillway.drill.plan import BLACK_HOLE, CUT, KILL, LOSE_STORE, PAUSE, Dice, kills, plan
from spillway.drill.scenarios.registry import SCENARIOS
from spillway.drill.sizes import FULL, SIZES, SMALL


def spread(seed=1, kinds=(KILL, PAUSE, CUT, BLACK_HOLE, LOSE_STORE), **more):
    settings = {"nodes": 4, "faults": 10, "span_s": 100.0, "longest_s": 15.0} | more
    return plan("x", seed, kinds, **settings)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_seed_is_a_plan(name, size):
    make = SCENARIOS[name].plan
    assert make(5, size) == make(5, size)
    if make(5, size):
        assert make(5, size) != make(6, size)


def test_the_plan_is_the_same_in_another_process():
    code = "from spillway.drill.scenarios.registry import SCENARIOS as s; from spillway.drill.sizes import SMALL; print([str(f) for f in s['strict'].plan(3, SMALL)])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert out.stdout.strip() == str([str(fault) for fault in SCENARIOS["strict"].plan(3, SMALL)])


@pytest.mark.parametrize("seed", range(20))
def test_no_two_faults_overlap_and_all_are_over_in_time(seed):
    faults = spread(seed)
    assert len(faults) == 10
    for fault, following in zip(faults, faults[1:], strict=False):
        assert 0 < fault.at_s + fault.for_s < following.at_s
    assert faults[-1].at_s + faults[-1].for_s < 100.0
    assert all(0 < fault.for_s <= 15.0 for fault in faults)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_and_every_node_comes_once_before_any_comes_twice(seed):
    faults = spread(seed)
    kinds = [fault.kind for fault in faults]
    assert len(set(kinds[:5])) == len(set(kinds[5:])) == 5
    nodes = [fault.node for fault in faults if fault.kind != LOSE_STORE]
    assert sorted(nodes[:4]) == [1, 2, 3, 4]
    assert all(fault.node == 0 for fault in faults if fault.kind == LOSE_STORE)


def test_kills_are_spread_over_the_nodes():
    found = kills("kills", 1, nodes=4, count=20, fewest=1, most=10)
    assert [sum(fault.node == node for fault in found) for node in (1, 2, 3, 4)] == [5, 5, 5, 5]
    assert {fault.lines for fault in found} <= set(range(1, 11))
    assert str(found[0]) == f"kill node {found[0].node} after {found[0].lines} more lines, started again at once"


def test_a_fault_says_what_it_does():
    (fault,) = spread(kinds=(PAUSE,), faults=1)
    assert str(fault) == f"stop node {fault.node} for {fault.for_s:.2f} s"


def test_dice_are_fair_enough_and_never_one():
    dice = Dice(1, "x")
    thrown = [dice.throw() for _ in range(2000)]
    assert all(0 <= number < 1 for number in thrown)
    assert 0.47 < sum(thrown) / 2000 < 0.53
    assert sorted(dice.shuffled(range(9))) == list(range(9))


def test_the_full_size_pauses_as_long_as_exact_limits_bear():
    pauses = [f.for_s for seed in range(9) for f in SCENARIOS["strict"].plan(seed, FULL) if f.kind == PAUSE]
    assert 12.0 < max(pauses) < 15.0
