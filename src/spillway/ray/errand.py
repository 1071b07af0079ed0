"""One request of the run, as the driver knows it while a worker answers it."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from spillway.core.errors import InferenceError
from spillway.ray.messages import Ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.core.reply import Embeddings, Tokens
    from spillway.remote.engine import Observer, SpendGate
    from spillway.remote.engine.call import SpendHold
    from spillway.remote.engine.metrics import AttemptRecord, RequestRecord


class WorkerLostError(Exception):
    """The worker that had the request is gone; what it did last is not known."""


class Errand:
    """A request at a worker.

    Args:
        gate: the caller's cap, which the worker asks through this.
        context: in which observers are told.

    Attributes:
        outcome: the answer, the error, or `WorkerLostError`.

    Invariants: at most one hold is open; it is settled once, in full when the worker is lost.
    """

    __slots__ = ("_context", "_gate", "_granted", "_hold", "ask", "outcome", "wants")

    def __init__(self, ask: Ask, gate: SpendGate | None, context: Context) -> None:
        self.ask = ask
        self.outcome: asyncio.Future[Tokens | Embeddings] = asyncio.get_running_loop().create_future()
        self.wants: tuple[str, int] | None = None
        self._gate = gate
        self._context = context
        self._hold: SpendHold | None = None
        self._granted = 0

    @property
    def gate(self) -> SpendGate | None:
        """The caller's cap."""
        return self._gate

    def reserve(self, deployment: str, pico: int) -> bool:
        """Set `pico` aside and record that an attempt is sent; False: it must wait for others to settle.

        Raises:
            InferenceError: it does not fit, or can't be recorded.
        """
        self._release()
        if self._gate is None:
            return True
        hold = self._gate.reserve(deployment, pico)
        if hold is None:
            self.wants = deployment, pico
            return False
        self.wants = None
        try:
            hold.sending()
        except InferenceError:
            hold.release()
            raise
        self._hold, self._granted = hold, pico
        return True

    def settle(self, pico: int) -> None:
        """Put what an attempt came to in place of what was set aside."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.settle(pico)

    def attempted(self, record: AttemptRecord, observers: Sequence[Observer]) -> None:
        """Tell observers of an attempt."""
        for observer in observers:
            self._context.run(observer.on_attempt, record)

    def requested(self, record: RequestRecord, observers: Sequence[Observer]) -> None:
        """Tell observers of the request's end."""
        for observer in observers:
            if getattr(observer, "heeds_requests", True):
                self._context.run(observer.on_request, record)

    def answered(self, answer: Tokens | Embeddings) -> None:
        """Take the answer."""
        self._release()
        if not self.outcome.done():
            self.outcome.set_result(answer)

    def failed(self, error: BaseException) -> None:
        """Take the error."""
        self._release()
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def lost(self) -> None:
        """Its worker is gone: what was granted may have been spent."""
        self.settle(self._granted)
        self.wants = None
        self.failed(WorkerLostError())

    def _release(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()

    def __repr__(self) -> str:
        return f"<Errand {self.ask.ticket} {'done' if self.outcome.done() else 'under way'}>"
