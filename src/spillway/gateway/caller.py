"""One gateway key at work: what it may ask for, how much of it, and what it has spent."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from spillway.core.errors import BadRequest, BudgetExceeded, InferenceError, ModelNotFound, RateLimited
from spillway.core.limit_store import AcquirePermit
from spillway.core.options import Budget, RateLimits
from spillway.core.priority import Priority
from spillway.remote.cost import CostLedger, OutputP95
from spillway.remote.rate_limit import Permit, RateLimiterActor

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.core.limit_store import LimitsSnapshot
    from spillway.core.reply import Usage
    from spillway.remote.cost import Reservation
    from spillway.remote.rate_limit import RateLimiterHandle
    from spillway.runtime.project import GatewayKey
    from spillway.stores.shared import Sharing


_MOST_KNOWN = 256


class Caller:
    """One gateway key and what it may do.

    Args:
        settings: its name and limits.
        clock: monotonic seconds.
        past: `(age in seconds, pico-USD)` of what it has spent before.
        sharing: through which its limits and its cap hold over several gateways; None: over this one.
        journal: the id of the file that knows `past`.

    Attributes:
        name: the key's name; the tenant of its requests.
        settings: as they are now.
        ledger: what it has spent, against its cap.
    """

    def __init__(
        self,
        settings: GatewayKey,
        clock: Clock,
        past: Iterable[tuple[float, int]] = (),
        *,
        sharing: Sharing | None = None,
        journal: str = "",
    ) -> None:
        self.name = settings.name
        self._clock = clock
        self._sharing = sharing
        self.settings = settings
        self.limits = _limits(settings)
        self._models = settings.models
        self._known: set[str] = set()
        self._ceiling = Priority.parse(settings.max_priority)
        self._limits_are_shared = False
        self._limiter = self._limiter_of(self.limits)
        self._output_p95 = OutputP95()
        self.ledger = self._ledger(journal)
        for age_s, pico in past:
            self.ledger.charge(pico, age_s=age_s)

    @property
    def models(self) -> tuple[str, ...]:
        """Names or patterns of what it may ask for; empty: everything."""
        return self._models

    @property
    def ceiling(self) -> Priority:
        """The highest class it may ask for."""
        return self._ceiling

    @property
    def capped(self) -> bool:
        """Whether what it may spend has an end."""
        return self.settings.max_spend_per_day_usd is not None

    def apply(self, settings: GatewayKey, past: Iterable[tuple[float, int]] = ()) -> None:
        """Have other limits from now on; what it has used and spent still counts.

        Args:
            past: what it has spent, for a cap where it had none.
        """
        if settings == self.settings:
            return
        self.settings = settings
        self._models = settings.models
        self._known.clear()
        self._ceiling = Priority.parse(settings.max_priority)
        limits = _limits(settings)
        if limits != self.limits:
            self.limits = limits
            if self._sharing is None or self._limits_are_shared or limits == RateLimits():
                self._limiter.set_limits(limits)
            else:
                self._limiter = self._limiter_of(limits)
        self.ledger.set_budget(_budget(settings), past)

    def may_ask(self, model: str) -> bool:
        """Whether the key is for `model`, a name or group; a group's members are reached through the group then."""
        if model in self._known:
            return True
        may = not self._models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self._models)
        if may and len(self._known) < _MOST_KNOWN:
            self._known.add(model)
        return may

    def check_model(self, model: str) -> None:
        """Raise ModelNotFound for what the key is not for: to its holder it does not exist."""
        if not self.may_ask(model):
            raise ModelNotFound(f"no deployment or group {model[:200]!r} for this key")

    def priority(self, asked: str | None) -> Priority:
        """Return the class of a request: what it asks for, never above the key's ceiling.

        Raises:
            ValueError: there is no such class.
        """
        wanted = Priority.NORMAL if asked is None else Priority.parse(asked)
        return min(wanted, self._ceiling)

    def admit(self, input_tokens: int, max_tokens: int | None = None) -> Permit:
        """Take a permit for one request.

        Args:
            input_tokens: an upper bound of its input.
            max_tokens: the longest answer it asks for; None: it does not say, and what answers of this key mostly
                need is set aside.

        Raises:
            RateLimited: the key's own limit has no room; `retry_after` says exactly when it has.
            BadRequest: it asks for more tokens than the limit ever holds.
            BudgetExceeded: the key's cap is spent.
        """
        self.ledger.check()
        limit = self.limits.tokens_per_minute
        tokens = 0
        if limit is not None:
            tokens = input_tokens + (self._output_p95.value if max_tokens is None else max_tokens)
            if max_tokens is not None and tokens > limit:
                raise BadRequest(
                    f"{self._whose}: input (at most {input_tokens} tokens) and max_tokens {max_tokens} exceed its "
                    f"limit of {limit} tokens per minute; no wait can make room",
                    param="max_tokens",
                )
            tokens = min(tokens, limit)
        try:
            return self._limiter.try_acquire(AcquirePermit(tokens=tokens))
        except RateLimited as error:
            error.limited_by = "key"
            error.args = (f"{self._whose}: {self._words()} are used up",)
            raise

    def settle(self, permit: Permit, usage: Usage | None, *, sent: bool) -> None:
        """Put what a request came to in place of what the limit was charged."""
        if usage is not None:
            self._output_p95.record(usage.output_tokens)
        settle(permit, usage, sent=sent)

    def used(self) -> LimitsSnapshot:
        """Return its limits and what is taken of them."""
        return self._limiter.snapshot()

    def gate(self) -> KeyGate:
        """Return what a request of this key must pass to spend."""
        return KeyGate(self.ledger, needs_price=self.capped)

    def _limiter_of(self, limits: RateLimits) -> RateLimiterHandle:
        """Return a limiter: what limits nothing is nobody else's business."""
        sharing = self._sharing
        if sharing is None or limits == RateLimits():
            return RateLimiterActor(f"key {self.name}", limits, clock=self._clock).handle()
        self._limits_are_shared = True
        key = f"keys:{self.name}"
        return RateLimiterActor(sharing.node, limits, clock=self._clock, store=sharing.approximate, key=key).handle()

    def _ledger(self, journal: str) -> CostLedger:
        budget = _budget(self.settings)
        if self._sharing is None:
            return CostLedger(budget, clock=self._clock, limited_by="key", whose=self._whose)
        key = f"keys:{self.name}"
        return self._sharing.budgets.ledger(key, budget, journal=journal, limited_by="key", whose=self._whose)

    @property
    def _whose(self) -> str:
        return f"key {self.name!r}"

    def _words(self) -> str:
        limits = self.limits
        said = [
            f"{limit:,} {what} per minute"
            for limit, what in ((limits.requests_per_minute, "requests"), (limits.tokens_per_minute, "tokens"))
            if limit is not None
        ]
        return f"its {' or '.join(said)}"

    def __repr__(self) -> str:
        return f"<Caller {self.name}>"


class KeyGate:
    """A key's cap as the engines' `SpendGate`, for one request.

    Attributes:
        purse: what all gates of one key spend from.
        needs_price: whether nothing may be asked whose price is unknown, because a cap could not count it.
        spent_pico: what its attempts have cost.
    """

    __slots__ = ("needs_price", "purse", "spent_pico")

    def __init__(self, ledger: CostLedger, *, needs_price: bool = False) -> None:
        self.purse = ledger
        self.needs_price = needs_price
        self.spent_pico = 0

    def reserve(self, deployment: str, pico_usd: int) -> KeyHold | None:
        """Set an estimate aside; None: others must settle first."""
        del deployment
        reservation = self.purse.try_reserve(pico_usd)
        return None if reservation is None else KeyHold(self, reservation)

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when something was settled or given back."""
        return self.purse.on_room(callback)


class KeyHold:
    """Money of a key, set aside for one attempt."""

    __slots__ = ("_gate", "_reservation")

    def __init__(self, gate: KeyGate, reservation: Reservation) -> None:
        self._gate = gate
        self._reservation = reservation

    def sending(self) -> None:
        """Do nothing: every estimate was already set aside."""

    def settle(self, pico_usd: int) -> None:
        """Put what it cost in place of what was set aside."""
        self._gate.spent_pico += pico_usd
        self._reservation.settle(pico_usd)

    def release(self) -> None:
        """Give it back."""
        self._reservation.release()


def settle(permit: Permit, usage: Usage | None, *, sent: bool) -> None:
    """Put what a request came to in place of what its key's limit was charged."""
    if not sent:
        permit.refund()
    elif usage is not None:
        permit.reconcile(usage.total_tokens)
    else:
        permit.sent()
    permit.release()


def of_key(error: InferenceError) -> None:
    """Write on `error` that it is the key's where it is."""
    if isinstance(error, BudgetExceeded) and error.deployment is None:
        error.limited_by = "key"


def _limits(settings: GatewayKey) -> RateLimits:
    return RateLimits(requests_per_minute=settings.requests_per_minute, tokens_per_minute=settings.tokens_per_minute)


def _budget(settings: GatewayKey) -> Budget | None:
    cap = settings.max_spend_per_day_usd
    return None if cap is None else Budget(max_spend_per_day_usd=cap)
