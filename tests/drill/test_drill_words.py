"""A drill in words and values."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from drilled import drilled, scenario  # noqa: E402 - found through the line above

from spillway.drill.plan import KILL, Fault  # noqa: E402 - see above
from spillway.drill.words import as_values, conclusion, plan_rows, promise_rows  # noqa: E402 - see above


def test_it_holds_when_all_hold():
    good, bad = drilled(scenario()), drilled(scenario(), scenario("kills", holds=False))
    assert (good.holds, good.counts) == (True, (2, 2))
    assert (bad.holds, bad.counts) == (False, (3, 4))
    assert conclusion(good) == "2 of 2 promises held, seed 7, 18 s"
    assert conclusion(bad) == "3 of 4 promises held, seed 7, 18 s"


def test_rows():
    rows = promise_rows(drilled(scenario(holds=False)))
    assert rows[0] == ("strict", "requests in the worst sliding window", "at most 300 (limit 300)", "312", "BROKEN")
    assert [row[-1] for row in rows] == ["BROKEN", "held"]


def test_the_plan_says_when_and_what():
    faults = (Fault(at_s=1.5, kind=KILL, node=2, for_s=0.5), Fault(kind=KILL, node=1, lines=3))
    assert plan_rows("x", faults) == [
        ("x", "1.50 s", "kill node 2, started again after 0.50 s"),
        ("x", "", "kill node 1 after 3 more lines, started again at once"),
    ]


def test_values_say_the_same():
    found = as_values(drilled(scenario(holds=False)))
    assert (found["seed"], found["nodes"], found["held"], found["window_s"]) == (7, 4, False, 2.0)
    (one,) = found["scenarios"]
    assert one["name"] == "strict" and one["held"] is False
    assert one["plan"] == [{"at_s": 1.5, "what": "kill node 2, started again after 0.50 s"}]
    assert one["promises"][0] == {
        "name": "requests in the worst sliding window",
        "promised": "at most 300 (limit 300)",
        "measured": "312",
        "held": False,
    }
    assert one["remarks"]["median wait"] == "0.06 s"
