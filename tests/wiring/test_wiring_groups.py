"""Groups: who is asked, and who instead."""

import asyncio
from collections import Counter

import pytest
from stage import NEVER_OPENS, Reply, broken, deployment, ended, gathered, now, refused, retry

import spillway
from spillway import CircuitBreakerConfig, ServerError


def group(*names, **options):
    return [deployment(n, group="g", **options) for n in names]


@pytest.mark.option("group", "weight")
@pytest.mark.parametrize(("weights", "shares"), [((1, 1), (150, 150)), ((2, 1), (200, 100)), ((5, 1), (250, 50))])
def test_a_group_spreads_by_weight(play, weights, shares):
    async def test(world):
        for _ in range(300):
            await world.ask("g")
        assert (len(world["a"].calls), len(world["b"].calls)) == shares

    play(test, deployments=[deployment(n, group="g", weight=w) for n, w in zip("ab", weights, strict=True)])


def test_under_load_the_least_busy_for_its_weight_is_asked(play):
    async def test(world):
        await gathered(*(world.ask("g") for _ in range(90)))
        assert world["a"].max_open == 60
        assert world["b"].max_open == 30

    members = [deployment("a", group="g", weight=2), deployment("b", group="g")]
    play(test, (Reply(delay_s=1.0),), deployments=members)


def test_a_member_can_still_be_asked_by_its_own_name(play):
    async def test(world):
        assert (await world.ask("b")).deployment == "b"

    play(test, deployments=group("a", "b"))


def test_a_failed_attempt_goes_to_another_member_at_once(play):
    async def test(world):
        answer, took = await ended(world.ask("g"))
        assert (answer.deployment, answer.attempts, took) == ("b", 2, 0.0)
        assert world.seen.requests[0].deployment == "b"
        assert world.seen.requests[0].asked == "g"
        assert not world.seen.requests[0].fell_back

    play(test, deployments=group("a", "b"), scripts={"a": (broken(),), "b": ("ok",)})


def test_retries_count_over_the_group_and_back_off_when_all_were_asked(play):
    """Two failing members were asked in turn without any backoff, until the retries were spent."""

    async def test(world):
        error, took = await ended(world.ask("g"))
        assert isinstance(error, ServerError)
        assert error.attempts == 4
        starts = sorted(round(c.started - 1000.0, 6) for n in "ab" for c in world[n].calls)
        assert starts[:2] == [0.0, 0.0]
        assert starts[2] == pytest.approx(2.0)  # the second failure's backoff
        assert took == pytest.approx(2.0)

    play(
        test,
        deployments=group("a", "b", retry=retry(max_retries=3), circuit_breaker=NEVER_OPENS),
        script=(broken(),),
    )


def test_a_member_that_asked_for_a_pause_is_out_until_it_ends(play):
    async def test(world):
        first, took = await ended(world.ask("g"))
        assert (first.deployment, took) == ("b", 0.0)
        for _ in range(10):
            assert (await world.ask("g")).deployment == "b"
        assert not world.cluster.deployment("a").healthy()
        await asyncio.sleep(30.0)
        answers = Counter([(await world.ask("g")).deployment for _ in range(10)])
        assert answers == {"a": 5, "b": 5}

    play(test, deployments=group("a", "b"), scripts={"a": (refused(30.0), "ok"), "b": ("ok",)})


def test_a_member_with_an_open_circuit_is_not_asked(play):
    async def test(world):
        world.cluster.deployment("a").circuit_breaker().force_open(100.0)
        assert {(await world.ask("g")).deployment for _ in range(6)} == {"b"}
        assert not world["a"].calls

    play(test, deployments=group("a", "b"))


@pytest.mark.parametrize(
    "trouble",
    [
        spillway.Forbidden("x", status=403),
        spillway.QuotaExhausted("x", status=429),
        spillway.Unauthorized("x", status=401),
    ],
)
def test_a_refusal_that_no_retry_helps_goes_to_another_member_too(play, trouble):
    """A member that the provider refused for good failed its callers, with healthy members beside it."""

    async def test(world):
        answer = await world.ask("g")
        assert (answer.deployment, answer.attempts) == ("b", 2)
        assert world.metrics("a").retried == 0

    def no_other(cause):
        raise spillway.Unauthorized("same", reason="same_credential")

    from spillway.testing import ScriptedRunner

    play(
        test,
        deployments=group("a", "b"),
        scripts={"a": ScriptedRunner((trouble,), on_rebuild=no_other), "b": ("ok",)},
    )


def test_a_request_that_is_wrong_is_wrong_everywhere(play):
    async def test(world):
        error, _ = await ended(world.ask("g"))
        assert isinstance(error, spillway.BadRequest)
        assert len(world["a"].calls) + len(world["b"].calls) == 1

    play(test, deployments=group("a", "b"), script=(spillway.BadRequest("no", status=400),))


def test_a_retry_whose_other_member_refuses_comes_back_to_the_one_it_failed_at(play):
    """It ended with the first attempt's error, though its retries were not spent."""

    async def test(world):
        hog = [asyncio.create_task(world.ask("b")) for _ in range(2)]
        await asyncio.sleep(0.1)
        answer = await world.ask("g")
        assert (answer.deployment, answer.attempts) == ("a", 2)
        assert now() == pytest.approx(1001.1)
        await gathered(*hog)

    full = spillway.Serving(max_concurrent=1, queue_capacity=1, on_capacity_exhausted="reject")
    play(
        test,
        deployments=[
            deployment("a", group="g", retry=retry()),
            deployment("b", group="g", serving=full, retry=retry()),
        ],
        scripts={"a": (broken(), "ok"), "b": (Reply(delay_s=50.0),)},
    )


def test_after_all_were_asked_the_one_that_asked_for_a_long_pause_is_left_alone(play):
    async def test(world):
        answer, took = await ended(world.ask("g"))
        assert (answer.deployment, answer.attempts) == ("a", 3)
        assert took <= 2.0

    play(
        test,
        deployments=group("a", "b", retry=retry()),
        scripts={"a": (broken(), "ok"), "b": (refused(500.0),)},
    )


@pytest.mark.parametrize("capped", [True, False])
def test_money_is_released_where_a_retry_moves_on(play, capped):
    """At a member without a budget, the first one's money stayed set aside for as long as the answer took."""

    async def test(world):
        task = asyncio.create_task(world.ask("g"))
        await asyncio.sleep(1.0)
        assert world["b"].open == 1
        ledger = world.cluster.deployment("a").budget().snapshot()
        assert (ledger.reserved_pico, ledger.open, ledger.spent_pico) == (0, 0, 0)
        assert (await task).deployment == "b"

    budget = spillway.Budget(max_spend_per_hour_usd=1.0)
    play(
        test,
        deployments=[
            deployment("a", group="g", budget=budget),
            deployment("b", group="g", budget=budget if capped else None),
        ],
        scripts={"a": (broken(),), "b": (Reply(delay_s=5.0),)},
    )


def test_a_spent_member_is_passed_over(play):
    async def test(world):
        assert {(await world.ask("g")).deployment for _ in range(4)} == {"b"}
        assert not world["a"].calls

    broke = deployment("a", group="g", budget=spillway.Budget(max_spend_per_day_usd=0.0))
    play(test, deployments=[broke, deployment("b", group="g")])


def test_a_circuit_that_opens_takes_its_member_out(play):
    async def test(world):
        for _ in range(20):
            assert (await world.ask("g")).deployment == "b"
        assert len(world["a"].calls) == 2

    config = CircuitBreakerConfig(failure_threshold=2)
    play(test, deployments=group("a", "b", circuit_breaker=config), scripts={"a": (broken(),), "b": ("ok",)})


def test_a_place_in_one_members_queue_is_no_place_in_anothers(play):
    """Its number from the first queue met the same number in the second, and one of the two was never served."""

    async def test(world):
        hog = asyncio.create_task(world.ask("a", prompt="hog"))
        await asyncio.sleep(0.1)
        world.cluster.deployment("b").circuit_breaker().force_open(100.0)
        gone = [asyncio.create_task(world.ask("a")) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in gone:
            task.cancel()
        moving = asyncio.create_task(world.ask("g", prompt="moving"))  # waits at a, fails there and at b
        await asyncio.sleep(0.1)
        world.cluster.deployment("b").circuit_breaker().reset()
        await asyncio.sleep(3.0)
        queued = [asyncio.create_task(world.ask("b", prompt="queued")) for _ in range(4)]
        answers = await asyncio.wait_for(gathered(hog, moving, *queued), 100.0)
        assert all(isinstance(a, spillway.Tokens) for a in answers)
        assert answers[1].attempts == 3

    def script(batch):
        if batch.request.messages[0]["content"] == "moving" and batch.attempt < 2:
            return Reply(delay_s=1.0, error=broken())
        return Reply(delay_s=2.0)

    one = spillway.Serving(max_concurrent=1)
    at_once = retry(initial_backoff_s=0.0)
    play(test, script, deployments=group("a", "b", serving=one, retry=at_once, circuit_breaker=NEVER_OPENS))
