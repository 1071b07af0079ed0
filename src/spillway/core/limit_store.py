"""The port of shared limits: what a limiter asks of the windows it spends from, wherever those are kept.

One `LimitWindows` decides over one key. A limiter of its own process holds it directly; a strict limiter gets it from
a `LimitStore`, together with all other holders of that key. A store on another machine keeps leases in its
`LimitWindows`, each with the sub-slot it was charged to, an amount and an expiry: `take` serves from them without
waiting, and `SharedLimits.fetch` brings new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol

import msgspec

from spillway.core.clock import Clock
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.core.priority import Priority

_logger = logging.getLogger("spillway.rate_limit")


class _Counted(msgspec.Struct, frozen=True):
    requests: int = 1
    tokens: int = 0


class AcquirePermit(_Counted, frozen=True, kw_only=True, gc=False):
    """What a request asks of a limiter: amounts that count in the windows it has.

    Attributes:
        requests: requests; as many count as concurrent.
        tokens: input and output together.
        input_tokens: for a limit on input alone.
        output_tokens: for a limit on output alone.
        priority: a higher class is served first among those that wait in `acquire`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    priority: Priority = Priority.NORMAL


LimiterMode = Literal["local", "strict", "approximate", "share", "closed", "joining"]
"""How a limit is held now.

    local        by this process alone
    strict       exactly, over all that share the store
    approximate  by telling each other through the store
    share        the store is lost: by this process alone, at its share
    closed       the store is lost, and nothing is admitted: only so does a strict limit hold
    joining      the store has not been reached yet, and nothing is admitted
"""

LOCAL: Final = "local"
STRICT: Final = "strict"
APPROXIMATE: Final = "approximate"
SHARE: Final = "share"
CLOSED: Final = "closed"
JOINING: Final = "joining"
LIMITER_MODES: tuple[LimiterMode, ...] = (LOCAL, STRICT, APPROXIMATE, SHARE, CLOSED, JOINING)

WITHOUT_STORE: dict[LimiterMode, str] = {
    SHARE: "the store is lost, and this process keeps to its share",
    CLOSED: "the store is lost or may have forgotten, and a strict limit lets nothing through without it",
    JOINING: "the store has not been reached yet, and nothing is let through before",
}
"""What a mode has to do with a refusal, in words."""

SHUT: frozenset[LimiterMode] = frozenset({CLOSED, JOINING})
"""Modes in which nothing is let through although no limit is full."""

STALE_ROUNDS = 3
"""After so many syncs that did not come, what was told by others is too old to go by."""

HELD, SENT, OVER = 0, 1, 2
"""Stages of a lease: granted and not sent; stamped with the time it was sent; settled or given back."""


class Lease:
    """What was taken from the windows for one request, until it is settled or given back.

    Attributes:
        want: the amounts.
        stage: `HELD`, `SENT` or `OVER`.
        holds: whether it counts against a limit of concurrency.
        charged: what of the windows it was charged to; theirs alone to read, as are the next two.
        costs: how much of each kind.
        marks: where it was stamped.
    """

    __slots__ = ("charged", "costs", "holds", "marks", "stage", "want")

    want: AcquirePermit
    stage: int
    holds: bool
    charged: Any
    costs: Any
    marks: Any


class DimensionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One limit at an instant.

    Attributes:
        limit: the configured one.
        ceiling: what is used of it now; lower after a 429, or when the provider's own limit is lower.
        used: sent, and still in the window.
        unsent: granted and not sent yet; counts in every window.
    """

    limit: int
    ceiling: int
    used: int
    unsent: int

    @property
    def available(self) -> int:
        """What the minute's window still takes."""
        return max(0, self.ceiling - self.used - self.unsent)


class LimitsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All limits of one key at an instant; a limit that does not apply is None.

    Attributes:
        in_flight: concurrent requests; counted only where they are limited.
        percent: share of the configured limits in use, below 100 after a 429.
        blocked_for_s: seconds for which the provider wants nothing.
        waiting: callers that wait in `acquire` of the handle that was asked.
        mode: how the limits are held now.
        nodes: processes that are known to hold them together.
        rejected: what others told and could not be true.
    """

    requests: DimensionSnapshot | None = None
    tokens: DimensionSnapshot | None = None
    input_tokens: DimensionSnapshot | None = None
    output_tokens: DimensionSnapshot | None = None
    concurrent_limit: int | None = None
    in_flight: int = 0
    percent: int = 100
    blocked_for_s: float = 0.0
    waiting: int = 0
    mode: LimiterMode = LOCAL
    nodes: int = 1
    rejected: int = 0


class LimitWindows(Protocol):
    """Decides over the limits of one key; `now` is monotonic seconds of one clock.

    Its callers hold the lock of its `SharedLimits` during each call; none waits.
    """

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit at all: only the provider's word can make anybody wait."""
        ...

    def mode(self, now: float) -> LimiterMode:
        """Return how the limits are held now."""
        ...

    def check(self, want: AcquirePermit) -> None:
        """Raise `BadRequest` when no wait can make room for `want`, or it is negative."""
        ...

    def take(self, now: float, lease: Lease) -> float:
        """Charge `lease.want` to every limit and return 0.0, or charge none and return the wait, as `wait` does.

        Raises:
            BadRequest: as for `check`.
        """
        ...

    def wait(self, now: float, want: AcquirePermit) -> float:
        """Return the seconds until `want` fits if nothing else happens; `inf` when something must be given back first.

        0.0 for what never fits: `take` says so.
        """
        ...

    def stamp(self, now: float, lease: Lease) -> None:
        """Note that a `HELD` lease was sent now."""
        ...

    def settle(
        self,
        now: float,
        lease: Lease,
        tokens: int,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        *,
        streamed: bool = False,
    ) -> bool:
        """Put what a `SENT` lease came to in place of what it asked; return whether that made room."""
        ...

    def refund(self, lease: Lease) -> bool:
        """Give back all of a `HELD` lease, its concurrency too; return whether that made room."""
        ...

    def release(self, lease: Lease) -> bool:
        """Give back the concurrency of `lease`; return whether that made room."""
        ...

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Take note of a 429 that asks for `retry_after` seconds of silence."""
        ...

    def observe(self, now: float, seen: LimitsSeen) -> bool:
        """Take note of the provider's headers; return whether that made room."""
        ...

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which the provider wants nothing."""
        ...

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting."""
        ...

    def snapshot(self, now: float) -> LimitsSnapshot:
        """Return the state."""
        ...


class Room:
    """Tells those who were refused that there may be room sooner than they were told.

    Attributes:
        waiting: somebody was told to wait since the last `tell`; without it nobody needs to be told.
        endless: likewise, and the wait was without an end, so that a mere stamp is news to them.
    """

    __slots__ = ("_listeners", "endless", "waiting")

    def __init__(self) -> None:
        self._listeners: list[list[Callable[[], None]]] = []
        self.waiting = False
        self.endless = False

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called in the thread that makes room; returns what ends that."""
        # A fresh list each time, so that ending one subscription never ends another of the same function.
        entry = [listener]
        self._listeners = [*self._listeners, entry]

        def unsubscribe() -> None:
            self._listeners = [other for other in self._listeners if other is not entry]

        return unsubscribe

    def tell(self) -> None:
        """Call every listener; what one raises is logged and changes nothing."""
        self.waiting = self.endless = False
        for (listener,) in self._listeners:
            try:
                listener()
            except Exception:
                _logger.exception("a listener for room in a limit failed")


class SharedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The windows of one key, as a holder gets them.

    Attributes:
        windows: decides.
        lock: held during each call of `windows`.
        room: tells all holders of room.
        alone: there is no other holder, so what this one did not do did not happen.
        clock: the time of `windows`, if it is not the holder's own.
        fetch: `await fetch(want, timeout_s)` asks the store for leases that serve `want` and returns whether any came,
            within `timeout_s` (it may be `inf`; a store has a limit of its own); None when `take` always asks the store
            itself.
    """

    windows: LimitWindows
    lock: AbstractContextManager[Any]
    room: Room
    alone: bool = False
    clock: Clock | None = None
    fetch: Callable[[AcquirePermit, float], Awaitable[bool]] | None = None


class LimitStore(Protocol):
    """Where limits are shared."""

    def share(
        self, key: str, limits: RateLimits, *, holder: str, window_s: float | None = None, gives_back: bool = True
    ) -> SharedLimits:
        """Return the windows of `key`, the same for every holder.

        Args:
            window_s: the length of the "minute"; None: the store's own.

        Raises:
            ConfigError: another holder has it with other limits.
        """
        ...
