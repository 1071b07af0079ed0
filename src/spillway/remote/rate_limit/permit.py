"""The permit a caller holds from the moment it is let through until it is settled."""

from __future__ import annotations

from spillway.core.clock import Clock, loop_clock
from spillway.core.limit_store import HELD, OVER, AcquirePermit, Lease, SharedLimits


class Desk:
    """What permits and their handle work with: the windows, their lock, who listens for room, the time."""

    __slots__ = ("clock", "lock", "room", "windows")

    def __init__(self, shared: SharedLimits, clock: Clock | None) -> None:
        self.windows = shared.windows
        self.lock = shared.lock
        self.room = shared.room
        self.clock: Clock = shared.clock or clock or self._first_reading

    def _first_reading(self) -> float:
        # Not at construction: a limiter may be built before the loop runs whose clock it is to follow.
        self.clock = loop_clock()
        return self.clock()


class Permit(Lease):
    """The right to send one request; every method may be called again and then does nothing.

    Until `sent` it counts in every window, however long that takes. Whoever sends calls `sent`, then `reconcile` if the
    usage is known; whoever does not send calls `refund`. Both call `release` when the request is over.
    """

    __slots__ = ("_desk",)

    def __init__(self, want: AcquirePermit, desk: Desk) -> None:
        self.want = want
        self.stage = HELD
        self.holds = False
        self._desk = desk

    def sent(self) -> None:
        """Note that the last byte of the request is written: it leaves the windows that much later."""
        desk = self._desk
        with desk.lock:
            if self.stage != HELD:
                return
            desk.windows.stamp(desk.clock(), self)
        if desk.room.endless:
            desk.room.tell()

    def reconcile(
        self,
        actual_tokens: int,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        streamed: bool = False,
    ) -> None:
        """Put what the request came to in place of what was asked; counts as `sent` if that was forgotten.

        Args:
            actual_tokens: input and output together, as the provider counts them against its limit.
            input_tokens: for a limit on input alone; None leaves the estimate.
            output_tokens: for a limit on output alone; None leaves the estimate.
            streamed: the output was produced up to now, not when the request was sent, and counts from now.
        """
        desk = self._desk
        windows = desk.windows
        with desk.lock:
            if self.stage == OVER:
                return
            now = desk.clock()
            if self.stage == HELD:
                windows.stamp(now, self)
            room = windows.settle(
                now,
                self,
                max(0, actual_tokens),
                input_tokens if input_tokens is None or input_tokens > 0 else 0,
                output_tokens if output_tokens is None or output_tokens > 0 else 0,
                streamed=streamed,
            )
        if desk.room.endless or (room and desk.room.waiting):
            desk.room.tell()

    def refund(self) -> None:
        """Give all back, because it was never sent; nothing happens after `sent`."""
        desk = self._desk
        with desk.lock:
            if self.stage != HELD:
                return
            room = desk.windows.refund(self)
        if room and desk.room.waiting:
            desk.room.tell()

    def release(self) -> None:
        """Give the concurrency back: the request is over."""
        if not self.holds:
            return
        desk = self._desk
        with desk.lock:
            room = desk.windows.release(self)
        if room and desk.room.waiting:
            desk.room.tell()

    def __repr__(self) -> str:
        stage = ("held", "sent", "over")[self.stage]
        return f"<Permit {stage} requests {self.want.requests} tokens {self.want.tokens}>"


class FreePermit(Permit):
    """The permit of a limiter without limits: there is nothing to give back."""

    __slots__ = ()

    def __init__(self) -> None:
        self.want = AcquirePermit(requests=0)
        self.stage = OVER
        self.holds = False

    def sent(self) -> None:
        """Do nothing."""

    def reconcile(
        self,
        actual_tokens: int,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        streamed: bool = False,
    ) -> None:
        """Do nothing."""

    def refund(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "<Permit unlimited>"
