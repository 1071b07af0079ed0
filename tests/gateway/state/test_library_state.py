"""`Cluster(state=…)`: the library's spend outlives it too, by every door it has."""

import asyncio
import sqlite3

import pytest
from tenants_stage import deployment

import spillway
from spillway.core.errors import ConfigError
from spillway.testing import Reply, ScriptedRunner

COST = 0.00002


def cluster(path, *replies, **options):
    runner = ScriptedRunner(replies or (Reply(text="hi"),))
    return spillway.Cluster([deployment(**options)], runners={"m": lambda _: runner}, environ={}, state=path)


def spent(one):
    return one.deployment("m").budget().spent_pico / 10**12


BUDGET = {"budget": spillway.Budget(max_spend_per_hour_usd=1.0)}


def test_the_synchronous_doors_write_it_as_well(tmp_path):
    for _ in range(2):
        with cluster(tmp_path / "s.db", **BUDGET) as one:
            assert one.generate_sync("m", "x").text == "hi"
    with sqlite3.connect(tmp_path / "s.db") as connection:
        (total,) = connection.execute("SELECT sum(pico) FROM spend").fetchone()
    connection.close()
    assert total == round(2 * COST * 10**12)


async def test_streams_vectors_and_maps_are_in_it_by_tenant(tmp_path):
    async with cluster(tmp_path / "s.db", **BUDGET) as one:
        async with one.stream("m", "x", tenant="t") as stream:
            assert [chunk.text_delta async for chunk in stream if chunk.text_delta]
        async for _ in one.map("m", ["a", "b"], tenant="u"):
            pass
        assert {(row.name, row.requests) for row in await one.state.costs("key")} == {("t", 1), ("u", 2)}
    async with cluster(tmp_path / "s.db", **BUDGET) as one:
        assert spent(one) == pytest.approx(3 * COST)


async def test_a_stream_that_is_left_counts_what_it_came_to(tmp_path):
    replies = (Reply(text="abcdefgh" * 10, chunks=10, chunk_delay_s=0.01, usage=None),)
    async with cluster(tmp_path / "s.db", *replies, **BUDGET) as one:
        stream = one.stream("m", "x")
        async for _ in stream:
            break
        await stream.aclose()
        await asyncio.sleep(0.01)
        (row,) = await one.state.costs("deployment")
        assert (row.requests, row.cost_pico > 0) == (1, True)
        assert spent(one) * 10**12 == pytest.approx(row.cost_pico)


async def test_a_retry_is_written_for_each_attempt_that_cost_something(tmp_path):
    replies = (spillway.ServerError("down", status=503), Reply(text="hi"))
    retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001)
    async with cluster(tmp_path / "s.db", *replies, retry=retry) as one:
        assert (await one.generate("m", "x")).attempts == 2
        (row,) = await one.state.costs("deployment")
        assert (row.requests, row.cost_pico) == (1, round(COST * 10**12))


async def test_one_cluster_at_a_time(tmp_path):
    async with cluster(tmp_path / "s.db"):
        with pytest.raises(ConfigError, match="serves with this state file"):
            await cluster(tmp_path / "s.db").start()
    async with cluster(tmp_path / "s.db") as again:
        assert again.state is not None


async def test_none_is_kept_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with cluster(None) as one:
        await one.generate("m", "x")
        assert one.state is None
    assert list(tmp_path.iterdir()) == []
