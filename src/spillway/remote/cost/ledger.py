"""What has been spent and what is set aside, against caps on rolling windows."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from spillway.core.errors import BudgetExceeded
from spillway.remote.cost.caps import WINDOWS, cap_key
from spillway.remote.cost.money import pico_to_usd, usd_to_pico
from spillway.remote.cost.snapshot import LedgerSnapshot, WindowSnapshot
from spillway.remote.cost.window import SpendWindow

if TYPE_CHECKING:
    from spillway.core.options import Budget

_logger = logging.getLogger("spillway.budget")

_LOG_EVERY_S = 60.0
_MARGIN_S = 1e-6


class Reservation:
    """Money set aside for one request; ends with `settle` or `release`, after which both do nothing.

    Attributes:
        pico: what it holds, in pico-USD.
        admitted_at: the instant whose sub-slots it will be charged to.
    """

    __slots__ = ("_ledger", "admitted_at", "open", "pico")

    def __init__(self, ledger: CostLedger, pico: int, admitted_at: float) -> None:
        self._ledger = ledger
        self.pico = pico
        self.admitted_at = admitted_at
        self.open = True

    def settle(self, actual_pico: int) -> None:
        """Put what it cost in place of what was set aside; more than that is counted as an overrun."""
        if self.open:
            self.open = False
            self._ledger._settle(self, actual_pico)  # noqa: SLF001 - a reservation is its ledger's own

    def release(self) -> None:
        """Give all of it back."""
        if self.open:
            self.open = False
            self._ledger._release(self)  # noqa: SLF001 - see settle

    def reprice(self, pico: int) -> bool:
        """Hold `pico` instead, or return False and change nothing when that must wait for others to settle.

        Raises:
            BudgetExceeded: `pico` does not fit under a cap even alone.
        """
        return self.open and self._ledger._reprice(self, pico)  # noqa: SLF001 - see settle

    def __repr__(self) -> str:
        return f"<Reservation {pico_to_usd(self.pico):g} USD{'' if self.open else ', ended'}>"


class CostLedger:
    """The budget of a deployment, or of whoever else may spend; it belongs to one event loop.

    Args:
        budget: the caps and what happens at them; None: it only counts.
        clock: monotonic seconds.
        limited_by: what a refusal says has refused.
        whose: the words that a refusal begins with, e.g. `key 'a'`.

    Invariants: with `on_exceeded` other than `warn`, committed + reserved <= cap in every window after every operation
        in which no settlement was above its reservation. Each pico-dollar reserved is settled or released once.

    Complexity: O(caps) an operation, below 1 µs each.
    """

    __slots__ = (
        "_again_at",
        "_clock",
        "_limited_by",
        "_listeners",
        "_mode",
        "_open",
        "_overrun_pico",
        "_overruns",
        "_requests",
        "_reserved",
        "_spent",
        "_starved",
        "_whose",
        "_windows",
    )

    def __init__(
        self, budget: Budget | None, *, clock: Callable[[], float], limited_by: str = "budget", whose: str = ""
    ) -> None:
        self._clock = clock
        self._limited_by = limited_by
        self._whose = f"{whose}: " if whose else ""
        self._mode = "reject"
        self._windows: tuple[SpendWindow, ...] = ()
        self._set_windows(budget, ())
        self._reserved = 0
        self._open = 0
        self._spent = 0
        self._requests = 0
        self._overruns = 0
        self._overrun_pico = 0
        self._starved = False
        self._listeners: dict[object, Callable[[], object]] = {}
        self._again_at = {"warn": -math.inf, "overrun": -math.inf}

    def check(self) -> None:
        """Refuse a request that need not even wait, because a window is spent.

        Raises:
            BudgetExceeded: with `reject`, committed >= cap in a window; with `throttle`, a cap is 0.
        """
        windows = self._windows
        if not windows:
            return
        now = self._clock()
        for window in windows:
            if now >= window.edge:
                window.advance(now)
            if window.committed >= window.cap:
                self._at_cap(window, 1, now)

    def try_reserve(self, pico: int, *, admitted_at: float | None = None) -> Reservation | None:
        """Set `pico` aside, or return None when that must wait; `on_room` and `wait_hint` tell for how long.

        Args:
            pico: the estimate in pico-USD.
            admitted_at: the instant whose sub-slots it is charged to; None: now.

        Raises:
            BudgetExceeded: with `reject`, committed + `pico` > cap; with `throttle`, `pico` > cap.
        """
        now = self._clock()
        if self._windows and not self._fits(pico, self._reserved, now):
            self._starved = True
            return None
        self._reserved += pico
        self._open += 1
        return Reservation(self, pico, now if admitted_at is None or admitted_at > now else admitted_at)

    def wait_hint(self, pico: int = 0) -> float:
        """Return the seconds until `pico` fits even if nothing settles; `inf` when only a settlement makes room."""
        now = self._clock()
        wait = 0.0
        for window in self._windows:
            window.advance(now)
            short = window.committed + self._reserved + (pico or 1) - window.cap
            wait = max(wait, window.time_until_free(short, now))
        return wait if wait in {0.0, math.inf} else wait + _MARGIN_S

    def charge(self, pico: int, *, age_s: float = 0.0) -> None:
        """Count what was spent `age_s` seconds ago without a reservation, e.g. before a restart."""
        now = self._clock()
        self._spent += pico
        for window in self._windows:
            window.advance(now)
            window.add(pico, now - age_s)

    def set_budget(self, budget: Budget | None, past: Iterable[tuple[float, int]] = ()) -> None:
        """Have other caps from now on; windows that it has had before keep what they count.

        Args:
            past: `(age in seconds, pico-USD)` of what a window that is new is to begin with.
        """
        self._set_windows(budget, past)
        if self._starved:
            self._tell_room()

    def on_room(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when something was settled or given back while somebody waits; returns how to stop that.

        It is called inside `settle` and `release`, and may reserve and release in turn.
        """
        ticket = object()
        self._listeners[ticket] = callback

        def stop() -> None:
            self._listeners.pop(ticket, None)

        return stop

    @property
    def spent_pico(self) -> int:
        """Everything settled and charged since it was made."""
        return self._spent

    @property
    def reserved_pico(self) -> int:
        """What open reservations hold."""
        return self._reserved

    def snapshot(self) -> LedgerSnapshot:
        """Return its state now."""
        now = self._clock()
        windows = []
        for window in self._windows:
            window.advance(now)
            frees = window.time_until_free(1, now)
            windows.append(
                WindowSnapshot(
                    name=window.name,
                    cap_pico=window.cap,
                    committed_pico=window.committed,
                    frees_in_s=None if frees == math.inf else frees,
                )
            )
        return LedgerSnapshot(
            spent_pico=self._spent,
            reserved_pico=self._reserved,
            requests=self._requests,
            open=self._open,
            overruns=self._overruns,
            overrun_pico=self._overrun_pico,
            on_exceeded=self._mode,
            windows=tuple(windows),
        )

    def __repr__(self) -> str:
        caps = "".join(f", {w.name} {pico_to_usd(w.committed):g} of {pico_to_usd(w.cap):g}" for w in self._windows)
        held = f"spent {pico_to_usd(self._spent):g} reserved {pico_to_usd(self._reserved):g}{caps} USD"
        return f"<CostLedger {self._mode} {held}>"

    def _set_windows(self, budget: Budget | None, past: Iterable[tuple[float, int]]) -> None:
        now = self._clock()
        known = {window.name: window for window in self._windows}
        windows = []
        for name, width, slots in WINDOWS:
            cap = None if budget is None else getattr(budget, cap_key(name))
            if cap is None:
                continue
            window = known.get(name)
            if window is None:
                window = SpendWindow(name, usd_to_pico(cap), width=width, slots=slots, now=now)
                for age_s, pico in past:
                    window.add(pico, now - age_s)
            window.cap = usd_to_pico(cap)
            windows.append(window)
        self._mode = "reject" if budget is None else budget.on_exceeded
        self._windows = tuple(windows)

    # What reservations ask of it.

    def _settle(self, reservation: Reservation, actual: int) -> None:
        reserved = reservation.pico
        self._reserved -= reserved
        self._open -= 1
        self._spent += actual
        self._requests += 1
        for window in self._windows:
            window.add(actual, reservation.admitted_at)
        if actual > reserved:
            self._overrun(actual - reserved)
        if self._starved:
            # Without room too: who waited for this settlement may have nothing left to wait for.
            self._tell_room()

    def _release(self, reservation: Reservation) -> None:
        self._undo(reservation)
        if self._starved:
            self._tell_room()

    def _undo(self, reservation: Reservation) -> None:
        reservation.open = False
        self._reserved -= reservation.pico
        self._open -= 1

    def _reprice(self, reservation: Reservation, pico: int) -> bool:
        others = self._reserved - reservation.pico
        if pico > reservation.pico and self._windows and not self._fits(pico, others, self._clock()):
            self._starved = True
            return False
        cheaper = pico < reservation.pico
        self._reserved = others + pico
        reservation.pico = pico
        if cheaper and self._starved:
            self._tell_room()
        return True

    def _fits(self, pico: int, reserved: int, now: float) -> bool:
        """Return whether `pico` fits into every window beside `reserved`; at a cap do what the mode says."""
        need = pico or 1
        fits = True
        for window in self._windows:
            if now >= window.edge:
                window.advance(now)
            room = window.cap - window.committed
            if need > room - reserved:
                if need > room:
                    self._at_cap(window, need, now)
                fits = False
        return fits or self._mode == "warn"

    def _at_cap(self, window: SpendWindow, need: int, now: float) -> None:
        if self._mode == "warn":
            if self._may_log("warn", now):
                _logger.warning("budget exceeded, sending all the same: %s", _spent_words(window))
        elif self._mode == "reject" or need > window.cap:
            self._refuse(need, now)

    def _refuse(self, need: int, now: float) -> NoReturn:
        """Refuse for the window that takes longest to make room."""
        wait, window = -1.0, self._windows[0]
        for each in self._windows:
            each.advance(now)
            frees = each.time_until_free(each.committed + need - each.cap, now)
            if frees > wait:
                wait, window = frees, each
        asked = "" if need == 1 else f"; the request may cost {pico_to_usd(need):g} USD"
        raise BudgetExceeded(
            self._whose + _spent_words(window) + asked,
            reason=window.name,
            retry_after=None if wait == math.inf else wait,
            limited_by=self._limited_by,
        )

    def _overrun(self, pico: int) -> None:
        self._overruns += 1
        self._overrun_pico += pico
        if self._may_log("overrun", self._clock()):
            _logger.warning(
                "a request cost %g USD more than was reserved for it; %d such since the start",
                pico_to_usd(pico),
                self._overruns,
            )

    def _may_log(self, what: str, now: float) -> bool:
        if now < self._again_at[what]:
            return False
        self._again_at[what] = now + _LOG_EVERY_S
        return True

    def _tell_room(self) -> None:
        self._starved = False
        for callback in tuple(self._listeners.values()):
            callback()


def reserve_all(
    ledgers: Sequence[CostLedger], pico: int, *, admitted_at: float | None = None
) -> list[Reservation] | None:
    """Set `pico` aside in every ledger or in none; None when that must wait.

    Raises:
        BudgetExceeded: the first refusal; no ledger is changed.
    """
    taken: list[Reservation] = []
    waits = False
    complete = False
    try:
        for ledger in ledgers:
            reservation = ledger.try_reserve(pico, admitted_at=admitted_at)
            if reservation is None:
                waits = True
            else:
                taken.append(reservation)
        complete = not waits
    finally:
        if not complete:
            for reservation in taken:
                reservation._ledger._undo(reservation)  # noqa: SLF001 - nobody may be woken for room that never went
    return taken if complete else None


def _spent_words(window: SpendWindow) -> str:
    return (
        f"{pico_to_usd(window.committed):g} of {pico_to_usd(window.cap):g} USD are spent in the last {window.name} "
        f"({cap_key(window.name)})"
    )
