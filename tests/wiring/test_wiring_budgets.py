"""Money: set aside before it is spent, kept while it may be needed, never more than the cap."""

import asyncio
import logging

import pytest
from stage import PRICE, Reply, broken, deployment, ended, gathered, now, retry, text_of

import spillway
from spillway import Budget, BudgetExceeded, Pricing, Serving, Usage

DOLLAR_A_TOKEN = Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=10_000.0)  # a cent each
WIDE = Serving(max_concurrent=1000)


def cents(count):
    return Reply(usage=Usage(input_tokens=0, output_tokens=count), delay_s=1.0)


def ledger(world, name="m"):
    return world.cluster.deployment(name).budget().snapshot()


def spent(world, name="m"):
    return ledger(world, name).spent_pico / 10**12


@pytest.mark.option("budget.max_spend_per_hour_usd")
def test_a_hundred_at_once_never_overshoot_and_are_not_refused_for_what_is_only_reserved(play):
    async def test(world):
        tasks = [asyncio.create_task(ended(world.ask(max_tokens=30))) for _ in range(100)]
        await asyncio.sleep(0.5)
        assert world["m"].open == 33
        most = 0
        while not all(t.done() for t in tasks):
            state = ledger(world)
            most = max(most, state.spent_pico + state.reserved_pico)
            await asyncio.sleep(0.25)
        assert most <= 10 * 10**12
        results = [t.result()[0] for t in tasks]
        served = sum(isinstance(r, spillway.Tokens) for r in results)
        assert served == 39  # the last leaves 25 cents, less than the 30 it may cost
        assert spent(world) == pytest.approx(9.75)
        assert {r.code for r in results if not isinstance(r, spillway.Tokens)} == {"budget_exceeded"}

    play(test, (cents(25),), pricing=DOLLAR_A_TOKEN, budget=Budget(max_spend_per_hour_usd=10.0), serving=WIDE)


@pytest.mark.option("budget.max_spend_per_day_usd", "budget.max_spend_per_month_usd")
@pytest.mark.error("budget_exceeded")
@pytest.mark.parametrize(("window", "span_s"), [("hour", 3600.0), ("day", 86_400.0), ("month", 30 * 86_400.0)])
def test_each_window_rolls(play, window, span_s):
    async def test(world):
        for _ in range(4):
            await world.ask(max_tokens=25)
        error, took = await ended(world.ask(max_tokens=25))
        assert isinstance(error, BudgetExceeded)
        assert (error.limited_by, error.deployment, error.attempts, took) == ("budget", "m", 0, 0.0)
        assert error.retry_after <= span_s * 1.02
        assert len(world.calls) == 4
        await asyncio.sleep(error.retry_after)
        assert (await world.ask(max_tokens=25)).text == "ok"
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0

    budget = Budget(**{f"max_spend_per_{window}_usd": 1.0})
    play(test, (cents(25),), pricing=DOLLAR_A_TOKEN, budget=budget)


@pytest.mark.option("budget.on_exceeded")
@pytest.mark.parametrize("mode", ["reject", "warn", "throttle"])
def test_what_happens_at_the_cap_is_the_deployments_choice(play, mode, caplog):
    async def test(world):
        for _ in range(4):
            await world.ask(max_tokens=25)
        began = now()
        result, _ = await ended(world.ask(max_tokens=25, timeout_s=10_000.0))
        if mode == "reject":
            assert isinstance(result, BudgetExceeded)
        else:
            assert isinstance(result, spillway.Tokens)
            waited = now() - began
            assert waited == pytest.approx(1.0) if mode == "warn" else 3500 < waited < 3700

    with caplog.at_level(logging.WARNING, "spillway.budget"):
        play(
            test,
            (cents(25),),
            pricing=DOLLAR_A_TOKEN,
            budget=Budget(max_spend_per_hour_usd=1.0, on_exceeded=mode),
            serving=Serving(queue_timeout_s=10_000.0),
        )
    assert ("budget" in caplog.text) == (mode == "warn")


def test_a_throttled_wait_that_is_too_long_names_the_budget(play):
    """It named the limiter, and a wait of no seconds."""

    async def test(world):
        for _ in range(4):
            await world.ask(max_tokens=25)
        error, took = await ended(world.ask(max_tokens=25))
        assert isinstance(error, BudgetExceeded)
        assert took == pytest.approx(120.0)
        assert 3300 < error.retry_after < 3600

    play(
        test,
        (cents(25),),
        pricing=DOLLAR_A_TOKEN,
        budget=Budget(max_spend_per_hour_usd=1.0, on_exceeded="throttle"),
    )


def test_a_reservation_is_kept_over_retries(play):
    """While another waited at the head for that very money, nothing woke the retry when its backoff was over."""

    async def test(world):
        retried = asyncio.create_task(world.ask(max_tokens=60))
        await asyncio.sleep(0.5)  # it failed at once and waits for its backoff
        assert ledger(world).reserved_pico == 60 * 10**10
        other, took = await ended(world.ask(max_tokens=50))
        # The other must wait until that money is settled: it may not take it.
        assert took == pytest.approx(2.0)
        assert (await retried).attempts == 2
        assert isinstance(other, spillway.Tokens)
        assert spent(world) == pytest.approx(0.7)

    def script(batch):
        if batch.request.max_tokens == 60:
            return cents(20) if batch.attempt else broken()
        return Reply(usage=Usage(output_tokens=50), delay_s=0.5)

    play(
        test,
        script,
        pricing=DOLLAR_A_TOKEN,
        budget=Budget(max_spend_per_hour_usd=1.0),
        retry=retry(),
    )


def test_money_kept_for_a_retry_is_given_back_when_its_caller_leaves(play):
    async def test(world):
        task = asyncio.create_task(world.ask(max_tokens=60))
        await asyncio.sleep(0.5)
        task.cancel()
        await gathered(task)
        assert (ledger(world).reserved_pico, ledger(world).open) == (0, 0)
        assert isinstance(await world.ask(max_tokens=90), spillway.Tokens)

    play(
        test,
        (broken(), cents(5)),
        pricing=DOLLAR_A_TOKEN,
        budget=Budget(max_spend_per_hour_usd=1.0),
        retry=retry(),
    )


def test_a_fallback_is_priced_and_budgeted_anew(play):
    async def test(world):
        answer = await world.ask("a", max_tokens=50)
        assert answer.deployment == "b"
        assert answer.cost_usd == pytest.approx(0.25 / 100 * 50 / 50)
        assert spent(world, "a") == 0
        assert spent(world, "b") == pytest.approx(0.0025)

    play(
        test,
        deployments=[
            deployment(
                "a",
                fallback=("b",),
                pricing=DOLLAR_A_TOKEN,
                budget=Budget(max_spend_per_hour_usd=1.0),
                retry=retry(max_retries=0),
            ),
            deployment(
                "b",
                pricing=Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=100.0),
                budget=Budget(max_spend_per_hour_usd=0.1),
            ),
        ],
        scripts={"a": (broken(),), "b": (cents(25),)},
    )


def test_a_spent_budget_falls_back(play):
    async def test(world):
        await world.ask("a", max_tokens=100)
        assert (await world.ask("a", max_tokens=5)).deployment == "b"

    play(
        test,
        (cents(100),),
        deployments=[
            deployment("a", fallback=("b",), pricing=DOLLAR_A_TOKEN, budget=Budget(max_spend_per_day_usd=1.0)),
            deployment("b"),
        ],
    )


def test_a_request_may_bring_a_cap_of_its_own(play):
    async def test(world):
        error, _ = await ended(world.ask(max_tokens=50, max_cost_usd=0.49))
        assert isinstance(error, BudgetExceeded)
        assert error.reason == "max_cost_usd"
        assert not world.calls
        assert isinstance(await world.ask(max_tokens=50, max_cost_usd=0.51), spillway.Tokens)

    play(test, (cents(1),), pricing=DOLLAR_A_TOKEN)


def test_several_answers_to_one_request_are_estimated_as_several(play):
    async def test(world):
        error, _ = await ended(world.ask(max_tokens=20, extra={"n": 3}, max_cost_usd=0.5))
        assert isinstance(error, BudgetExceeded)

    play(test, (cents(1),), pricing=DOLLAR_A_TOKEN)


def test_without_max_tokens_the_models_longest_answer_is_set_aside(play):
    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, BudgetExceeded)
        assert not world.calls

    play(test, pricing=DOLLAR_A_TOKEN, budget=Budget(max_spend_per_hour_usd=100.0))


def test_a_cap_without_a_price_is_refused_before_anything_is_sent(play):
    async def test(world):
        raise AssertionError

    with pytest.raises(spillway.ConfigError, match="pricing"):
        play(test, deployments=[spillway.Deployment(name="m", budget=Budget(max_spend_per_day_usd=1.0))])


def test_an_unknown_price_is_unknown_and_refuses_a_cap(play):
    async def test(world):
        assert (await world.ask()).cost_usd is None
        assert world.metrics().cost_usd is None
        error, _ = await ended(world.ask(max_cost_usd=1.0))
        assert isinstance(error, BudgetExceeded)

    play(test, deployments=[spillway.Deployment(name="m")])


def test_a_cap_of_nothing_blocks_all(play):
    async def test(world):
        for result in await world.all(5):
            assert isinstance(result, BudgetExceeded)
        assert not world.calls

    play(test, budget=Budget(max_spend_per_month_usd=0.0))


CLASSES = Usage(
    input_tokens=1000,
    cached_tokens=300,
    cache_write_tokens=200,
    cache_write_1h_tokens=50,
    output_tokens=100,
    reasoning_tokens=40,
)


@pytest.mark.option(
    "pricing.input_per_mtok_usd",
    "pricing.output_per_mtok_usd",
    "pricing.cached_input_per_mtok_usd",
    "pricing.cache_write_per_mtok_usd",
    "pricing.cache_write_1h_per_mtok_usd",
    "pricing.reasoning_per_mtok_usd",
)
@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ({}, 1000 * 1 + 100 * 2),
        ({"input_per_mtok_usd": 3.0}, 1000 * 3 + 100 * 2),
        ({"output_per_mtok_usd": 3.0}, 1000 * 1 + 100 * 3),
        ({"cached_input_per_mtok_usd": 0.5}, 700 * 1 + 300 * 0.5 + 100 * 2),
        ({"cache_write_per_mtok_usd": 1.25}, 800 * 1 + 200 * 1.25 + 100 * 2),
        ({"cache_write_1h_per_mtok_usd": 2.0}, 950 * 1 + 50 * 2 + 100 * 2),
        ({"reasoning_per_mtok_usd": 4.0}, 1000 * 1 + 60 * 2 + 40 * 4),
        ({"input_per_mtok_usd": 0.0, "output_per_mtok_usd": 0.0}, 0),
    ],
)
def test_each_class_of_tokens_has_its_price(play, prices, cost):
    async def test(world):
        answer = await world.ask()
        assert answer.cost_usd == pytest.approx(cost / 1e6, abs=1e-15)
        assert not answer.cost_estimated
        assert world.metrics().cost_usd == answer.cost_usd

    pricing = Pricing(**{"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 2.0, **prices})
    play(test, (Reply(usage=CLASSES),), pricing=pricing)


def test_a_failed_attempt_without_usage_costs_nothing_and_one_that_may_be_billed_its_estimate(play):
    async def test(world):
        await world.ask(max_tokens=100)
        first, second, third = world.seen.attempts
        assert (first.outcome, first.cost_pico) == ("server_error", 0)
        assert (second.outcome, second.cost_pico > 0, second.estimated) == ("network_error", True, True)
        assert third.outcome == "ok"

    script = (broken(), spillway.NetworkError("reset", reason="reset"), "ok")
    play(test, script, retry=retry(), pricing=PRICE)


def test_an_overrun_is_counted_and_the_next_is_refused(play):
    async def test(world):
        await world.ask(max_tokens=50)
        assert spent(world) == pytest.approx(2.0)
        assert ledger(world).overruns == 1
        error, _ = await ended(world.ask(max_tokens=1))
        assert isinstance(error, BudgetExceeded)

    play(test, (cents(200),), pricing=DOLLAR_A_TOKEN, budget=Budget(max_spend_per_hour_usd=1.0))


def test_a_stream_that_breaks_pays_for_what_came(play):
    async def test(world):
        with pytest.raises(spillway.StreamInterrupted):
            await text_of(world.stream(max_tokens=50))
        state = ledger(world)
        assert (state.reserved_pico, state.open) == (0, 0)
        assert spent(world) == pytest.approx(0.05)  # 20 characters

    cut = Reply(text="abcd" * 10, chunks=10, error=spillway.NetworkError("reset"), error_after=5)
    play(test, (cut,), pricing=DOLLAR_A_TOKEN, budget=Budget(max_spend_per_hour_usd=1.0))


def test_an_estimate_is_there_before_anything_is_asked(play):
    async def test(world):
        estimate = world.cluster.deployment("m").estimate_cost("x" * 84, max_tokens=50)
        assert (estimate.input_tokens, estimate.max_output_tokens) == (100, 50)
        assert estimate.cost_usd == pytest.approx(200 / 1e6)
        assert not world.calls

    play(test)
