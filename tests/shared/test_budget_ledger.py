"""One budget over several processes, in virtual time: who waits, who is refused, what is remembered."""

import asyncio
import logging

import pytest
from budget_town import USD, town_of

from spillway import Budget, BudgetExceeded
from spillway.testing import run_virtual


def now():
    return asyncio.get_running_loop().time()


def play(test, nodes=2, **options):
    async def main():
        async with town_of(nodes, **options) as town:
            await asyncio.sleep(1.5)
            await test(town, *town.nodes)

    run_virtual(main())


async def spend(node, usd, cost=None):
    held = await node.reserve(int(usd * USD))
    node.settle(held, int((usd if cost is None else cost) * USD))


async def refusal(node, usd):
    before = now()
    with pytest.raises(BudgetExceeded) as caught:
        while node.ledger.try_reserve(int(usd * USD)) is None:
            await asyncio.sleep(0.02)
    return caught.value, now() - before


def committed(node):
    (window,) = node.ledger.snapshot().windows
    return window.committed_pico / USD


def test_who_fits_but_for_what_another_holds_waits_and_is_served():
    async def test(town, one, other):
        held = await one.reserve(8 * USD)
        asked = asyncio.create_task(other.reserve(5 * USD, patience_s=60.0))
        await asyncio.sleep(20.0)
        assert not asked.done()
        one.settle(held, 4 * USD)
        settled = now()
        other.settle(await asked, 1 * USD)
        assert now() - settled < 0.3
        assert other.refused == 0

    play(test)


def test_who_does_not_fit_beside_what_all_have_spent_is_refused_at_once():
    async def test(town, one, other):
        await spend(one, 8)
        await asyncio.sleep(0.2)
        error, took = await refusal(other, 3)
        assert error.reason == "hour"
        assert "8 of 10 USD are spent in the last hour" in str(error)
        assert 3_590 < error.retry_after < 3_662
        assert took < 1.5
        await spend(other, 2)
        await asyncio.sleep(1.1)
        for node in (one, other):
            with pytest.raises(BudgetExceeded):
                node.ledger.check()

    play(test)


def test_what_one_has_and_does_not_use_comes_at_once_to_who_waits_for_it():
    async def test(town, one, other):
        for _ in range(12):
            await spend(one, 0.5)
            await asyncio.sleep(0.1)
        await spend(one, 2.5, 0.5)
        began = now()
        other.settle(await other.reserve(int(3.5 * USD)), 0)
        assert now() - began < 0.3

    play(test)


def test_what_was_spent_leaves_the_window_for_all():
    async def test(town, one, other):
        await spend(one, 10)
        await asyncio.sleep(3_500.0)
        _, took = await refusal(other, 1)
        assert took < 0.1
        await asyncio.sleep(170.0)
        await spend(other, 10)

    play(test)


def test_throttled_spend_waits_for_the_window():
    async def test(town, one, other):
        await spend(one, 9)
        began = now()
        held = await other.reserve(2 * USD, patience_s=4_000.0)
        assert 3_590 < now() - began < 3_662
        other.settle(held, USD)

    async def main():
        async with town_of() as town:
            for _ in range(2):
                town.join(Budget(max_spend_per_hour_usd=10.0, on_exceeded="throttle"))
            await test(town, *town.nodes)

    run_virtual(main())


def test_a_warning_is_given_by_what_all_have_spent_and_nobody_waits(caplog):
    async def test():
        async with town_of(cap=100 * USD) as town:
            one, other = (town.join(Budget(max_spend_per_hour_usd=1.0, on_exceeded="warn")) for _ in range(2))
            await asyncio.sleep(1.5)
            began = now()
            await spend(one, 2)
            await asyncio.sleep(1.2)
            caplog.clear()
            await spend(other, 2)
            assert now() - began == pytest.approx(1.2)
            assert "2 of 1 USD are spent in the last hour" in caplog.text
            await asyncio.sleep(1.2)
            assert (committed(one), committed(other)) == (4, 4)

    with caplog.at_level(logging.WARNING, "spillway.budget"):
        run_virtual(test())


def test_what_a_killed_process_had_reserved_is_spent_when_it_has_been_silent_for_long():
    async def test(town, one, other):
        await one.reserve(6 * USD)
        town.kill(one)
        assert await other.reserve(5 * USD, patience_s=13.0) is None
        assert other.refused == 0
        await asyncio.sleep(4.0)
        error, _ = await refusal(other, 5)
        assert "6 of 10 USD are spent" in str(error)
        await spend(other, 4)
        await asyncio.sleep(3_700.0)
        await spend(other, 10)

    play(test)


def test_who_was_cut_off_for_long_has_back_what_it_did_not_spend():
    async def test(town, one, other):
        held = await one.reserve(6 * USD)
        one.link.cut = True
        await asyncio.sleep(60.0)
        assert committed(other) == 6
        one.link.heal()
        one.settle(held, USD)
        await asyncio.sleep(1.2)
        await spend(other, 9)

    play(test)


def test_who_leaves_takes_nothing_along():
    async def test(town, one, other):
        for _ in range(5):
            await spend(one, 1)
            await asyncio.sleep(0.1)
        held = await one.reserve(2 * USD)
        one.settle(held, USD)
        await one.sharing.aclose()
        await spend(other, 4)

    play(test)


def test_without_the_store_what_is_held_may_be_spent_for_a_while_and_then_nothing():
    async def test(town, one, other):
        for _ in range(20):
            await spend(one, 0.1)
            await asyncio.sleep(0.1)
        assert one.ledger.snapshot().mode == "shared"
        one.link.cut = True
        await asyncio.sleep(0.3)
        await spend(one, 0.1)
        error, took = await refusal(one, 5)
        assert (error.reason, error.limited_by, error.retry_after) == ("store_lost", "budget", None)
        assert "the store that keeps the budget of all processes is not reached" in str(error)
        assert took == 0.0
        assert one.ledger.snapshot().mode == "store_lost"
        await asyncio.sleep(15.0)
        await refusal(one, 0.0001)
        with pytest.raises(BudgetExceeded, match="is not reached"):
            one.ledger.check()
        one.link.heal()
        await asyncio.sleep(0.2)
        await spend(one, 5)
        assert one.ledger.snapshot().mode == "shared"

    play(test, seed=3)


def test_a_store_that_is_lost_from_the_start_closes_the_budget():
    async def test():
        async with town_of() as town:
            node = town.join()
            node.link.cut = True
            _, took = await refusal(node, 1)
            assert took < 0.05

    run_virtual(test())


def test_what_cost_more_than_was_set_aside_counts_in_full():
    async def test(town, one, other):
        held = await one.reserve(USD)
        del one.open[held]
        held.settle(7 * USD)
        await asyncio.sleep(0.2)
        error, _ = await refusal(other, 4)
        assert "7 of 10 USD are spent" in str(error)
        assert one.ledger.snapshot().overruns == 1

    play(test)


def test_a_hold_that_is_priced_anew_keeps_within_what_is_leased():
    async def test(town, one, other):
        held = await one.reserve(6 * USD)
        await spend(other, 2)
        with pytest.raises(BudgetExceeded):
            while not held.reprice(9 * USD):
                await asyncio.sleep(0.05)
        while not held.reprice(8 * USD):
            await asyncio.sleep(0.05)
        one.open[held] = 8 * USD
        one.settle(held, 8 * USD)

    play(test)


def test_what_others_hold_is_seen():
    async def test(town, one, other):
        held = await one.reserve(6 * USD)
        await asyncio.sleep(1.2)
        seen = other.ledger.snapshot()
        assert (seen.reserved_pico, seen.elsewhere_pico) == (0, 6 * USD)
        assert repr(one.ledger) == "<LeasedLedger reject spent 0 reserved 6, hour 0 of 10 USD>"
        one.release(held)

    play(test)


def test_a_cap_that_is_new_counts_what_all_have_spent_before():
    async def test(town, one, other):
        await spend(one, 3)
        await asyncio.sleep(0.2)
        both = Budget(max_spend_per_hour_usd=10.0, max_spend_per_day_usd=4.0)
        for node in (one, other):
            node.ledger.set_budget(both)
        error, _ = await refusal(other, 2)
        assert error.reason == "day"
        await spend(other, 1)

    play(test)
