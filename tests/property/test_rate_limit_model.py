"""The limiter against a list of all that was ever sent, and every permit accounted for."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spillway.core.errors import BadRequest, RateLimited
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, RateLimiterActor
from spillway.testing import ManualClock

TICK = 1 / 64
"""Instants are whole ticks, so that both sides compare them exactly."""


class Naive:
    """One limit, kept as a list of `[instant, amount]`."""

    def __init__(self, limit, burst_s, gives_back):
        self.limit, self.burst_s, self.gives_back = limit, burst_s, gives_back
        self.burst = max(1, math.floor(limit * burst_s / 60 + 1e-9)) if burst_s < 60 else math.inf
        self.sent, self.unsent = [], 0

    def within(self, now, span):
        return sum(amount for at, amount in self.sent if at > now - span)

    def must_admit(self, now, cost):
        """Even if each slot counts until its end, and one more of them guards."""
        return cost == 0 or (self.unsent + self.within(now, 61.0) + cost <= self.limit and self.burst_admits(now, cost))

    def may_admit(self, now, cost):
        return cost == 0 or (self.unsent + self.within(now, 60.0) + cost <= self.limit and self.burst_admits(now, cost))

    def burst_admits(self, now, cost):
        counted = self.unsent + self.within(now, min(self.burst_s, 60.0)) if self.burst_s < 60 else 0
        return counted == 0 or counted + cost <= self.burst

    def settle(self, now, entry, actual):
        surplus = entry[1] - actual
        if surplus > 0 and self.gives_back:
            entry[1] -= surplus
        elif surplus < 0:
            self.sent.append([now, -surplus])


class Limiter(RuleBasedStateMachine):
    @initialize(
        requests=st.integers(1, 12),
        tokens=st.integers(1, 60),
        concurrent=st.integers(1, 6),
        burst_s=st.sampled_from([60.0, 30.0, 8.0, 1.0]),
        gives_back=st.booleans(),
    )
    def build(self, requests, tokens, concurrent, burst_s, gives_back):
        self.clock = ManualClock(1024.0)
        limits = RateLimits(
            requests_per_minute=requests, tokens_per_minute=tokens, concurrent_requests=concurrent, burst_s=burst_s
        )
        self.handle = RateLimiterActor("node", limits, clock=self.clock, gives_back=gives_back).handle()
        self.naive = [Naive(requests, burst_s, gives_back), Naive(tokens, burst_s, gives_back)]
        self.concurrent, self.in_flight = concurrent, 0
        self.held, self.underway, self.over, self.running = [], [], [], []

    @rule(ticks=st.one_of(st.integers(1, 64), st.integers(64, 64 * 70), st.just(64 * 8 * 3600)))
    def time_passes(self, ticks):
        self.clock.advance(ticks * TICK)

    @rule(requests=st.integers(0, 4), tokens=st.integers(0, 30), repeat=st.integers(1, 5))
    def ask(self, requests, tokens, repeat):
        for _ in range(repeat):
            self.ask_once(requests, tokens)

    def ask_once(self, requests, tokens):
        now, costs = self.clock(), (requests, tokens)
        want = AcquirePermit(requests, tokens)
        impossible = requests > self.concurrent or any(c > n.limit for n, c in zip(self.naive, costs, strict=True))
        free = self.in_flight + requests <= self.concurrent
        wait = self.handle.wait_for(want)
        try:
            permit = self.handle.try_acquire(want)
        except BadRequest:
            assert impossible
            assert wait == 0.0
            return
        except RateLimited as error:
            assert not impossible
            assert not free or not all(n.must_admit(now, c) for n, c in zip(self.naive, costs, strict=True))
            assert error.retry_after == (wait if wait != math.inf else 0.1)
            assert wait > 0
            return
        assert wait == 0.0
        assert free
        assert all(n.may_admit(now, c) for n, c in zip(self.naive, costs, strict=True))
        for naive, cost in zip(self.naive, costs, strict=True):
            naive.unsent += cost
        self.in_flight += requests
        self.held.append((permit, costs))
        self.running.append((permit, costs))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def send(self, data):
        permit, costs = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        permit.sent()
        self.underway.append((permit, self.stamp(costs)))

    def stamp(self, costs):
        entries = []
        for naive, cost in zip(self.naive, costs, strict=True):
            naive.unsent -= cost
            naive.sent.append([self.clock(), cost])
            entries.append(naive.sent[-1])
        return entries

    @precondition(lambda self: self.underway)
    @rule(data=st.data(), actual=st.integers(0, 60))
    def settle(self, data, actual):
        permit, entries = self.underway.pop(data.draw(st.integers(0, len(self.underway) - 1)))
        permit.reconcile(actual)
        self.naive[1].settle(self.clock(), entries[1], actual)
        self.over.append(permit)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), actual=st.integers(0, 60))
    def settle_unsent(self, data, actual):
        permit, costs = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        permit.reconcile(actual)
        self.naive[1].settle(self.clock(), self.stamp(costs)[1], actual)
        self.over.append(permit)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def refund(self, data):
        permit, costs = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        permit.refund()
        for naive, cost in zip(self.naive, costs, strict=True):
            naive.unsent -= cost
        if (permit, costs) in self.running:
            self.running.remove((permit, costs))
            self.in_flight -= costs[0]
        self.over.append(permit)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data):
        permit, costs = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        permit.release()
        permit.release()
        self.in_flight -= costs[0]

    @precondition(lambda self: self.over)
    @rule(data=st.data(), actual=st.integers(0, 60))
    def touch_what_is_over(self, data, actual):
        permit = self.over[data.draw(st.integers(0, len(self.over) - 1))]
        permit.sent()
        permit.reconcile(actual)
        permit.refund()

    @invariant()
    def all_is_accounted_for(self):
        now, state = self.clock(), self.handle.snapshot()
        assert state.in_flight == self.in_flight
        for naive, one in zip(self.naive, (state.requests, state.tokens), strict=True):
            assert one.unsent == naive.unsent
            assert naive.within(now, 60.0) <= one.used <= naive.within(now, 61.0)
            assert 0 <= one.available <= one.limit

    def teardown(self):
        if not hasattr(self, "handle"):
            return
        for permit, _ in self.held:
            permit.refund()
        for permit, _ in self.running:
            permit.release()
        self.clock.advance(61.0)
        state = self.handle.snapshot()
        assert (state.in_flight, state.requests.used, state.tokens.used) == (0, 0, 0)
        assert (state.requests.unsent, state.tokens.unsent) == (0, 0)


TestLimiter = Limiter.TestCase
TestLimiter.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
