"""What a request touches of a limiter: synchronous, but for `acquire`, and usable from any thread."""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections.abc import Callable
from contextlib import suppress

import msgspec

from spillway.core.clock import Clock, clock_of
from spillway.core.errors import RateLimited
from spillway.core.limit_store import (
    LOCAL,
    SHUT,
    WITHOUT_STORE,
    AcquirePermit,
    LimiterMode,
    LimitsSnapshot,
    SharedLimits,
)
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.permit import Desk, FreePermit, Permit

UNKNOWN_WAIT_S = 0.1
"""`retry_after` when only another request's end can make room."""

_POLL_S = 0.02
_FREE = FreePermit()


class _Waiter:
    __slots__ = ("_future", "_loop", "_rank", "_woken")

    def __init__(self, rank: tuple[int, int], loop: asyncio.AbstractEventLoop) -> None:
        self._rank = rank
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    def __lt__(self, other: _Waiter) -> bool:
        return self._rank < other._rank

    async def rest(self, seconds: float) -> None:
        """Return after `seconds`, or when woken, at once if that was since the last rest."""
        if self._woken:
            self._woken = False
            return
        future = self._future = self._loop.create_future()
        timer = None if seconds == math.inf else self._loop.call_later(seconds, self._rouse)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            self._woken = False

    def wake(self) -> None:
        """End the rest, from any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._rouse()
        else:
            # A loop that is closed has nobody left to wake.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._rouse)

    def _rouse(self) -> None:
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class RateLimiterHandle:
    """Lets requests through as fast as the limits of one deployment allow, and no faster.

    `acquire` serves its callers by priority, first come first served within a class; `try_acquire` asks for room now
    and passes them by.

    Args:
        name: whose limits these are, for `repr`.
        shared: the windows, alone or with other holders.
        clock: monotonic seconds; by default the running loop's.
    """

    __slots__ = (
        "_alone",
        "_desk",
        "_fetch",
        "_name",
        "_open",
        "_seq",
        "_stop_listening",
        "_waiters",
        "_windows",
    )

    def __init__(self, name: str, shared: SharedLimits, *, clock: Clock | None = None) -> None:
        self._name = name
        self._desk = Desk(shared, clock)
        self._windows = shared.windows
        self._alone = shared.alone
        self._fetch = shared.fetch
        # Without limits and without a pause there is nothing to ask; what other holders do would go unseen, though.
        self._open = shared.alone and shared.windows.unlimited
        self._waiters: list[_Waiter] = []
        self._stop_listening: Callable[[], None] | None = None
        self._seq = 0

    # Taking.

    def try_acquire(self, want: AcquirePermit) -> Permit:
        """Return a permit, or refuse and take nothing of any limit.

        Raises:
            RateLimited: there is no room now; `retry_after` is exact if nothing else happens meanwhile (0.1 s when
                only the end of another request can make room).
            BadRequest: it asks for more than a limit ever holds.
        """
        if self._open:
            return _FREE
        desk = self._desk
        with desk.lock:
            now = desk.clock()
            permit = Permit(want, desk)
            wait = self._windows.take(now, permit)
            if not wait:
                return permit
            self._note(wait)
            refusal = self._refusal(now, wait)
        raise refusal

    def take_or_wait(self, want: AcquirePermit) -> Permit | float:
        """Return a permit, or the seconds until there would be one if nothing else happens; then nothing was taken.

        `inf` when only another request's end can make room.

        Raises:
            BadRequest: it asks for more than a limit ever holds.
        """
        if self._open:
            return _FREE
        desk = self._desk
        with desk.lock:
            permit = Permit(want, desk)
            wait = self._windows.take(desk.clock(), permit)
            if not wait:
                return permit
            self._note(wait)
            return wait

    async def acquire(self, want: AcquirePermit, deadline: float | None = None) -> Permit:
        """Return a permit once there is room and nobody is ahead.

        Args:
            want: the amounts.
            deadline: instant of the limiter's clock after which it is of no use.

        Raises:
            RateLimited: the deadline has passed, or there is no room before it as things stand; nothing was taken.
            BadRequest: it asks for more than a limit ever holds.

        Cancellation: nothing was taken, and the next in line is woken.
        """
        if self._open:
            return _FREE
        with self._desk.lock:
            self._windows.check(want)
        waiter = self._queue_up(want)
        try:
            while True:
                permit, wait, first = self._try_in_line(want, waiter, deadline)
                if permit is not None:
                    return permit
                now = self._desk.clock()
                until = min(now + wait if first else math.inf, math.inf if deadline is None else deadline)
                if first and self._fetch is not None and await self._fetch(want, until - now):
                    continue
                await waiter.rest(self._rest_s(until - self._desk.clock()))
        finally:
            self._leave(waiter)

    def _queue_up(self, want: AcquirePermit) -> _Waiter:
        loop = asyncio.get_running_loop()
        with self._desk.lock:
            self._seq += 1
            waiter = _Waiter((-int(want.priority), self._seq), loop)
            insort(self._waiters, waiter)
            if self._stop_listening is None:
                self._stop_listening = self._desk.room.subscribe(self._wake_first)
        return waiter

    def _try_in_line(
        self, want: AcquirePermit, waiter: _Waiter, deadline: float | None
    ) -> tuple[Permit | None, float, bool]:
        """Take for the first in line; return the permit, else how long its own room takes, and whether it is first."""
        with self._desk.lock:
            now = self._desk.clock()
            first = self._waiters[0] is waiter
            if first and (deadline is None or now <= deadline):
                permit = Permit(want, self._desk)
                wait = self._windows.take(now, permit)
                if not wait:
                    return permit, 0.0, True
            else:
                wait = self._windows.wait(now, want)
            self._note(wait)
            if deadline is not None and (now >= deadline or deadline < now + wait < math.inf):
                raise self._refusal(now, wait)
        return None, wait, first

    def _rest_s(self, rest: float) -> float:
        loop = asyncio.get_running_loop()
        if rest == math.inf or self._desk.clock in {loop.time, clock_of(loop)}:
            return rest
        # Nobody tells when a clock that is not the loop's moves on.
        return min(rest, _POLL_S)

    def _leave(self, waiter: _Waiter) -> None:
        with self._desk.lock:
            was_first = self._waiters[0] is waiter
            self._waiters.remove(waiter)
            following = self._waiters[0] if was_first and self._waiters else None
            if not self._waiters and self._stop_listening is not None:
                self._stop_listening()
                self._stop_listening = None
        if following is not None:
            following.wake()

    def _wake_first(self) -> None:
        with self._desk.lock:
            first = self._waiters[0] if self._waiters else None
        if first is not None:
            first.wake()

    def _note(self, wait: float) -> None:
        room = self._desk.room
        room.waiting = True
        if wait == math.inf:
            room.endless = True

    def _refusal(self, now: float, wait: float) -> RateLimited:
        blocked = self._windows.blocked_for(now)
        if blocked:
            return RateLimited(
                "the provider asked for a pause",
                reason="paused",
                retry_after=blocked if wait == math.inf else wait,
                limited_by="provider",
            )
        mode = self._windows.mode(now)
        if mode in SHUT:
            retry_after = UNKNOWN_WAIT_S if wait == math.inf else wait
            return RateLimited(WITHOUT_STORE[mode], reason="store", retry_after=retry_after)
        why = f": {WITHOUT_STORE[mode]}" if mode in WITHOUT_STORE else ""
        if wait == math.inf:
            return RateLimited(
                f"all that the limit holds is on its way{why}", reason="in_flight", retry_after=UNKNOWN_WAIT_S
            )
        return RateLimited(f"no room in the limit for {wait:.3f} s{why}", reason="window", retry_after=wait)

    # Asking.

    def wait_for(self, want: AcquirePermit) -> float:
        """Return the seconds until `want` would fit if nothing else happens; takes nothing.

        0.0 also for what never fits (`try_acquire` says so), `inf` when only another request's end can make room.
        """
        if self._open:
            return 0.0
        with self._desk.lock:
            wait = self._windows.wait(self._desk.clock(), want)
            if wait:
                self._note(wait)
            else:
                self._stay_open_if_free()
        return wait

    def on_room(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when there may be room sooner than `wait_for` or a refusal predicted.

        It runs in the thread that makes room; what it raises is logged and changes nothing. Returns how to stop.
        """
        lock = self._desk.lock
        with lock:
            stop = self._desk.room.subscribe(callback)

        def unsubscribe() -> None:
            with lock:
                stop()

        return unsubscribe

    def limited(self) -> bool:
        """Return whether even a request without tokens would have to wait now."""
        return self.wait_for(AcquirePermit()) > 0

    def trouble(self) -> str:
        """Return in words why nothing is let through although no limit is full; empty where that is not so."""
        mode = self._held()
        return WITHOUT_STORE[mode] if mode in SHUT else ""

    def blocked_for(self) -> float:
        """Return the seconds until the end of the pause that the provider asked for, 0.0 when there is none."""
        if self._open:
            return 0.0
        with self._desk.lock:
            blocked = self._windows.blocked_for(self._desk.clock())
            self._stay_open_if_free()
        return blocked

    def mode(self) -> LimiterMode:
        """Return how the limits are held now."""
        with self._desk.lock:
            return self._windows.mode(self._desk.clock())

    def why(self) -> str:
        """Return what a lost store has to do with a refusal, in words; empty where it has nothing to do with it."""
        return WITHOUT_STORE.get(self._held(), "")

    def _held(self) -> LimiterMode:
        """Return how limits are held that stand in somebody's way: `local` where there are none."""
        return LOCAL if self._alone or self._windows.unlimited else self.mode()

    def snapshot(self) -> LimitsSnapshot:
        """Return the state of all limits."""
        with self._desk.lock:
            seen = self._windows.snapshot(self._desk.clock())
            waiting = len(self._waiters)
        return msgspec.structs.replace(seen, waiting=waiting)

    # Learning.

    def throttled(self, retry_after: float | None = None) -> None:
        """Take note of the provider's 429: nothing more for `retry_after` seconds, and less for a while after.

        A shorter pause never ends a longer one. With no configured limit only the pause applies.
        """
        with self._desk.lock:
            self._windows.throttled(self._desk.clock(), retry_after)
            self._stay_open_if_free()

    def observe(self, seen: LimitsSeen) -> None:
        """Take note of the limits in a provider's answer: they lower the local ones, never raise them."""
        if self._open:
            return
        with self._desk.lock:
            room = self._windows.observe(self._desk.clock(), seen)
        if room and self._desk.room.waiting:
            self._desk.room.tell()

    def set_limits(self, limits: RateLimits) -> None:
        """Have other limits from now on; what was taken before keeps counting."""
        with self._desk.lock:
            self._windows.set_limits(limits)
            self._stay_open_if_free()
        self._desk.room.tell()

    def _stay_open_if_free(self) -> None:
        self._open = self._alone and self._windows.unlimited and not self._windows.blocked_for(self._desk.clock())

    def __repr__(self) -> str:
        state = self.snapshot()
        words = [
            f"{name.replace('_', ' ')} {one.used + one.unsent}/{one.ceiling}"
            for name in ("requests", "tokens", "input_tokens", "output_tokens")
            if (one := getattr(state, name)) is not None
        ]
        if state.concurrent_limit is not None:
            words.append(f"in flight {state.in_flight}/{state.concurrent_limit}")
        if state.blocked_for_s:
            words.append(f"blocked {state.blocked_for_s:.1f} s")
        if state.waiting:
            words.append(f"waiting {state.waiting}")
        if state.mode in WITHOUT_STORE:
            words.append(state.mode)
        return f"<RateLimiter {self._name} {' '.join(words) or 'unlimited'}>"
