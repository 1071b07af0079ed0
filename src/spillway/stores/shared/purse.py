"""A budget that several processes share, as one of them keeps it: a ledger whose room is what the store has leased it.

    lease        an amount that the store counts against the caps as this process's, until it is reported or given back
    reservation  is taken from the lease at once; when that is too small it waits, and a sync asks for more
    view         what all have spent, by window and sub-slot, as it was last heard; refusals are by that and own spend

What is known to be spent only grows but for what leaves a window, so a refusal by an old view is never a false one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn

import msgspec

from spillway.core.errors import BudgetExceeded
from spillway.remote.cost import CostLedger, LedgerSnapshot, Reservation, usd_to_pico
from spillway.remote.cost.caps import WINDOWS, cap_key
from spillway.remote.cost.snapshot import SHARED, STORE_LOST
from spillway.remote.cost.window import SpendWindow
from spillway.stores.shared.money import FINEST_S, BudgetSync, BudgetTold
from spillway.stores.shared.port import SILENT_S
from spillway.stores.shared.spent_view import NOW, begin, hear, known, take_out

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.core.options import Budget

POLL_S = 0.05
"""Seconds until a lease that could not be had is asked for again."""

_SURE = 14 / 15
_AHEAD_S = 0.25
_AHEAD_SHARE = 400
_STEADY_S = 2.0
_NEXT_S = 1e-6


class LeasedLedger(CostLedger):
    """A budget that is kept together with other processes; a `CostLedger` to all who spend.

    Args:
        budget: the caps and what happens at them; None: it only counts, and tells nobody before it had caps.
        clock: monotonic seconds.
        on_want: called when somebody waits for a lease: a sync may help.
        silent_s: after so long without a sync the store takes this process for dead.
        journal: the id of the file that knows what this process has spent before; empty: none does.

    Attributes:
        closed: whether the store was not reached at the last try.
        shared: whether it has had caps, so that others must know what is spent.

    Invariants: with `reject` and `throttle`, what is reserved, and spent without having been reported, is never more
        than what the store counts as leased to this process; but for overruns.
    """

    __slots__ = (
        "_batch", "_batch_owed", "_batches", "_calm", "_good_until", "_heard_at", "_journal",
        "_last", "_leased", "_life", "_local", "_made_at", "_need", "_offset", "_on_want", "_others", "_owed",
        "_past", "_pending", "_poll_at", "_rate", "_retell", "_silent_s", "_since", "_starving", "_taken",
        "_turn", "_uncapped", "_view", "closed", "shared",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget | None,
        *,
        clock: Clock,
        on_want: Callable[[], None],
        silent_s: float = SILENT_S,
        journal: str = "",
        limited_by: str = "budget",
        whose: str = "",
    ) -> None:
        self._local = clock
        self._offset = 0.0
        self._on_want = on_want
        self._journal = journal
        self._silent_s = silent_s
        self._past: list[tuple[float, int]] = []
        self._view = tuple(
            SpendWindow(name, 0, width=width, slots=slots, now=clock()) for name, width, slots in WINDOWS
        )
        self._uncapped: tuple[SpendWindow, ...] = ()
        self._life = ""
        self._since = -1
        self._turn = self._batches = 0
        self._retell = False
        self._leased = self._owed = self._batch_owed = 0
        self._pending: dict[int, int] = {}
        self._batch: dict[int, int] | None = None
        self._need = self._taken = self._last = self._others = 0
        self._rate = 0.0
        self._good_until = self._poll_at = -math.inf
        self._made_at = clock()
        self._heard_at = -1.0
        self._starving = self._calm = False
        self.closed = False
        self.shared = False
        super().__init__(budget, clock=self._store_time, limited_by=limited_by, whose=whose)

    def _store_time(self) -> float:
        return self._local() + self._offset

    # What spending asks.

    def check(self) -> None:
        """Refuse a request that need not even wait.

        Raises:
            BudgetExceeded: as of any ledger; or the store is lost and nothing is left of what was leased.
        """
        super().check()
        if self.closed and self._windows and self._mode == "reject" and self._room(self._clock()) <= self._reserved:
            self._refuse_lost()

    def try_reserve(self, pico: int, *, admitted_at: float | None = None) -> Reservation | None:
        """Set `pico` aside, or return None when that must wait for a lease or for others; see `CostLedger`."""
        return super().try_reserve(pico, admitted_at=None if admitted_at is None else admitted_at + self._offset)

    def wait_hint(self, pico: int = 0) -> float:
        """Return the seconds until `pico` may fit; a lease that is not there yet is asked for again soon."""
        now = self._clock()
        wait = 0.0
        for window in self._windows:
            window.advance(now)
            short = window.committed + (pico or 1) - window.cap
            wait = max(wait, window.time_until_free(short, now))
        if wait > 0.0:
            return wait + _NEXT_S
        lacks = bool(self._windows) and self._mode != "warn" and pico > self._room(now) - self._reserved
        return POLL_S if lacks else 0.0

    def charge(self, pico: int, *, age_s: float = 0.0) -> None:
        """Count what was spent without a reservation; before the first sync: in an earlier life of this process."""
        self._spent += pico
        if not self._life:
            self._past.append((age_s, pico))
            return
        now = self._clock()
        slot = math.floor((now - age_s) / FINEST_S)
        self._pending[slot] = self._pending.get(slot, 0) + pico
        for window in self._view:
            window.advance(now)
            window.add(pico, now - age_s)

    def snapshot(self) -> LedgerSnapshot:
        """Return its state: what is committed is everybody's, what is reserved its own."""
        return msgspec.structs.replace(
            super().snapshot(), elsewhere_pico=self._others, mode=STORE_LOST if self.closed else SHARED
        )

    def set_budget(self, budget: Budget | None, past: Iterable[tuple[float, int]] = ()) -> None:
        """Have other caps from now on, as seen from here; what all have spent counts against those that are new.

        Args:
            past: what this process has spent before, for a budget that is not shared yet.
        """
        was_shared = self.shared
        super().set_budget(budget, past)
        if self.shared and not was_shared:
            self._on_want()

    def _set_windows(self, budget: Budget | None, past: Iterable[tuple[float, int]]) -> None:
        capped = []
        for window in self._view:
            cap = None if budget is None else getattr(budget, cap_key(window.name))
            if cap is not None:
                window.cap = usd_to_pico(cap)
                capped.append(window)
        self._mode = "reject" if budget is None else budget.on_exceeded
        self._windows = tuple(capped)
        self._uncapped = tuple(window for window in self._view if window not in capped)
        if capped and not self.shared:
            # From now on its spend is told as it is settled; what was settled before is in the file, if anywhere.
            self._past.extend(past)
            self.shared = True

    def _settle(self, reservation: Reservation, actual: int) -> None:
        if self.shared:
            now = self._clock()
            for window in self._view:
                if now >= window.edge:
                    window.advance(now)
            if not self._made_at <= reservation.admitted_at <= now:
                # Made before the store's time was known, or by a clock that was ahead of it.
                reservation.admitted_at = now
            at = reservation.admitted_at
            if actual:
                slot = math.floor(at / FINEST_S) if self._life else NOW
                self._pending[slot] = self._pending.get(slot, 0) + actual
            self._owed += min(actual, reservation.pico)
            for window in self._uncapped:
                window.add(actual, at)
            self._stir()
        super()._settle(reservation, actual)

    def _undo(self, reservation: Reservation) -> None:
        super()._undo(reservation)
        self._stir()

    def _stir(self) -> None:
        """Have it reported soon that there is something, where nobody waits for that."""
        if self._calm:
            self._calm = False
            self._on_want()

    def _fits(self, pico: int, reserved: int, now: float) -> bool:
        need = pico or 1
        fits = True
        for window in self._windows:
            if now >= window.edge:
                window.advance(now)
            if need > window.cap - window.committed:
                self._at_cap(window, need, now)
                fits = False
        if self._mode == "warn":
            return True
        if not fits:
            return False
        if pico <= self._room(now) - reserved:
            self._taken += pico
            self._last = pico
            return True
        if self.closed and self._mode == "reject":
            self._refuse_lost()
        # What is priced anew has a part of it already.
        self._need = max(self._need, pico - (self._reserved - reserved))
        if now >= self._poll_at:
            self._on_want()
        return False

    def _room(self, now: float) -> int:
        """Return what is leased and not spent, what is reserved included."""
        if now >= self._good_until:
            self._drop()
        return self._leased - self._batch_owed - self._owed

    def _drop(self) -> None:
        """Keep no more of the lease than what was made use of: the store may have taken this process for dead."""
        self._leased = self._reserved + self._batch_owed + self._owed

    def _refuse_lost(self) -> NoReturn:
        raise BudgetExceeded(
            f"{self._whose}the store that keeps the budget of all processes is not reached, and what was leased from "
            "it is used up; nothing more is spent until it answers",
            reason="store_lost",
            limited_by=self._limited_by,
        )

    # Syncing.

    @property
    def closes(self) -> bool:
        """Whether nothing more is spent once the store is lost and the lease is used up."""
        return bool(self._windows) and self._mode != "warn"

    @property
    def wants(self) -> bool:
        """Whether somebody waits for a lease."""
        return self._need > 0

    @property
    def poll_at(self) -> float:
        """The instant before which the store would say no again."""
        return self._poll_at - self._offset

    @property
    def hurries(self) -> bool:
        """Whether the store is to be told at once: it has forgotten something, or others wait for what is left here."""
        return self._retell or (self._starving and self._leased > self._reserved + self._batch_owed + self._owed)

    def rests(self) -> bool:
        """Return whether there is nothing to report and nothing to give back; it asks to be synced when there is."""
        self._calm = not self._pending and self._batch is None and self._leased <= self._reserved
        return self._calm

    def begin(self, *, holder: str, run: str, elapsed_s: float, leaving: bool) -> BudgetSync:
        """Return what to tell the store; `end` or `failed` follows.

        Args:
            elapsed_s: since the sync before, for the rate.
        """
        now = self._clock()
        if now >= self._good_until:
            self._drop()
        self._turn += 1
        if self._batch is None:
            self._batches += 1
            self._batch, self._pending = self._pending, {}
            self._batch_owed, self._owed = self._owed, 0
        used = self._reserved + self._batch_owed + self._owed
        # Who sends over the cap claims what that takes.
        self._leased = max(self._leased, used)
        ahead = self._ahead(elapsed_s)
        need, spare = self._need, self._leased - used
        kept = 0 if leaving or self._starving else min(spare, 2 * ahead + need)
        self._leased -= spare - kept
        self._need = 0
        tells = self._retell and bool(self._life)
        return BudgetSync(
            holder=holder,
            run=run,
            turn=self._turn,
            life=self._life,
            leaving=leaving,
            silent_ms=round(self._silent_s * 1000),
            caps=[str(w.cap) if w in self._windows else "" for w in self._view],
            held=str(self._leased - self._batch_owed),
            batch=self._batches,
            spent=[(slot, str(pico)) for slot, pico in self._batch.items()],
            need=str(max(0, need - kept)),
            want=str(max(0, need + ahead - kept)),
            since=-1 if tells else self._since,
            view=known(self._view, now, self._pending, self._batch) if tells else None,
            view_at=self._since if tells else -1,
            others=str(self._others),
            heard_at=self._heard_at,
            journal=self._journal,
            past=[(age_s * 1000.0, str(pico)) for age_s, pico in self._past] or None,
        )

    def end(self, sync: BudgetSync, told: BudgetTold, *, started: float) -> bool:
        """Take what a sync brought; return whether the store has another life than it was known to have.

        Args:
            started: when it began, by the clock of this process.
        """
        self.closed = False
        first = not self._life
        fresh = told.life != self._life and not first
        self._offset = (told.now + 1.0) / 1000.0 - started
        now = self._clock()
        grant = int(told.grant)
        if first:
            begin(self._view, now, self._pending)
        else:
            take_out(self._view, now, self._batch or {})
        self._leased += grant - self._batch_owed
        self._batch, self._batch_owed = None, 0
        self._retell = fresh and sync.view is None
        if first:
            self._made_at = now - (self._local() - self._made_at)
        if not self._retell:
            self._life, self._since = told.life, told.version
            self._past = []
            hear(self._view, now, told.told if isinstance(told.told, list) else [], self._pending)
            self._heard_at = told.now
            self._others = max(0, int(told.held) - int(sync.held) - grant)
        self._good_until = started + self._offset + self._silent_s * _SURE
        # What has just come is for somebody who waits here.
        self._starving = told.starving and not grant
        self._poll_at = -math.inf
        if int(sync.need) > 0 and not grant:
            self._poll_at = now + max(POLL_S, told.ready_in / 1000.0)
        if self._starved:
            self._tell_room()
        return fresh

    def failed(self) -> None:
        """Take note that the store was not reached; whether it heard what it was told is not known."""
        self.closed = True
        self._poll_at = self._clock() + POLL_S
        if self._starved:
            self._tell_room()

    def _ahead(self, elapsed_s: float) -> int:
        """Return what is likely reserved in the next quarter of a second; nothing where little is.

        It is little of a cap, because what a process that is killed has ahead counts as spent.
        """
        if elapsed_s > 0:
            self._rate += (self._taken / elapsed_s - self._rate) * 0.3
        self._taken = 0
        if self._rate * _STEADY_S < self._last:
            return 0
        most = min((window.cap for window in self._windows), default=0) // _AHEAD_SHARE
        return max(min(math.ceil(self._rate * _AHEAD_S), most), self._last)

    def __repr__(self) -> str:
        return super().__repr__().replace("<CostLedger", "<LeasedLedger", 1)
