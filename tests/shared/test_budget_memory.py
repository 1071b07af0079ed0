"""What of a shared budget is remembered: by the store, by the processes that live on, by state files."""

import asyncio

import pytest
from budget_town import USD, town_of
from test_budget_ledger import committed, play, refusal, spend

import spillway
from spillway.remote.cost import usd_to_pico
from spillway.stores.commons import Commons
from spillway.stores.redis import RedisStore
from spillway.testing import Reply, ScriptedRunner, run_virtual


def test_a_store_that_was_emptied_is_told_what_was_spent_once():
    async def test(town, one, other):
        await spend(one, 4)
        await spend(other, 3)
        await asyncio.sleep(1.5)
        town.commons.forget()
        await asyncio.sleep(3.0)
        assert (committed(one), committed(other)) == (7, 7)
        newcomer = town.join()
        error, _ = await refusal(newcomer, 4)
        assert "7 of 10 USD are spent" in str(error)
        await spend(newcomer, 3)

    play(test)


def test_who_dies_with_what_it_holds_before_an_emptied_store_is_told_is_not_forgotten():
    async def test(town, one, other):
        await spend(one, 1)
        await one.reserve(5 * USD)
        await asyncio.sleep(1.5)
        town.kill(one)
        town.commons.forget()
        newcomer = town.join()
        assert await newcomer.reserve(5 * USD, patience_s=14.0) is None
        assert newcomer.refused == 0
        await asyncio.sleep(4.0)
        error, _ = await refusal(newcomer, 5)
        assert "6 of 10 USD are spent" in str(error)
        await spend(newcomer, 4)

    play(test)


def test_a_new_store_lends_nothing_before_all_could_tell_what_they_know():
    async def test():
        async with town_of() as town:
            node = town.join()
            loop = asyncio.get_running_loop()
            began = loop.time()
            held = await node.reserve(USD)
            assert 1.2 < loop.time() - began < 1.5
            node.release(held)
            later = town.join()
            began = loop.time()
            later.release(await later.reserve(USD))
            assert loop.time() - began < 0.1

    run_virtual(test())


def test_what_state_files_know_is_added_up_in_a_new_store_each_file_once():
    async def test():
        async with town_of() as town:
            for journal in ("j", "k", "j"):
                node = town.join(journal=journal)
                node.ledger.charge(3 * USD, age_s=600.0)
            await asyncio.sleep(4.0)
            for node in town.nodes:
                assert (committed(node), node.ledger.spent_pico) == (6, 3 * USD)
            await spend(town.nodes[0], 1)
            await town.nodes[0].sharing.aclose()
            again = town.join(journal="j")
            again.ledger.charge(3 * USD, age_s=600.0)
            again.ledger.charge(1 * USD)
            await asyncio.sleep(4.0)
            assert committed(again) == 7
            error, _ = await refusal(again, 4)
            assert error.reason == "hour"

    run_virtual(test())


def test_what_a_state_file_knows_is_not_added_to_what_a_process_remembers():
    async def test():
        async with town_of() as town:
            one, other = (town.join(journal=journal) for journal in "jk")
            await spend(one, 4)
            await asyncio.sleep(1.5)
            town.commons.forget()
            town.kill(one)
            again = town.join(journal="j")
            again.ledger.charge(4 * USD, age_s=120.0)
            await asyncio.sleep(4.0)
            assert (committed(again), committed(other)) == (4, 4)

    run_virtual(test())


def test_what_was_spent_long_ago_counts_in_the_windows_that_reach_so_far():
    async def test():
        async with town_of() as town:
            budget = spillway.Budget(max_spend_per_hour_usd=1, max_spend_per_day_usd=10, max_spend_per_month_usd=50)
            node = town.join(budget, journal="j")
            for usd, age_s in ((1, 10.0), (2, 7_200.0), (40, 3 * 86_400.0)):
                node.ledger.charge(usd * USD, age_s=age_s)
            await asyncio.sleep(4.0)
            seen = {window.name: window.committed_pico / USD for window in node.ledger.snapshot().windows}
            assert seen == {"hour": 1, "day": 3, "month": 43}

    run_virtual(test())


@pytest.fixture(params=["redis", "commons"])
def store(request, shared_redis):
    if request.param == "redis":
        return RedisStore(shared_redis.url, name=shared_redis.name())
    return Commons()


def cluster(store, cap, *, state=None, reply=None):
    deployment = spillway.Deployment(
        name="m",
        budget=spillway.Budget(max_spend_per_day_usd=cap),
        pricing=spillway.Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=1_000_000.0),
    )
    runner = ScriptedRunner([reply or Reply(usage=spillway.Usage(input_tokens=0, output_tokens=40_000))])
    return spillway.Cluster([deployment], runners={"m": lambda _: runner}, environ={}, store=store, state=state)


async def test_a_hundred_thousand_dollars_are_counted_to_the_last_pico(store):
    cap = 100_000.000000000001
    async with cluster(store, cap) as one, cluster(store, cap) as other:
        await one.generate("m", "Say hello", max_tokens=40_000)
        await other.generate("m", "Say hello", max_tokens=40_000)
        ledger = one.deployment("m").budget()
        rest = usd_to_pico(cap) - usd_to_pico(80_000)
        while True:
            try:
                if (held := ledger.try_reserve(rest)) is not None:
                    break
            except spillway.BudgetExceeded:
                pytest.fail("it fits to the last pico-dollar")
            await asyncio.sleep(0.02)
        held.settle(rest - 1)
        with pytest.raises(spillway.BudgetExceeded, match="day"):
            while ledger.try_reserve(2) is None:
                await asyncio.sleep(0.02)
        while (held := ledger.try_reserve(1)) is None:
            await asyncio.sleep(0.02)
        held.settle(1)
        with pytest.raises(spillway.BudgetExceeded, match="day"):
            other_ledger = other.deployment("m").budget()
            while other_ledger.try_reserve(1) is None:
                await asyncio.sleep(0.02)


async def test_a_new_store_begins_with_what_a_clusters_state_file_knows(store, tmp_path):
    async with cluster("memory", 100_000.0, state=tmp_path / "one.db") as before:
        await before.generate("m", "Say hello", max_tokens=40_000)
    async with (
        cluster(store, 100_000.0, state=tmp_path / "one.db") as one,
        cluster(store, 100_000.0, state=tmp_path / "other.db") as other,
    ):
        await other.generate("m", "Say hello", max_tokens=40_000)
        with pytest.raises(spillway.BudgetExceeded, match="80000 of 100000 USD are spent in the last day"):
            await one.generate("m", "Say hello", max_tokens=40_000)
    async with cluster(store, 100_000.0, state=tmp_path / "one.db") as again:
        with pytest.raises(spillway.BudgetExceeded, match="80000 of 100000 USD are spent in the last day"):
            await again.generate("m", "Say hello", max_tokens=40_000)
