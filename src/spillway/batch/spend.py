"""The run's own cap on spending, and the record of each send that makes it hold over kills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from spillway.core.errors import BudgetExceeded
from spillway.remote.cost import pico_to_usd

RUN_CAP = "max_cost"
"""The `reason` of a BudgetExceeded that speaks of the run's cap, not of a deployment's budget."""


class SendLog(Protocol):
    """Where sends are recorded."""

    def send(self, number: int, pico: int, paid: int) -> None:
        """Record that an attempt of a line is about to be sent.

        Raises:
            InferenceError: it can't be recorded, so it must not be sent.
        """
        ...


class RunBudget:
    """What a run has paid and has set aside, in pico-USD.

    Invariants: with a cap, what was paid and what is set aside never exceed it together.

    Args:
        cap_pico: None: no cap.
        paid_pico: of earlier processes, with what they had set aside when they ended.
    """

    __slots__ = ("_rooms", "cap_pico", "closed", "paid_pico", "reserved_pico")

    def __init__(self, cap_pico: int | None = None, *, paid_pico: int = 0) -> None:
        self.cap_pico = cap_pico
        self.paid_pico = paid_pico
        self.reserved_pico = 0
        self.closed = False
        self._rooms: dict[Callable[[], None], int] = {}

    def try_reserve(self, pico: int) -> bool:
        """Set `pico` aside; False: it must wait for others to settle.

        Raises:
            BudgetExceeded: it does not fit under what was paid, or the run has stopped for that reason.
        """
        cap = self.cap_pico
        if cap is not None:
            if self.closed or self.paid_pico + pico > cap:
                error = BudgetExceeded(
                    f"the next line may cost {pico_to_usd(pico):.6g} USD; of {pico_to_usd(cap):g} USD, "
                    f"{pico_to_usd(self.paid_pico):.6g} are spent",
                    reason=RUN_CAP,
                )
                error.final = True
                raise error
            if self.paid_pico + self.reserved_pico + pico > cap:
                return False
        self.reserved_pico += pico
        return True

    def settle(self, reserved: int, actual: int) -> None:
        """Put what it came to in place of what was set aside."""
        self.reserved_pico -= reserved
        self.paid_pico += actual
        for callback in tuple(self._rooms):
            callback()

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once whenever something was settled, however often it is given; returns how to stop that."""
        rooms = self._rooms
        rooms[callback] = rooms.get(callback, 0) + 1

        def stop() -> None:
            left = rooms.get(callback, 0) - 1
            if left > 0:
                rooms[callback] = left
            else:
                rooms.pop(callback, None)

        return stop

    def __repr__(self) -> str:
        cap = "no cap" if self.cap_pico is None else f"cap {pico_to_usd(self.cap_pico):g}"
        return f"<RunBudget {pico_to_usd(self.paid_pico):g} paid, {pico_to_usd(self.reserved_pico):g} reserved, {cap}>"


class LineGate:
    """One line's door to the run's budget; knows the line's number.

    Attributes:
        paid: what its settled attempts came to and no record tells of yet.
        sent: whether the newest record of the line is that of a send.
    """

    __slots__ = ("_budget", "_log", "_number", "paid", "sent")

    def __init__(self, number: int, budget: RunBudget, log: SendLog) -> None:
        self._number = number
        self._budget = budget
        self._log = log
        self.paid = 0
        self.sent = False

    def reserve(self, deployment: str, pico_usd: int) -> LineHold | None:
        """Set the estimate aside, or return None when that must wait for others to settle.

        Raises:
            BudgetExceeded: it does not fit even alone.
        """
        del deployment
        return LineHold(self, pico_usd) if self._budget.try_reserve(pico_usd) else None

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever something was settled; returns how to stop that."""
        return self._budget.on_room(callback)

    def take_paid(self) -> int:
        """Return what no record tells of yet, for the record that is written now."""
        paid, self.paid = self.paid, 0
        self.sent = False
        return paid

    def record_send(self, pico: int) -> None:
        """Write the record of a send."""
        self._log.send(self._number, pico, self.take_paid())
        self.sent = True

    def settle(self, reserved: int, actual: int) -> None:
        """Put what an attempt came to in place of what was set aside for it."""
        self.paid += actual
        self._budget.settle(reserved, actual)


class LineHold:
    """Money set aside for one line's attempts; the first `settle` or `release` ends it."""

    __slots__ = ("_gate", "_over", "_pico")

    def __init__(self, gate: LineGate, pico: int) -> None:
        self._gate = gate
        self._pico = pico
        self._over = False

    def sending(self) -> None:
        """Record that an attempt is about to be sent.

        Raises:
            InferenceError: it can't be recorded.
        """
        self._gate.record_send(self._pico)

    def settle(self, pico_usd: int) -> None:
        """Replace what was set aside by what it cost."""
        if not self._over:
            self._over = True
            self._gate.settle(self._pico, pico_usd)

    def release(self) -> None:
        """Give all of it back."""
        self.settle(0)
