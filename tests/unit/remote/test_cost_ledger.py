"""The ledger: caps on rolling windows, reservations, what happens at a cap."""

import logging
import math
import pickle

import pytest

from spillway.core.errors import BudgetExceeded, ConfigError
from spillway.core.options import Budget, Deployment, Pricing
from spillway.remote.cost import CostLedger, PriceTable, require_price, reserve_all, usd_to_pico
from spillway.testing import ManualClock

HOUR, DAY, MONTH = 3_600.0, 86_400.0, 30 * 86_400.0


def ledger(clock=None, **budget):
    return CostLedger(Budget(**budget), clock=clock or ManualClock(1_000_000.0))


def hourly(usd, clock=None, **budget):
    return ledger(clock, max_spend_per_hour_usd=usd, **budget)


def spend(book, usd):
    book.try_reserve(usd_to_pico(usd)).settle(usd_to_pico(usd))


def test_of_a_hundred_at_once_as_many_go_as_surely_fit():
    book = hourly(10.00)
    cap, estimate, actual = usd_to_pico(10), usd_to_pico(0.30), usd_to_pico(0.25)
    waiting, open_, served, refused, first_batch = 100, [], 0, 0, None
    while waiting or open_:
        while waiting:
            try:
                held = book.try_reserve(estimate)
            except BudgetExceeded:
                waiting -= 1
                refused += 1
                continue
            if held is None:
                break
            waiting -= 1
            open_.append(held)
            assert book.spent_pico + book.reserved_pico <= cap
        first_batch = first_batch or len(open_)
        if open_:
            open_.pop(0).settle(actual)
            served += 1
        assert book.spent_pico + book.reserved_pico <= cap
    assert first_batch == 33
    assert (served, refused) == (39, 61)
    assert book.spent_pico == 39 * actual
    assert book.reserved_pico == 0


def test_an_overrun_is_counted_in_full_and_stops_the_next(caplog):
    book = hourly(1)
    held = book.try_reserve(usd_to_pico(0.6))
    with caplog.at_level(logging.WARNING, logger="spillway.budget"):
        held.settle(usd_to_pico(1.5))
    assert book.snapshot().overruns == 1
    assert book.snapshot().overrun_pico == usd_to_pico(0.9)
    assert book.spent_pico == usd_to_pico(1.5)
    assert "0.9 USD more than was reserved" in caplog.text
    with pytest.raises(BudgetExceeded):
        book.check()
    with pytest.raises(BudgetExceeded):
        book.try_reserve(1)


def test_a_spent_window_refuses_and_says_which_and_for_how_long():
    clock = ManualClock(1_000_000.0)
    book = ledger(clock, max_spend_per_hour_usd=2, max_spend_per_day_usd=5)
    spend(book, 2)
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    error = caught.value
    assert (error.code, error.http_status, error.retryable, error.limited_by) == (
        "budget_exceeded",
        402,
        False,
        "budget",
    )
    assert error.reason == "hour"
    assert "2 of 2 USD are spent in the last hour (max_spend_per_hour_usd)" in str(error)
    assert HOUR < error.retry_after <= HOUR + 60
    assert pickle.loads(pickle.dumps(error)).retry_after == error.retry_after
    clock.advance(error.retry_after)
    book.check()
    spend(book, 2)
    clock.advance(HOUR + 60)
    spend(book, 1)
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    assert caught.value.reason == "day"
    clock.advance(caught.value.retry_after)
    book.check()


def test_of_two_spent_windows_the_one_that_takes_longer_is_named():
    book = ledger(max_spend_per_hour_usd=2, max_spend_per_month_usd=2)
    spend(book, 2)
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    assert caught.value.reason == "month"
    assert MONTH < caught.value.retry_after <= MONTH + 21_600


@pytest.mark.parametrize(
    ("key", "window", "slot"),
    [
        ("max_spend_per_hour_usd", HOUR, 60),
        ("max_spend_per_day_usd", DAY, 900),
        ("max_spend_per_month_usd", MONTH, 21_600),
    ],
)
@pytest.mark.parametrize("phase", [0.0, 0.37, 0.999])
def test_spend_counts_for_the_whole_window_and_at_most_a_sub_slot_more(key, window, slot, phase):
    clock = ManualClock(50 * MONTH + phase * slot)
    book = ledger(clock, **{key: 1})
    spend(book, 1)
    clock.advance(window)
    with pytest.raises(BudgetExceeded):
        book.check()
    clock.advance(slot)
    book.check()
    assert book.snapshot().windows[0].committed_pico == 0


def test_a_long_pause_forgets_what_was_on_its_last_sub_slot():
    clock = ManualClock(100 * HOUR)
    book = hourly(1, clock)
    spend(book, 1)
    clock.advance(HOUR)
    with pytest.raises(BudgetExceeded):
        book.check()
    clock.advance(HOUR + 60)
    assert book.snapshot().windows[0].committed_pico == 0
    spend(book, 1)
    clock.advance(1000 * DAY)
    assert book.snapshot().windows[0].committed_pico == 0


def test_the_window_rolls_no_two_hours_share_a_cap():
    clock = ManualClock(7 * HOUR - 1)
    book = hourly(1, clock)
    spend(book, 1)
    clock.advance(2)
    with pytest.raises(BudgetExceeded):
        book.check()


def test_a_long_request_is_charged_to_when_it_was_admitted():
    clock = ManualClock(10 * DAY)
    book = ledger(clock, max_spend_per_hour_usd=10, max_spend_per_day_usd=10)
    admitted = clock()
    clock.advance(100)
    held = book.try_reserve(usd_to_pico(4), admitted_at=admitted)
    clock.advance(HOUR - 50)
    held.settle(usd_to_pico(3))
    hour, day = book.snapshot().windows
    assert hour.committed_pico == day.committed_pico == usd_to_pico(3)
    clock.advance(10)
    hour, day = book.snapshot().windows
    assert (hour.committed_pico, day.committed_pico) == (0, usd_to_pico(3))


def test_what_settles_after_its_window_has_gone_counts_where_it_still_can():
    clock = ManualClock(10 * DAY)
    book = ledger(clock, max_spend_per_hour_usd=10, max_spend_per_day_usd=10)
    held = book.try_reserve(usd_to_pico(4))
    clock.advance(2 * HOUR)
    assert book.try_reserve(usd_to_pico(7)) is None
    held.settle(usd_to_pico(4))
    hour, day = book.snapshot().windows
    assert (hour.committed_pico, day.committed_pico) == (0, usd_to_pico(4))
    assert book.spent_pico == usd_to_pico(4)


def test_no_cap_is_unlimited_and_stays_so():
    for book in (CostLedger(None, clock=ManualClock()), ledger(), hourly(None)):
        for _ in range(3):
            book.check()
            book.try_reserve(usd_to_pico(10**9)).settle(usd_to_pico(10**9))
        assert book.snapshot().windows == ()
        assert book.spent_pico == usd_to_pico(3 * 10**9)
        assert book.wait_hint(10**30) == 0


@pytest.mark.parametrize("mode", ["reject", "throttle"])
def test_a_cap_of_zero_blocks_all_even_what_is_free(mode):
    book = hourly(0, on_exceeded=mode)
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    assert caught.value.retry_after is None
    with pytest.raises(BudgetExceeded):
        book.try_reserve(0)
    assert book.snapshot().windows[0].frees_in_s is None


def test_what_can_never_fit_is_refused_without_a_time():
    for mode in ("reject", "throttle"):
        book = hourly(1, on_exceeded=mode)
        with pytest.raises(BudgetExceeded, match=r"may cost 1\.01 USD") as caught:
            book.try_reserve(usd_to_pico(1.01))
        assert caught.value.retry_after is None
        book.try_reserve(usd_to_pico(1)).release()


def test_open_reservations_make_wait_not_refuse():
    book = hourly(1)
    first = book.try_reserve(usd_to_pico(0.6))
    assert book.try_reserve(usd_to_pico(0.6)) is None
    assert book.wait_hint(usd_to_pico(0.6)) == math.inf
    first.settle(usd_to_pico(0.4))
    assert book.wait_hint(usd_to_pico(0.6)) == 0
    second = book.try_reserve(usd_to_pico(0.6))
    second.release()
    assert book.snapshot().requests == 1
    assert book.snapshot().open == 0


def test_who_waits_is_told_of_every_settlement_even_one_that_makes_no_room():
    book = hourly(1)
    told = []
    stop = book.on_room(lambda: told.append(book.reserved_pico))
    first = book.try_reserve(usd_to_pico(0.6))
    second = book.try_reserve(usd_to_pico(0.3))
    second.settle(usd_to_pico(0.3))
    assert told == []
    assert book.try_reserve(usd_to_pico(0.6)) is None
    first.settle(usd_to_pico(0.6))
    assert told == [0]
    with pytest.raises(BudgetExceeded):
        book.try_reserve(usd_to_pico(0.6))
    third = book.try_reserve(usd_to_pico(0.1))
    assert book.try_reserve(usd_to_pico(0.1)) is None
    stop()
    third.release()
    assert told == [0]


def test_a_callback_may_reserve_and_give_back():
    book = hourly(1)
    rounds = []

    def pump():
        rounds.append(1)
        held = book.try_reserve(usd_to_pico(0.9))
        if held is not None:
            held.release()

    book.on_room(pump)
    book.on_room(pump)
    first = book.try_reserve(usd_to_pico(0.5))
    assert book.try_reserve(usd_to_pico(0.9)) is None
    first.release()
    assert len(rounds) == 2
    assert book.reserved_pico == 0


def test_a_reservation_ends_once():
    book = hourly(1)
    held = book.try_reserve(100)
    held.settle(40)
    held.settle(40)
    held.release()
    assert not held.reprice(70)
    assert (book.spent_pico, book.reserved_pico) == (40, 0)
    other = book.try_reserve(100)
    other.release()
    other.release()
    other.settle(99)
    assert (book.spent_pico, book.reserved_pico) == (40, 0)
    assert repr(other) == "<Reservation 1e-10 USD, ended>"


def test_a_reservation_can_be_priced_anew_for_another_deployment():
    book = hourly(1)
    held = book.try_reserve(usd_to_pico(0.3))
    other = book.try_reserve(usd_to_pico(0.5))
    assert held.reprice(usd_to_pico(0.5))
    assert not held.reprice(usd_to_pico(0.6))
    with pytest.raises(BudgetExceeded):
        held.reprice(usd_to_pico(1.5))
    assert book.reserved_pico == usd_to_pico(1)
    told = []
    book.on_room(lambda: told.append(1))
    assert book.try_reserve(usd_to_pico(0.2)) is None
    assert held.reprice(usd_to_pico(0.1))
    assert told == [1]
    other.release()
    held.settle(usd_to_pico(0.1))
    assert book.reserved_pico == 0
    assert book.spent_pico == usd_to_pico(0.1)


def test_warn_sends_and_says_so_once_a_minute(caplog):
    clock = ManualClock()
    book = hourly(1, clock, on_exceeded="warn")
    with caplog.at_level(logging.WARNING, logger="spillway.budget"):
        for _ in range(5):
            book.check()
            book.try_reserve(usd_to_pico(0.7)).settle(usd_to_pico(0.7))
        assert len(caplog.records) == 1
        assert "0.7 of 1 USD are spent in the last hour" in caplog.text
        clock.advance(60)
        book.check()
        book.check()
        assert len(caplog.records) == 2
    assert book.spent_pico == usd_to_pico(3.5)


def test_throttle_waits_for_the_window():
    clock = ManualClock(1_000_020.0)
    book = hourly(1, clock, on_exceeded="throttle")
    spend(book, 0.5)
    clock.advance(600)
    spend(book, 0.4)
    book.check()
    assert book.try_reserve(usd_to_pico(0.2)) is None
    wait = book.wait_hint(usd_to_pico(0.2))
    assert HOUR - 600 < wait <= HOUR - 600 + 60.1
    clock.advance(wait - 1)
    assert book.try_reserve(usd_to_pico(0.2)) is None
    clock.advance(1)
    book.try_reserve(usd_to_pico(0.2)).release()
    assert book.try_reserve(usd_to_pico(0.7)) is None
    assert 600 - 60.1 < book.wait_hint(usd_to_pico(0.7)) <= 600.1


def test_the_wait_looks_past_open_reservations_to_the_window():
    clock = ManualClock(1_000_000.0)
    book = hourly(1, clock)
    spend(book, 0.5)
    held = book.try_reserve(usd_to_pico(0.4))
    assert book.try_reserve(usd_to_pico(0.3)) is None
    wait = book.wait_hint(usd_to_pico(0.3))
    assert HOUR < wait < HOUR + 61
    clock.advance(wait)
    book.try_reserve(usd_to_pico(0.3)).release()
    held.release()


def test_spend_from_before_a_restart_counts_until_it_has_aged():
    clock = ManualClock(5.0)
    book = ledger(clock, max_spend_per_hour_usd=1, max_spend_per_day_usd=5)
    book.charge(usd_to_pico(1), age_s=HOUR - 30)
    book.charge(usd_to_pico(2), age_s=3 * HOUR)
    book.charge(usd_to_pico(9), age_s=3 * DAY)
    hour, day = book.snapshot().windows
    assert (hour.committed_pico, day.committed_pico) == (usd_to_pico(1), usd_to_pico(3))
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    assert caught.value.retry_after <= 90
    clock.advance(90)
    book.check()


def test_several_ledgers_are_charged_all_or_none():
    clock = ManualClock()
    key, team, org = hourly(10, clock), hourly(5, clock), hourly(1, clock)
    with pytest.raises(BudgetExceeded):
        reserve_all([key, team, org], usd_to_pico(2))
    assert [book.reserved_pico for book in (key, team, org)] == [0, 0, 0]
    taken = reserve_all([key, team, org], usd_to_pico(0.8))
    assert [book.reserved_pico for book in (key, team, org)] == [usd_to_pico(0.8)] * 3
    assert reserve_all([org, team, key], usd_to_pico(0.5)) is None
    assert [book.reserved_pico for book in (key, team, org)] == [usd_to_pico(0.8)] * 3
    with pytest.raises(BudgetExceeded):
        reserve_all([team, org, hourly(0.1, clock)], usd_to_pico(0.5))
    for held in taken:
        held.settle(usd_to_pico(0.7))
    assert [book.spent_pico for book in (key, team, org)] == [usd_to_pico(0.7)] * 3
    assert [book.reserved_pico for book in (key, team, org)] == [0, 0, 0]


def test_undoing_a_part_wakes_nobody():
    clock = ManualClock()
    key, org = hourly(1, clock), hourly(1, clock)
    told = []
    key.on_room(lambda: told.append(1))
    held = key.try_reserve(usd_to_pico(0.5))
    assert key.try_reserve(usd_to_pico(0.9)) is None
    blocked = org.try_reserve(usd_to_pico(0.9))
    assert reserve_all([key, org], usd_to_pico(0.2)) is None
    assert told == []
    held.release()
    blocked.release()
    assert told == [1]


def test_a_refusal_says_whose_budget_it_is():
    book = CostLedger(Budget(max_spend_per_day_usd=0), clock=ManualClock(), limited_by="key")
    with pytest.raises(BudgetExceeded) as caught:
        book.check()
    assert caught.value.limited_by == "key"


def test_a_cap_without_a_price_is_refused_where_it_is_configured():
    prices = PriceTable.from_pricing(Pricing(input_per_mtok_usd=1, output_per_mtok_usd=1))
    for mode in ("reject", "warn", "throttle"):
        capped = Deployment(name="m", model="own-model", budget=Budget(max_spend_per_day_usd=1, on_exceeded=mode))
        with pytest.raises(ConfigError, match=r"max_spend_per_day_usd.*'own-model'.*\[deployment.pricing\]"):
            require_price(capped, None)
        require_price(capped, prices)
    require_price(Deployment(name="m", budget=Budget()), None)
    require_price(Deployment(name="m"), None)


def test_it_says_what_it_holds():
    book = hourly(10)
    spend(book, 1.25)
    book.try_reserve(usd_to_pico(0.3))
    assert repr(book) == "<CostLedger reject spent 1.25 reserved 0.3, hour 1.25 of 10 USD>"
