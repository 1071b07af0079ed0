"""The policies a request must pass to be sent, taken together between two awaits or not at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spillway.core.clock import wall_now
from spillway.core.errors import BadRequest, BudgetExceeded, InferenceError
from spillway.remote.cost import output_bound, pico_to_usd
from spillway.remote.engine.grant import Grant
from spillway.remote.rate_limit import AcquirePermit

if TYPE_CHECKING:
    from collections.abc import Callable

    from spillway.core.reply import Usage
    from spillway.remote.circuit_breaker import CircuitBreakerHandle
    from spillway.remote.cost import CostLedger, OutputP95, PriceTable, Reservation
    from spillway.remote.engine.call import Call, SpendHold
    from spillway.remote.engine.slot import WorkerSlot
    from spillway.remote.rate_limit import RateLimiterHandle
    from spillway.remote.retry import RetryQuota

_SETTLE_POLL_S = 1.0


class Gates:
    """Limiter, breaker, budget, retry quota and prices of one deployment.

    Order: budget, the caller's own gate, limiter, breaker. A refusal gives back what went before it.

    Args:
        token_limit: the smallest token limit per minute that applies, or None.
        output_limit: the most tokens the model answers with.
    """

    __slots__ = (
        "_counts_tokens",
        "breaker",
        "ledger",
        "limiter",
        "name",
        "output_limit",
        "output_p95",
        "prices",
        "quota",
        "token_limit",
    )

    def __init__(
        self,
        name: str,
        *,
        limiter: RateLimiterHandle,
        breaker: CircuitBreakerHandle,
        ledger: CostLedger | None,
        quota: RetryQuota,
        prices: PriceTable | None,
        output_p95: OutputP95,
        output_limit: int,
        token_limit: int | None,
        counts_tokens: bool,
    ) -> None:
        self.name = name
        self.limiter = limiter
        self.breaker = breaker
        self.ledger = ledger
        self.quota = quota
        self.prices = prices
        self.output_p95 = output_p95
        self.output_limit = output_limit
        self.token_limit = token_limit
        self._counts_tokens = counts_tokens

    def admit(self, call: Call) -> None:
        """Refuse what can't or need not wait: a spent budget, an impossible size, an open circuit.

        Raises:
            BudgetExceeded: the budget is spent, or the estimate is over the caller's `max_cost_usd`.
            BadRequest: it asks for more tokens than the limit ever holds.
            CircuitOpen: the breaker takes nobody now.
        """
        if self.ledger is not None:
            self.ledger.check()
        if call.max_cost_pico is not None:
            estimate = self.estimate_pico(call)
            if estimate is None or estimate > call.max_cost_pico:
                cost = "unknown" if estimate is None else f"{pico_to_usd(estimate):g} USD"
                raise BudgetExceeded(
                    f"the estimated cost is {cost}, the request allows {pico_to_usd(call.max_cost_pico):g} USD",
                    deployment=self.name,
                    reason="max_cost_usd",
                )
        asked = call.request.max_tokens
        if asked is not None and self.token_limit is not None and call.input_bound + asked > self.token_limit:
            raise BadRequest(
                f"input (at most {call.input_bound} tokens) and max_tokens {asked} exceed the deployment's limit of "
                f"{self.token_limit} tokens per minute; no wait can make room",
                deployment=self.name,
                reason="unacquirable_cost",
            )
        if not self.breaker.would_admit():
            self.breaker.check().release()

    def reserve(self, call: Call, slot: WorkerSlot) -> Grant | float:
        """Take money, permit and ticket for one attempt, or return the seconds to wait.

        Returns:
            The grant; or the seconds, `inf` when only something that is freed can make room.

        Raises:
            InferenceError: a refusal; what was taken before it is given back.
        """
        money = self._reserve_money(call)
        if not isinstance(money, tuple):
            return money
        reservation, hold, pico = money
        limiter = self.limiter
        want = self.permit_for(call)
        wait = limiter.wait_for(want)
        if wait > 0:
            _hand_back(call, self, reservation, hold)
            return wait
        permit = ticket = None
        try:
            permit = limiter.try_acquire(want)
            ticket = self.breaker.check()
            if hold is not None:
                hold.sending()
        except InferenceError:
            if ticket is not None:
                ticket.release()
            if permit is not None:
                permit.refund()
                permit.release()
            _hand_back(call, self, reservation, hold)
            raise
        call.kept = None
        return Grant(slot, permit, ticket, reservation, hold, pico)

    def permit_for(self, call: Call) -> AcquirePermit:
        """Return what an attempt of `call` asks of the limiter: its input bound and the output it may have."""
        if not self._counts_tokens:
            return AcquirePermit(priority=call.priority)
        asked = call.request.max_tokens
        out = self.output_p95.value if asked is None else asked
        total = call.input_bound + out
        limit = self.token_limit
        if limit is not None and total > limit:
            total = limit
        return AcquirePermit(
            tokens=total,
            input_tokens=call.input_bound if limit is None else min(call.input_bound, limit),
            output_tokens=out if limit is None else min(out, limit),
            priority=call.priority,
        )

    def permit_wait(self, call: Call) -> float:
        """Return the seconds until the limiter would let an attempt of `call` pass."""
        return self.limiter.wait_for(self.permit_for(call))

    def estimate_pico(self, call: Call) -> int | None:
        """Return the most an attempt of `call` can cost in pico-USD, or None when the price is unknown."""
        if self.prices is None:
            return None
        return self.prices.estimate(call.input_bound, output_bound(call.request, self.output_limit), wall_now())

    def cost_pico(self, usage: Usage) -> int | None:
        """Return what `usage` costs in pico-USD, or None when the price is unknown."""
        return None if self.prices is None else self.prices.cost(usage, wall_now())

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever a waiting head may fit sooner than predicted; returns how to stop that."""
        stops = [self.limiter.on_room(callback), self.breaker.on_room(callback)]
        if self.ledger is not None:
            stops.append(self.ledger.on_room(callback))

        def stop() -> None:
            for unsubscribe in stops:
                unsubscribe()

        return stop

    def _reserve_money(self, call: Call) -> tuple[Reservation | None, SpendHold | None, int] | float:
        if self.ledger is None and call.gate is None:
            return None, None, 0
        kept = call.kept
        if kept is not None and kept.gates is self:
            return kept.reservation, kept.hold, kept.pico
        call.let_money_go()
        pico = self.estimate_pico(call) or 0
        reservation = None
        if self.ledger is not None:
            reservation = self.ledger.try_reserve(pico, admitted_at=call.admitted_at)
            if reservation is None:
                return self.ledger.wait_hint(pico)
        if call.gate is None:
            return reservation, None, pico
        try:
            hold = call.gate.reserve(self.name, pico)
        except InferenceError:
            _release(reservation, None)
            raise
        if hold is None:
            _release(reservation, None)
            return math.inf
        return reservation, hold, pico


def _hand_back(call: Call, gates: Gates, reservation: Reservation | None, hold: SpendHold | None) -> None:
    """Give fresh money back; what a retry has kept stays with it."""
    if call.kept is None or call.kept.gates is not gates:
        _release(reservation, hold)


def _release(reservation: Reservation | None, hold: SpendHold | None) -> None:
    if hold is not None:
        hold.release()
    if reservation is not None:
        reservation.release()
