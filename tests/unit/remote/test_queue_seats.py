"""Seats of a queue between tenants: who makes room, who is passed over, how many are ahead."""

import pytest

from spillway.remote.queue import Priority, PriorityRequest, RequestQueue

BACKGROUND, NORMAL, HIGH, CRITICAL = Priority


def pushed(queue, tenant, count=1, **options):
    made = [PriorityRequest((tenant, n), tenant=tenant, **options) for n in range(count)]
    for one in made:
        queue.push(one, 0.0)
    return made


def served(queue, now=0.0):
    return [one.payload[0] for one in iter(lambda: queue.pop(now), None)]


def test_the_newest_of_the_tenant_with_the_most_seats_makes_room():
    queue = RequestQueue(10)
    pushed(queue, "b", 2)
    loud = pushed(queue, "a", 8)
    assert queue.yield_seat("c", NORMAL) is loud[-1]
    assert (len(queue), queue.seats("a"), queue.seats("b"), queue.seats("c")) == (9, 7, 2, 0)
    pushed(queue, "c")
    assert queue.yield_seat("b", NORMAL) is loud[-2]
    assert len(queue) == 9


def test_nobody_makes_room_for_who_has_a_fair_share_and_nobody_below_it_does():
    queue = RequestQueue(10)
    pushed(queue, "a", 5)
    pushed(queue, "b", 5)
    assert queue.yield_seat("a", NORMAL) is None
    assert queue.yield_seat("b", NORMAL) is None
    # A third has a share of three, and the others more than that.
    assert queue.yield_seat("c", NORMAL) is not None
    alone = RequestQueue(3)
    pushed(alone, "a", 3)
    assert alone.yield_seat("a", CRITICAL) is None


def test_more_tenants_than_seats_have_one_each():
    queue = RequestQueue(3)
    for tenant in "abc":
        pushed(queue, tenant)
    assert queue.yield_seat("d", CRITICAL) is None


def test_no_higher_class_and_none_that_came_back_makes_room():
    queue = RequestQueue(3)
    high = pushed(queue, "a", 2, priority=HIGH)
    (low,) = pushed(queue, "a", 1, priority=BACKGROUND)
    assert queue.yield_seat("b", NORMAL) is low
    assert queue.yield_seat("b", NORMAL) is None
    taken = queue.pop(0.0)
    queue.requeue(taken, 0.0)
    pushed(queue, "a", 1, priority=HIGH)
    made_room = queue.yield_seat("b", HIGH)
    assert made_room is not None
    assert made_room is not taken
    assert made_room is not high[0]


def test_a_parked_request_keeps_its_seat_and_its_place_and_holds_up_nobody():
    queue = RequestQueue(4)
    first, second = pushed(queue, "a", 2)
    pushed(queue, "b", 2)
    assert queue.peek(0.0) is first
    queue.park(first)
    assert (len(queue), queue.seats("a"), queue.is_full) == (4, 2, True)
    assert queue.pop(0.0).tenant in {"a", "b"}
    assert queue.unpark(first)
    assert not queue.unpark(first)
    order = served(queue)
    assert order.count("a") + order.count("b") == 3
    assert len(queue) == 0
    assert second.lane is None


def test_a_parked_request_goes_by_its_deadline_by_being_cancelled_and_with_the_queue():
    queue = RequestQueue(9)
    late, gone, left = pushed(queue, "a", 3, deadline=5.0)
    for one in (late, gone, left):
        queue.park(one)
    assert queue.cancel(gone)
    assert not queue.unpark(gone)
    assert queue.pop(4.0) is None
    assert queue.unpark(left)
    assert queue.pop(4.0) is left
    assert queue.take_expired(5.0) == [late]
    assert (len(queue), queue.seats("a")) == (0, 0)
    (last,) = pushed(queue, "b")
    queue.park(last)
    assert queue.close() == [last]
    with pytest.raises(ValueError, match="is not ready here"):
        queue.park(last)


def test_a_parked_request_does_not_rise_with_age_until_it_is_back():
    queue = RequestQueue(9, aging_s=1.0)
    (old,) = pushed(queue, "a", priority=BACKGROUND)
    queue.park(old)
    assert queue.pop(10.0) is None
    assert queue.unpark(old)
    queue.push(PriorityRequest(("b", 0), tenant="b", priority=CRITICAL), 10.0)
    assert queue.pop(10.0) is old


def test_how_many_are_ahead_of_a_newcomer():
    queue = RequestQueue(99)
    assert queue.ahead_of("a", NORMAL) == 0
    pushed(queue, "a", 5)
    assert queue.ahead_of("a", NORMAL) == 5
    # One of a's goes before b's first, as they take turns.
    assert queue.ahead_of("b", NORMAL) == 1
    pushed(queue, "b", 2)
    assert queue.ahead_of("b", NORMAL) == 2 + 3
    assert queue.ahead_of("a", NORMAL) == 5 + 2
    assert queue.ahead_of("a", HIGH) == 0
    assert queue.ahead_of("a", BACKGROUND) == 7
