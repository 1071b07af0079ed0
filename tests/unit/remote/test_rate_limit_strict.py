"""Limits shared by several holders of one store: exact together."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import msgspec
import pytest

from spillway.core.actor import ActorSystem
from spillway.core.clock import sleep
from spillway.core.errors import ConfigError, RateLimited
from spillway.core.limit_store import Room, SharedLimits
from spillway.core.options import RateLimits
from spillway.remote.rate_limit import AcquirePermit, GetLimits, LimitMachine, NoteThrottled, StrictRateLimiterActor
from spillway.stores import MemoryStore
from spillway.testing import ManualClock, run_virtual

ONE = AcquirePermit()
LIMITS = RateLimits(requests_per_minute=60, strict=True)


def holders(count, limits=LIMITS, clock=None, store=None):
    store = MemoryStore() if store is None else store
    return [StrictRateLimiterActor(f"n{i}", limits, clock=clock, store=store).handle() for i in range(count)]


def test_two_holders_of_one_store_together_never_exceed_the_limit_in_any_minute():
    rng = random.Random(3)
    clock = ManualClock()
    both = holders(2, clock=clock)
    sent, underway = [], []
    while clock() < 400.0:
        clock.advance(rng.expovariate(8.0))
        for due, permit in list(underway):
            if due <= clock():
                underway.remove((due, permit))
                permit.sent()
                sent.append(clock())
        try:
            permit = rng.choice(both).try_acquire(ONE)
        except RateLimited:
            continue
        underway.append((clock() + rng.uniform(0.0, 0.3), permit))
    for index, at in enumerate(sent):
        assert sum(at - 60.0 < other for other in sent[: index + 1]) <= 60
    assert len(sent) >= 6 * 60


def test_what_one_holder_settles_is_room_for_the_other():
    limits = RateLimits(tokens_per_minute=1000, concurrent_requests=1, strict=True)
    one, other = holders(2, limits, clock=ManualClock())
    told = []
    other.on_room(lambda: told.append(other.wait_for(AcquirePermit(1, 600))))
    permit = one.try_acquire(AcquirePermit(1, 500))
    assert other.wait_for(AcquirePermit(1, 600)) == math.inf
    permit.reconcile(100)
    permit.release()
    assert told == [math.inf, 0.0]


def test_a_wait_ends_when_another_holder_gives_back():
    async def main():
        one, other = holders(2, RateLimits(concurrent_requests=1, strict=True))
        permit = await one.acquire(ONE)
        waiting = asyncio.ensure_future(other.acquire(ONE))
        await sleep(2.0)
        permit.release()
        (await waiting).release()
        assert asyncio.get_running_loop().time() == 1002.0

    run_virtual(main())


def test_a_pause_told_to_one_holds_for_all_even_without_limits():
    clock = ManualClock()
    one, other = holders(2, RateLimits(strict=True), clock=clock)
    other.try_acquire(ONE)
    one.throttled(5.0)
    assert other.blocked_for() == 5.0
    with pytest.raises(RateLimited):
        other.try_acquire(ONE)
    clock.advance(5.0)
    other.try_acquire(ONE)


def test_keys_are_apart():
    store, clock = MemoryStore(), ManualClock()
    one = StrictRateLimiterActor("n", RateLimits(requests_per_minute=1), clock=clock, store=store, key="a").handle()
    other = StrictRateLimiterActor("n", RateLimits(requests_per_minute=1), clock=clock, store=store, key="b").handle()
    one.try_acquire(ONE)
    other.try_acquire(ONE)
    assert repr(one) == "<RateLimiter a@n requests 1/1>"
    assert repr(store) == "<MemoryStore limits of 2>"


def test_holders_with_other_settings_are_refused():
    store = MemoryStore()
    holders(1, store=store)
    with pytest.raises(ConfigError, match="'limits'"):
        holders(1, RateLimits(requests_per_minute=61, strict=True), store=store)
    with pytest.raises(ConfigError):
        StrictRateLimiterActor("n", LIMITS, store=store, window_s=2.0)


def test_a_store_with_a_clock_of_its_own_lends_it_to_all():
    clock = ManualClock()
    one, other = holders(2, RateLimits(requests_per_minute=1, strict=True), ManualClock(5e6), MemoryStore(clock=clock))
    one.try_acquire(ONE).sent()
    assert other.wait_for(ONE) == 60.5
    clock.advance(60.5)
    other.try_acquire(ONE)


def test_threads_of_several_holders_get_exactly_the_limit():
    four = holders(4, RateLimits(requests_per_minute=500, strict=True), clock=ManualClock())
    got = []

    def work(handle):
        count = 0
        for _ in range(400):
            try:
                handle.try_acquire(ONE).sent()
            except RateLimited:
                continue
            count += 1
        got.append(count)

    threads = [threading.Thread(target=work, args=(handle,)) for handle in four]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 500


async def test_the_strict_actor_answers_too():
    actor = StrictRateLimiterActor("n", LIMITS, clock=ManualClock(), store=MemoryStore())
    async with ActorSystem() as system:
        ref = system.spawn(actor, "limits")
        await ref.ask(NoteThrottled(3.0))
        assert (await ref.ask(GetLimits())).blocked_for_s == 3.0
    assert repr(actor) == "<StrictRateLimiterActor limits@n requests 0/42 blocked 3.0 s>"
    assert actor.handle() is actor.handle()


# A store that has to be asked for leases.


class LeasingStore:
    """Grants three requests at a time, each batch a second after it was asked for."""

    def __init__(self):
        self.asked = []

    def share(self, key, limits, *, holder, window_s=60.0, gives_back=True):
        here = LimitMachine(RateLimits(requests_per_minute=1000))
        self.leased = 0

        class Leased:
            def __getattr__(_, name):
                return getattr(here, name)

            def take(_, now, lease):
                if self.leased < lease.want.requests:
                    return math.inf
                self.leased -= lease.want.requests
                return here.take(now, lease)

        async def fetch(want, timeout_s):
            self.asked.append(timeout_s)
            if timeout_s <= 1.0:
                await sleep(timeout_s)
                return False
            await sleep(1.0)
            self.leased += 3
            return True

        return SharedLimits(windows=Leased(), lock=threading.Lock(), room=Room(), fetch=fetch)


def test_try_acquire_serves_from_leases_and_acquire_fetches_them():
    async def main():
        loop = asyncio.get_running_loop()
        store = LeasingStore()
        (handle,) = holders(1, store=store)
        with pytest.raises(RateLimited):
            handle.try_acquire(ONE)
        await handle.acquire(ONE)
        assert loop.time() == 1001.0
        handle.try_acquire(ONE)
        handle.try_acquire(ONE)
        with pytest.raises(RateLimited):
            handle.try_acquire(ONE)
        with pytest.raises(RateLimited):
            await handle.acquire(ONE, loop.time() + 0.5)
        assert loop.time() == 1001.5
        assert store.asked == [math.inf, 0.5]

    run_virtual(main())


def test_room_that_is_told_of_during_a_fetch_is_not_missed():
    async def main():
        machine, room = LimitMachine(RateLimits(concurrent_requests=1)), Room()

        async def fetch(want, timeout_s):
            await sleep(1.0)
            return False

        shared = SharedLimits(windows=machine, lock=threading.Lock(), room=room, fetch=fetch)

        class Store:
            def share(self, key, limits, **_):
                return shared

        (handle,) = holders(1, store=Store())
        first = handle.try_acquire(ONE)
        waiting = asyncio.ensure_future(handle.acquire(ONE))
        await sleep(0.5)
        first.release()
        await waiting
        assert asyncio.get_running_loop().time() == 1001.0

    run_virtual(main())


def test_what_a_permit_asks_travels():
    want = AcquirePermit(1, 2, input_tokens=3)
    assert msgspec.json.decode(msgspec.json.encode(want), type=AcquirePermit) == want
