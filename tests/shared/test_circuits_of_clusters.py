"""Clusters that share a store share their circuits: in virtual time, as their callers meet them."""

import asyncio

import pytest

import spillway
from spillway.remote.circuit_breaker import CircuitState
from spillway.stores.commons import Commons
from spillway.testing import Reply, ScriptedRunner, run_virtual

CONFIG = spillway.CircuitBreakerConfig(failure_threshold=2, open_duration_s=5.0, max_open_duration_s=40.0)
PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0)
ONCE = spillway.RetryPolicy(max_retries=0)


def broken():
    return spillway.ServerError("down", status=503)


class Provider:
    """What all Clusters ask: down until it is told to be well."""

    def __init__(self, delay_s=0.0):
        self.delay_s, self.down = delay_s, True
        self.calls = []

    def runner(self, _deployment):
        provider = self

        class Runner(ScriptedRunner):
            async def execute(self, batch):
                provider.calls.append(asyncio.get_running_loop().time())
                self.script = [broken()] if provider.down else [Reply(delay_s=provider.delay_s)]
                fresh = ScriptedRunner(self.script)
                return await fresh.execute(batch)

        return Runner()


def play(test, *, clusters=2, delay_s=0.0, deployments=None, **breaker):
    async def main():
        store = Commons(clock=asyncio.get_running_loop().time)
        provider = Provider(delay_s)
        config = spillway.CircuitBreakerConfig(
            **{name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__} | breaker
        )
        made = deployments or [spillway.Deployment(name="m", circuit_breaker=config, retry=ONCE, pricing=PRICE)]
        all_ = [
            spillway.Cluster(made, runners={d.name: provider.runner for d in made}, store=store)
            for _ in range(clusters)
        ]
        for each in all_:
            await each.start()
        try:
            await test(provider, *all_)
        finally:
            for each in all_:
                await each.aclose()

    run_virtual(main())


async def ask(cluster, name="m"):
    try:
        await cluster.generate(name, "hello", timeout_s=60.0)
    except spillway.InferenceError as error:
        return error.code
    return "ok"


def state(cluster, name="m"):
    return cluster.deployment(name).circuit_breaker().state


def test_what_fails_at_one_is_not_sent_by_the_other():
    async def test(provider, one, other):
        provider.down = False
        for _ in range(6):
            assert await ask(other) == "ok"
            await asyncio.sleep(0.2)
        provider.down = True
        assert [await ask(one) for _ in range(2)] == ["server_error"] * 2
        await asyncio.sleep(0.26)
        sent = len(provider.calls)
        assert await ask(other) == "circuit_open"
        assert len(provider.calls) == sent

    play(test)


def test_the_first_request_after_the_open_time_waits_for_its_lease_and_is_the_probe():
    async def test(provider, one, other):
        for _ in range(2):
            await ask(one)
        await asyncio.sleep(5.01)
        provider.down = False
        assert await ask(other) == "ok"
        assert state(other) is CircuitState.CLOSED
        await asyncio.sleep(0.26)
        assert state(one) is CircuitState.CLOSED
        assert await ask(one) == "ok"

    play(test)


@pytest.mark.parametrize("probes", [1, 3])
def test_exactly_so_many_probes_of_all_who_ask_everywhere(probes):
    async def test(provider, *clusters):
        for _ in range(2):
            await ask(clusters[0])
        await asyncio.sleep(5.3)
        provider.down = False
        before = len(provider.calls)
        told = await asyncio.gather(*(ask(cluster) for cluster in clusters for _ in range(50)))
        assert len(provider.calls) - before == probes
        assert told.count("ok") == probes
        assert told.count("circuit_open") == len(told) - probes
        await asyncio.sleep(0.3)
        assert {state(cluster) for cluster in clusters} == {CircuitState.CLOSED}

    play(test, clusters=3, delay_s=1.0, half_open_max_probes=probes)


def test_a_cluster_that_leaves_gives_its_probe_back():
    async def test(provider, one, other):
        for _ in range(2):
            await ask(one)
        await asyncio.sleep(5.3)
        provider.down, provider.delay_s = False, 30.0
        probing = asyncio.create_task(ask(one))
        await asyncio.sleep(0.5)
        assert await ask(other) == "circuit_open"
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        provider.delay_s = 0.0
        await asyncio.sleep(0.3)
        assert await ask(other) == "ok"

    play(test)


def test_a_group_finds_out_that_a_member_is_well_again():
    group = [
        spillway.Deployment(name=name, group="g", circuit_breaker=CONFIG, retry=ONCE, pricing=PRICE)
        for name in ("a", "b")
    ]

    async def test(provider, one, other):
        provider.down = False
        one.deployment("a").circuit_breaker().force_open(3.0)
        await asyncio.sleep(1.1)
        assert state(other, "a") is CircuitState.OPEN
        assert [await ask(other, "g") for _ in range(4)] == ["ok"] * 4
        await asyncio.sleep(3.0)
        assert [await ask(other, "g") for _ in range(4)] == ["ok"] * 4
        assert state(other, "a") is CircuitState.CLOSED

    play(test, deployments=group)


def test_a_limit_group_and_a_deployment_of_its_name_are_two_circuits():
    both = [
        spillway.Deployment(name="m", circuit_breaker=CONFIG, pricing=PRICE),
        spillway.Deployment(name="n", limit_group="m", circuit_breaker=CONFIG, pricing=PRICE),
    ]

    async def test(provider, one, other):
        provider.down = False
        await ask(one)
        one.deployment("n").circuit_breaker().force_open(3.0)
        await asyncio.sleep(1.1)
        assert (state(other, "m"), state(other, "n")) == (CircuitState.CLOSED, CircuitState.OPEN)

    play(test, deployments=both)
