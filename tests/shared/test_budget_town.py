"""Budgets over many processes in virtual time: never more than the cap, and no refusal while there is room."""

import asyncio

import pytest
from budget_town import USD, town_of

from spillway.testing import run_virtual


async def misfortune(town, seconds, *kinds):
    """Strike at random for so long."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    rng = town.rng
    while loop.time() < until:
        await asyncio.sleep(rng.uniform(0.2, 4.0))
        kind = rng.choice(kinds)
        if kind == "kill" and len(town.nodes) > 2:
            town.kill(rng.choice(town.nodes))
        elif kind == "join" and len(town.nodes) < 8:
            node = town.join()
            town.group.create_task(town.spend(node, until - loop.time()))
        elif kind in {"cut", "deaf", "late"}:
            way = rng.choice(town.nodes).link
            setattr(way, kind, rng.uniform(0.1, 5.0) if kind == "late" else True)
            loop.call_later(rng.uniform(0.1, 25.0), heal, town, way)
        elif kind == "restart":
            town.commons.run += "'"
        elif kind == "empty" and loop.time() - town.killed_at > 2.0:
            town.commons.forget()


def heal(town, way):
    way.heal(alive=any(node.link is way for node in town.nodes))


async def live_through(seed, *kinds, nodes=4, seconds=60.0):
    async with town_of(nodes, seed=seed) as town:
        async with asyncio.TaskGroup() as group:
            town.group = group
            for node in list(town.nodes):
                group.create_task(town.spend(node, seconds))
            group.create_task(misfortune(town, seconds, *kinds))
        await asyncio.sleep(30.0)
        for node in town.nodes:
            heal(town, node.link)
        await asyncio.sleep(5.0)
        return town.spent, [await can_spend(town, node) for node in town.nodes]


async def can_spend(town, node):
    """Return how much of the rest a node can still reserve at once, all others resting."""
    await asyncio.sleep(10.0)
    rest, low = town.cap - town.spent, 0
    high = rest + 1
    while high - low > USD // 1000:
        middle = (low + high) // 2
        held = await node.reserve(middle, patience_s=2.0)
        if held is None:
            high = middle
        else:
            low = middle
            node.release(held)
            await asyncio.sleep(3.0)
    return rest - low


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kinds", [("cut",), ("deaf",), ("late",), ("cut", "deaf", "late", "restart")], ids="-".join)
def test_nothing_is_over_and_nothing_is_lost(seed, kinds):
    _, missing = run_virtual(live_through(seed, *kinds))
    assert max(missing) <= USD // 1000


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "kinds",
    [("kill", "join"), ("empty",), ("kill", "join", "cut", "deaf", "late", "restart", "empty")],
    ids="-".join,
)
def test_nothing_is_ever_over(seed, kinds):
    run_virtual(live_through(seed, *kinds))
