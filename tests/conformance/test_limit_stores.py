"""Every store of limits passes the public suite: memory, and shared ones over a real Redis and over its twin."""

import time
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from spillway.core.clock import loop_clock
from spillway.stores import MemoryStore
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing
from spillway.testing import LIMIT_CHECKS, LimitsSubject, run_virtual

WINDOW_S, SILENT_S, LEASE_S = 1.0, 2.5, 0.5


@asynccontextmanager
async def sharing(store, skew_s):
    clock = loop_clock()
    one = Sharing(store, lambda: clock() + skew_s)
    try:
        yield one.exact
    finally:
        await one.aclose()


def each(check):
    return check.__name__


@pytest.mark.parametrize("check", LIMIT_CHECKS, ids=each)
def test_memory(check):
    async def main():
        store = MemoryStore(clock=loop_clock())

        @asynccontextmanager
        async def here(skew_s):
            yield store

        await check(LimitsSubject(open=here, window_s=WINDOW_S))

    run_virtual(main())


@pytest.mark.parametrize("check", LIMIT_CHECKS, ids=each)
def test_commons(check):
    async def main():
        store = Commons(window_s=WINDOW_S, silent_s=SILENT_S, clock=loop_clock())
        links, connect = [], store.connect

        def remembered():
            links.append(connect())
            return links[-1]

        @asynccontextmanager
        async def cut():
            for link in links:
                link.cut = True
            yield
            for link in links:
                link.cut = False

        store.connect = remembered
        subject = LimitsSubject(
            open=lambda skew_s: sharing(store, skew_s), window_s=WINDOW_S, lease_s=LEASE_S, ends=store.ends, cut=cut
        )
        await check(subject)

    run_virtual(main())


@pytest.mark.parametrize("check", LIMIT_CHECKS, ids=each)
async def test_redis(check, shared_redis):
    store = RedisStore(shared_redis.url, name=shared_redis.name(), window_s=WINDOW_S, silent_s=SILENT_S)

    async def ends():
        async with redis.asyncio.from_url(shared_redis.url) as client:
            keys = [key async for key in client.scan_iter(f"{store.settings.prefix}*")]
            return {key.decode(): await client.pttl(key) / 1000 for key in keys}

    @asynccontextmanager
    async def cut():
        shared_redis.pause()
        try:
            yield
        finally:
            shared_redis.go_on()

    subject = LimitsSubject(
        open=lambda skew_s: sharing(store, skew_s), window_s=WINDOW_S, lease_s=LEASE_S, ends=ends, cut=cut
    )
    began = time.monotonic()
    await check(subject)
    assert time.monotonic() - began < 30.0
