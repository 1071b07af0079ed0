"""The ledger against a naive one that remembers every payment."""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from spillway.core.errors import BudgetExceeded
from spillway.core.options import Budget
from spillway.remote.cost import CostLedger, reserve_all
from spillway.testing import ManualClock

SPAN = {"hour": (3_600.0, 60.0), "day": (86_400.0, 900.0), "month": (2_592_000.0, 21_600.0)}
PICO = 10**9
caps = st.none() | st.integers(0, 40).map(lambda n: n * PICO / 10**12)
amounts = st.integers(0, 15).map(lambda n: n * PICO)
pauses = st.one_of(st.floats(0, 120), st.sampled_from([60.0, 900.0, 3_600.0, 3_660.0, 21_600.0, 86_400.0, 2_592_000.0]))


class Ledger(RuleBasedStateMachine):
    held = Bundle("held")

    @initialize(hour=caps, day=caps, month=caps, mode=st.sampled_from(["reject", "throttle"]), start=st.floats(0, 1e7))
    def begin(self, hour, day, month, mode, start):
        self.clock = ManualClock(start)
        self.mode = mode
        options = {"max_spend_per_hour_usd": hour, "max_spend_per_day_usd": day, "max_spend_per_month_usd": month}
        self.caps = {n: round(c * 10**12) for n, c in zip(SPAN, (hour, day, month), strict=True) if c is not None}
        self.book = CostLedger(Budget(**options, on_exceeded=mode), clock=self.clock)
        self.other = CostLedger(Budget(max_spend_per_day_usd=20 * PICO / 10**12), clock=self.clock)
        self.paid = []
        self.open = {}
        self.twin = {}
        self.overrun = False

    def at_least(self, name):
        """What was paid within the window: the ledger may not count less."""
        return sum(p for at, p in self.paid if at > self.clock() - SPAN[name][0])

    def at_most(self, name):
        """With a sub-slot more: the ledger may not count more."""
        return sum(p for at, p in self.paid if at > self.clock() - sum(SPAN[name]) - 1e-6)

    @rule(seconds=pauses)
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(target=held, pico=amounts, queued=st.floats(0, 200))
    def reserve(self, pico, queued):
        at = self.clock() - queued
        held, need = None, max(pico, 1)
        reserved = sum(self.open.values())
        try:
            held = self.book.try_reserve(pico, admitted_at=at)
        except BudgetExceeded as refusal:
            over = {n for n, cap in self.caps.items() if self.at_most(n) + need > cap}
            assert over, "a false refusal"
            assert refusal.reason in over
            if self.mode == "throttle":
                assert any(need > cap for cap in self.caps.values())
            if refusal.retry_after is None:
                assert any(need > cap for cap in self.caps.values())
            else:
                assert refusal.retry_after >= 0
        else:
            if held is None:
                assert any(self.at_most(n) + reserved + need > cap for n, cap in self.caps.items())
                assert self.book.wait_hint(pico) > 0
            else:
                assert all(self.at_least(n) + reserved + need <= cap for n, cap in self.caps.items())
                assert self.book.reserved_pico == reserved + pico
        if held is not None:
            self.open[held] = pico
            return held
        return None

    @rule(target=held, pico=amounts)
    def reserve_in_both(self, pico):
        before = self.book.reserved_pico, self.other.reserved_pico
        try:
            taken = reserve_all([self.book, self.other], pico)
        except BudgetExceeded:
            taken = None
        if taken is None:
            assert (self.book.reserved_pico, self.other.reserved_pico) == before
            return None
        self.open[taken[0]] = pico
        self.twin[taken[0]] = taken[1]
        return taken[0]

    @rule(held=consumes(held), share=st.floats(0, 1))
    def settle(self, held, share):
        self.end(held, round(self.open.get(held, 0) * share))

    @rule(held=consumes(held), excess=st.integers(1, 5))
    def settle_above(self, held, excess):
        if held is not None:
            self.overrun = True
            self.end(held, self.open[held] + excess * PICO)

    def end(self, held, actual):
        if held is None:
            return
        held.settle(actual)
        held.settle(actual)
        if held in self.twin:
            self.twin.pop(held).settle(actual)
        self.paid.append((held.admitted_at, actual))
        del self.open[held]

    @rule(held=consumes(held))
    def release(self, held):
        if held is not None:
            held.release()
            held.settle(99)
            if held in self.twin:
                self.twin.pop(held).release()
            del self.open[held]

    @rule(held=held, pico=amounts)
    def reprice(self, held, pico):
        if held not in self.open:
            return
        try:
            done = held.reprice(pico)
        except BudgetExceeded:
            done = False
        if done:
            self.open[held] = pico
        assert held.pico == self.open[held]

    @rule()
    def check(self):
        try:
            self.book.check()
        except BudgetExceeded as refusal:
            assert self.at_most(refusal.reason) >= self.caps[refusal.reason]
            assert self.mode == "reject" or not all(self.caps.values())
            if refusal.retry_after is not None and not self.open:
                self.clock.advance(refusal.retry_after + 1e-6)
                self.book.check()
        else:
            if self.mode == "reject":
                assert all(self.at_least(n) < cap for n, cap in self.caps.items())

    @rule(pico=amounts)
    def wait_as_told(self, pico):
        wait = self.book.wait_hint(pico)
        if 0 < wait < math.inf:
            self.clock.advance(wait)
            self.book.try_reserve(pico).release()

    @invariant()
    def holds(self):
        if not hasattr(self, "book"):
            return
        state = self.book.snapshot()
        assert state.reserved_pico == sum(self.open.values())
        assert state.open == len(self.open)
        assert state.spent_pico == sum(p for _, p in self.paid)
        assert state.requests == len(self.paid)
        assert self.other.reserved_pico == sum(twin.pico for twin in self.twin.values())
        for window in state.windows:
            assert self.at_least(window.name) <= window.committed_pico <= self.at_most(window.name)
            if not self.overrun:
                assert window.committed_pico + state.reserved_pico <= window.cap_pico


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
