"""What the parts cost by themselves: decoder, decisions, import, memory of what waits."""

import asyncio
import gc
import resource
import socket
import statistics
import subprocess
import sys
import time

import spillway
from spillway.core.clock import loop_clock
from spillway.core.options import CircuitBreakerConfig, RateLimits
from spillway.remote import (
    AcquirePermit,
    CircuitBreakerHandle,
    PriorityRequest,
    RateLimiterActor,
    RequestQueue,
    SseDecoder,
    StrictRateLimiterActor,
)
from spillway.stores.redis import RedisStore
from spillway.stores.commons import Commons
from spillway.stores.shared import Sharing
from spillway.testing import Reply, ScriptedRunner


def best(measure, rounds=5):
    return statistics.median(sorted(measure() for _ in range(rounds))[:3])


def sse_events_per_second():
    event = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"' + b"w" * 88 + b'"}}]}\n\n'
    assert 145 <= len(event) <= 155, len(event)
    read = event * 400

    def once():
        decoder = SseDecoder()
        start = time.perf_counter()
        events = sum(len(decoder.feed_data(read)) for _ in range(200))
        return -events / (time.perf_counter() - start)

    return -best(once)


def sse_text_events_per_second():
    event = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"' + b"w" * 88 + b'"}}]}\n\n'
    read = event * 400

    def once():
        decoder = SseDecoder()
        start = time.perf_counter()
        events = sum(len(decoder.feed(read)) for _ in range(100))
        return -events / (time.perf_counter() - start)

    return -best(once)


def decisions_us():
    """Queue push and pop, limiter take, send, settle and release, breaker check and success: for one request."""
    limits = RateLimits(requests_per_minute=10**9, tokens_per_minute=10**12)
    limiter = RateLimiterActor("bench", limits, clock=time.monotonic).handle()
    breaker = CircuitBreakerHandle("bench", CircuitBreakerConfig(), clock=time.monotonic)
    queue = RequestQueue(1024)
    total = 20_000

    def once():
        start = time.perf_counter()
        for _ in range(total):
            entry = PriorityRequest(None)
            queue.push(entry)
            queue.pop()
            permit = limiter.take_or_wait(AcquirePermit(tokens=100))
            ticket = breaker.check()
            permit.sent()
            permit.reconcile(80)
            permit.release()
            ticket.success(0.1)
        return (time.perf_counter() - start) / total * 1e6

    return best(once)


async def _strict_us(url, rate=2000, seconds=4.0):
    """CPU of one decision at so many a second, syncing included."""
    limits = RateLimits(requests_per_minute=10**7, tokens_per_minute=10**10, strict=True)
    sharing = None
    if url is None:
        limiter = StrictRateLimiterActor("bench", limits).handle()
    else:
        sharing = Sharing(RedisStore(url, silent_s=1.0, window_s=5.0), loop_clock())
        limiter = StrictRateLimiterActor(sharing.node, limits, store=sharing.exact, key="bench").handle()
        permit = await limiter.acquire(AcquirePermit(tokens=100))
        permit.refund()
        permit.release()
    made, began, cpu = 0, time.monotonic(), time.process_time()
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(int(passed * rate) - made):
            permit = limiter.take_or_wait(AcquirePermit(tokens=100))
            made += 1
            if not isinstance(permit, float):
                permit.sent()
                permit.reconcile(80)
                permit.release()
        await asyncio.sleep(0.005)
    cpu = time.process_time() - cpu
    if sharing is not None:
        await sharing.aclose()
    return cpu / made * 1e6


def strict_us():
    """What a strict decision over a Redis adds to one in memory: leases, reports and the task that brings them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        # Not before it has been up for long enough to know that it has forgotten nothing.
        time.sleep(8.0)
        shared = statistics.median(asyncio.run(_strict_us(f"redis://127.0.0.1:{port}")) for _ in range(3))
        return shared - statistics.median(asyncio.run(_strict_us(None)) for _ in range(3))
    finally:
        server.kill()
        server.wait()


def import_ms():
    def once():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import spillway"], check=True)
        with_it = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return (with_it - (time.perf_counter() - start)) * 1000

    return best(once)


def first_use_ms():
    def once():
        code = "import spillway; spillway.Cluster, spillway.Deployment"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - start) * 1000

    return best(once)


async def _queued(count):
    runner = ScriptedRunner([Reply(hang=True)])
    deployment = spillway.Deployment(
        name="m",
        serving=spillway.Serving(max_concurrent=1, queue_capacity=count + 1, queue_timeout_s=600),
        pricing=spillway.Pricing(input_per_mtok_usd=1, output_per_mtok_usd=1),
    )
    async with spillway.Cluster([deployment], runners={"m": lambda _d: runner}) as cluster:
        first = asyncio.create_task(cluster.generate("m", "x"))
        await asyncio.sleep(0.1)
        gc.collect()
        before = _rss_mb()
        tasks = [asyncio.create_task(cluster.generate("m", "x")) for _ in range(count)]
        while cluster.metrics().per_deployment["m"].queued < count:
            await asyncio.sleep(0.01)
        used = _rss_mb() - before
        for task in [first, *tasks]:
            task.cancel()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        return used


def _rss_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def queued_mb(count=10_000):
    return asyncio.run(_queued(count))


def told_limit_us():
    """What a limit that is kept together by telling costs more than one of this process alone, syncs at 1,000/s included.

    One process, one other; each sync goes through a Commons, whose own work is counted too.
    """
    limits = RateLimits(requests_per_minute=10**9, tokens_per_minute=10**12)
    alone = RateLimiterActor("bench", limits, clock=time.monotonic).handle()
    seconds = 20_000 / 1000

    def requests(limiter, count):
        for _ in range(count):
            permit = limiter.take_or_wait(AcquirePermit(tokens=100))
            permit.sent()
            permit.reconcile(80)
            permit.release()

    async def told():
        commons = Commons(clock=time.monotonic, sync_s=1.0)
        here, there = (Sharing(commons, asyncio.get_running_loop().time) for _ in range(2))
        limiter, other = (
            RateLimiterActor(each.node, limits, store=each.approximate, key="k").handle() for each in (here, there)
        )
        await asyncio.gather(here.start(), there.start())
        start = time.process_time()
        for _ in range(int(seconds)):
            requests(limiter, 1000)
            # A sync of its own for each 1,000 requests, though less than a second has passed.
            await here.syncing.synced(1.0)
        took = time.process_time() - start
        requests(other, 1)
        await asyncio.gather(here.aclose(), there.aclose())
        return took

    def local():
        start = time.process_time()
        requests(alone, 20_000)
        return time.process_time() - start

    return (best(lambda: asyncio.run(told())) - best(local)) / 20_000 * 1e6
