"""Who is there and what they publish, over a real Redis and over the store in plain Python."""

import asyncio
import json

import pytest

from spillway.core.clock import loop_clock
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing
from spillway.stores.shared.presence import Presence


@pytest.fixture(params=["redis", "commons"])
def store(request, shared_redis):
    if request.param == "redis":
        return RedisStore(shared_redis.url, name=shared_redis.name())
    return Commons()


class Counting:
    """Publishes a number that grows; what stays of nodes is the sum of theirs."""

    def __init__(self):
        self.count = 0
        self.base = 0

    def publish(self):
        return {"count": str(self.count - self.base), "other": "same"}

    def fold(self, behind, nodes):
        return json.dumps(json.loads(behind or "0") + sum(int(each["count"]) for each in nodes))

    def begin_anew(self):
        self.base = self.count


class Node:
    def __init__(self, store):
        self.counting = Counting()
        self.sharing = Sharing(store, loop_clock())
        self.presence = Presence(self.sharing, self.counting)
        self.sharing.syncing.add(self.presence)

    async def sum(self):
        """Everything that was counted, as this node sees it."""
        self.presence.hurry()
        assert await self.presence.read()
        others = sum(int(fellow.pieces.get("count", 0)) for fellow in self.presence.fellows)
        return others + int(self.presence.published.get("count", 0)) + json.loads(self.presence.behind or "0")


@pytest.fixture
async def nodes(store):
    made = []

    def make():
        made.append(Node(store))
        return made[-1]

    yield make
    for one in made:
        await one.sharing.aclose()


async def test_each_sees_what_all_publish_as_soon_as_it_looks(nodes):
    one, two, three = nodes(), nodes(), nodes()
    one.counting.count, two.counting.count, three.counting.count = 1, 20, 300
    assert [await node.sum() for node in (one, two, three, one, two)][2:] == [321, 321, 321]
    assert {fellow.node for fellow in one.presence.fellows} == {two.sharing.node, three.sharing.node}
    assert all(fellow.alive for fellow in one.presence.fellows)


async def test_what_one_that_leaves_has_counted_is_neither_lost_nor_counted_twice(nodes):
    one, two, three = nodes(), nodes(), nodes()
    one.counting.count, two.counting.count, three.counting.count = 1, 20, 300
    for node in (one, two, three):
        await node.sum()
    two.counting.count = 25
    await two.sharing.aclose()
    seen = []
    for _ in range(6):
        seen += [await one.sum(), await three.sum()]
    assert seen == [326] * 12
    # It is folded by now: what it has left is all that there is of it.
    assert [fellow.node for fellow in one.presence.fellows] == [three.sharing.node]
    assert one.presence.behind == three.presence.behind == "25"


async def test_those_who_fold_at_the_same_time_count_once(nodes):
    """Several may think that it is theirs to fold; the store takes one fold of each state."""
    one, two, three, four = (nodes() for _ in range(4))
    for node, count in ((one, 1), (two, 2), (three, 3), (four, 4)):
        node.counting.count = count
        await node.sum()
    for node in (one, two, three, four):
        node.presence._is_first = lambda: True
    await three.sharing.aclose()
    await four.sharing.aclose()
    for _ in range(8):
        assert await asyncio.gather(one.sum(), two.sum()) == [10, 10]


async def test_one_that_was_taken_for_dead_begins_anew_and_counts_nothing_twice(nodes):
    one, two = nodes(), nodes()
    one.counting.count, two.counting.count = 1, 20
    for node in (one, two):
        await node.sum()
    # What an hour of silence does, at once.
    one.presence._leftover = lambda: [two.sharing.node] if two.sharing.node in one.presence._nodes else []
    one.presence._is_first = lambda: True
    two.presence._is_first = lambda: False
    two.presence.next_sync = lambda: float("inf")
    for _ in range(4):
        assert await one.sum() == 21
    assert one.presence.behind == "20"
    del one.presence._leftover
    del two.presence.next_sync
    two.counting.count = 25
    await two.sum()
    two.counting.count = 30
    assert (await two.sum(), await one.sum()) == (26, 26)


async def test_a_store_that_forgets_everything_is_told_everything_again(nodes, store):
    if not isinstance(store, Commons):
        store = None
    one, two = nodes(), nodes()
    one.counting.count, two.counting.count = 1, 20
    assert [await one.sum(), await two.sum()][1] == 21
    if store is not None:
        store.forget()
        await two.sum()
        assert (await one.sum(), await two.sum()) == (21, 21)
