"""The script and its twin: the same history, the same answers."""

import random
import time

import msgspec
import pytest

from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.stores.shared.gossip import Telling, Told

KEYS = tuple(f"spillway:test:{{m}}:gossip:{part}" for part in ("entries", "changes", "slots", "facts", "nodes", "gone"))
WINDOW_MS = 60_000
WIDTH_MS = 500.0


class Stores:
    """A Redis and a Commons, asked the same."""

    def __init__(self, redis):
        self.redis = redis
        self.commons = Commons(clock=time.time)
        self.answers = []

    async def ask(self, telling):
        call = ("gossip", KEYS, msgspec.msgpack.encode(telling))
        told = [
            msgspec.msgpack.decode(answer[0], type=Told)
            for answer in (await self.redis.run_scripts([call]), self.commons.run_scripts([call]))
        ]
        for one in told:
            one.told = sorted(map(tuple, one.told or []))
            one.silent = sorted(map(tuple, one.silent or []))
        real, twin = told
        if not real.refused:
            assert abs(real.now - twin.now) < 500
            assert abs(real.blocked_in - twin.blocked_in) < 500
            real.now, real.life, real.blocked_in = twin.now, twin.life, twin.blocked_in
        assert real == twin
        self.answers.append(real)
        return real


@pytest.fixture
async def stores(redis_server):
    link = RedisStore(redis_server.url).connect()
    await link.open()
    yield Stores(link)
    await link.aclose()


def telling(node, since=-1, life="", **more):
    fields = {
        "fresh": False,
        "window_ms": WINDOW_MS,
        "width_ms": WIDTH_MS,
        "late_ms": 2_750,
        "silent_ms": 15_000,
        "keep_ms": 195_000,
        "deltas": [],
        "heard": [],
        "unsent": [0, 0, 0, 0],
        "weight": 1.0,
        "in_flight": 0,
        "blocked_ms": 0,
        "leaving": False,
    }
    return Telling(node=node, since=since, life=life, **{**fields, **more})


def slot_now():
    return int(time.time() * 1000 / WIDTH_MS)


@pytest.mark.parametrize("seed", range(3))
async def test_any_history_has_the_same_answers(stores, seed):
    chance = random.Random(seed)
    base = slot_now()
    names = ["a", "b", "c", "d|1"]
    entries, since = {}, dict.fromkeys(names, -1)
    for _ in range(120):
        node = chance.choice(names)
        deltas = []
        for slot in chance.sample([*range(base - 140, base - 130), *range(base - 110, base + 1)], chance.randrange(3)):
            before = entries.get((slot, node), [0] * 8)
            counted = [more + chance.randrange(50) for more in before[:4]]
            back = [min(counted[i], before[4 + i] + chance.randrange(3)) for i in range(4)]
            entries[slot, node] = [*counted, *back]
            deltas.append((slot, " ".join(map(str, entries[slot, node]))))
        heard = []
        if chance.random() < 0.1 and entries:
            (slot, other), entry = chance.choice(list(entries.items()))
            heard.append((other, slot, " ".join(map(str, entry))))
        told = await stores.ask(
            telling(
                node,
                since=since[node] if chance.random() < 0.9 else -1,
                deltas=deltas + chance.sample(deltas, len(deltas) // 2),
                heard=heard,
                unsent=[chance.randrange(3) for _ in range(4)],
                weight=chance.choice([1.0, 0.5, 3.0]),
                in_flight=chance.randrange(4),
                blocked_ms=chance.choice([0, 0, 0, 5000]),
                leaving=chance.random() < 0.05,
            )
        )
        since[node] = told.version
    assert any(answer.told for answer in stores.answers)


async def test_each_hears_what_it_has_not_heard_and_not_its_own(stores):
    slot = slot_now()
    await stores.ask(telling("a", deltas=[(slot, "1 0 0 0 0 0 0 0")]))
    first = await stores.ask(telling("b", deltas=[(slot, "2 0 0 0 0 0 0 0")]))
    assert first.told == [("a", slot, "1 0 0 0 0 0 0 0")]
    assert first.anew
    life = "x"
    again = await stores.ask(telling("b", since=first.version, life=life))
    assert again.anew, "another life than the one it knows"


async def test_amounts_up_to_2_53_are_kept_to_the_digit(stores):
    slot = slot_now()
    largest = 2**53 - 1
    entry = f"{largest} {largest - 1} 0 0 0 0 0 0"
    await stores.ask(telling("a", deltas=[(slot, "5 7 0 0 0 0 0 0")]))
    await stores.ask(telling("a", deltas=[(slot, entry)]))
    assert (await stores.ask(telling("b"))).told == [("a", slot, entry)]


async def test_the_larger_of_two_tellings_stays(stores):
    slot = slot_now()
    await stores.ask(telling("a", deltas=[(slot, "9 100 0 0 0 20 0 0")]))
    told = await stores.ask(telling("a", deltas=[(slot, "5 110 0 0 0 10 0 0")]))
    assert (await stores.ask(telling("b"))).told == [("a", slot, "9 110 0 0 0 20 0 0")]
    assert (await stores.ask(telling("a", deltas=[(slot, "9 110 0 0 0 20 0 0")]))).version == told.version


async def test_a_name_in_use_or_used_is_refused(stores):
    assert not (await stores.ask(telling("a", fresh=True))).refused
    assert (await stores.ask(telling("a", fresh=True, weight=9.0))).refused
    await stores.ask(telling("a", leaving=True))
    assert (await stores.ask(telling("a", fresh=True))).refused
    assert (await stores.ask(telling("b"))).weights == 1.0


async def test_a_silent_node_is_dropped_and_what_it_had_under_way_counts(stores):
    await stores.ask(telling("a", unsent=[3, 40, 0, 0], late_ms=50, weight=2.0))
    seen = await stores.ask(telling("b", silent_ms=60_000))
    assert (seen.unsent, seen.nodes) == ([3, 40, 0, 0], 2)
    time.sleep(0.1)
    seen = await stores.ask(telling("b", silent_ms=60_000))
    assert seen.silent == [("a", 2.0)]
    seen = await stores.ask(telling("b", silent_ms=50))
    assert (seen.unsent, seen.nodes, seen.silent) == ([0, 0, 0, 0], 1, [])
    assert [(node, entry) for node, _, entry in seen.told] == [("a*", "3 40 0 0 0 0 0 0")]


async def test_every_key_has_an_end(stores):
    slot = slot_now()
    steps = [
        {"fresh": True, "deltas": [(slot, "1 0 0 0 0 0 0 0")], "unsent": [1, 0, 0, 0]},
        {"blocked_ms": 5000},
        {"heard": [("z", slot, "1 0 0 0 0 0 0 0")]},
        {"leaving": True},
        {"fresh": True},
    ]
    for step in steps:
        await stores.ask(telling("a", **step))
        connection = await stores.redis._connected()
        await connection.send_command("KEYS", "*")
        keys = await connection.read_response()
        assert keys
        for key in keys:
            await connection.send_command("PTTL", key)
            assert 0 < await connection.read_response() <= 195_000
