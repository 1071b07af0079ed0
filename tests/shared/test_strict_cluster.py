"""Strict limits through Clusters that share a store, in virtual time: what callers see of it."""

import asyncio
import itertools
import math

import pytest

import spillway
from spillway.core.clock import loop_clock, sleep
from spillway.stores.commons import Commons
from spillway.testing import Reply, ScriptedRunner, run_virtual
from spillway.testing.limit_probe import most_in_any

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
WINDOW_S, SILENT_S = 60.0, 15.0


class Store(Commons):
    """A store in virtual time that remembers who is linked to it."""

    def __init__(self, **options):
        super().__init__(window_s=WINDOW_S, clock=loop_clock(), **options)
        self.links = []
        self.syncs = 0

    def connect(self):
        self.links.append(super().connect())
        return self.links[-1]

    def cut(self, cut=True):
        for link in self.links:
            link.cut = cut

    def run_scripts(self, calls):
        self.syncs += any(name == "limits" for name, *_ in calls)
        return super().run_scripts(calls)


def deployment(name="m", *, limits, **options):
    limits = spillway.RateLimits(strict=True, **limits)
    return spillway.Deployment(name=name, rate_limits=limits, pricing=PRICE, **options)


class Node:
    """A Cluster that shares a store."""

    def __init__(self, store, *deployments, script=("ok",)):
        self.runners = {d.name: ScriptedRunner(script) for d in deployments}
        runners = {name: (lambda _, one=one: one) for name, one in self.runners.items()}
        self.cluster = spillway.Cluster(deployments, runners=runners, store=store)

    async def ask(self, count=1, name="m", **options):
        """Send so many at once; return their ends."""
        tasks = [self.cluster.generate(name, "hello", **options) for _ in range(count)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    def sent(self):
        return [call.started for runner in self.runners.values() for call in runner.calls]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.cluster.aclose()


def virtual(main):
    """Run a test in virtual time."""

    def run():
        run_virtual(main())

    run.__name__, run.__doc__ = main.__name__, main.__doc__
    return run


def count_ok(ends):
    return sum(isinstance(end, spillway.Tokens) for end in ends)


@virtual
async def test_four_nodes_send_the_limit_in_the_first_minute_and_no_more_in_any():
    store, limits = Store(), {"requests_per_minute": 60}
    serving = spillway.Serving(queue_timeout_s=300.0)
    nodes = [Node(store, deployment(limits=limits, serving=serving)) for _ in range(4)]
    began = asyncio.get_running_loop().time()
    ends = await asyncio.gather(*(node.ask(50, timeout_s=190.0) for node in nodes))
    sent = sorted(itertools.chain(*(node.sent() for node in nodes)))
    assert most_in_any(sent, WINDOW_S) == 60
    assert sum(at < began + 1.0 for at in sent) == 60
    assert sum(map(count_ok, ends)) == 200 and max(sent) - began < 3 * WINDOW_S / 0.97
    for node in nodes:
        await node.cluster.aclose()


@virtual
async def test_a_request_is_not_refused_while_its_lease_is_fetched():
    options = {
        "fallback": ("other",),
        "fallback_after_s": 0.0,
        "serving": spillway.Serving(on_capacity_exhausted="reject"),
    }
    store, limits = Store(), {"requests_per_minute": 60}
    async with Node(store, deployment(limits=limits, **options), deployment("other", limits=limits)) as node:
        (end,) = await node.ask(timeout_s=0.5)
        assert end.deployment == "m" and end.attempts == 1


@virtual
async def test_nothing_is_let_through_without_the_store_and_the_refusal_says_so():
    store, limits = Store(), {"requests_per_minute": 60}
    serving = spillway.Serving(queue_timeout_s=3.0)
    async with Node(store, deployment(limits=limits, serving=serving)) as node:
        assert count_ok(await node.ask()) == 1
        store.cut()
        await sleep(5.0)
        (refusal,) = await node.ask()
        assert isinstance(refusal, spillway.RateLimited) and refusal.limited_by == "deployment"
        assert "no permit within 3 s: the store is lost or may have forgotten" in str(refusal)
        assert not node.cluster.deployment("m").healthy()
        store.cut(False)
        assert count_ok(await node.ask(timeout_s=1.0)) == 1
        assert node.cluster.deployment("m").healthy()


@virtual
async def test_without_the_store_a_request_goes_at_once_where_none_is_needed():
    options = {"fallback": ("other",), "fallback_after_s": 1.0}
    store = Store()
    plain = spillway.Deployment(name="other", pricing=PRICE)
    async with Node(store, deployment(limits={"requests_per_minute": 60}, **options), plain) as node:
        assert count_ok(await node.ask()) == 1
        store.cut()
        await sleep(5.0)
        began = asyncio.get_running_loop().time()
        (end,) = await node.ask()
        assert end.deployment == "other" and asyncio.get_running_loop().time() == began


@virtual
async def test_nodes_spend_what_they_hold_when_the_store_is_lost():
    store, limits = Store(), {"requests_per_minute": 6000}
    async with Node(store, deployment(limits=limits)) as node:
        served = []
        for asks in (100, 103, 107, 112, 118):
            store.cut(False)
            for _ in range(asks):
                await node.ask(timeout_s=1.0)
                await sleep(0.02)
            store.cut()
            ends = [end for _ in range(60) for end in await node.ask(timeout_s=0.001)]
            served.append(count_ok(ends))
        assert 5 <= max(served) < 50
        await sleep(1.0)
        assert count_ok(await node.ask(timeout_s=0.001)) == 0


@virtual
async def test_a_store_in_another_life_lets_nobody_through_until_what_it_forgot_is_over():
    store, limits = Store(), {"requests_per_minute": 60}
    async with Node(store, deployment(limits=limits)) as one, Node(store, deployment(limits=limits)) as other:
        assert count_ok(await one.ask(60)) == 60
        for lose in (store.forget, store.empty):
            lose()
            born = asyncio.get_running_loop().time()
            (refusal,) = await other.ask(timeout_s=20.0)
            assert isinstance(refusal, spillway.InferenceError)
            assert "may have forgotten" in other.cluster.deployment("m").rate_limiter().trouble()
            assert count_ok(await other.ask(60, timeout_s=100.0)) == 60
            after = min(at for at in other.sent() if at > born) - born
            assert WINDOW_S + SILENT_S + 1.0 <= after <= WINDOW_S + SILENT_S + 5.0
        assert most_in_any(one.sent() + other.sent(), WINDOW_S) == 60


@virtual
async def test_what_a_dead_node_has_taken_counts_and_its_seats_come_back():
    store, limits = Store(), {"concurrent_requests": 2}
    dead = Node(store, deployment(limits=limits), script=[Reply(hang=True)])
    hanging = asyncio.ensure_future(dead.ask(2))
    await sleep(1.0)
    store.cut()
    async with Node(store, deployment(limits=limits)) as node:
        assert count_ok(await node.ask(timeout_s=SILENT_S - 2.0)) == 0
        began = asyncio.get_running_loop().time()
        assert count_ok(await node.ask(timeout_s=10.0)) == 1
        assert asyncio.get_running_loop().time() - began <= 5.0
    hanging.cancel()
    await dead.cluster.aclose()


@virtual
async def test_a_429_of_one_is_a_pause_for_all():
    store, limits = Store(), {"requests_per_minute": 600}
    slow_down = [spillway.RateLimited("slow down", status=429, retry_after=7.0, limited_by="provider"), "ok"]
    retry = spillway.RetryPolicy(max_retries=0)
    async with (
        Node(store, deployment(limits=limits, retry=retry), script=slow_down) as one,
        Node(store, deployment(limits=limits)) as other,
    ):
        assert count_ok(await other.ask()) == 1
        began = asyncio.get_running_loop().time()
        assert count_ok(await one.ask()) == 0
        await sleep(0.3)
        assert count_ok(await other.ask()) == 1
        assert 7.0 <= max(other.sent()) - began <= 7.5
        assert other.cluster.deployment("m").rate_limiter().snapshot().percent == 70


@virtual
async def test_limits_that_are_loaded_anew_hold_over_all_nodes():
    store = Store()
    before, after = ({"requests_per_minute": 10}, {"requests_per_minute": 20, "concurrent_requests": 5})
    async with Node(store, deployment(limits=before)) as one, Node(store, deployment(limits=before)) as other:
        assert count_ok(await one.ask(10)) == 10
        for node in (one, other):
            await node.cluster.reconfigure([deployment(limits=after)])
        ends = await asyncio.gather(one.ask(10, timeout_s=30.0), other.ask(10, timeout_s=30.0))
        assert sum(map(count_ok, ends)) == 10
        await one.cluster.reconfigure([deployment(limits={"concurrent_requests": 5})])
        assert count_ok(await one.ask(10, timeout_s=10.0)) == 10


@virtual
async def test_an_idle_node_only_shows_that_it_lives():
    store, limits = Store(), {"requests_per_minute": 60, "concurrent_requests": 9}
    async with Node(store, deployment(limits=limits)) as node:
        assert count_ok(await node.ask(3)) == 3
        await sleep(5.0)
        before = store.syncs
        await sleep(60.0)
        assert store.syncs - before == pytest.approx(20, abs=1)
        # Nor does one that waits for room ask all the time.
        waiting = asyncio.ensure_future(node.ask(100))
        await sleep(1.0)
        before = store.syncs
        await sleep(30.0)
        assert store.syncs - before <= 90
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@virtual
async def test_a_wait_that_is_known_is_told():
    store, limits = Store(), {"requests_per_minute": 1}
    async with Node(store, deployment(limits=limits)) as node:
        assert count_ok(await node.ask()) == 1
        limiter = node.cluster.deployment("m").rate_limiter()
        (refusal,) = await node.ask(timeout_s=2.0)
        assert isinstance(refusal, spillway.Timeout)
        assert 57.0 < limiter.wait_for(spillway.remote.AcquirePermit()) < 60.0
        assert limiter.wait_for(spillway.remote.AcquirePermit()) != math.inf
