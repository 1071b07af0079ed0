"""Limits that nodes keep together by telling, in virtual time: how much is ever too much, and how much is used."""

import random

import pytest
from gossip_nodes import EPOCH_S, Node, World, nodes

from spillway.core.limit_store import AcquirePermit
from spillway.core.options import RateLimits


def bound(limit, count, allowance, delay_s, sync_s=1.0):
    """The published one: L + (N-1) * A * ceil(D / S), where D is S and the longest that news take to arrive."""
    a = allowance or -(-limit * sync_s // 60.0)
    return limit + (count - 1) * a * -(-(sync_s + delay_s) // sync_s)


def run(world, seconds, members, every_s):
    for position, node in enumerate(members):
        node.greedy(every_s + 0.007 * position, until=world.now + seconds)
    world.run(world.now + seconds)


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
@pytest.mark.parametrize("allowance", [1, 3, None])
@pytest.mark.parametrize("limit", [60, 61, 65, 1000])
@pytest.mark.parametrize("count", [2, 4, 8])
async def test_no_window_holds_more_than_the_bound(count, limit, allowance, delay_s):
    world = World()
    members = nodes(world, count, limit, allowance=allowance, delay_s=delay_s)
    run(world, 190.0, members, 0.09)
    # Through the store news wait up to one sync for the next one to be told.
    assert members[0].machine.bound(nodes=count) == bound(limit, count, allowance, delay_s=1.0)
    assert world.worst() <= bound(limit, count, allowance, delay_s=1.0)
    # Rounds that are spread evenly come to half of that.
    assert world.worst() <= bound(limit, count, allowance, delay_s=0.0)


async def test_the_example_of_the_docs():
    world = World()
    members = nodes(world, 4, 65, allowance=3)
    run(world, 190.0, members, 0.09)
    assert world.worst() == 74


@pytest.mark.parametrize("seed", range(20))
async def test_no_phases_of_the_rounds_break_the_bound(seed):
    chance = random.Random(seed)
    world = World()
    count = chance.choice([2, 3, 4, 8])
    limits = RateLimits(requests_per_minute=chance.choice([60, 61, 65, 240]))
    allowance = chance.choice([1, 3, None])
    members = [
        Node(
            world, f"n{i}", limits, phase=chance.random(), delay_s=chance.choice([0.0, 0.01, 0.12]), allowance=allowance
        )
        for i in range(count)
    ]
    for node in members:
        node.greedy(chance.choice([0.01, 0.1, 0.5]), until=world.now + 190.0)
    world.run(world.now + 190.0)
    assert world.worst() <= members[0].machine.bound(nodes=count)


async def test_four_nodes_never_send_four_times_the_limit():
    world = World()
    run(world, 130.0, nodes(world, 4, 60), 0.01)
    assert world.worst() <= 66


async def test_an_allowance_as_large_as_the_limit_is_what_lets_it_through_four_times():
    # The harness sees what the allowance is for.
    world = World()
    run(world, 130.0, nodes(world, 4, 60, allowance=60), 0.01)
    assert world.worst() == 240


@pytest.mark.parametrize("limit", [60, 600, 6000])
@pytest.mark.parametrize("busy", [1, 4])
async def test_the_limit_is_used_by_one_node_or_by_all(busy, limit):
    world = World()
    members = nodes(world, 4, limit, delay_s=0.002)
    run(world, 310.0, members[:busy], 0.01)
    used = sum(amount for at, amount in world.sent if at > EPOCH_S + 66.0) / 4
    assert used >= 0.97 * limit


@pytest.mark.parametrize("size", [2_500, 5_000, 40_000])
async def test_one_node_uses_all_tokens_whatever_their_size(size):
    world = World()
    limits = RateLimits(tokens_per_minute=200_000)
    members = [Node(world, f"n{i}", limits, phase=i / 4) for i in range(4)]
    sent = []

    def look():
        while members[0].try_send(AcquirePermit(tokens=size)):
            sent.append((world.now, size))
        if world.now < EPOCH_S + 310.0:
            world.at(world.now + 0.02, look)

    world.at(world.now, look)
    world.run(world.now + 310.0)
    world.sent = sent
    assert world.worst() <= 200_000
    assert sum(amount for at, amount in sent if at > EPOCH_S + 66.0) / 4 >= 0.97 * 200_000


@pytest.mark.parametrize("limit", [60, 240])
async def test_clocks_that_are_wrong_by_half_a_minute_change_nothing(limit):
    def sent(skews):
        world = World()
        limits = RateLimits(requests_per_minute=limit)
        members = [Node(world, f"n{i}", limits, phase=i / 4, skew_s=skew) for i, skew in enumerate(skews)]
        run(world, 190.0, members, 0.09)
        return world, [round(at - EPOCH_S, 3) for at, _ in world.sent]

    right, times = sent([0.0, 0.0, 0.0, 0.0])
    for skews in ([-30.0, 30.0, -7.0, 12.0], [30.0, -30.0, 30.0, -30.0]):
        wrong, other_times = sent(skews)
        assert wrong.worst() <= bound(limit, 4, None, delay_s=1.0)
        assert other_times == times
    assert right.worst() <= bound(limit, 4, None, delay_s=1.0)


async def test_each_node_may_sync_as_often_as_it_likes():
    world = World()
    limits = RateLimits(requests_per_minute=60)
    slow = [Node(world, f"s{i}", limits, sync_s=2.0, phase=0.3 * i) for i in range(2)]
    fast = [Node(world, f"f{i}", limits, sync_s=0.5, phase=0.1 * i) for i in range(2)]
    run(world, 190.0, [*slow, *fast], 0.03)
    # What a fast node grants while a slow one hears nothing: its rounds in 0.5 s and 2 s.
    assert world.worst() <= 60 + 2 * 2 * 5 + 1 * 2 * 2


@pytest.mark.parametrize(("weights", "least"), [((3.0, 1.0), (40, 12)), ((1.0, 1.0), (25, 25))])
async def test_a_node_that_is_cut_off_has_its_share_by_weight(weights, least):
    world = World()
    limits = RateLimits(requests_per_minute=60)
    members = [Node(world, f"n{i}", limits, weight=weight, phase=i / 2) for i, weight in enumerate(weights)]
    world.run(world.now + 5.0)
    for node in members:
        node.cut = True
    run(world, 70.0, members, 0.05)
    own = [node.machine.snapshot(node.clock()).requests for node in members]
    assert all(one.used >= enough for one, enough in zip(own, least, strict=True))
    assert [one.ceiling for one in own] == [60 * weight / sum(weights) for weight in weights]
    assert world.worst() <= 60


async def test_a_burst_is_shared_out():
    world = World()
    limits = RateLimits(requests_per_minute=600, burst_s=10.0)
    members = [Node(world, f"n{i}", limits, phase=i / 4) for i in range(4)]
    run(world, 120.0, members, 0.02)
    assert world.worst(10.0) <= 100
    # Until a node knows of the others it takes the whole for itself, within its allowance.
    assert world.worst(10.0, since=EPOCH_S + 12.0) >= 90


async def test_requests_at_once_are_shared_as_they_are_told():
    world = World()
    limits = RateLimits(concurrent_requests=40)
    members = [Node(world, f"n{i}", limits, phase=i / 4) for i in range(4)]
    held = {node: [] for node in members}
    filling = {members[0]}

    def look(node):
        while node in filling and (lease := node.try_send()):
            held[node].append(lease)
        world.at(world.now + 0.1, lambda: look(node))

    for node in members:
        world.at(world.now, lambda node=node: look(node))
    world.run(world.now + 60.0)
    assert len(held[members[0]]) == 40, "one busy node has them all"
    filling |= set(members)
    world.run(world.now + 10.0)
    assert sum(map(len, held.values())) == 40, "what it holds nobody else has"
    filling.remove(members[0])
    for lease in held[members[0]]:
        members[0].machine.release(lease)
    held[members[0]].clear()
    most = 0
    for _ in range(100):
        world.run(world.now + 0.2)
        most = max(most, sum(map(len, held.values())))
    assert 40 <= most <= 40 + 2 * 3
    assert all(len(held[node]) > 8 for node in members[1:])
