"""The breaker against a model that keeps every result in a list and looks at all of them each time."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spillway.core.errors import CircuitOpen
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker import CircuitBreakerHandle, CircuitState
from spillway.testing import ManualClock


class Naive:
    """A circuit breaker for readers."""

    def __init__(self, options):
        self.o, self.state, self.era, self.results = options, "CLOSED", 0, []
        self.until = self.held = float("-inf")
        self.failed_probes = self.proven = 0
        self.probes = {}

    def enter(self, state):
        self.state, self.era, self.proven, self.probes = state, self.era + 1, 0, {}
        self.results = self.results if state == "OPEN" else []
        self.failed_probes = 0 if state == "CLOSED" else self.failed_probes

    def open(self, now):
        self.enter("OPEN")
        self.until = now + min(self.o.open_duration_s * 2**self.failed_probes, self.o.max_open_duration_s)

    def admits(self, now):
        live = [end for end in self.probes.values() if end > now]
        free = self.proven + len(live) < self.o.half_open_max_probes
        return self.state == "CLOSED" or (now >= self.until if self.state == "OPEN" else free)

    def admit(self, now, name):
        if not self.admits(now):
            return None
        if self.state == "OPEN":
            self.enter("HALF_OPEN")
        if self.state == "HALF_OPEN":
            self.probes = {n: end for n, end in self.probes.items() if end > now}
            self.probes[name] = now + self.o.max_open_duration_s
        return self.era

    def settle(self, now, name, era, kind):
        if era != self.era or (self.state == "HALF_OPEN" and self.probes.pop(name, None) is None) or kind == "release":
            return
        if self.state == "CLOSED":
            self.results.append((now, kind))
            self.judge(now)
        elif kind == "ok":
            self.proven += 1
            if self.proven >= self.o.half_open_max_probes:
                self.enter("CLOSED")
        else:
            self.failed_probes += 1
            self.open(now)

    def judge(self, now):
        recent = [kind for at, kind in self.results if at + self.o.window_s > now]
        failed, slow, total = recent.count("fail"), recent.count("slow"), len(recent)
        run = next((i for i, kind in enumerate(reversed(recent)) if kind != "fail"), total)
        many = total >= self.o.minimum_calls
        ratios = failed and failed / total >= self.o.failure_ratio or slow and slow / total >= self.o.slow_call_ratio
        if now >= self.held and (run >= self.o.failure_threshold or (many and ratios)):
            self.open(now)


class Breaker(RuleBasedStateMachine):
    @initialize(
        threshold=st.integers(1, 6),
        ratio=st.sampled_from([0.1, 0.3, 0.5, 0.55, 1.0]),
        minimum=st.integers(1, 8),
        window=st.sampled_from([1.0, 2.5, 10.0]),
        opened=st.sampled_from([0.5, 1.0, 5.0]),
        longest=st.sampled_from([1, 3, 8]),
        probes=st.integers(1, 3),
        slow=st.sampled_from([None, 1.0]),
    )
    def build(self, threshold, ratio, minimum, window, opened, longest, probes, slow):
        options = CircuitBreakerConfig(
            failure_threshold=threshold,
            failure_ratio=ratio,
            minimum_calls=minimum,
            window_s=window,
            open_duration_s=opened,
            max_open_duration_s=opened * longest,
            half_open_max_probes=probes,
            slow_call_s=slow,
        )
        self.clock = ManualClock(1000.0)
        self.real = CircuitBreakerHandle("p", options, clock=self.clock)
        self.model = Naive(options)
        self.calls = {}
        self.names = 0
        self.events = []
        self.real.subscribe(self.events.append)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 100.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def wait_as_told(self):
        self.clock.advance(self.real.retry_after())
        if self.model.state == "OPEN" and self.model.until < float("inf"):
            assert self.real.would_admit()

    @rule(count=st.integers(1, 6))
    def call(self, count):
        for _ in range(count):
            self.names += 1
            era = self.model.admit(self.clock(), self.names)
            try:
                ticket = self.real.check()
            except CircuitOpen as error:
                assert era is None
                assert error.retry_after > 0
            else:
                assert era is not None
                self.calls[self.names] = (ticket, era)

    @rule(kind=st.sampled_from(["ok", "fail", "fail", "slow", "release"]), data=st.data(), count=st.integers(1, 6))
    def settle(self, kind, data, count):
        for _ in range(min(count, len(self.calls))):
            name = data.draw(st.sampled_from(sorted(self.calls)))
            ticket, era = self.calls.pop(name)
            kind = "ok" if kind == "slow" and self.model.o.slow_call_s is None else kind
            if kind == "fail":
                ticket.failure()
            elif kind == "release":
                ticket.release()
            else:
                ticket.success(1.0 if kind == "slow" else 0.5)
            self.model.settle(self.clock(), name, era, kind)

    @rule(seconds=st.sampled_from([0.1, 3.0, float("inf")]))
    def force_open(self, seconds):
        self.real.force_open(seconds)
        self.model.held = float("-inf")
        if self.model.state != "OPEN":
            self.model.enter("OPEN")
        self.model.until = self.clock() + seconds

    @rule(seconds=st.sampled_from([0.1, 3.0, float("inf")]))
    def force_close(self, seconds):
        self.real.force_close(seconds)
        self.model.held = self.clock() + seconds
        if self.model.state != "CLOSED":
            self.model.enter("CLOSED")

    @rule()
    def reset(self):
        self.real.reset()
        self.model.held = float("-inf")
        self.model.enter("CLOSED")

    @invariant()
    def they_agree(self):
        if not hasattr(self, "real"):
            return
        now = self.clock()
        assert self.real.state is CircuitState[self.model.state]
        assert self.real.would_admit() == self.model.admits(now)
        assert (self.real.retry_after() == 0.0) == self.model.admits(now)
        snapshot = self.real.snapshot()
        assert snapshot.generation == self.model.era
        assert snapshot.probes == len(self.model.probes) <= self.model.o.half_open_max_probes
        recent = [kind for at, kind in self.model.results if at + self.model.o.window_s > now]
        if self.model.state == "CLOSED":
            assert snapshot.window_calls == len(recent)
            assert snapshot.window_failures == recent.count("fail")
            assert snapshot.window_slow == recent.count("slow")
        ended = snapshot.successes + snapshot.failures + snapshot.released + snapshot.late
        assert snapshot.admitted == ended + len(self.calls)
        assert all(one.state is next_.previous for one, next_ in zip(self.events, self.events[1:], strict=False))
        assert sum(snapshot.transitions.values()) == len(self.events)


LONG = bool(os.environ.get("SPILLWAY_LONG"))
TestBreaker = pytest.mark.long(Breaker.TestCase) if LONG else Breaker.TestCase
TestBreaker.settings = settings(max_examples=5000 if LONG else 150, stateful_step_count=40, deadline=None)
