"""What the checks of limit stores are made of: a store under test, its holders, one request of one of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import msgspec

from spillway.core.clock import loop_clock, sleep
from spillway.core.errors import RateLimited
from spillway.core.limit_store import LimitStore
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, RateLimiterHandle, StrictRateLimiterActor

_READY_S = 60.0
_numbers = itertools.count(1)
_ONE = AcquirePermit()


async def _no_ends() -> Mapping[str, float]:
    return {}


class LimitsSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A store of limits under test.

    Attributes:
        open: `open(skew_s)` gives the store as one process more sees it, whose clock is off by `skew_s`.
        window_s: the length of the "minute".
        lease_s: how long a holder may use what it has leased without the store; 0.0 where nothing is leased.
        ends: returns its keys, and in how many seconds each of them ends.
        cut: makes it out of reach for all holders while it is entered; None: it can't be.
    """

    open: Callable[[float], AbstractAsyncContextManager[LimitStore]]
    window_s: float
    lease_s: float = 0.0
    ends: Callable[[], Awaitable[Mapping[str, float]]] = _no_ends
    cut: Callable[[], AbstractAsyncContextManager[None]] | None = None


LimitCheck = Callable[[LimitsSubject], Awaitable[None]]


@asynccontextmanager
async def holders(
    subject: LimitsSubject, count: int, limits: RateLimits, *, key: str = "limits", skew_s: float = 0.0
) -> AsyncIterator[tuple[RateLimiterHandle, ...]]:
    """Give the handles of so many processes that hold the same key; the store lets requests through by then."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            store = await stack.enter_async_context(subject.open(skew_s))
            await sent(_handle(subject, store, "ready", RateLimits(requests_per_minute=10**6)), within_s=_READY_S)
            found.append(_handle(subject, store, key, limits))
        yield tuple(found)


def _handle(subject: LimitsSubject, store: LimitStore, key: str, limits: RateLimits) -> RateLimiterHandle:
    name = f"holder-{next(_numbers)}"
    return StrictRateLimiterActor(name, limits, store=store, key=key, window_s=subject.window_s).handle()


async def sent(handle: RateLimiterHandle, want: AcquirePermit = _ONE, *, within_s: float = 5.0) -> float:
    """Send one request as soon as it is let through, and return when that was.

    Raises:
        RateLimited: it was not let through within the time.
    """
    clock = loop_clock()
    try:
        # Not by a deadline of its own: that is an instant of its clock, which may be off.
        async with asyncio.timeout(within_s):
            permit = await handle.acquire(want)
    except TimeoutError:
        raise RateLimited(f"not let through within {within_s:g} s", reason="window") from None
    permit.sent()
    at = clock()
    permit.reconcile(want.tokens)
    permit.release()
    return at


async def ok(handle: RateLimiterHandle, want: AcquirePermit = _ONE, *, within_s: float = 5.0) -> int:
    """Return 1 if a request was let through within the time and sent, else 0."""
    try:
        await sent(handle, want, within_s=within_s)
    except RateLimited:
        return 0
    return 1


async def pause(subject: LimitsSubject) -> None:
    """Let holders report to the store."""
    await sleep(min(0.3, subject.window_s / 4))


def most_in_any(instants: list[float], span_s: float) -> int:
    """Return how many of these instants are in the fullest half-open span of that length."""
    ordered = sorted(instants)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - span_s:
            first += 1
        most = max(most, last - first + 1)
    return most
