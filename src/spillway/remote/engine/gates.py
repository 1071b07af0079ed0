"""The policies a request must pass to be sent, taken together between two awaits or not at all."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import wall_now
from spillway.core.errors import BadRequest, BudgetExceeded, CircuitOpen, InferenceError
from spillway.core.options import RateLimits
from spillway.remote.circuit_breaker import PROBE_ASKED
from spillway.remote.cost import cost_bound, output_bound, pico_to_usd, service_of
from spillway.remote.engine.grant import Grant
from spillway.remote.rate_limit import AcquirePermit, Permit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spillway.core.reply import Usage
    from spillway.core.spend_journal import SpendJournal
    from spillway.remote.circuit_breaker import CircuitBreakerHandle
    from spillway.remote.cost import CostLedger, OutputP95, PriceTable, Reservation
    from spillway.remote.engine.call import Call, SpendHold
    from spillway.remote.engine.slot import WorkerSlot
    from spillway.remote.rate_limit import RateLimiterHandle
    from spillway.remote.retry import RetryQuota

MONEY = "money"
OWN_MONEY = "own money"
PERMIT = "permit"
PROBE = "probe"


class Gates:
    """Limiter, breaker, budget, retry quota and prices of one deployment.

    Order: budget, the caller's own gate, the journal, limiter, breaker. A refusal gives back what went before it.

    Args:
        output_limit: the most tokens the model is taken to answer with.
        limits: what is configured for the limiter, None for nothing.
        cached_input_is_free: whether input read from a cache does not count against the provider's limits.

    Attributes:
        output_most: the model's published limit of output, which caps every estimate; None: not known.
        journal: where each attempt is written down; None: nowhere.
        lacks: what the newest request that had to wait lacked, `MONEY`, `OWN_MONEY`, `PERMIT` or `PROBE`: leave of the
            store to be a probe, which it was asked for.
    """

    __slots__ = (
        "_counts_tokens",
        "_largest",
        "_limits",
        "breaker",
        "cached_input_is_free",
        "journal",
        "lacks",
        "ledger",
        "limiter",
        "name",
        "output_limit",
        "output_most",
        "output_p95",
        "prices",
        "quota",
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
        limits: RateLimits | None = None,
        cached_input_is_free: bool = False,
    ) -> None:
        self.name = name
        self.limiter = limiter
        self.breaker = breaker
        self.ledger = ledger
        self.quota = quota
        self.prices = prices
        self.output_p95 = output_p95
        self.output_limit = output_limit
        self.output_most: int | None = None
        self.cached_input_is_free = cached_input_is_free
        self.journal: SpendJournal | None = None
        self.lacks = PERMIT
        self._limits = self._largest = RateLimits() if limits is None else limits
        self._counts_tokens = _counts_tokens(self._limits)

    @property
    def limits(self) -> RateLimits:
        """What is in force."""
        return self._limits

    def have_limits(self, limits: RateLimits, *, configured: RateLimits) -> None:
        """Ask for permits under other limits from now on; the limiter itself is told by others.

        A size that the configured limits take is not refused under lower ones: it waits for an empty window.
        """
        self._limits = limits
        self._largest = msgspec.structs.replace(
            configured,
            tokens_per_minute=_larger(limits.tokens_per_minute, configured.tokens_per_minute),
            output_tokens_per_minute=_larger(limits.output_tokens_per_minute, configured.output_tokens_per_minute),
        )
        self._counts_tokens = _counts_tokens(limits)

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
        if self._counts_tokens and call.request.max_tokens is not None:
            self._check_size(call, call.request.max_tokens)
        if not self.breaker.would_admit():
            self.breaker.check().release()

    def _check_size(self, call: Call, asked: int) -> None:
        limits = self._largest
        total, out = limits.tokens_per_minute, limits.output_tokens_per_minute
        if total is not None and call.input_bound + asked > total:
            what, limit = f"input (at most {call.input_bound} tokens) and max_tokens {asked} exceed", total
        elif out is not None and asked > out:
            what, limit = f"max_tokens {asked} exceeds", out
        else:
            return
        raise BadRequest(
            f"{what} the deployment's limit of {limit} tokens per minute; no wait can make room",
            deployment=self.name,
            reason="unacquirable_cost",
        )

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
        permit: Permit | float = 0.0
        ticket = None
        journal = self.journal
        try:
            if journal is not None and (wait := journal.hold_up(call.tenant, pico)):
                _hand_back(call, self, reservation, hold)
                self.lacks = MONEY
                return wait
            permit = self.limiter.take_or_wait(self.permit_for(call))
            if not isinstance(permit, Permit):
                _hand_back(call, self, reservation, hold)
                self.lacks = PERMIT
                return permit
            ticket = self.breaker.check()
            if hold is not None:
                hold.sending()
        except BaseException as refusal:
            if ticket is not None:
                ticket.release()
            if isinstance(permit, Permit):
                permit.refund()
                permit.release()
            _hand_back(call, self, reservation, hold)
            if isinstance(refusal, CircuitOpen) and refusal.reason == PROBE_ASKED and refusal.retry_after is not None:
                self.lacks = PROBE
                return refusal.retry_after
            raise
        call.kept = None
        entry = None if journal is None else journal.open(call.tenant, pico)
        return Grant(slot, permit, ticket, reservation, hold, pico, entry)

    def permit_for(self, call: Call) -> AcquirePermit:
        """Return what an attempt of `call` asks of the limiter: its input bound and the output it may have.

        Never more than a limit ever holds: what comes above it is counted when it has come.
        """
        request = call.request
        if not self._counts_tokens or request.counts:
            return AcquirePermit(priority=call.priority)
        limits = self._limits
        asked = request.max_tokens if request.inputs is None else 0
        out = self.output_p95.value if asked is None else asked
        return AcquirePermit(
            tokens=_at_most(call.input_bound + out, limits.tokens_per_minute),
            input_tokens=_at_most(call.input_bound, limits.input_tokens_per_minute),
            output_tokens=_at_most(out, limits.output_tokens_per_minute),
            priority=call.priority,
        )

    def permit_wait(self, call: Call) -> float:
        """Return the seconds until the limiter would let an attempt of `call` pass."""
        return self.limiter.wait_for(self.permit_for(call))

    def money_wait(self, call: Call) -> float:
        """Return the seconds until the budget has room for an attempt of `call` even if nothing settles."""
        return 0.0 if self.ledger is None else self.ledger.wait_hint(self.estimate_pico(call) or 0)

    def estimate_pico(self, call: Call) -> int | None:
        """Return the most an attempt of `call` can cost in pico-USD, or None when the price is unknown."""
        if call.request.counts:
            return 0
        if self.prices is None:
            return None
        request = call.request
        output = output_bound(request, self.output_limit, most=self.output_most)
        return cost_bound(request, self.prices, input_tokens=call.input_bound, output_tokens=output, when=wall_now())

    def cost_pico(self, usage: Usage, about: Mapping[str, Any] | None = None, age_s: float = 0.0) -> int | None:
        """Return what `usage` costs in pico-USD, or None when the price is unknown.

        Args:
            about: further fields of the answer; they may name the service that gave it.
            age_s: seconds since its attempt began: the price is that of then.
        """
        prices = self.prices_of(about)
        if prices is None:
            return None
        return prices.cost(usage, began(age_s) if prices.is_dated else wall_now())

    def prices_of(self, about: Mapping[str, Any] | None) -> PriceTable | None:
        """Return the prices of the service that gave an answer, by the answer's further fields."""
        prices = self.prices
        if about is None or prices is None or not prices.services:
            return prices
        return prices.of_service(service_of(about))

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
        if self.ledger is None and call.gate is None and self.journal is None:
            return None, None, 0
        kept = call.kept
        if kept is not None and kept.gates is self:
            return kept.reservation, kept.hold, kept.pico
        call.let_money_go()
        estimate = self.estimate_pico(call)
        if estimate is None and getattr(call.gate, "needs_price", False):
            raise BudgetExceeded(
                "the price of its model is unknown, and the caller's spend is capped", reason="price", limited_by="key"
            )
        pico = estimate or 0
        reservation = None
        if self.ledger is not None:
            reservation = self.ledger.try_reserve(pico, admitted_at=call.admitted_at)
            if reservation is None:
                self.lacks = MONEY
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
            self.lacks = OWN_MONEY
            return math.inf
        return reservation, hold, pico


def began(age_s: float) -> datetime:
    """Return the instant of so many seconds ago."""
    return wall_now() - timedelta(seconds=age_s)


def _counts_tokens(limits: RateLimits) -> bool:
    return any((limits.tokens_per_minute, limits.input_tokens_per_minute, limits.output_tokens_per_minute))


def _larger(limit: int | None, configured: int | None) -> int | None:
    """Return the larger of two limits; one that is not configured refuses no size."""
    return None if limit is None or configured is None else max(limit, configured)


def _at_most(amount: int, limit: int | None) -> int:
    return amount if limit is None or amount < limit else limit


def _hand_back(call: Call, gates: Gates, reservation: Reservation | None, hold: SpendHold | None) -> None:
    """Give fresh money back; what a retry has kept stays with it."""
    if call.kept is None or call.kept.gates is not gates:
        _release(reservation, hold)


def _release(reservation: Reservation | None, hold: SpendHold | None) -> None:
    if hold is not None:
        hold.release()
    if reservation is not None:
        reservation.release()
