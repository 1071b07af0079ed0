"""A program's own Prometheus registry, with a Cluster in it."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from stage import broken, retry

from spillway.telemetry.prometheus import ClusterCollector


def test_a_registry_reads_the_cluster(play):
    async def test(world):
        registry = CollectorRegistry()
        registry.register(ClusterCollector(world.cluster))
        await world.ask()
        about = {"deployment": "m"}
        assert registry.get_sample_value("spillway_attempts_total", {**about, "outcome": "ok"}) == 1
        assert registry.get_sample_value("spillway_attempts_total", {**about, "outcome": "server_error"}) == 1
        assert registry.get_sample_value("spillway_retries_total", about) == 1
        assert registry.get_sample_value("spillway_cost_usd_total", about) == pytest.approx(20e-6)
        assert registry.get_sample_value("spillway_attempt_duration_seconds_count", about) == 1
        assert registry.get_sample_value("spillway_queue_wait_seconds_sum", about) == pytest.approx(1.0)

    play(test, (broken(), "ok"), retry=retry())


def test_the_gaps_of_a_stream_are_between_reads(play):
    from stage import Reply, text_of

    async def test(world):
        assert await text_of(world.stream()) == "abcdef"
        (seen,) = world.seen.attempts
        assert list(seen.gaps) == pytest.approx([0.5, 0.5], abs=1e-6)
        registry = CollectorRegistry()
        registry.register(ClusterCollector(world.cluster))
        assert registry.get_sample_value("spillway_output_gap_seconds_sum", {"deployment": "m"}) == pytest.approx(1.0)
        assert registry.get_sample_value("spillway_output_gap_seconds_count", {"deployment": "m"}) == 2

    play(test, (Reply(text="abcdef", chunks=3, chunk_delay_s=0.5),))


async def test_a_scrape_from_another_thread_reads_on_the_loop():
    import spillway
    from spillway.testing import ScriptedRunner

    price = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
    cluster = spillway.Cluster(
        [spillway.Deployment(name="m", pricing=price, budget=spillway.Budget(max_spend_per_hour_usd=1.0))],
        runners={"m": lambda _: ScriptedRunner(["ok"])},
        environ={},
    )
    registry = CollectorRegistry()
    registry.register(ClusterCollector(cluster))
    assert b"spillway_" not in generate_latest(registry)
    async with cluster:
        await cluster.generate("m", "hi")
        text = await asyncio.to_thread(generate_latest, registry)
        assert b'spillway_deployment_requests_total{deployment="m",outcome="ok"} 1.0' in text
        assert b'spillway_budget_spent_usd{deployment="m",window="hour"} 2' in text
