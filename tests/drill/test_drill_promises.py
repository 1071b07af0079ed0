"""What the drill takes for promised, and how it reads what it saw."""

import msgspec
import pytest

from spillway.drill.plan import CUT, KILL, LOSE_STORE, Fault
from spillway.drill.scenarios.breaker import LATENCY_S, OPEN_S, PROBES, probes_of
from spillway.drill.scenarios.budget import cap_usd
from spillway.drill.scenarios.limits import STRICT, told_bound
from spillway.drill.scenarios.operator import circuit_changes, limiter_mode
from spillway.drill.sizes import FULL, SMALL
from spillway.drill.stage import LATENCY_S as USUAL_LATENCY_S
from spillway.drill.stage import slots


def test_the_bound_of_limits_that_are_told_is_the_published_one():
    cut = Fault(kind=CUT, node=1, for_s=1.0)
    killed = Fault(kind=KILL, node=2)
    assert told_bound(FULL, ()) == 6000 + 3 * 100 * 2
    assert told_bound(SMALL, (cut,)) == 300 + 3 * 15 * 2
    assert told_bound(SMALL, (cut, killed)) == 300 + 4 * 15 * 2


def test_a_limit_over_a_store_that_forgot_is_closed_until_all_it_knew_has_left():
    assert SMALL.closed_s == pytest.approx(2.0 + 2.0 + 0.4)
    assert FULL.closed_s == 60.0 + 15.0 + 1.0


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_nodes_send_fast_enough_to_use_the_limit_and_not_so_fast_that_the_provider_lags(size):
    fastest = slots(size) * size.nodes / USUAL_LATENCY_S
    assert 2 * size.limit / size.window_s < fastest < 8 * size.limit / size.window_s


@pytest.mark.parametrize("seed", range(9))
def test_the_store_is_lost_last_and_no_node_is_away_for_as_long_as_a_dead_one(seed):
    for size in (SMALL, FULL):
        *others, last = STRICT.plan(seed, size)
        assert last.kind == LOSE_STORE and all(fault.at_s + fault.for_s < last.at_s for fault in others)
        assert all(fault.kind != LOSE_STORE and fault.for_s < size.silent_s for fault in others)


def test_the_budget_pays_a_part_of_what_is_asked():
    small, large = cap_usd(SMALL), cap_usd(msgspec.structs.replace(SMALL, asks=1200))
    assert 0 < small < large == pytest.approx(2 * small)


def test_probes_are_what_comes_before_the_first_answer():
    opened = 1.0
    first = opened + OPEN_S
    again = first + LATENCY_S + OPEN_S
    burst = [first + 0.01 * i for i in range(PROBES)]
    wrong = [again + 0.01 * i for i in range(PROBES + 1)]
    flow = [again + LATENCY_S + 0.05 + 0.1 * i for i in range(5)]
    assert probes_of([0.0, 0.9, *burst, *wrong, *flow], opened, again - 0.1) == [PROBES, PROBES + 1]
    assert probes_of([0.0], opened, 5.0) == []


def test_what_an_operator_is_told():
    assert limiter_mode({"limits": {"mode": "closed"}}) == "closed"
    assert limiter_mode({"limits": {}}) == ""


def test_changes_of_a_circuit_are_read_from_the_log_of_its_node():
    log = """serving: http://127.0.0.1:1/v1
{"time":"2026-11-25T19:52:46.230Z","event":"circuit","circuit":"drilled","state":"open","previous":"closed"}
{"time":"2026-11-25T19:52:46.300Z","event":"request","code":"circuit_open"}
{"time":"2026-11-25T19:52:47.271Z","event":"circuit","circuit":"drilled","state":"half_open","previous":"open"}
"""
    assert circuit_changes(log) == [("2026-11-25T19:52:46.230Z", "open"), ("2026-11-25T19:52:47.271Z", "half_open")]
