"""What every `LimitStore` must do, as checks to be run against a store that several processes share.

A check is an async function of a `LimitsSubject` that raises AssertionError. With pytest:

    @pytest.mark.parametrize("check", LIMIT_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check):
        await check(LimitsSubject(open=my_store, window_s=2.0))

They take a few windows each, of real time or of virtual time (`run_virtual`).
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from spillway.core.clock import loop_clock, sleep
from spillway.core.errors import BadRequest, ConfigError, RateLimited
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, RateLimiterHandle
from spillway.testing.limit_probe import LimitCheck, LimitsSubject, holders, most_in_any, ok, pause, sent
from spillway.testing.runner_probe import equal, require

__all__ = [
    # running them
    "LIMIT_CHECKS",
    "LimitCheck",
    "LimitsSubject",
    # exactness
    "lets_exactly_the_limit_through",
    "holds_the_burst_too",
    "counts_what_is_not_sent",
    "frees_what_has_left_the_window",
    "takes_nothing_when_it_refuses",
    # giving back
    "gives_back_what_was_not_sent",
    "gives_back_what_was_not_used",
    "counts_what_came_late",
    "shares_requests_under_way",
    # apart and together
    "keeps_keys_apart",
    "refuses_other_limits",
    "refuses_what_never_fits",
    "has_a_time_of_its_own",
    "keeps_a_pause_together",
    "follows_new_limits",
    # trouble
    "keeps_nothing_for_ever",
    "refuses_without_a_store",
]

_LIMIT = 40


async def lets_exactly_the_limit_through(subject: LimitsSubject) -> None:
    """All holders together get the whole limit at once, and in no sliding window more."""
    limits = RateLimits(requests_per_minute=_LIMIT, strict=True)
    async with holders(subject, 3, limits) as (one, other, third):
        # One that has asked and then rests keeps nothing to itself.
        first = await sent(third)
        log = [first, *await _drain((one, other), for_s=2.5 * subject.window_s)]
    equal(most_in_any(log, subject.window_s), _LIMIT, "the most in any window")
    at_first = sum(at < first + 0.75 * subject.window_s for at in log)
    equal(at_first, _LIMIT, "the first window")
    require(len(log) >= 2 * _LIMIT, f"only {len(log)} of a limit of {_LIMIT} in two windows and a half")


async def holds_the_burst_too(subject: LimitsSubject) -> None:
    """In no sliding `burst_s` there is more than its part of the limit."""
    limits = RateLimits(requests_per_minute=_LIMIT, burst_s=subject.window_s / 4, strict=True)
    async with holders(subject, 2, limits) as both:
        log = await _drain(both, for_s=1.5 * subject.window_s)
    equal(most_in_any(log, subject.window_s / 4), _LIMIT // 4, "the most in any burst")
    require(len(log) >= _LIMIT, f"only {len(log)} of a limit of {_LIMIT} in a window and a half")


async def _drain(of: tuple[RateLimiterHandle, ...], *, for_s: float) -> list[float]:
    """Send as fast as can be; return when."""
    clock = loop_clock()
    until = clock() + for_s
    log: list[float] = []

    async def go_on(handle: RateLimiterHandle) -> None:
        with suppress(RateLimited):
            while clock() < until:
                log.append(await sent(handle, within_s=until - clock()))
                await sleep(0.0)

    await asyncio.gather(*(go_on(handle) for handle in of for _ in range(4)))
    return log


async def counts_what_is_not_sent(subject: LimitsSubject) -> None:
    """A permit counts for all until it is sent, however long that takes, and for a window from then on."""
    async with holders(subject, 2, RateLimits(requests_per_minute=1, strict=True)) as (one, other):
        permit = await one.acquire(AcquirePermit())
        equal(await ok(other, within_s=1.5 * subject.window_s), 0, "granted while another is unsent")
        permit.sent()
        equal(await ok(other, within_s=0.9 * subject.window_s), 0, "granted while another is in the window")


async def frees_what_has_left_the_window(subject: LimitsSubject) -> None:
    """What was sent makes room once it has left the window, and soon after."""
    async with holders(subject, 2, RateLimits(requests_per_minute=1, strict=True)) as (one, other):
        began = await sent(one)
        took = await sent(other, within_s=2 * subject.window_s) - began
        require(subject.window_s < took <= 1.25 * subject.window_s, f"the second came after {took:.3f} s")


async def takes_nothing_when_it_refuses(subject: LimitsSubject) -> None:
    """Who lacks one kind of amount is refused, and has taken nothing of another."""
    limits = RateLimits(requests_per_minute=6, tokens_per_minute=100, strict=True)
    async with holders(subject, 2, limits) as (one, other):
        await sent(one, AcquirePermit(tokens=90))
        equal(await ok(other, AcquirePermit(tokens=20), within_s=subject.window_s / 4), 0, "granted without room")
        equal(sum([await ok(other, AcquirePermit(tokens=1)) for _ in range(5)]), 5, "granted of the five left")
        equal(await ok(one, AcquirePermit(tokens=1), within_s=subject.window_s / 4), 0, "granted above the limit")


async def gives_back_what_was_not_sent(subject: LimitsSubject) -> None:
    """A refund makes room for others, of every kind."""
    limits = RateLimits(requests_per_minute=5, tokens_per_minute=100, strict=True)
    async with holders(subject, 2, limits) as (one, other):
        permit = await one.acquire(AcquirePermit(requests=5, tokens=100))
        permit.refund()
        permit.refund()
        equal(await ok(other, AcquirePermit(requests=5, tokens=100), within_s=subject.window_s), 1, "granted then")
        equal(await ok(one, within_s=subject.window_s / 4), 0, "granted twice")


async def gives_back_what_was_not_used(subject: LimitsSubject) -> None:
    """What comes to less than was asked makes room for others by the difference, and no more."""
    async with holders(subject, 2, RateLimits(tokens_per_minute=100, strict=True)) as (one, other):
        permit = await one.acquire(AcquirePermit(tokens=80))
        permit.sent()
        await pause(subject)
        permit.reconcile(10)
        equal(await ok(other, AcquirePermit(tokens=91), within_s=subject.window_s / 2), 0, "granted above what is left")
        equal(await ok(other, AcquirePermit(tokens=90)), 1, "granted of what is left")


async def counts_what_came_late(subject: LimitsSubject) -> None:
    """What comes to more than was asked counts for all from then on; no settling ever fails."""
    async with holders(subject, 2, RateLimits(tokens_per_minute=100, strict=True)) as (one, other):
        permit = await one.acquire(AcquirePermit(tokens=20))
        permit.sent()
        permit.reconcile(500)
        await pause(subject)
        equal(await ok(other, AcquirePermit(tokens=1), within_s=subject.window_s / 2), 0, "granted above the limit")


async def shares_requests_under_way(subject: LimitsSubject) -> None:
    """So many are under way at all holders together; the end of one makes room for any."""
    async with holders(subject, 2, RateLimits(concurrent_requests=2, strict=True)) as (one, other):
        first, second = await one.acquire(AcquirePermit()), await other.acquire(AcquirePermit())
        for permit in (first, second):
            permit.sent()
        equal(await ok(other, within_s=subject.window_s / 4), 0, "granted above the limit")
        waiting = asyncio.ensure_future(other.acquire(AcquirePermit()))
        await sleep(0.0)
        first.release()
        third = await asyncio.wait_for(waiting, 2 * subject.window_s)
        equal(await ok(one, within_s=subject.window_s / 4), 0, "granted above the limit then")
        for permit in (second, third):
            permit.release()


async def keeps_keys_apart(subject: LimitsSubject) -> None:
    """What one key has sent is nothing to another."""
    limits = RateLimits(requests_per_minute=1, strict=True)
    async with holders(subject, 1, limits, key="a") as (one,), holders(subject, 1, limits, key="b") as (other,):
        equal([await ok(one), await ok(other)], [1, 1], "granted by each of two keys")


async def refuses_other_limits(subject: LimitsSubject) -> None:
    """Two holders of a key in one process have the same limits."""
    async with subject.open(0.0) as store:
        window_s = subject.window_s
        store.share("k", RateLimits(requests_per_minute=1, strict=True), holder="one", window_s=window_s)
        store.share("k", RateLimits(requests_per_minute=1, strict=True), holder="two", window_s=window_s)
        for other in (RateLimits(requests_per_minute=2, strict=True), RateLimits(tokens_per_minute=1, strict=True)):
            try:
                store.share("k", other, holder="three", window_s=window_s)
            except ConfigError as error:
                require("'k'" in str(error), f"a refusal that does not name the key: {error}")
            else:
                raise AssertionError(f"shared with other limits: {other}")


async def refuses_what_never_fits(subject: LimitsSubject) -> None:
    """Who asks for more than a limit ever holds is told so at once."""
    limits = RateLimits(requests_per_minute=10, tokens_per_minute=100, concurrent_requests=2, strict=True)
    async with holders(subject, 1, limits) as (one,):
        for want in (AcquirePermit(tokens=101), AcquirePermit(requests=11), AcquirePermit(requests=3)):
            try:
                await one.acquire(want, loop_clock()() + subject.window_s)
            except BadRequest:
                continue
            raise AssertionError(f"granted: {want}")


async def has_a_time_of_its_own(subject: LimitsSubject) -> None:
    """A holder whose clock is an hour off is none the better for it, and none the worse."""
    limits = RateLimits(requests_per_minute=_LIMIT, strict=True)
    async with (
        holders(subject, 1, limits) as (one,),
        holders(subject, 1, limits, skew_s=3600.0) as (late,),
        holders(subject, 1, limits, skew_s=-3600.0) as (early,),
    ):
        log = await _drain((one, late, early), for_s=1.5 * subject.window_s)
    equal(most_in_any(log, subject.window_s), _LIMIT, "the most in any window")


async def keeps_a_pause_together(subject: LimitsSubject) -> None:
    """What a provider has told one holder, all keep."""
    pause_s = subject.window_s / 2
    async with holders(subject, 2, RateLimits(requests_per_minute=_LIMIT, strict=True)) as (one, other):
        await sent(other)
        began = loop_clock()()
        one.throttled(pause_s)
        await pause(subject)
        took = await sent(other, within_s=2 * subject.window_s) - began
        require(took >= pause_s, f"the other holder sent after {took:.3f} of {pause_s} s")
        equal(other.snapshot().percent < 100, True, "whether the other holder uses less for a while")


async def follows_new_limits(subject: LimitsSubject) -> None:
    """Other limits hold from when they are told; what was sent before counts on."""
    async with holders(subject, 2, RateLimits(requests_per_minute=4, strict=True)) as (one, other):
        for _ in range(3):
            await sent(one)
        for handle in (one, other):
            handle.set_limits(RateLimits(requests_per_minute=6, tokens_per_minute=100, strict=True))
        for _ in range(3):
            equal(await ok(other, within_s=subject.window_s / 2), 1, "granted of the three more")
        equal(await ok(other, within_s=subject.window_s / 16), 0, "granted above the new limit")


async def keeps_nothing_for_ever(subject: LimitsSubject) -> None:
    """Every key ends if nobody asks for it again."""
    limits = RateLimits(requests_per_minute=10, tokens_per_minute=100, concurrent_requests=2, strict=True)
    async with holders(subject, 2, limits) as both:
        for handle in both:
            await sent(handle, AcquirePermit(tokens=3))
        await pause(subject)
        for key, left_s in (await subject.ends()).items():
            require(0.0 < left_s < math.inf, f"{key} ends in {left_s} s")


async def refuses_without_a_store(subject: LimitsSubject) -> None:
    """Without the store nothing is let through but what was leased: a refusal within 0.25 s says so."""
    if subject.cut is None:
        return
    limits = RateLimits(requests_per_minute=1000, strict=True)
    async with holders(subject, 1, limits) as (one,):
        await sent(one)
        async with subject.cut():
            await sleep(subject.lease_s + 1.5)
            clock = loop_clock()
            began, refused = clock(), 0
            for _ in range(3):
                try:
                    await one.acquire(AcquirePermit(), clock() + 0.05)
                except RateLimited as refusal:
                    refused += refusal.reason == "store"
            require(clock() - began < 0.75, f"three refusals took {clock() - began:.3f} s")
            equal(refused, 3, "refusals for want of the store")
            require(bool(one.why()), "nothing is said of the store")
        equal(await ok(one, within_s=30 * subject.window_s), 1, "granted once the store is back")


LIMIT_CHECKS: tuple[LimitCheck, ...] = (
    lets_exactly_the_limit_through,
    holds_the_burst_too,
    counts_what_is_not_sent,
    frees_what_has_left_the_window,
    takes_nothing_when_it_refuses,
    gives_back_what_was_not_sent,
    gives_back_what_was_not_used,
    counts_what_came_late,
    shares_requests_under_way,
    keeps_keys_apart,
    refuses_other_limits,
    refuses_what_never_fits,
    has_a_time_of_its_own,
    keeps_a_pause_together,
    follows_new_limits,
    keeps_nothing_for_ever,
    refuses_without_a_store,
)
