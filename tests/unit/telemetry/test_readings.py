"""Tables of counters and histograms: bounded, and exact at the edges."""

import math
import random

import pytest

from spillway.remote.engine import Histogram
from spillway.remote.engine.metrics import EDGES
from spillway.telemetry.catalog import METRICS
from spillway.telemetry.readings import MOST_ROWS, OTHER, Tally, Timings


def test_a_table_never_grows_beyond_its_bound():
    tally, timings = Tally(2), Timings(1)
    for number in range(3 * MOST_ROWS):
        tally.add((str(number), "x"))
        timings.record((str(number),), 0.1)
    rows = dict(tally.rows())
    assert len(rows) == MOST_ROWS + 1
    assert rows[OTHER, OTHER] == 2 * MOST_ROWS
    assert sum(rows.values()) == 3 * MOST_ROWS
    waits = dict(timings.rows(METRICS["spillway_overhead_seconds"]))
    assert len(waits) == MOST_ROWS + 1
    assert waits[OTHER,].recorded == 2 * MOST_ROWS
    tally.add(("0", "x"), 5)
    assert dict(tally.rows())["0", "x"] == 6


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.kind == "histogram"], ids=lambda m: m.name)
def test_buckets_are_exact(metric):
    assert set(metric.edges) <= set(EDGES)
    assert list(metric.edges) == sorted(metric.edges)
    chance, histogram = random.Random(3), Histogram()
    seconds = [10 ** chance.uniform(-5, 4.5) for _ in range(2000)]
    seconds += metric.edges
    seconds += [math.nextafter(edge, math.inf) for edge in metric.edges]
    for one in seconds:
        histogram.record(one)
    assert histogram.up_to(metric.edges) == [sum(s <= edge for s in seconds) for edge in metric.edges]
    assert sum(n for _, n in histogram.buckets()) == histogram.count == len(seconds)


def test_every_metric_says_what_it_is():
    for name, metric in METRICS.items():
        assert (metric.kind == "counter") == name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.edges)
        assert metric.help.endswith(".")
