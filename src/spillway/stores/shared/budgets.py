"""Budgets that hold over all processes that share a store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.remote.cost import STORE_LOST_MEANS
from spillway.stores.shared.money import BudgetSync, BudgetTold
from spillway.stores.shared.purse import LeasedLedger

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.core.options import Budget
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

REPORT_S = 0.1
"""Seconds between two syncs while there is something to report."""

HEARTBEAT_S = 1.0
"""Seconds between two syncs of a budget that nobody spends from; with more than 20 budgets it is longer."""

_HEARTBEATS_A_SECOND = 20
_NAMED = 5
_logger = logging.getLogger("spillway.budget")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BudgetTold).decode


class SharedBudgets:
    """All budgets that one process shares with others.

    Args:
        holder: this process, among all that share the store.
        clock: monotonic seconds.
    """

    def __init__(self, settings: StoreSettings, *, holder: str, syncing: Syncing, clock: Clock) -> None:
        self._settings = settings
        self._holder = holder
        self._syncing = syncing
        self._clock = clock
        self._parts: dict[str, BudgetPart] = {}
        self._closed = False
        self.forgotten = 0
        """How often the store was found to have forgotten something: each budget then tells it what it knows."""

    def ledger(
        self, key: str, budget: Budget | None, *, journal: str = "", limited_by: str = "budget", whose: str = ""
    ) -> LeasedLedger:
        """Return the ledger of `key`, the same one whenever it is asked for.

        Args:
            budget: the caps, as seen from here; with None it takes part once it has one.
            journal: the id of the file that knows what this process alone has spent before; empty: none does.
            limited_by: what a refusal says has refused.
            whose: the words that a refusal begins with.
        """
        known = self._parts.get(key)
        if known is not None:
            known.ledger.set_budget(budget)
            return known.ledger
        keys = tuple(
            f"{self._settings.prefix}{{{key}}}:budget:{what}" for what in ("facts", "nodes", "changes", "gone")
        )
        part = self._parts[key] = BudgetPart(self, keys, holder=self._holder, clock=self._clock, syncing=self._syncing)
        return part.make(budget, silent_s=self._settings.silent_s, journal=journal, limited_by=limited_by, whose=whose)

    def note(self, *, reached: bool) -> None:
        """Take note of whether the store was reached: one line says that budgets close, one that they are open again.

        It is logged once for all of them, for all have the same store.
        """
        if reached and self._closed:
            self._closed = False
            _logger.info("budgets: shared again")
        elif not (reached or self._closed):
            closing = sorted(key for key, part in self._parts.items() if part.ledger.closes)
            if closing:
                self._closed = True
                more = f" and {len(closing) - _NAMED} more" if len(closing) > _NAMED else ""
                _logger.warning("budgets of %s%s: %s", ", ".join(closing[:_NAMED]), more, STORE_LOST_MEANS)

    @property
    def heartbeat_s(self) -> float:
        """Seconds between two syncs of a budget that nobody spends from."""
        return max(HEARTBEAT_S, len(self._parts) / _HEARTBEATS_A_SECOND)

    def __repr__(self) -> str:
        return f"<SharedBudgets {', '.join(self._parts)}>"


class BudgetPart:
    """One budget of this process, as a part of its syncing."""

    ledger: LeasedLedger

    def __init__(
        self, budgets: SharedBudgets, keys: tuple[str, ...], *, holder: str, clock: Clock, syncing: Syncing
    ) -> None:
        self._budgets = budgets
        self._keys = keys
        self._holder = holder
        self._clock = clock
        self._syncing = syncing
        self._last = clock()
        self._told = budgets.forgotten
        self._joined = False
        self._sync: BudgetSync | None = None

    def make(self, budget: Budget | None, *, silent_s: float, **about: str) -> LeasedLedger:
        """Return the ledger, which is synced once it has a cap."""
        self.ledger = LeasedLedger(budget, clock=self._clock, on_want=self.wake, silent_s=silent_s, **about)
        if self.ledger.shared:
            self.wake()
        return self.ledger

    def wake(self) -> None:
        """Have it synced soon, for the first time or again."""
        if self._joined:
            self._syncing.wake()
        else:
            self._joined = True
            self._syncing.add(self)

    def next_sync(self) -> float:
        """Return when it wants to be synced: at once for whoever lacks a lease, soon to report, else to show life."""
        ledger = self.ledger
        if ledger.hurries or self._told != self._budgets.forgotten:
            return self._last
        if ledger.wants:
            return ledger.poll_at
        return self._last + (self._budgets.heartbeat_s if ledger.rests() else REPORT_S)

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        now = self._clock()
        elapsed_s = min(now - self._last, self._budgets.heartbeat_s)
        self._last = now
        self._told = self._budgets.forgotten
        self._sync = self.ledger.begin(holder=self._holder, run=run, elapsed_s=elapsed_s, leaving=leaving)
        return "budgets", self._keys, _encode(self._sync)

    def end(self, answer: Any) -> None:
        """Take what the store answered."""
        sync = self._sync
        self._budgets.note(reached=True)
        if sync is not None and self.ledger.end(sync, _decode(answer), started=self._last):
            self._budgets.forgotten += 1
            self._told = self._budgets.forgotten

    def failed(self) -> None:
        """Go on without the store."""
        self.ledger.failed()
        self._budgets.note(reached=False)
