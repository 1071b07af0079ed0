"""The queue: who leaves it when, and who has a seat."""

import pytest

import spillway
from spillway.remote.queue import Priority, PriorityRequest, RequestQueue


def drained(queue, now=None):
    out = []
    while (request := queue.pop(now)) is not None:
        out.append(request.payload)
    return out


def test_it_is_empty_and_then_full():
    queue = RequestQueue(2)
    assert len(queue) == 0
    assert not queue.is_full
    assert queue.pop() is None
    queue.push(PriorityRequest("x"))
    queue.push(PriorityRequest("y"))
    assert len(queue) == 2
    assert queue.is_full
    with pytest.raises(spillway.Backpressure) as caught:
        queue.push(PriorityRequest("z"))
    assert caught.value.code == "backpressure"
    assert len(queue) == 2
    assert drained(queue) == ["x", "y"]
    assert len(queue) == 0


def test_a_request_has_the_defaults_that_are_written():
    request = PriorityRequest("x")
    assert (request.payload, request.priority, request.deadline, request.not_before, request.tenant) == (
        "x",
        Priority.NORMAL,
        None,
        0.0,
        "",
    )
    with pytest.raises(TypeError):
        PriorityRequest("x", Priority.HIGH)
    with pytest.raises(TypeError):
        PriorityRequest("x", colour="red")


def test_the_highest_class_first_and_first_come_first_served_inside_one():
    queue = RequestQueue(100)
    for n in range(5):
        for priority in Priority:
            queue.push(PriorityRequest((priority.name, n), priority=priority))
    expected = [(p.name, n) for p in sorted(Priority, reverse=True) for n in range(5)]
    assert drained(queue) == expected


def test_classes_may_be_whole_numbers():
    queue = RequestQueue(4)
    queue.push(PriorityRequest("low", priority=0))
    queue.push(PriorityRequest("high", priority=2))
    assert drained(queue) == ["high", "low"]


def test_the_tenants_of_a_class_take_turns():
    queue = RequestQueue(100)
    for n in range(20):
        queue.push(PriorityRequest(("a", n), tenant="a"))
    for n in range(5):
        queue.push(PriorityRequest(("b", n), tenant="b"))
    first = [queue.pop().payload for _ in range(10)]
    assert sum(tenant == "b" for tenant, _ in first) >= 4
    for tenant in "ab":
        mine = [n for who, n in first if who == tenant]
        assert mine == sorted(mine)


def test_a_cancelled_request_frees_its_seat_at_once_and_never_leaves():
    queue = RequestQueue(2)
    first, second = PriorityRequest("x"), PriorityRequest("y")
    queue.push(first)
    queue.push(second)
    queue.cancel(first)
    assert len(queue) == 1
    assert not queue.is_full
    queue.push(PriorityRequest("z"))
    assert drained(queue) == ["y", "z"]


def test_cancelling_twice_or_after_it_left_does_nothing():
    queue = RequestQueue(2)
    request = PriorityRequest("x")
    queue.push(request)
    queue.cancel(request)
    queue.cancel(request)
    assert len(queue) == 0
    other = PriorityRequest("y")
    queue.push(other)
    assert queue.pop() is other
    queue.cancel(other)
    assert len(queue) == 0
    queue.cancel(PriorityRequest("never there"))
    assert len(queue) == 0


def test_what_must_not_leave_yet_counts_towards_capacity_and_lets_others_pass():
    queue = RequestQueue(2)
    queue.push(PriorityRequest("later", priority=Priority.CRITICAL, not_before=10.0))
    queue.push(PriorityRequest("now", priority=Priority.BACKGROUND))
    assert queue.is_full
    with pytest.raises(spillway.Backpressure):
        queue.push(PriorityRequest("z"))
    assert queue.pop(5.0).payload == "now"
    assert queue.pop(9.999) is None
    assert len(queue) == 1
    assert queue.pop(now=10.0).payload == "later"


def test_what_is_past_its_deadline_never_leaves():
    queue = RequestQueue(2)
    queue.push(PriorityRequest("x", deadline=5.0))
    queue.push(PriorityRequest("y"))
    assert queue.pop(now=5.0).payload == "y"
    assert queue.pop(now=5.0) is None
    assert len(queue) == 0


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_queue_without_seats_is_none(capacity):
    with pytest.raises(ValueError):
        RequestQueue(capacity)


def test_it_says_its_state():
    queue = RequestQueue(2)
    queue.push(PriorityRequest("x", priority=Priority.HIGH))
    assert "1/2" in repr(queue)
    assert "high" in repr(queue)
