"""What one node tells all others and what they answer, over a real Redis and over the store in plain Python."""

import asyncio

import pytest

from spillway.core.clock import loop_clock
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing
from spillway.stores.shared.notices import Notices


@pytest.fixture(params=["redis", "commons"])
def store(request, shared_redis):
    if request.param == "redis":
        return RedisStore(shared_redis.url, name=shared_redis.name())
    return Commons()


class Node:
    def __init__(self, store, name, *, answers=True):
        self.name = name
        self.heard = []
        self._answers = answers
        self.sharing = Sharing(store, loop_clock())
        self.notices = Notices(self.sharing, self._hear)
        self.sharing.syncing.add(self.notices)

    def _hear(self, notice, reply):
        self.heard.append((notice.text, notice.stood))
        if self._answers:
            reply(f"{self.name} did {notice.text}")

    async def there(self):
        """Once it has looked for the first time."""
        assert await self.sharing.syncing.synced(5.0)
        return self


@pytest.fixture
async def nodes(store):
    made = []

    async def make(name, **options):
        made.append(Node(store, name, **options))
        return await made[-1].there()

    yield make
    for one in made:
        await one.sharing.aclose()


async def test_all_others_hear_it_and_what_they_answer_comes_back(nodes):
    a, b, c = [await nodes(name) for name in "abc"]
    answers = await a.notices.ask("this", within_s=5.0)
    assert answers.posted
    assert answers.missing == []
    assert answers.by_node == {b.sharing.node: "b did this", c.sharing.node: "c did this"}
    assert (a.heard, b.heard, c.heard) == ([], [("this", False)], [("this", False)])


async def test_one_that_is_alone_waits_for_nobody(nodes):
    a = await nodes("a")
    answers = await a.notices.ask("this", within_s=5.0)
    assert (answers.by_node, answers.missing, answers.posted) == ({}, [], True)


async def test_whoever_does_not_answer_in_time_is_named(nodes):
    a, b, c = await nodes("a"), await nodes("b", answers=False), await nodes("c")
    answers = await a.notices.ask("this", within_s=0.6)
    assert answers.missing == [b.sharing.node]
    assert list(answers.by_node) == [c.sharing.node]


async def test_one_that_leaves_meanwhile_is_not_waited_for(nodes):
    a, b = await nodes("a"), await nodes("b", answers=False)
    asked = asyncio.ensure_future(a.notices.ask("this", within_s=30.0))
    while not b.heard:
        await asyncio.sleep(0.01)
    await b.sharing.aclose()
    answers = await asyncio.wait_for(asked, 5.0)
    assert (answers.by_node, answers.missing) == ({}, [])


async def test_what_stands_is_heard_by_those_who_come_later_in_its_last_form(nodes):
    a, b = await nodes("a"), await nodes("b")
    await a.notices.ask("close it", stands="gate", within_s=5.0)
    await a.notices.ask("once", within_s=5.0)
    await a.notices.ask("open it", stands="gate", within_s=5.0)
    await b.notices.ask("paint it", stands="fence", within_s=5.0)
    late = await nodes("late")
    assert sorted(late.heard) == [("open it", True), ("paint it", True)]
    await a.notices.ask("now", within_s=5.0)
    assert late.heard[-1] == ("now", False)


async def test_what_stands_is_forgotten_once_nobody_is_left(nodes):
    a = await nodes("a")
    await a.notices.ask("close it", stands="gate", within_s=5.0)
    await a.sharing.aclose()
    assert (await nodes("b")).heard == []


async def test_two_that_ask_at_the_same_time_get_their_own_answers(nodes):
    a, b, c = [await nodes(name) for name in "abc"]
    of_a, of_b = await asyncio.gather(a.notices.ask("x", within_s=5.0), b.notices.ask("y", within_s=5.0))
    assert of_a.by_node == {b.sharing.node: "b did x", c.sharing.node: "c did x"}
    assert of_b.by_node == {a.sharing.node: "a did y", c.sharing.node: "c did y"}


async def test_without_the_store_it_says_so_soon(redis_server):
    a = await Node(RedisStore(redis_server.url), "a").there()
    redis_server.kill()
    answers = await a.notices.ask("this", within_s=60.0)
    assert not answers.posted
    await a.sharing.aclose()
