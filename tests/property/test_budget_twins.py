"""The script of shared budgets in Redis and its twin in Python: the same calls, the same answers."""

import importlib.resources
import itertools
import time

import msgspec
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.stores.commons import Commons
from spillway.stores.shared.money import BudgetSync, BudgetTold

LONG = 10**9
DAY = 86_400_000
SCRIPT = importlib.resources.files("spillway.stores.redis").joinpath("budgets.lua").read_text()
encode = msgspec.msgpack.encode
names = itertools.count(1)

money = st.one_of(st.integers(0, 20), st.integers(0, 10**18), st.sampled_from([10**9, 10**9 - 1, 2**53, 2**53 + 1]))
digits = money.map(str)
ages = st.sampled_from([60_000.0, float(DAY), 3.0 * DAY])
slots_ago = st.integers(-1, 4)
calls = st.fixed_dictionaries(
    {
        "holder": st.sampled_from("abc"),
        "run": st.sampled_from(["one"] * 9 + ["two"]),
        "old": st.sampled_from([False] * 9 + [True]),
        "leaving": st.sampled_from([False] * 9 + [True]),
        "silent_ms": st.sampled_from([LONG] * 5 + [0]),
        "settle_ms": st.sampled_from([0, 0, 0, LONG]),
        "caps": st.tuples(digits, digits, st.sampled_from(["", str(10**17)])).map(list),
        "held": digits,
        "again": st.booleans(),
        "spent": st.lists(st.tuples(slots_ago, digits), max_size=3),
        "need": digits,
        "more": money,
        "since": st.integers(-1, 6),
        "view": st.none() | st.lists(st.tuples(st.integers(1, 3), slots_ago, digits), max_size=4),
        "view_at": st.integers(-1, 6),
        "others": digits,
        "heard_at": st.integers(-1, 6).map(float),
        "journal": st.sampled_from(["", "j", "k"]),
        "past": st.none() | st.lists(st.tuples(ages, digits), min_size=1, max_size=3),
    }
)


def script_calls(drawn, today):
    """The syncs that were drawn, with the slots of today and a turn that rises but for what comes late."""
    turn = batch = 1
    for call in drawn:
        call = dict(call)
        turn += 1
        batch += not call.pop("again")
        old, more = call.pop("old"), call.pop("more")
        call["spent"] = [(-1 if ago < 0 else today - ago, pico) for ago, pico in call["spent"]]
        if call["view"] is not None:
            call["view"] = [(number, (today - ago) // 2 ** (number - 1), pico) for number, ago, pico in call["view"]]
        yield BudgetSync(
            turn=1 if old else turn,
            batch=batch,
            life="",
            widths_ms=[DAY, 2 * DAY, 4 * DAY],
            slots=[2, 2, 2],
            keep_ms=100_000,
            want=str(int(call["need"]) + more),
            **call,
        )


def heard(answer):
    found = msgspec.msgpack.decode(answer)
    if "late" in found:
        return found
    told = msgspec.convert(found, BudgetTold)
    rows = sorted(told.told) if isinstance(told.told, list) else []
    return told.version, bool(told.ready_in), rows, told.held, told.grant, told.starving


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, min_size=1, max_size=25))
def test_both_answer_alike(shared_redis, drawn):
    commons = Commons(name=f"twins-{next(names)}", clock=time.time)
    keys = tuple(f"{commons.settings.prefix}{{b}}:{what}" for what in ("facts", "nodes", "changes", "gone"))
    with redis.Redis.from_url(shared_redis.url) as client:
        for sync in script_calls(drawn, int(time.time() * 1000 / DAY)):
            argument = encode(sync)
            there = client.eval(SCRIPT, len(keys), *keys, argument)
            (here,) = commons.run_scripts([("budgets", keys, argument)])
            assert heard(there) == heard(here), sync
        # The last holder may have been the only one, and have left.
        assert all(client.pttl(key) > 0 for key in keys if client.exists(key))
