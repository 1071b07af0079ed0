"""What a request holds while it is with a provider, taken and given back as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.core.reply import Usage
    from spillway.core.spend_journal import SpendEntry
    from spillway.remote.circuit_breaker import BreakerTicket
    from spillway.remote.cost import Reservation
    from spillway.remote.engine.call import SpendHold
    from spillway.remote.engine.slot import WorkerSlot
    from spillway.remote.rate_limit import Permit


class Grant:
    """A slot, a permit of the limiter, a ticket of the breaker and the money for one attempt, written down.

    Invariants: exactly one of `settle` and `undo` ends it; both are idempotent after the first.
    """

    __slots__ = ("_over", "entry", "hold", "permit", "reservation", "reserved_pico", "sent", "slot", "ticket")

    def __init__(
        self,
        slot: WorkerSlot,
        permit: Permit,
        ticket: BreakerTicket,
        reservation: Reservation | None,
        hold: SpendHold | None,
        reserved_pico: int,
        entry: SpendEntry | None = None,
    ) -> None:
        self.slot = slot
        self.permit = permit
        self.ticket = ticket
        self.reservation = reservation
        self.hold = hold
        self.reserved_pico = reserved_pico
        self.entry = entry
        self.sent = False
        self._over = False

    def mark_sent(self) -> None:
        """Note that the last byte of the body is on the wire."""
        if not self.sent:
            self.sent = True
            self.permit.sent()

    def undo(self) -> None:
        """Give everything back but the slot: nothing was sent."""
        if not self._over:
            self._over = True
            self.ticket.release()
            self.permit.refund()
            self.permit.release()
            if self.reservation is not None:
                self.reservation.release()
            if self.hold is not None:
                self.hold.release()
            if self.entry is not None:
                self.entry.close(None, 0)

    def settle(self, usage: Usage | None, cost_pico: int | None, *, streamed: bool = False) -> None:
        """Put what it came to in place of what was reserved.

        The breaker's verdict is given apart from this, where it is known.

        Args:
            usage: the tokens that count; None: not known, so the limiter's estimate stands if it was sent.
            cost_pico: what it cost; None: the money stays reserved, for the next attempt.
            streamed: the output came over time, so it counts from now on instead of from when it was sent.
        """
        if self._over:
            return
        self._over = True
        permit = self.permit
        if not self.sent:
            permit.refund()
        elif usage is not None:
            permit.reconcile(
                usage.input_tokens + usage.output_tokens,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                streamed=streamed,
            )
        permit.release()
        if cost_pico is not None:
            self._money(cost_pico)

    def _money(self, cost_pico: int) -> None:
        if self.reservation is not None:
            self.reservation.settle(cost_pico)
        if self.hold is not None:
            self.hold.settle(cost_pico)
