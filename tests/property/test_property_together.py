"""What gateways publish is put together the same way, whoever does it and in whichever order."""

from hypothesis import given
from hypothesis import strategies as st

from spillway.gateway.together.rules import DEPLOYMENT, KEY, READINGS, STATE
from spillway.gateway.together.seen import together
from spillway.telemetry.catalog import METRICS

WHOLE = st.integers(0, 10**6)
MAYBE = st.none() | WHOLE
NAMES = st.sampled_from(["a", "b", "c"])
AT = st.integers(0, 30).map(float)


def distinct(key, rows):
    return st.lists(rows, max_size=3, unique_by=lambda row: row[key])


WINDOWS = distinct(
    "limit",
    st.fixed_dictionaries(
        {
            "limit": st.sampled_from(["requests_per_minute", "tokens_per_minute", "concurrent_requests"]),
            "used": WHOLE, "most": WHOLE, "in_use": WHOLE,
        }
    ),
)  # fmt: skip
BUDGET = st.none() | st.fixed_dictionaries(
    {
        "on_exceeded": st.sampled_from(["reject", "warn"]),
        "reserved_usd": WHOLE,
        "windows": distinct(
            "per",
            st.fixed_dictionaries(
                {"per": st.sampled_from(["hour", "day"]), "cap_usd": WHOLE, "spent_usd": WHOLE, "frees_in_s": MAYBE}
            ),
        ),
    }
)
STATES = st.sampled_from(["CLOSED", "OPEN", "HALF_OPEN"])
DEPLOYMENTS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "model": NAMES,
        "fallback": st.lists(NAMES, max_size=2),
        "in_service": st.booleans(),
        "busy": WHOLE,
        "breaker": st.fixed_dictionaries({"state": STATES, "retry_after_s": MAYBE, "opened": WHOLE}),
        "limits": st.fixed_dictionaries({"windows": WINDOWS, "percent": WHOLE, "changed": st.lists(NAMES, max_size=2)}),
        "budget": BUDGET,
        "spent_usd": MAYBE,
        "since_start": st.fixed_dictionaries({"requests": WHOLE, "errors": st.dictionaries(NAMES, WHOLE)}),
        "keys": st.lists(st.fixed_dictionaries({"served": WHOLE, "breaker": STATES}), max_size=2),
    }
)
KEYS = st.fixed_dictionaries({"name": NAMES, "limits": WINDOWS, "budget": BUDGET, "spent_usd": WHOLE})


def _rows(metric):
    if metric.kind == "histogram":
        size = len(metric.edges) + 2
        return st.dictionaries(NAMES, st.lists(WHOLE, min_size=size, max_size=size), max_size=2)
    return st.dictionaries(NAMES, WHOLE, max_size=2)


READ = st.fixed_dictionaries({}, optional={name: _rows(metric) for name, metric in METRICS.items()})
BUCKETS = distinct(
    "number",
    st.fixed_dictionaries(
        {
            "number": st.integers(0, 5),
            "kinds": st.dictionaries(NAMES, WHOLE),
            "latency": st.dictionaries(NAMES, WHOLE),
            "tokens": WHOLE,
        }
    ),
)
TOLD = st.lists(
    st.fixed_dictionaries({"at": AT, "worker": NAMES, "number": st.integers(1, 200), "what": NAMES}), max_size=60
)
PIECES = st.fixed_dictionaries(
    {},
    optional={
        "now": st.fixed_dictionaries(
            {
                "deployments": distinct("name", DEPLOYMENTS),
                "keys": distinct("name", KEYS),
                "gauges": READ,
                "process": st.dictionaries(NAMES, WHOLE),
            }
        ),
        "counts": st.fixed_dictionaries({"readings": READ, "since_start": st.dictionaries(NAMES, st.just({"n": 1}))}),
        "tracks": st.fixed_dictionaries({"whole": BUCKETS, "by_deployment": st.dictionaries(NAMES, BUCKETS)}),
        "requests": TOLD,
        "journal": TOLD,
    },
)


@given(DEPLOYMENTS, DEPLOYMENTS, DEPLOYMENTS)
def test_deployments(a, b, c):
    assert DEPLOYMENT(a, b) == DEPLOYMENT(b, a)
    assert DEPLOYMENT(DEPLOYMENT(a, b), c) == DEPLOYMENT(a, DEPLOYMENT(b, c))


@given(KEYS, KEYS, KEYS)
def test_keys(a, b, c):
    assert KEY(a, b) == KEY(b, a)
    assert KEY(KEY(a, b), c) == KEY(a, KEY(b, c))


@given(READ, READ, READ)
def test_readings(a, b, c):
    assert READINGS(a, b) == READINGS(b, a)
    assert READINGS(READINGS(a, b), c) == READINGS(a, READINGS(b, c))


@given(PIECES, PIECES, PIECES)
def test_everything(a, b, c):
    assert STATE(a, b) == STATE(b, a)
    assert STATE(STATE(a, b), c) == STATE(a, STATE(b, c))
    assert together([a, b, c]) == together([c, {}, b, a])


def held(limits, budget, shared, nodes):
    return {"limits": {"mode": limits, "nodes": nodes}, "budget": {"mode": budget}, "breaker": {"shared": shared}}


def test_one_that_has_lost_the_store_is_seen_among_those_that_have_not():
    well = held("strict", "shared", shared=True, nodes=2)
    for worse in (
        held("closed", "store_lost", shared=False, nodes=2),
        held("share", "store_lost", shared=False, nodes=1),
    ):
        for merged in (DEPLOYMENT(well, worse), DEPLOYMENT(worse, well)):
            assert merged == {**worse, "limits": {**worse["limits"], "nodes": 2}}
    readings = {"spillway_breaker_shared": {"m 1": 1.0}}, {"spillway_breaker_shared": {"m 1": 0.0}}
    assert READINGS(*readings) == READINGS(*reversed(readings)) == readings[1]
