"""The queue against a list that is searched from end to end, over random histories."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spillway.core.errors import Backpressure
from spillway.remote.queue import Priority, PriorityRequest, RequestQueue

TOP = max(Priority)


class QueueAgainstAList(RuleBasedStateMachine):
    """Whose turn it is among tenants is left open here: see the test of shares below."""

    @initialize(capacity=st.integers(1, 12), aging_s=st.sampled_from([0.0, 0.0, 2.0]))
    def begin(self, capacity, aging_s):
        self.queue = RequestQueue(capacity, aging_s=aging_s)
        self.capacity = capacity
        self.aging_s = aging_s
        self.now = 0.0
        self.waiting = []
        self.outside = []  # popped or cancelled
        self.expired = []
        self.counts = dict.fromkeys(["accepted", "popped", "cancelled", "expired", "drained"], 0)
        self.since = {}
        self.closed = False

    def rank(self, one):
        rank = one.priority
        while self.aging_s and rank < TOP and self.since[one] + self.aging_s * (rank - one.priority + 1) <= self.now:
            rank += 1
        return rank

    def expire(self):
        due = [one for one in self.waiting if one.deadline is not None and one.deadline <= self.now]
        self.waiting = [one for one in self.waiting if one not in due]
        self.expired += due
        self.counts["expired"] += len(due)

    def candidates(self):
        """Return those who may be next: the first of each tenant in the highest class."""
        ready = [one for one in self.waiting if one.not_before <= self.now]
        if not ready:
            return []
        best = max(self.rank(one) for one in ready)
        ready = [one for one in ready if self.rank(one) == best]
        return [min((o for o in ready if o.tenant == t), key=lambda o: o.seq) for t in {o.tenant for o in ready}]

    @rule(
        priority=st.sampled_from(Priority),
        tenant=st.sampled_from(["", "a", "b"]),
        cost=st.integers(1, 50),
        delay=st.sampled_from([0.0, 0.0, 0.0, 1.0, 3.0]),
        ttl=st.sampled_from([None, None, 0.0, 2.0, 5.0]),
    )
    def push(self, priority, tenant, cost, delay, ttl):
        one = PriorityRequest(
            object(),
            priority=priority,
            tenant=tenant,
            cost=cost,
            not_before=self.now + delay if delay else 0.0,
            deadline=None if ttl is None else self.now + ttl,
        )
        if len(self.waiting) >= self.capacity and not self.closed:
            self.expire()
        if self.closed or len(self.waiting) >= self.capacity:
            with pytest.raises(Backpressure) as caught:
                self.queue.push(one, self.now)
            assert caught.value.reason == ("closed" if self.closed else "full")
            return
        self.queue.push(one, self.now)
        assert all(one.seq > other.seq for other in self.since)
        self.since[one] = self.now
        self.waiting.append(one)
        self.counts["accepted"] += 1

    @rule()
    def pop(self):
        self.expire()
        expected = self.candidates()
        one = self.queue.pop(self.now)
        if not expected:
            assert one is None
            return
        assert one in expected
        self.waiting.remove(one)
        self.outside.append(one)
        self.counts["popped"] += 1

    @rule()
    def peek_and_pop(self):
        head = self.queue.peek(self.now)
        assert self.queue.peek(self.now) is head
        before = len(self.outside)
        self.pop()
        assert head is (self.outside[-1] if len(self.outside) > before else None)

    @rule()
    def next_ready(self):
        self.expire()
        if self.candidates():
            assert self.queue.next_ready(self.now) <= self.now
        else:
            expected = min((one.not_before for one in self.waiting), default=None)
            assert self.queue.next_ready(self.now) == expected

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        one = data.draw(st.sampled_from(self.waiting))
        assert self.queue.cancel(one)
        assert not self.queue.cancel(one)
        self.waiting.remove(one)
        self.outside.append(one)
        self.counts["cancelled"] += 1

    @precondition(lambda self: self.outside)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 1.0, 4.0]))
    def requeue(self, data, delay):
        one = data.draw(st.sampled_from(self.outside))
        one.not_before = self.now + delay
        if self.closed:
            with pytest.raises(Backpressure):
                self.queue.requeue(one, self.now)
            return
        seq = one.seq
        self.queue.requeue(one, self.now)
        assert one.seq == seq
        self.outside.remove(one)
        self.waiting.append(one)
        self.counts["accepted"] += 1

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 5.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def take_expired(self):
        self.expire()
        taken = self.queue.take_expired(self.now)
        assert sorted(one.seq for one in taken) == sorted(one.seq for one in self.expired)
        self.outside += taken
        self.expired = []

    @rule(close=st.integers(0, 20))
    def empty(self, close):
        if close > 2:
            return
        drained = self.queue.close() if close == 0 else self.queue.drain()
        self.closed = self.closed or close == 0
        assert drained == sorted(self.waiting, key=lambda one: one.seq)
        self.counts["drained"] += len(drained)
        self.outside += drained
        self.waiting = []

    @invariant()
    def nobody_is_lost(self):
        if not hasattr(self, "queue"):
            return
        assert len(self.queue) == len(self.waiting)
        assert self.queue.is_full == (len(self.waiting) >= self.capacity)
        counts = dict(self.counts)
        assert counts.pop("accepted") == sum(counts.values()) + len(self.queue)


TestQueueAgainstAList = QueueAgainstAList.TestCase
TestQueueAgainstAList.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 1000)), min_size=1, max_size=120),
    st.integers(0, 60),
)
def test_tenants_who_wait_are_given_equal_shares(asked, taken_early):
    queue = RequestQueue(1000)
    for tenant, cost in asked:
        queue.push(PriorityRequest(tenant, tenant=tenant, cost=cost))
    left = {tenant: [cost for t, cost in asked if t == tenant] for tenant in "abc"}
    spent = dict.fromkeys("abc", 0)
    largest = max(cost for _, cost in asked)
    while (one := queue.pop()) is not None:
        spent[one.tenant] += one.cost
        left[one.tenant].pop(0)
        waiting = [tenant for tenant in "abc" if left[tenant]]
        for tenant in waiting:
            # Nobody is served far beyond one who still waits.
            assert spent[one.tenant] <= spent[tenant] + largest + one.cost
