import random
import threading
import time
import tracemalloc
from collections import Counter

import pytest

from spillway.core.errors import Backpressure
from spillway.core.priority import Priority as CorePriority
from spillway.remote.queue import Priority, PriorityRequest, RequestQueue

BACKGROUND, NORMAL, HIGH, CRITICAL = Priority


def request(payload=None, **options):
    return PriorityRequest(payload, **options)


def filled(requests, capacity=None, now=0.0, **options):
    queue = RequestQueue(capacity or max(1, len(requests)), **options)
    for one in requests:
        queue.push(one, now)
    return queue


def drained(queue, now=None):
    payloads = []
    while (one := queue.pop(now)) is not None:
        payloads.append(one.payload)
    return payloads


def test_priority_is_the_one_of_the_core():
    assert Priority is CorePriority


def test_a_request_has_the_defaults_of_an_ordinary_one():
    one = PriorityRequest("p")
    assert (one.payload, one.priority, one.deadline, one.not_before, one.tenant, one.cost) == (
        "p",
        NORMAL,
        None,
        0.0,
        "",
        1,
    )
    assert repr(one) == "<PriorityRequest 0 normal not waiting>"


def test_an_empty_queue_has_nothing():
    queue = RequestQueue(3)
    assert (len(queue), queue.is_full, queue.pop(), queue.peek(5.0), queue.next_ready(5.0)) == (
        0,
        False,
        None,
        None,
        None,
    )
    assert (queue.drain(), queue.take_expired()) == ([], [])
    assert not queue
    assert repr(queue) == "<RequestQueue 0/3 empty>"


def test_a_full_queue_refuses_and_takes_nothing():
    queue = filled([request(n) for n in range(100)])
    assert queue.is_full
    refused = request("late")
    with pytest.raises(Backpressure) as caught:
        queue.push(refused)
    assert (caught.value.reason, caught.value.limited_by) == ("full", "queue")
    assert len(queue) == 100
    assert refused.seq == 0
    assert queue.pop().payload == 0
    queue.push(refused)
    assert len(queue) == 100


@pytest.mark.parametrize("seed", range(10))
def test_highest_class_first_and_first_come_first_served_inside(seed):
    rng = random.Random(seed)
    requests = [request(n, priority=rng.choice(list(Priority))) for n in range(1000)]
    order = drained(filled(requests))
    assert order == [one.payload for one in sorted(requests, key=lambda one: (-one.priority, one.seq))]


def test_without_aging_a_lower_class_never_passes_a_higher():
    queue = filled([request("low", priority=BACKGROUND)], capacity=10)
    for second in range(10_000):
        queue.push(request("high", priority=HIGH), float(second))
        assert queue.pop(float(second)).payload == "high"
    assert queue.pop(1e9).payload == "low"


def test_with_aging_a_lower_class_waits_a_bounded_time():
    queue = filled([request("low", priority=BACKGROUND)], capacity=10, aging_s=10.0)
    for second in range(100):
        queue.push(request("high", priority=CRITICAL), float(second))
        if queue.pop(float(second)).payload == "low":
            break
    assert second == 30


def test_aging_rises_one_class_at_a_time():
    low, high = request("low", priority=BACKGROUND), request("high", priority=HIGH)
    queue = filled([low], capacity=3, aging_s=10.0)
    queue.push(request("normal"), 9.0)
    queue.push(high, 9.0)
    assert queue.peek(9.999).payload == "high"
    queue.cancel(high)
    assert queue.peek(9.999).payload == "normal"
    assert queue.peek(10.0).payload == "low"
    queue.push(high, 10.0)
    assert queue.pop(10.0).payload == "high"
    assert drained(queue, 10.0) == ["low", "normal"]


def test_time_spent_before_not_before_counts_as_waiting():
    queue = filled([request("low", priority=BACKGROUND, not_before=25.0)], capacity=3, aging_s=10.0)
    queue.push(request("high", priority=HIGH), 25.0)
    assert queue.pop(25.0).payload == "low"


def test_what_is_not_due_keeps_its_seat_and_is_passed_over():
    queue = filled([request("later", priority=HIGH, not_before=5.0), request("now")], capacity=2)
    assert queue.is_full
    assert repr(queue) == "<RequestQueue 2/2 1 normal, 1 not yet due>"
    assert queue.next_ready(1.0) == 1.0
    assert queue.pop(1.0).payload == "now"
    assert queue.pop(1.0) is None
    assert queue.next_ready(1.0) == 5.0
    assert queue.pop(4.999) is None
    assert queue.pop(5.0).payload == "later"
    assert queue.next_ready(5.0) is None


def test_without_now_the_newest_instant_told_counts():
    queue = filled([request("later", not_before=5.0)])
    assert queue.pop() is None
    assert queue.peek(5.0) is not None
    assert queue.pop().payload == "later"


def test_what_becomes_due_takes_its_place_by_sequence():
    queue = filled([request(n, not_before=5.0 if n % 2 else 0.0) for n in range(6)])
    assert queue.pop(1.0).payload == 0
    assert drained(queue, 5.0) == [1, 2, 3, 4, 5]


def test_an_expired_request_is_put_aside_and_frees_its_seat():
    queue = filled([request("a", deadline=5.0), request("b"), request("c", deadline=9.0, not_before=20.0)])
    assert queue.peek(4.999).payload == "a"
    assert queue.take_expired() == []
    assert queue.peek(5.0).payload == "b"
    assert len(queue) == 2
    assert [one.payload for one in queue.take_expired()] == ["a"]
    assert queue.take_expired() == []
    assert queue.pop(9.0).payload == "b"
    assert queue.next_ready(9.0) is None
    assert len(queue) == 0
    assert [one.payload for one in queue.take_expired(9.0)] == ["c"]


def test_a_seat_that_expired_is_given_to_a_push():
    queue = filled([request("old", deadline=5.0)])
    with pytest.raises(Backpressure):
        queue.push(request("new"), 4.0)
    queue.push(request("new"), 5.0)
    assert [one.payload for one in queue.take_expired()] == ["old"]
    assert queue.pop().payload == "new"


def test_a_request_that_is_popped_no_longer_expires():
    queue = filled([request("a", deadline=5.0)])
    queue.pop(4.0)
    assert queue.take_expired(100.0) == []


def test_cancel_frees_the_seat_at_once_and_only_once():
    requests = [request(n, not_before=9.0 * (n == 2)) for n in range(4)]
    queue = filled(requests)
    assert [queue.cancel(requests[n]) for n in (0, 2, 0)] == [True, True, False]
    assert len(queue) == 2
    queue.push(request("new"))
    assert drained(queue, 10.0) == [1, 3, "new"]
    assert not queue.cancel(requests[1])


def test_cancel_leaves_another_queue_alone():
    one, other = request("x"), RequestQueue(2)
    queue = filled([one])
    assert not other.cancel(one)
    assert not other.cancel(request("y"))
    assert (len(queue), len(other)) == (1, 0)


def test_a_cancelled_request_may_be_pushed_again_and_is_then_the_last():
    requests = [request(n) for n in range(3)]
    queue = filled(requests)
    queue.cancel(requests[0])
    queue.push(requests[0])
    assert drained(queue) == [1, 2, 0]


def test_one_request_has_one_seat():
    one = request("x")
    queue = filled([one], capacity=5)
    for put in (queue.push, queue.requeue):
        with pytest.raises(ValueError, match=r"<PriorityRequest 1 normal waiting>"):
            put(one)
    with pytest.raises(ValueError, match="can't come back"):
        queue.requeue(request("never pushed"))
    assert len(queue) == 1


def test_a_retry_comes_back_to_its_place_from_its_time_on():
    queue = filled([request(n) for n in range(4)])
    first = queue.pop(1.0)
    first.not_before = 3.0
    queue.requeue(first, 1.0)
    assert queue.pop(2.0).payload == 1
    assert first.seq == 1
    assert queue.pop(3.0) is first
    first.not_before = 0.0
    queue.requeue(first)
    assert drained(queue) == [0, 2, 3]


def test_a_retry_is_not_refused_for_want_of_room():
    queue = filled([request(n) for n in range(2)])
    first = queue.pop()
    queue.push(request("taken"))
    queue.requeue(first)
    assert (len(queue), queue.is_full) == (3, True)
    with pytest.raises(Backpressure):
        queue.push(request("no"))
    assert drained(queue) == [0, 1, "taken"]


def test_peek_is_what_pop_returns_whatever_comes_between():
    queue = filled([request("a"), request("b")], capacity=9)
    assert queue.peek() is queue.peek()
    queue.push(request("c", tenant="t"))
    queue.push(request("low", priority=BACKGROUND))
    assert queue.peek().payload == "a"
    queue.push(request("high", priority=HIGH))
    assert queue.peek().payload == "high"
    assert queue.pop().payload == "high"
    head = queue.peek()
    queue.cancel(head)
    assert queue.peek().payload in {"b", "c"}
    assert queue.pop().payload in {"b", "c"}


# Tenants


def test_a_small_tenant_is_not_stuck_behind_a_large_one():
    queue = filled([request("a", tenant="A") for _ in range(10_000)] + [request("b", tenant="B") for _ in range(10)])
    served = [queue.pop().payload for _ in range(20)]
    assert served.count("b") == 10


def test_tenants_share_by_cost():
    requests = [request("big", tenant="A", cost=900) for _ in range(100)]
    requests += [request("small", tenant="B", cost=100) for _ in range(900)]
    random.Random(3).shuffle(requests)
    queue = filled(requests)
    spent = Counter()
    for _ in range(500):
        one = queue.pop()
        spent[one.tenant] += one.cost
        assert abs(spent["A"] - spent["B"]) <= 1000


def test_a_tenant_that_comes_later_shares_from_then_on_and_catches_nothing_up():
    queue = filled([request("a", tenant="A", cost=10) for _ in range(1000)], capacity=3000)
    for _ in range(500):
        queue.pop()
    for _ in range(500):
        queue.push(request("b", tenant="B", cost=10))
    served = Counter(queue.pop().payload for _ in range(100))
    assert abs(served["a"] - served["b"]) <= 1


def test_a_tenant_that_comes_and_goes_gets_no_more_than_its_share():
    queue = filled([request("a", tenant="A", cost=100) for _ in range(1000)], capacity=2000)
    spent = Counter()
    queue.push(request("b", tenant="B", cost=100))
    for _ in range(200):
        one = queue.pop()
        spent[one.tenant] += one.cost
        if one.tenant == "B":
            queue.push(request("b", tenant="B", cost=100))
    assert abs(spent["A"] - spent["B"]) <= 200


@pytest.mark.parametrize("cost", [1, 50, 5000])
def test_newcomers_without_end_do_not_starve_who_waits(cost):
    queue = filled([request("a", tenant="A", cost=50) for _ in range(100)], capacity=1000)
    gap = newcomers = 0
    for n in range(400):
        queue.push(request("new", tenant=f"n{n}", cost=cost))
        newcomers += 1
        served = queue.pop()
        if served.payload == "a":
            gap = 0
            queue.push(served)
        else:
            gap += 1
            newcomers -= 1
        # A turn or two of each who waits, and what A has had in advance.
        assert gap <= 2 * (newcomers + 1) * (1 + 50 / cost)


def test_nobody_owes_anything_after_an_idle_time():
    queue = RequestQueue(10)
    queue.push(request("a", tenant="A", cost=10**6))
    queue.pop()
    for tenant in "AABB":
        queue.push(request(tenant, tenant=tenant))
    assert sorted(drained(queue)[:2]) == ["A", "B"]


def test_order_inside_a_tenant_holds_through_retries_and_classes():
    queue = filled([request(n, tenant="AB"[n % 2]) for n in range(8)], aging_s=1.0)
    first = queue.pop(0.0)
    second = queue.pop(0.0)
    assert {first.payload, second.payload} == {0, 1}
    queue.requeue(second, 0.5)
    queue.requeue(first, 0.5)
    order = drained(queue, 1.5)
    assert [n for n in order if n % 2 == 0] == [0, 2, 4, 6]
    assert [n for n in order if n % 2 == 1] == [1, 3, 5, 7]


# The end


def test_a_closed_queue_gives_out_what_waited_and_refuses_the_rest():
    requests = [request(n, priority=Priority(n % 4), tenant=str(n % 3), not_before=7.0 * (n % 2)) for n in range(12)]
    queue = filled(requests, capacity=20)
    running = queue.pop()
    assert queue.close() == [one for one in requests if one is not running]
    assert (len(queue), queue.is_closed, queue.close()) == (0, True, [])
    for put, one in ((queue.push, request("new")), (queue.requeue, running)):
        with pytest.raises(Backpressure) as caught:
            put(one)
        assert caught.value.reason == "closed"
    assert (queue.pop(100.0), queue.next_ready(100.0), queue.cancel(requests[3])) == (None, None, False)
    assert repr(queue) == "<RequestQueue closed 0/20 empty>"


def test_drain_leaves_an_open_and_empty_queue():
    queue = filled([request(n, deadline=3.0, not_before=n) for n in range(5)], aging_s=1.0)
    assert [one.payload for one in queue.drain()] == [0, 1, 2, 3, 4]
    assert queue.take_expired(10.0) == []
    queue.push(request("new"), 10.0)
    assert drained(queue) == ["new"]


@pytest.mark.parametrize(
    "bad", [{"capacity": 0}, {"capacity": 1, "aging_s": -1.0}, {"capacity": 1, "aging_s": float("nan")}]
)
def test_senseless_settings_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        RequestQueue(**bad)


def test_a_request_costs_at_least_one():
    with pytest.raises(ValueError, match="cost"):
        PriorityRequest("x", cost=0)


# Cost


def memory_kept_by(work):
    tracemalloc.start()
    try:
        kept = work()
        held, _ = tracemalloc.get_traced_memory()
        del kept
        return held
    finally:
        tracemalloc.stop()


def test_ten_thousand_waiting_cost_little_memory():
    payload = object()
    assert memory_kept_by(lambda: filled([request(payload, cost=100) for _ in range(10_000)])) < 4_000_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"not_before": 1e9},
        {"deadline": 1e9},
        {"priority": BACKGROUND, "deadline": 1e9},
        {"priority": CRITICAL},
        {"priority": CRITICAL, "tenant": "one"},
    ],
)
def test_those_who_left_leave_nothing_behind(options):
    queue = filled([request("head", priority=CRITICAL)], capacity=100, aging_s=1e6)

    def churn(rounds):
        for n in range(rounds):
            one = request(n, **{"tenant": str(n), **options})
            queue.push(one, 1.0)
            assert queue.peek(1.0).payload == "head"
            queue.cancel(one)

    churn(500)
    assert memory_kept_by(lambda: churn(5000)) < 100_000


def test_tenants_that_were_served_leave_nothing_behind():
    queue = filled([request("stays", tenant="stays", cost=1000) for _ in range(2)], capacity=100)

    def churn(rounds, start):
        for n in range(start, start + rounds):
            queue.push(request("goes", tenant=str(n)), 1.0)
            while (gone := queue.pop(1.0)).payload == "stays":
                queue.push(gone, 1.0)

    churn(500, 0)
    assert memory_kept_by(lambda: churn(5000, 500)) < 100_000


def test_looking_at_the_head_does_not_depend_on_the_length():
    def cost(length):
        queue = filled([request(n, tenant=str(n % 50), priority=Priority(n % 4)) for n in range(length)])
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(500):
                queue.peek(1.0)
                queue.next_ready(1.0)
            best = min(best, time.process_time() - began)
        return best

    assert cost(20_000) < 10 * cost(200) + 0.01


def test_threads_may_share_it():
    queue = RequestQueue(100_000)
    taken = [[] for _ in range(8)]

    def work(number):
        for n in range(2000):
            queue.push(request((number, n), tenant=str(number % 3), priority=Priority(n % 4)))
            one = queue.pop()
            if one is not None:
                taken[number].append(one.payload)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    left = drained(queue)
    everything = [payload for some in taken for payload in some] + left
    assert sorted(everything) == [(number, n) for number in range(8) for n in range(2000)]
    assert len(queue) == 0
