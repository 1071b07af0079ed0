"""Who asks: gateway keys, what each may ask for, how much of it, and what it has spent."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from spillway.core.errors import BudgetExceeded, InferenceError, InvalidApiKey, ModelNotFound, RateLimited
from spillway.core.limit_store import AcquirePermit
from spillway.core.options import Budget, RateLimits
from spillway.core.priority import Priority
from spillway.core.secrets import Secret
from spillway.remote.cost import CostLedger
from spillway.remote.rate_limit import Permit, RateLimiterActor
from spillway.runtime.project import GatewayKey

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.core.reply import Usage
    from spillway.remote.cost import Reservation

LONGEST_KEY = 512
"""Characters of a key; a longer one is refused unread."""

_NOBODY = GatewayKey(name="open", key=Secret("-"), max_priority="critical")
"""Who asks where no key is asked for."""


class Caller:
    """One gateway key and what it may do.

    Attributes:
        name: the key's name; the tenant of its requests.
        ledger: what it has spent, against its cap.
    """

    def __init__(self, settings: GatewayKey, clock: Clock) -> None:
        self.name = settings.name
        self._models = settings.models
        self._ceiling = Priority.parse(settings.max_priority)
        limits = RateLimits(
            requests_per_minute=settings.requests_per_minute, tokens_per_minute=settings.tokens_per_minute
        )
        self.limits = limits
        self._limiter = RateLimiterActor(f"key {settings.name}", limits, clock=clock).handle()
        budget = None
        if settings.max_spend_per_day_usd is not None:
            budget = Budget(max_spend_per_day_usd=settings.max_spend_per_day_usd)
        self.ledger = CostLedger(budget, clock=clock, limited_by="key")

    def may_ask(self, model: str) -> bool:
        """Whether the key is for `model`, a name or group."""
        return not self._models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self._models)

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

    def admit(self, tokens: int) -> Permit:
        """Take a permit for one request of about so many tokens.

        Raises:
            RateLimited: the key's own limit has no room; `retry_after` says when.
            BudgetExceeded: the key's cap is spent.
        """
        self.ledger.check()
        limit = self.limits.tokens_per_minute
        try:
            return self._limiter.try_acquire(AcquirePermit(tokens=tokens if limit is None else min(tokens, limit)))
        except RateLimited as error:
            error.limited_by = "key"
            raise

    def gate(self) -> KeyGate:
        """Return what a request of this key must pass to spend."""
        return KeyGate(self.ledger)

    def __repr__(self) -> str:
        return f"<Caller {self.name}>"


class KeyGate:
    """A key's cap as the engines' `SpendGate`."""

    def __init__(self, ledger: CostLedger) -> None:
        self._ledger = ledger
        self.spent_pico = 0

    def reserve(self, deployment: str, pico_usd: int) -> KeyHold | None:
        """Set an estimate aside; None: others must settle first."""
        del deployment
        reservation = self._ledger.try_reserve(pico_usd)
        return None if reservation is None else KeyHold(self, reservation)

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when something was settled or given back."""
        return self._ledger.on_room(callback)


class KeyHold:
    """Money of a key, set aside for one attempt."""

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


class Callers:
    """All keys of a gateway.

    Args:
        keys: with their secrets.
        clock: monotonic seconds.

    Without a key everybody is `open`, which the command allows on loopback only.
    """

    def __init__(self, keys: Iterable[tuple[GatewayKey, Secret]], clock: Clock) -> None:
        self._by_digest: dict[bytes, Caller] = {
            _digest(secret.reveal()): Caller(settings, clock) for settings, secret in keys
        }
        self._nobody = None if self._by_digest else Caller(_NOBODY, clock)

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return self._nobody is not None

    @property
    def every(self) -> list[Caller]:
        """All callers with a key."""
        return list(self._by_digest.values())

    def identify(self, headers: Mapping[str, str], repeated: Iterable[str]) -> Caller:
        """Return who shows which key, in `Authorization: Bearer` or `x-api-key`.

        Raises:
            InvalidApiKey: none, more than one, or one that is not known.
        """
        if self._nobody is not None:
            return self._nobody
        if {"authorization", "x-api-key"} & set(repeated):
            raise InvalidApiKey("more than one key was shown")
        key = headers.get("x-api-key", "")
        if not key:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            key = token if scheme.lower() == "bearer" else ""
        if not key:
            raise InvalidApiKey("no key was shown; send it as Authorization: Bearer")
        if len(key) > LONGEST_KEY:
            raise InvalidApiKey("the key is not valid")
        shown = _digest(key)
        found: Caller | None = None
        for known, caller in self._by_digest.items():
            # Every key is compared, so that the time tells nothing of which was near.
            if hmac.compare_digest(known, shown):
                found = caller
        if found is None:
            raise InvalidApiKey("the key is not valid")
        return found


def settle(permit: Permit, usage: Usage | None, *, sent: bool) -> None:
    """Put what a request came to in place of what its key's limit was charged."""
    if not sent:
        permit.refund()
    else:
        permit.sent()
        if usage is not None:
            permit.reconcile(usage.total_tokens)
    permit.release()


def of_key(error: InferenceError) -> None:
    """Write on `error` that it is the key's where it is."""
    if isinstance(error, BudgetExceeded) and error.deployment is None:
        error.limited_by = "key"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
