"""Limits that nodes keep together by telling, when nodes are cut off, die, come back, join and leave, and the store forgets."""

import pytest
from gossip_nodes import EPOCH_S, Node, World, nodes

from spillway.core.limit_store import AcquirePermit, Lease
from spillway.core.options import RateLimits

LIMIT = 60
BOUND = 66


def greedy(members, *, until, every_s=0.05):
    for node in members:
        node.greedy(every_s, until=until)


def cut(members, *, is_cut=True):
    for node in members:
        node.cut = is_cut


@pytest.mark.parametrize("busy", [1, 2, 4])
@pytest.mark.parametrize("limit", [60, 65, 1000])
async def test_all_that_are_cut_off_keep_to_their_shares(limit, busy):
    world = World()
    members = nodes(world, 4, limit)
    end = world.now + 400.0
    bound = members[0].machine.bound(nodes=4)
    greedy(members[:busy], until=end)
    world.run(world.now + 80.0)
    assert {node.mode() for node in members} == {"approximate"}
    began = world.now
    cut(members)
    greedy(members[busy:], until=end)
    world.run(began + 130.0)
    assert {node.mode() for node in members} == {"share"}
    assert world.worst(since=began) <= bound
    assert world.worst(since=began + 61.0) <= limit
    assert sum(amount for at, amount in world.sent if at > began + 66.0) >= 0.85 * limit, "and they go on"
    healed = world.now
    cut(members, is_cut=False)
    world.run(healed + 130.0)
    assert {node.mode() for node in members} == {"approximate"}
    assert world.worst(since=healed) <= bound


async def test_a_node_admits_only_while_both_the_view_and_its_share_have_room():
    world = World()
    members = nodes(world, 4, LIMIT)
    members[0].greedy(0.05, until=world.now + 80.0)
    world.run(world.now + 80.0)
    cut(members)
    world.run(world.now + 1.0)
    # The one that sent has more than its share in the window; the window the others know is full.
    assert members[0].counted() > LIMIT // 4
    assert members[1].machine._view.counter.used[0] >= LIMIT - 2
    assert not any(node.try_send() for node in members)
    # As the window of before the cut empties, each has a quarter of the room that opens.
    before = len(world.sent)
    for _ in range(20):
        world.run(world.now + 1.0)
        for node in members:
            while node.try_send():
                pass
    opened = LIMIT - sum(1 for at, _ in world.sent[:before] if at > world.now - 60.0)
    assert 0 < len(world.sent) - before <= opened
    assert members[0].machine.mode(members[0].clock()) == "share"


@pytest.mark.parametrize("busy", [1, 4])
@pytest.mark.parametrize("gone", [0, 3])
async def test_the_others_keep_the_share_of_one_that_is_cut_off_for_a_while(gone, busy):
    world = World()
    members = nodes(world, 4, LIMIT)
    greedy(members[:busy], until=world.now + 300.0)
    world.run(world.now + 80.0)
    began = world.now
    cut([members[gone]])
    greedy(members[busy:], until=began + 220.0)
    world.run(began + 14.0)
    cut([members[gone]], is_cut=False)
    world.run(began + 150.0)
    assert world.worst(since=began) <= BOUND


async def test_one_that_is_taken_for_dead_and_is_not_adds_at_most_its_share():
    world = World()
    members = nodes(world, 4, LIMIT)
    greedy(members, until=world.now + 300.0)
    world.run(world.now + 80.0)
    cut([members[0]])
    world.run(world.now + 140.0)
    assert [node.mode() for node in members] == ["share", *["approximate"] * 3]
    assert LIMIT < world.worst() <= BOUND + LIMIT // 4


@pytest.mark.parametrize("busy", [1, 4])
@pytest.mark.parametrize("gone", [(0,), (3,), (1, 2)])
async def test_the_bound_holds_for_as_long_as_shares_are_kept_whoever_is_cut_off(gone, busy):
    world = World()
    members = nodes(world, 4, LIMIT, keep_share_s=600.0)
    greedy(members[:busy], until=world.now + 500.0)
    world.run(world.now + 80.0)
    began = world.now
    cut([members[at] for at in gone])
    greedy(members[busy:], until=began + 420.0)
    world.run(began + 300.0)
    assert [node.mode() for node in members] == ["share" if at in gone else "approximate" for at in range(4)]
    cut([members[at] for at in gone], is_cut=False)
    world.run(began + 420.0)
    assert {node.mode() for node in members} == {"approximate"}
    assert world.worst() <= BOUND


async def test_a_node_that_was_stopped_joins_again_and_one_that_is_cut_off_has_its_share():
    world = World()
    node, other = nodes(world, 2, LIMIT)
    world.run(world.now + 2.0)
    node.deaf = True
    last = world.now
    world.run(last + 1.1)
    assert node.mode() == "approximate"
    assert not node.try_send(), "between two rounds nothing is granted that nobody would learn of"
    world.run(last + 4.1)
    assert node.mode() == "joining"
    assert not node.try_send(), "others may have taken it for dead"
    node.part.failed()
    assert node.mode() == "share"
    assert node.try_send()


@pytest.mark.parametrize("seed", range(4))
async def test_a_node_that_is_killed_and_begins_again_is_another(seed):
    world = World()
    members = nodes(world, 4, LIMIT)
    end = world.now + 200.0
    greedy(members, until=end)
    kills = [world.now + 20.0 + 13.7 * i + seed for i in range(10)]
    for number, at in enumerate(kills):

        def kill(number=number):
            victim = members[number % 4]
            victim.dead = True
            members[number % 4] = Node(world, f"again{number}", RateLimits(requests_per_minute=LIMIT))
            members[number % 4].greedy(0.05, until=end)

        world.at(at, kill)
    counted = 0
    for _ in range(195):
        world.run(world.now + 1.0)
        known = members[3].machine._view.counter
        assert known.used[0] >= 0
        counted = max(counted, known.used[0])
    assert counted >= LIMIT - 4
    # Each that was killed within a window counts as one more node.
    assert world.worst() <= members[0].machine.bound(nodes=4 + 5)
    assert world.worst() <= BOUND + 5


async def test_what_a_dead_node_has_counted_stays_until_the_window_has_passed():
    world = World()
    one, other = nodes(world, 2, LIMIT)
    other.greedy(0.05, until=world.now + 18.0)
    world.run(world.now + 20.0)
    other.dead = True
    sent = len(world.sent)
    for _ in range(38):
        world.run(world.now + 1.0)
        assert one.counted() == sent
    world.run(EPOCH_S + 64.0)
    assert one.counted() < sent
    world.run(EPOCH_S + 85.0)
    assert one.counted() == 0


async def test_what_a_dead_node_had_under_way_counts_as_sent():
    world = World()
    one, other = nodes(world, 2, LIMIT, allowance=30)
    world.run(world.now + 1.1)
    for _ in range(25):
        lease = Lease()
        lease.want, lease.holds = AcquirePermit(), False
        assert not other.machine.take(other.clock(), lease)
    world.run(world.now + 2.0)
    assert one.machine.snapshot(one.clock()).requests.unsent == 25
    other.dead = True
    world.run(world.now + 16.0)
    seen = one.machine.snapshot(one.clock()).requests
    assert (seen.used, seen.unsent) == (25, 0)


async def test_a_name_that_is_in_use_is_refused_and_another_taken():
    world = World()
    one = Node(world, "n", RateLimits(requests_per_minute=LIMIT))
    world.run(world.now + 3.0)
    for left in (False, True):
        again = Node(world, "n", RateLimits(requests_per_minute=LIMIT))
        again.part.windows.have_name(one.machine.node)
        world.run(world.now + 2.0)
        assert again.machine.node != one.machine.node
        assert again.mode() == "approximate"
        again.dead = True
        if not left:
            one.sync(leaving=True)
            one.dead = True
            world.run(world.now + 0.1)
    with pytest.raises(ValueError, match="has begun to count"):
        one.machine.have_name("another")


async def test_one_that_joins_admits_nothing_before_it_knows_what_was_sent():
    world = World()
    members = nodes(world, 4, LIMIT)
    end = world.now + 200.0
    greedy(members, until=end, every_s=0.03)
    world.run(world.now + 70.0)
    joins = world.now
    late = Node(world, "late", RateLimits(requests_per_minute=LIMIT), phase=2.0)
    assert late.mode() == "joining"
    late.greedy(0.03, until=end)
    world.run(joins + 1.9)
    assert late.machine._view.counter.own[0] == 0
    world.run(joins + 2.2)
    # With its first sync it knows all, and the bound is that of five from then on.
    assert late.mode() == "approximate"
    assert late.counted() >= LIMIT - 6
    assert late.machine.snapshot(late.clock()).nodes == 5
    world.run(joins + 120.0)
    assert world.worst(since=joins) <= late.machine.bound(nodes=5)
    assert members[0].machine.snapshot(members[0].clock()).nodes == 5


async def test_one_that_never_reached_the_store_admits_nothing():
    world = World()
    node = Node(world, "n", RateLimits(requests_per_minute=LIMIT))
    node.cut = True
    node.greedy(0.1, until=world.now + 100.0)
    world.run(world.now + 100.0)
    assert (node.mode(), world.sent) == ("joining", [])


async def test_without_limits_nothing_waits_for_the_store():
    world = World()
    node = Node(world, "n", RateLimits())
    node.cut = True
    world.run(world.now + 1.0)
    assert node.mode() == "joining"
    assert node.try_send()
    node.machine.throttled(node.clock(), 5.0)
    assert not node.try_send()


async def test_one_that_leaves_counts_until_the_window_has_passed_and_has_no_share():
    world = World()
    one, other = nodes(world, 2, LIMIT)
    other.greedy(0.05, until=world.now + 30.0)
    world.run(world.now + 30.0)
    sent = len(world.sent)
    other.sync(leaving=True)
    other.dead = True
    world.run(world.now + 2.0)
    assert one.counted() == sent
    assert one.machine.snapshot(one.clock()).nodes == 1
    cut([one])
    world.run(world.now + 61.0)
    one.greedy(0.05, until=world.now + 30.0)
    world.run(world.now + 30.0)
    assert one.counted() == LIMIT, "alone it has all of it"


@pytest.mark.parametrize("joins", [False, True])
async def test_a_store_that_forgets_is_told_again(joins):
    world = World()
    members = nodes(world, 4, LIMIT)
    end = world.now + 200.0
    greedy(members, until=end)
    world.run(world.now + 40.0)
    members[3].dead = True
    world.run(world.now + 20.0)
    world.commons.forget()
    began = world.now
    if joins:
        members[3] = Node(world, "late", RateLimits(requests_per_minute=LIMIT), phase=0.05)
        members[3].greedy(0.05, until=end)
    world.run(began + 2.2)
    # What the dead one had sent is told by those who remember.
    assert all(node.counted() >= LIMIT - 4 for node in members if not node.dead)
    world.run(began + 120.0)
    assert world.worst(since=began) <= members[0].machine.bound(nodes=5)


async def test_a_pause_is_told_to_all():
    world = World()
    one, other = nodes(world, 2, LIMIT)
    world.run(world.now + 2.0)
    one.machine.throttled(one.clock(), 20.0)
    world.run(world.now + 2.1)
    assert not other.try_send()
    assert 17.0 < other.machine.blocked_for(other.clock()) <= 20.1
    assert other.machine.snapshot(other.clock()).percent == 100, "the rate of the others is theirs"
    world.run(world.now + 18.2)
    assert other.try_send()


async def test_limits_may_change_while_requests_run():
    world = World()
    one, other = nodes(world, 2, LIMIT)
    greedy([one, other], until=world.now + 100.0)
    world.run(world.now + 70.0)
    for node in (one, other):
        node.machine.set_limits(RateLimits(requests_per_minute=20))
    assert one.counted() >= LIMIT - 2
    world.run(world.now + 3.0)
    assert not one.try_send()
    world.run(EPOCH_S + 135.0)
    assert world.worst(since=EPOCH_S + 131.0) <= 20 + 2
    one.machine.set_limits(RateLimits())
    assert one.machine.unlimited


async def test_a_corrupt_entry_in_the_store_is_rejected_and_counted():
    world = World()
    one, other = nodes(world, 2, LIMIT)
    other.greedy(0.05, until=world.now + 8.0)
    world.run(world.now + 10.0)
    sent = one.counted()
    board = next(value for value, _ in world.commons._values.values())
    slot = int(world.now / 0.5)
    for number, entry in enumerate(
        ("-1 0 0 0 0 0 0 0", "1 2 3", "9223372036854775808 0 0 0 0 0 0 0", "x", "9 9 9 9 99 0 0 0")
    ):
        board.version += 1
        board.entries[slot, f"evil{number}"] = entry, board.version
    board.entries[slot + 100, "early"] = "1 0 0 0 0 0 0 0", board.version
    world.run(world.now + 1.0)
    assert one.counted() == sent
    assert one.machine.snapshot(one.clock()).rejected == 6
