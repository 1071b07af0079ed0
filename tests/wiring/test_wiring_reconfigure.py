"""Other deployments while a Cluster runs: what is counted stays, what is under way ends, a wrong set changes nothing."""

import asyncio

import msgspec
import pytest
from stage import NEVER_OPENS, PRICE, Reply, broken, deployment, ended, gathered, now, retry

import spillway
from spillway import Budget, CircuitBreakerConfig, ConfigError, RateLimits, Serving, Usage

BURST = (RateLimits(requests_per_minute=5), RateLimits(requests_per_minute=8))


def other(world, name="m", **options):
    """The options of a deployment with some changed."""
    return msgspec.structs.replace(world.cluster.deployment(name).options, **options)


@pytest.mark.parametrize("how", ["followed", "replaced"])
def test_a_window_goes_on_under_other_limits(play, how):
    async def test(world):
        await world.all(5)
        more = {} if how == "followed" else {"replicas": 2}
        told = await world.cluster.reconfigure([other(world, rate_limits=BURST[1], **more)])
        assert told.changed == ("m",)
        began = now()
        answers = await world.all(4)
        assert all(isinstance(each, spillway.Tokens) for each in answers)
        assert sum(call.sent < began + 50.0 for call in world.calls) == 8
        assert world.metrics().attempts == 9

    play(test, rate_limits=BURST[0], serving=Serving(queue_timeout_s=1e3))


def test_a_lower_limit_counts_what_was_sent_before(play):
    async def test(world):
        await world.all(8)
        await world.cluster.reconfigure([other(world, rate_limits=BURST[0])])
        _, waited = await ended(world.ask())
        assert waited > 50.0

    play(test, rate_limits=BURST[1], serving=Serving(queue_timeout_s=1e3))


def test_who_waits_for_a_limit_is_let_through_by_a_higher_one(play):
    async def test(world):
        await world.all(5)
        waiting = asyncio.ensure_future(ended(world.ask()))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        await world.cluster.reconfigure([other(world, rate_limits=BURST[1])])
        _, waited = await waiting
        assert waited == pytest.approx(1.0)

    play(test, rate_limits=BURST[0], serving=Serving(queue_timeout_s=1e3))


def test_who_waits_with_more_tokens_than_the_new_limit_holds_waits_for_an_empty_window(play):
    async def test(world):
        await world.ask(max_tokens=5000)
        waiting = asyncio.ensure_future(world.ask(max_tokens=5000))
        await asyncio.sleep(1.0)
        await world.cluster.reconfigure([other(world, rate_limits=RateLimits(tokens_per_minute=1000))])
        assert isinstance(await waiting, spillway.Tokens)

    usage = Usage(input_tokens=10, output_tokens=5000)
    play(
        test,
        (Reply(usage=usage),),
        rate_limits=RateLimits(tokens_per_minute=6000),
        serving=Serving(queue_timeout_s=1e3),
    )


@pytest.mark.parametrize("how", ["followed", "replaced"])
def test_spend_goes_on_under_another_cap(play, how):
    async def test(world):
        await world.ask(max_tokens=5)
        spent = world.cluster.deployment("m").budget().spent_pico
        assert spent > 0
        more = {} if how == "followed" else {"replicas": 2}
        tight = Budget(max_spend_per_day_usd=spent / 1e12)
        await world.cluster.reconfigure([other(world, budget=tight, **more)])
        with pytest.raises(spillway.BudgetExceeded):
            await world.ask(max_tokens=5)
        assert world.cluster.deployment("m").budget().spent_pico == spent
        await world.cluster.reconfigure([other(world, budget=Budget(max_spend_per_day_usd=1.0))])
        assert isinstance(await world.ask(max_tokens=5), spillway.Tokens)

    play(test, budget=Budget(max_spend_per_day_usd=1.0))


def test_a_budget_that_is_new_without_a_state_file_begins_with_nothing(play):
    async def test(world):
        await world.ask(max_tokens=5)
        assert world.cluster.deployment("m").budget() is None
        await world.cluster.reconfigure([other(world, budget=Budget(max_spend_per_day_usd=1.0))])
        assert world.cluster.deployment("m").budget().spent_pico == 0
        await world.ask(max_tokens=5)
        assert world.cluster.deployment("m").budget().spent_pico > 0
        await world.cluster.reconfigure([other(world, budget=None)])
        assert world.cluster.deployment("m").budget() is None
        assert isinstance(await world.ask(), spillway.Tokens)

    play(test)


@pytest.mark.parametrize("how", ["followed", "replaced"])
def test_an_open_circuit_stays_open(play, how):
    async def test(world):
        await world.all(3)
        breaker = world.cluster.deployment("m").circuit_breaker()
        assert breaker.state == "open"
        more = {} if how == "followed" else {"replicas": 2}
        config = CircuitBreakerConfig(failure_threshold=2, open_duration_s=90.0)
        await world.cluster.reconfigure([other(world, circuit_breaker=config, **more)])
        assert world.cluster.deployment("m").circuit_breaker() is breaker
        assert breaker.config == config
        with pytest.raises(spillway.CircuitOpen):
            await world.ask()

    play(
        test,
        (broken(),),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=3),
        retry=spillway.RetryPolicy(max_retries=0),
    )


@pytest.mark.parametrize("how", ["unchanged", "followed", "replaced", "removed"])
def test_what_is_under_way_ends_as_it_would_have(play, how):
    def after(world):
        m, n = other(world, "m"), other(world, "n")
        return {
            "unchanged": [m, n],
            "followed": [other(world, "m", weight=3), n],
            "replaced": [other(world, "m", serving=Serving(max_concurrent=7)), n],
            "removed": [n],
        }[how]

    async def test(world):
        whole = [other(world, "m"), other(world, "n")]
        running = [asyncio.ensure_future(world.ask("m")) for _ in range(6)]
        stream = world.stream("m")
        first = await anext(stream)
        await world.cluster.reconfigure(after(world))
        answers = await gathered(*running)
        assert all(isinstance(each, spillway.Tokens) for each in answers), answers
        rest = "".join([chunk.text_delta async for chunk in stream])
        assert first.text_delta + rest == "a whole answer"
        if how == "removed":
            with pytest.raises(spillway.ModelNotFound):
                await world.ask("m")
            assert isinstance(await world.ask("n"), spillway.Tokens)
        else:
            assert isinstance(await world.ask("m"), spillway.Tokens)
        await world.cluster.reconfigure(whole)

    two = Serving(max_concurrent=2)
    slow = Reply(text="a whole answer", chunks=4, delay_s=1.0, chunk_delay_s=1.0)
    play(
        test,
        deployments=[deployment("m", serving=two, circuit_breaker=NEVER_OPENS), deployment("n")],
        scripts={"m": (slow,), "n": ("ok",)},
    )


def test_a_fallback_begun_before_a_change_finds_the_deployment_that_has_left(play):
    async def test(world):
        whole = [other(world, "m"), other(world, "n")]
        asking = asyncio.ensure_future(world.ask("m"))
        await asyncio.sleep(1.0)
        await world.cluster.reconfigure([other(world, "m", fallback=())])
        answer = await asking
        assert answer.deployment == "n"
        with pytest.raises(spillway.ServerError):
            await world.ask("m")
        await world.cluster.reconfigure(whole)

    down = Reply(delay_s=100.0, error=broken())
    play(
        test,
        deployments=[deployment("m", fallback=("n",), retry=retry(max_retries=0)), deployment("n")],
        scripts={"m": (down,), "n": ("ok",)},
    )


def test_a_deployment_that_has_left_is_closed_once_nobody_can_find_it(play):
    async def test(world):
        m, n = other(world, "m"), other(world, "n")
        await world.ask("m")
        left = world.cluster._room.router.engines["m"]
        await world.cluster.reconfigure([n])
        assert left.accepting
        await asyncio.sleep(spillway.Timeouts().total_timeout_s + 1.0)
        assert not left.accepting
        assert world.cluster.deployments() == ["n"]
        await world.cluster.reconfigure([m, n])
        assert isinstance(await world.ask("m"), spillway.Tokens)

    play(test, deployments=[deployment("m"), deployment("n")], scripts={"m": ("ok",), "n": ("ok",)})


def test_who_comes_back_has_the_window_it_left_with(play):
    async def test(world):
        m, n = other(world, "m"), other(world, "n")
        await world.all(5, "m")
        assert (await world.cluster.reconfigure([n])).removed == ("m",)
        told = await world.cluster.reconfigure([m, n])
        assert (told.added, told.unchanged) == (("m",), ("n",))
        _, waited = await ended(world.ask("m"))
        assert waited > 50.0

    play(
        test,
        deployments=[deployment("m", rate_limits=BURST[0]), deployment("n")],
        scripts={"m": ("ok",), "n": ("ok",)},
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fallback": ("nobody",)}, "nobody"),
        ({"runtime": "openai"}, None),
        ({"budget": Budget(max_spend_per_day_usd=1.0), "pricing": None, "model": "no-such-model"}, "no-such-model"),
    ],
)
def test_a_wrong_set_changes_nothing(play, wrong, says):
    async def test(world):
        await world.all(5)
        before = world.cluster.deployment("m").options
        wanted = [other(world, **wrong, rate_limits=BURST[1])]
        if says is None:
            wanted.append(spillway.Deployment(name="x", runtime="openai", pricing=PRICE))
        with pytest.raises(ConfigError, match=says or "OPENAI_API_KEY"):
            await world.cluster.reconfigure(wanted)
        assert world.cluster.deployments() == ["m"]
        assert world.cluster.deployment("m").options == before
        _, waited = await ended(world.ask())
        assert waited > 50.0

    play(test, rate_limits=BURST[0], serving=Serving(queue_timeout_s=1e3))


def test_nothing_is_refused_too(play):
    async def test(world):
        with pytest.raises(ConfigError, match="at least one"):
            await world.cluster.reconfigure([])
        await world.cluster.aclose()
        with pytest.raises(spillway.Backpressure):
            await world.cluster.reconfigure([deployment()])

    play(test)


def test_what_takes_effect_otherwise_is_said(play):
    async def test(world):
        strict = RateLimits(requests_per_minute=8, strict=True)
        told = await world.cluster.reconfigure([other(world, rate_limits=strict)])
        assert "strict" in told.notes[0]
        assert "next start" in told.notes[0]
        told = await world.cluster.reconfigure([other(world, limit_group="g")])
        assert "limit_group" in told.notes[0]

    play(test, rate_limits=BURST[0])


def test_two_strict_deployments_have_windows_of_their_own(play):
    async def test(world):
        await world.all(5, "m")
        began = now()
        await world.all(3, "n")
        assert now() == began

    strict = {"strict": True}
    play(
        test,
        deployments=[
            deployment("m", rate_limits=RateLimits(requests_per_minute=5, **strict)),
            deployment("n", rate_limits=RateLimits(requests_per_minute=7, **strict)),
        ],
        scripts={"m": ("ok",), "n": ("ok",)},
    )
