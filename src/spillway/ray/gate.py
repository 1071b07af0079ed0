"""A line's door to the run's money, in the worker that answers it: the driver grants, this waits and reports."""

from __future__ import annotations

from collections.abc import Callable

from spillway.core.errors import InferenceError
from spillway.ray.messages import Settled, Wants


class FarGate:
    """A `SpendGate` whose cap is kept elsewhere.

    It asks once for what an attempt may cost and lets the request wait; what is granted stays with the request until an
    attempt has cost something.

    Args:
        tell: takes what the driver is to know.
    """

    __slots__ = ("_asked", "_error", "_granted", "_rooms", "_tell", "_ticket")

    def __init__(self, ticket: int, tell: Callable[[Wants | Settled], None]) -> None:
        self._ticket = ticket
        self._tell = tell
        self._asked: int | None = None
        self._granted: int | None = None
        self._error: InferenceError | None = None
        self._rooms: list[Callable[[], None]] = []

    def reserve(self, deployment: str, pico_usd: int) -> FarHold | None:
        """Return what was granted where that is enough, else ask for it and return None.

        Raises:
            InferenceError: the driver refused.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._granted is not None and self._granted >= pico_usd:
            return FarHold(self)
        if self._asked is None or self._asked < pico_usd:
            self._asked = pico_usd
            self._tell(Wants(self._ticket, deployment, pico_usd))
        return None

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the driver has answered; returns how to stop that."""
        self._rooms.append(callback)

        def stop() -> None:
            if callback in self._rooms:
                self._rooms.remove(callback)

        return stop

    def grant(self, pico: int) -> None:
        """Take what the driver grants."""
        self._asked = None
        self._granted = pico
        self._call()

    def refuse(self, error: InferenceError) -> None:
        """Take the driver's refusal."""
        self._asked = None
        self._error = error
        self._call()

    def settle(self, pico: int) -> None:
        """Report what an attempt came to."""
        self._granted = None
        self._tell(Settled(self._ticket, pico))

    def _call(self) -> None:
        for callback in tuple(self._rooms):
            callback()


class FarHold:
    """What was granted, in use; the first `settle` or `release` ends it."""

    __slots__ = ("_gate", "_over")

    def __init__(self, gate: FarGate) -> None:
        self._gate = gate
        self._over = False

    def sending(self) -> None:
        """Nothing is left to do: the record of the send was written before the grant."""

    def settle(self, pico_usd: int) -> None:
        """Report what it cost."""
        if not self._over:
            self._over = True
            self._gate.settle(pico_usd)

    def release(self) -> None:
        """Keep it for the request's next attempt."""
        self._over = True
