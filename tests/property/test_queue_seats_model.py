"""Seats are conserved whatever is pushed, popped, parked, sent away, cancelled, or too late."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spillway.core.errors import Backpressure
from spillway.remote.queue import Priority, PriorityRequest, RequestQueue

TENANTS = st.sampled_from("abcd")
CLASSES = st.sampled_from(list(Priority))


class Seats(RuleBasedStateMachine):
    """The queue beside the plain set of those who wait in it."""

    def __init__(self):
        super().__init__()
        self.queue = RequestQueue(12, aging_s=7.0)
        self.now = 0.0
        self.waiting, self.parked, self.away = {}, {}, {}

    def out(self, one):
        self.waiting.pop(one, None)
        self.parked.pop(one, None)

    @rule(tenant=TENANTS, priority=CLASSES, late=st.sampled_from([None, 3.0, 20.0]), delay=st.sampled_from([0.0, 4.0]))
    def push(self, tenant, priority, late, delay):
        deadline = None if late is None else self.now + late
        one = PriorityRequest(
            None, tenant=tenant, priority=priority, deadline=deadline, not_before=self.now + delay if delay else 0.0
        )
        try:
            self.queue.push(one, self.now)
        except Backpressure:
            assert len(self.waiting) >= 12
            self.take_late()
            return
        self.waiting[one] = None

    @rule(tenant=TENANTS, priority=CLASSES)
    def make_room(self, tenant, priority):
        seats = Counter(one.tenant for one in self.waiting)
        share = max(1, 12 // (len(seats) + (tenant not in seats)))
        most = max(seats.values(), default=0)
        came_back = set(self.away)
        victim = self.queue.yield_seat(tenant, priority)
        if victim is None:
            return
        if seats[tenant] < share < most:
            assert seats[victim.tenant] == most
            assert victim.priority <= priority
        else:
            assert victim.priority is Priority.BACKGROUND is not priority
        assert victim not in came_back
        self.out(victim)

    @rule()
    def pop(self):
        one = self.queue.pop(self.now)
        self.take_late()
        if one is not None:
            assert one in self.waiting
            assert one not in self.parked
            self.out(one)
            self.away[one] = None

    @rule()
    def come_back(self):
        if self.away:
            one, _ = self.away.popitem()
            if one.deadline is None or one.deadline > self.now:
                self.queue.requeue(one, self.now)
                self.waiting[one] = None

    @rule()
    def park(self):
        one = self.queue.peek(self.now)
        self.take_late()
        if one is not None:
            self.queue.park(one)
            self.parked[one] = None

    @rule(data=st.data())
    def unpark(self, data):
        if self.parked:
            one = data.draw(st.sampled_from(list(self.parked)))
            assert self.queue.unpark(one)
            del self.parked[one]

    @rule(data=st.data())
    def cancel(self, data):
        if self.waiting:
            one = data.draw(st.sampled_from(list(self.waiting)))
            assert self.queue.cancel(one)
            self.out(one)

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.queue.peek(self.now)
        self.take_late()

    def take_late(self):
        for one in self.queue.take_expired(self.now):
            assert one in self.waiting
            self.out(one)

    @invariant()
    def every_seat_is_somebodys(self):
        assert len(self.queue) == len(self.waiting)
        seats = Counter(one.tenant for one in self.waiting)
        assert {tenant: self.queue.seats(tenant) for tenant in "abcd"} == {t: seats[t] for t in "abcd"}

    def teardown(self):
        drained = self.queue.drain()
        assert set(drained) == set(self.waiting)
        assert [one.seq for one in drained] == sorted(one.seq for one in drained)


TestSeats = Seats.TestCase
