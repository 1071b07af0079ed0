"""One request on its way through the policies: what it asks, how long it may take, what has happened to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from spillway.core.clock import clock_of
from spillway.core.errors import InferenceError
from spillway.core.priority import Priority
from spillway.core.request import GenerateRequest
from spillway.remote.engine.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from spillway.core.alarms import Timers
    from spillway.remote.cost import Reservation
    from spillway.remote.engine.core import Engine
    from spillway.remote.engine.gates import Gates
    from spillway.remote.engine.grant import Grant
    from spillway.remote.queue import PriorityRequest
    from spillway.remote.retry import RetryQuota


class SpendHold(Protocol):
    """Money set aside by a gate for one attempt."""

    def sending(self) -> None:
        """Take note that all other gates are passed and an attempt is sent next; once for each attempt it pays.

        Raises:
            InferenceError: it must not be sent.
        """
        ...

    def settle(self, pico_usd: int) -> None:
        """Replace what was set aside by what it cost; never fails."""
        ...

    def release(self) -> None:
        """Give all of it back."""
        ...


class SpendGate(Protocol):
    """A caller's own cap on spending, beside the deployment's budget.

    One whose attribute `needs_price` is true is never asked for what has no known price; its caller is refused. Gates
    that spend from one cap have the same attribute `purse`.
    """

    def reserve(self, deployment: str, pico_usd: int) -> SpendHold | None:
        """Set the estimate aside, or return None when that must wait for others to settle.

        Raises:
            BudgetExceeded: it does not fit under the cap even alone.
        """
        ...

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever something was settled or given back; returns how to stop that."""
        ...


class KeptMoney:
    """Money of a failed attempt that cost nothing, kept for the request's next attempt at the same deployment."""

    __slots__ = ("gates", "hold", "pico", "reservation")

    def __init__(self, gates: Gates, reservation: Reservation | None, hold: SpendHold | None, pico: int) -> None:
        self.gates = gates
        self.reservation = reservation
        self.hold = hold
        self.pico = pico


class Call:
    """The state of one request between its admission and its end.

    Attributes:
        deadline: the loop's seconds by which everything must be over.
        attempts: attempts that were sent, over all deployments.
        upstream_s: seconds spent waiting for providers: in attempts (of a stream: up to its first content, then in each
            read) and for renewed credentials.
        retries: of these, repetitions that the retry engine granted.
        history: `(deployment, code, elapsed_s)` of each failed attempt.
        lacks_own: whether it has waited for room under its caller's own cap.
        last_error: the error of the newest failed attempt.
        input_bound: an upper bound of the input tokens, counted once.
        engine: the deployment that is asked now.
        tried: every deployment that was asked.
        charged: the quota that paid for the newest repetition, None when that was free.
        plain: seconds of its attempt and up to the first content, where the first one got it a whole answer of tokens.
        refuses_late: whether it is to be refused at once where it would wait beyond its deadline.
        renewed: whether the newest attempt is made with a session that was rebuilt for this request.
        soonest: the shortest wait that any refusal named.
    """

    __slots__ = (
        "admitted_at",
        "attempts",
        "charged",
        "deadline",
        "engine",
        "entry",
        "gate",
        "history",
        "input_bound",
        "kept",
        "lacks_own",
        "last_error",
        "loop",
        "max_cost_pico",
        "may_fall_back",
        "may_shift_early",
        "plain",
        "priority",
        "queued_s",
        "refuses_late",
        "renewed",
        "request",
        "retries",
        "soonest",
        "started",
        "stream",
        "tenant",
        "tried",
        "upstream_s",
        "waiter",
        "watch",
    )

    def __init__(
        self,
        request: GenerateRequest,
        *,
        loop: asyncio.AbstractEventLoop,
        timeout_s: float,
        input_bound: int,
        stream: bool = False,
        priority: Priority = Priority.NORMAL,
        tenant: str = "",
        may_fall_back: bool = True,
        may_shift_early: bool = True,
        max_cost_pico: int | None = None,
        gate: SpendGate | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.request = request
        self.loop = loop
        self.started = clock_of(loop)()
        self.deadline = self.started + timeout_s
        self.admitted_at = self.started
        self.input_bound = input_bound
        self.stream = stream
        self.priority = priority
        self.tenant = tenant
        self.may_fall_back = may_fall_back
        self.may_shift_early = may_shift_early
        self.max_cost_pico = max_cost_pico
        self.gate = gate
        self.attempts = 0
        self.retries = 0
        self.queued_s = 0.0
        self.upstream_s = 0.0
        self.history: list[tuple[str, str, float]] = []
        self.last_error: InferenceError | None = None
        self.kept: KeptMoney | None = None
        self.lacks_own = False
        self.refuses_late = False
        self.entry: PriorityRequest | None = None
        self.waiter: asyncio.Future[Grant] | None = None
        self.engine: Engine
        self.tried: tuple[Engine, ...] = ()
        self.charged: RetryQuota | None = None
        self.plain: tuple[float, float] | None = None
        self.renewed = False
        self.soonest: float | None = None
        self.watch = Watchdog(loop, timers)

    def let_money_go(self) -> None:
        """Give back what was kept for a next attempt."""
        kept, self.kept = self.kept, None
        if kept is not None:
            if kept.reservation is not None:
                kept.reservation.release()
            if kept.hold is not None:
                kept.hold.release()

    def failed(self, error: InferenceError) -> None:
        """Take note of the newest failed attempt's error; the one before becomes its cause."""
        previous, self.last_error = self.last_error, error
        if previous is not None:
            error.__cause__ = previous

    def stamp(self, error: InferenceError) -> InferenceError:
        """Write on an error what the caller may want to know of the way here."""
        error.attempts = self.attempts
        error.history = tuple(self.history)
        return error
