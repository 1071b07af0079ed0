"""Fallbacks: who serves when the asked deployment can't, and what its caller is told when nobody does."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, broken, deployment, ended, gathered, refused, retry

import spillway
from spillway import CircuitBreakerConfig, ServerError

ONCE = retry(max_retries=0)


@pytest.mark.option("fallback")
@pytest.mark.parametrize(("chain", "serves"), [((), None), (("b",), "b"), (("c", "b"), "c")])
def test_the_list_is_asked_in_its_order(play, chain, serves):
    async def test(world):
        answer, _ = await ended(world.ask("a"))
        assert getattr(answer, "deployment", None) == (serves or "a")
        assert isinstance(answer, spillway.Tokens) == bool(serves)

    deployments = [deployment("a", fallback=chain, retry=ONCE), deployment("b"), deployment("c")]
    play(test, deployments=deployments, scripts={"a": (broken(),), "b": ("ok",), "c": ("ok",)})


def test_each_is_asked_once_with_its_own_retries_and_the_list_is_not_transitive(play):
    async def test(world):
        error, _ = await ended(world.ask("a"))
        assert {n: len(world[n].calls) for n in "abcd"} == {"a": 3, "b": 2, "c": 1, "d": 0}
        assert error.attempts == 6
        assert error.deployment == "c"
        assert error.__cause__.deployment == "b"
        assert [n for n, _, _ in error.history] == list("aaabbc")
        (request,) = world.seen.requests
        assert (request.asked, request.deployment, request.fell_back) == ("a", "c", True)
        assert (request.attempts, request.retries) == (6, 3)

    fast = {"initial_backoff_s": 0.1}
    deployments = [
        deployment("a", fallback=("b", "c"), retry=retry(max_retries=2, **fast)),
        deployment("b", fallback=("d",), retry=retry(max_retries=1, **fast)),
        deployment("c", fallback=("a",), retry=ONCE),
        deployment("d"),
    ]
    play(test, deployments=deployments, script=(broken(),))


def test_the_answer_says_who_gave_it_and_counts_all_attempts(play):
    async def test(world):
        answer = await world.ask("a")
        assert (answer.deployment, answer.attempts) == ("b", 3)
        assert world.metrics("b").fell_back == 1

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=retry(max_retries=1)), deployment("b")],
        scripts={"a": (broken(),), "b": ("ok",)},
    )


def test_retries_come_first_however_long_their_backoffs_are(play):
    """A backoff longer than `fallback_after_s` went to the fallback with the retries unspent, as chance would have it."""

    async def test(world):
        answer, took = await ended(world.ask("a"))
        assert len(world["a"].calls) == 4
        assert (answer.deployment, answer.attempts) == ("b", 5)
        assert took == pytest.approx(7.0)

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=retry()), deployment("b")],
        scripts={"a": (broken(),), "b": ("ok",)},
    )


@pytest.mark.option("fallback_after_s")
@pytest.mark.parametrize("trouble", [refused(5.0), broken(503, 5.0)])
@pytest.mark.parametrize(("patience", "by", "seconds"), [(1.0, "b", 0.0), (10.0, "a", 5.0)])
def test_a_wait_the_provider_asks_for_goes_to_a_healthy_fallback_if_it_is_long(play, trouble, patience, by, seconds):
    async def test(world):
        answer, took = await ended(world.ask("a"))
        assert (answer.deployment, took) == (by, seconds)
        assert len(world["a"].calls) == (1 if by == "b" else 2)

    play(
        test,
        deployments=[deployment("a", fallback=("b",), fallback_after_s=patience, retry=retry()), deployment("b")],
        scripts={"a": (trouble, "ok"), "b": ("ok",)},
    )


def test_a_pause_sends_the_next_callers_to_the_fallback_until_it_is_over(play):
    async def test(world):
        for _ in range(5):
            assert (await world.ask("a")).deployment == "b"
        assert len(world["a"].calls) == 1
        await asyncio.sleep(29.5)  # half a second left is worth waiting for
        answer, took = await ended(world.ask("a"))
        assert (answer.deployment, took) == ("a", 0.5)

    play(
        test,
        deployments=[deployment("a", fallback=("b",)), deployment("b")],
        scripts={"a": (refused(30.0), "ok"), "b": ("ok",)},
    )


def test_a_long_wait_for_a_permit_goes_to_the_fallback(play):
    async def test(world):
        answers = await gathered(*(world.ask("a") for _ in range(3)))
        assert [a.deployment for a in answers] == ["a", "b", "b"]

    limits = spillway.RateLimits(requests_per_minute=1)
    play(test, deployments=[deployment("a", fallback=("b",), rate_limits=limits), deployment("b")])


def test_those_who_queue_for_permits_make_the_wait_longer(play):
    async def test(world):
        for _ in range(10):  # one a second leaves
            await world.ask("a")
        queued = [asyncio.create_task(world.ask("a")) for _ in range(10)]
        served = [answer.deployment for answer in await gathered(*queued)]
        assert 1 <= served.count("a") <= 3
        assert served.count("b") == 10 - served.count("a")

    limits = spillway.RateLimits(requests_per_minute=60, burst_s=1.0)
    play(test, deployments=[deployment("a", fallback=("b",), rate_limits=limits), deployment("b")])


def test_a_busy_queue_is_no_reason_to_fall_back(play):
    """A queue that was predicted to take longer than `fallback_after_s` sent its callers away, though it had room."""

    async def test(world):
        answers = await gathered(*(world.ask("a") for _ in range(10)))
        await asyncio.sleep(0.0)
        later = await gathered(*(world.ask("a") for _ in range(10)))
        assert {a.deployment for a in [*answers, *later]} == {"a"}

    play(
        test,
        (Reply(delay_s=2.0),),
        deployments=[
            deployment("a", fallback=("b",), serving=spillway.Serving(max_concurrent=1)),
            deployment("b"),
        ],
    )


def test_an_open_circuit_falls_back_at_once(play):
    async def test(world):
        world.cluster.deployment("a").circuit_breaker().force_open(60.0)
        answer, took = await ended(world.ask("a"))
        assert (answer.deployment, answer.attempts, took) == ("b", 1, 0.0)

    play(test, deployments=[deployment("a", fallback=("b",)), deployment("b")])


@pytest.mark.parametrize(
    "trouble",
    [
        spillway.Forbidden("x", status=403),
        spillway.QuotaExhausted("x", status=429),
        spillway.NetworkError("reset"),
        broken(),
        refused(100.0),
    ],
)
def test_refusals_and_trouble_fall_back(play, trouble):
    async def test(world):
        assert (await world.ask("a")).deployment == "b"

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=ONCE), deployment("b")],
        scripts={"a": (trouble,), "b": ("ok",)},
    )


@pytest.mark.option("fallback_on")
@pytest.mark.parametrize(
    "trouble",
    [
        spillway.BadRequest("x", status=400),
        spillway.ContentFiltered("x", status=400),
        spillway.ContextLengthExceeded("x", status=400),
        spillway.ModelNotFound("x", status=404),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_what_is_wrong_with_the_request_falls_back_only_where_listed(play, trouble, listed):
    async def test(world):
        result, _ = await ended(world.ask("a"))
        if listed:
            assert result.deployment == "b"
        else:
            assert result.code == trouble.code
            assert not world["b"].calls

    play(
        test,
        deployments=[deployment("a", fallback=("b",), fallback_on=(trouble.code,) if listed else ()), deployment("b")],
        scripts={"a": (trouble,), "b": ("ok",)},
    )


def test_what_falls_back_further_down_the_list_is_for_the_asked_one_to_say(play):
    async def test(world):
        assert (await world.ask("a")).deployment == "c"

    filtered = spillway.ContentFiltered("x", status=400)
    play(
        test,
        deployments=[
            deployment("a", fallback=("b", "c"), fallback_on=("content_filtered",)),
            deployment("b"),
            deployment("c"),
        ],
        scripts={"a": (filtered,), "b": (filtered,), "c": ("ok",)},
    )


def test_a_caller_may_do_without(play):
    async def test(world):
        error, _ = await ended(world.ask("a", fallback=False))
        assert isinstance(error, ServerError)
        assert not world["b"].calls

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=ONCE), deployment("b")],
        scripts={"a": (broken(),), "b": ("ok",)},
    )


def test_without_a_healthy_fallback_a_wait_is_waited(play):
    async def test(world):
        world.cluster.deployment("b").circuit_breaker().force_open(1000.0)
        answer, took = await ended(world.ask("a"))
        assert (answer.deployment, took) == ("a", 5.0)

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=retry()), deployment("b")],
        scripts={"a": (refused(5.0), "ok"), "b": ("ok",)},
    )


def test_the_last_sent_attempts_error_is_raised_and_says_what_stood_in_the_way(play):
    async def test(world):
        world.cluster.deployment("b").circuit_breaker().force_open(1000.0)
        error, _ = await ended(world.ask("a"))
        assert isinstance(error, ServerError)
        assert error.deployment == "a"
        assert isinstance(error.refusal, spillway.CircuitOpen)
        assert error.refusal.deployment == "b"
        assert error.attempts == 1
        assert world.seen.requests[0].outcome == "server_error"

    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=ONCE), deployment("b")],
        scripts={"a": (broken(),), "b": ("ok",)},
    )


def test_a_group_as_a_fallback_never_asks_the_same_deployment_again(play):
    """Falling back to a group that it is itself a member of, a deployment was asked a second time."""

    async def test(world):
        for _ in range(4):
            error, _ = await ended(world.ask("a"))
            assert [n for n, _, _ in error.history] == ["a", "b"]

    play(
        test,
        deployments=[
            deployment("a", group="g", fallback=("g",), retry=ONCE, circuit_breaker=NEVER_OPENS),
            deployment("b", group="g", retry=ONCE, circuit_breaker=NEVER_OPENS),
        ],
        script=(broken(),),
    )


def test_a_fallback_is_asked_before_the_first_content_of_a_stream_and_never_after(play):
    async def test(world):
        stream = world.stream("a")
        assert "".join([c.text_delta async for c in stream]) == "fine"
        assert stream.tokens.deployment == "b"
        with pytest.raises(spillway.StreamInterrupted) as caught:
            async for _chunk in world.stream("a"):
                pass
        assert caught.value.deployment == "a"
        assert len(world["b"].calls) == 1

    late = Reply(text="abcd", chunks=4, error=broken(), error_after=2)
    play(
        test,
        deployments=[deployment("a", fallback=("b",), retry=ONCE), deployment("b")],
        scripts={"a": (broken(), late), "b": (Reply(text="fine", chunks=2),)},
    )


def test_an_outage_is_survived(play):
    """503 for five seconds under load: the circuit opens, the fallback serves, a probe closes it, nothing is lost."""

    async def test(world):
        loop = asyncio.get_running_loop()
        began = loop.time()
        world.outage = (began + 5.0, began + 10.0)
        states = []
        breaker = world.cluster.deployment("a").circuit_breaker()
        breaker.subscribe(lambda event: states.append((event.state.name, round(event.at - began, 1))))

        async def one(number):
            await asyncio.sleep(number * 0.02)
            return await world.ask("a", prompt=str(number))

        answers = await asyncio.gather(*(one(n) for n in range(1000)))
        assert all(isinstance(a, spillway.Tokens) for a in answers)
        assert [a.text for a in answers] == [f"re {n}" for n in range(1000)]
        served = [a.deployment for a in answers]
        assert served.count("b") > 100
        assert served[:200] == ["a"] * 200
        assert served[-100:] == ["a"] * 100
        assert [s for s, _ in states[:1]] == ["OPEN"]
        assert states[-1][0] == "CLOSED"
        assert 5.0 <= states[0][1] <= 5.5
        assert states[-1][1] <= 14.0
        failed = sum(1 for c in world["a"].calls if world.outage[0] <= c.started < world.outage[1])
        assert failed <= 40  # ten to open it, those under way, and probes
        answered = [c.batch.request.messages[0]["content"] for n in "ab" for c in world[n].calls]
        assert len(answered) == 1000 + failed

    def reply(batch):
        return Reply(text=f"re {batch.request.messages[0]['content']}", delay_s=0.05)

    def failing(batch):
        at = asyncio.get_running_loop().time() - 1000.0
        return broken() if 5.0 <= at < 10.0 else reply(batch)

    config = CircuitBreakerConfig(open_duration_s=1.0, max_open_duration_s=4.0)
    play(
        test,
        deployments=[
            deployment("a", fallback=("b",), circuit_breaker=config, retry=retry(max_retries=2, initial_backoff_s=0.2)),
            deployment("b"),
        ],
        scripts={"a": failing, "b": reply},
    )
