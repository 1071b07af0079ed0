"""What the operator's side costs each request, and that it does not grow."""

import random
import statistics
import time

import pytest

from spillway.core.reply import Usage
from spillway.gateway.admin.history import BUCKETS, Durations, History
from spillway.gateway.admin.recent import Recent, kind_of
from spillway.gateway.served import Served


def served(at=0.0, **more):
    told = {"door": "chat", "status": 200, "outcome": "ok", "elapsed_s": 0.3, "deployment": "m", "model": "m"}
    usage = Usage(input_tokens=10, output_tokens=20)
    return Served(
        **{"at": at, "request_id": "r", "first_content_s": 0.1, "usage": usage, "cost_pico": 7, **told, **more}
    )


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({}, "ok"),
        ({"outcome": "cancelled", "status": 499}, "left"),
        ({"outcome": "rate_limited", "status": 429, "limited_by": "key"}, "limited"),
        ({"outcome": "circuit_open", "status": 503, "limited_by": "breaker"}, "limited"),
        ({"outcome": "bad_request", "status": 400}, "refused"),
        ({"outcome": "server_error", "status": 502}, "failed"),
        ({"outcome": "stream_interrupted", "status": 200}, "failed"),
    ],
)
def test_kinds(told, kind):
    assert kind_of(served(**told)) == kind


def test_a_request_costs_a_few_microseconds():
    recent, history = Recent(), History()
    records = [served(at=i * 0.01, elapsed_s=0.001 * (i % 900 + 1)) for i in range(5000)]
    rounds = []
    for _ in range(9):
        began = time.perf_counter()
        for record in records:
            recent.note(record)
            history.note(record)
        rounds.append((time.perf_counter() - began) / len(records))
    # Two microseconds where nothing else runs; the bound leaves room for a busy machine.
    assert min(rounds) < 12e-6, statistics.median(rounds)


def test_what_is_kept_is_bounded():
    recent, history = Recent(), History()
    for i in range(20_000):
        record = served(at=float(i), deployment=f"d{i % 3}")
        recent.note(record)
        history.note(record)
    assert len(recent.since(0, 0.0)) == 100
    told = history.values(19_999.0, 0.0)
    assert len(told["whole"]) == BUCKETS
    assert all(len(track) <= BUCKETS for track in told["by_deployment"].values())
    history.keep_only(["d1"])
    assert set(history.values(19_999.0, 0.0)["by_deployment"]) == {"d1"}


def test_quantiles_are_those_of_the_durations_within_a_class():
    rng = random.Random(4)
    for _ in range(50):
        values = sorted(rng.expovariate(1 / 0.4) for _ in range(rng.randint(1, 400)))
        durations = Durations()
        for value in values:
            durations.record(value)
        for share, found in zip((0.5, 0.95, 0.99), durations.quantiles((0.5, 0.95, 0.99)), strict=True):
            true = values[max(0, -(-round(share * 1000) * len(values) // 1000) - 1)]
            assert true * 0.999 <= max(found, 1e-4) <= max(true * 1.13, 1e-4)
    assert Durations().quantiles((0.5,)) == [None]
