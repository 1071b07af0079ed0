"""Room, turns and waits in the queue, as callers of a Cluster see them."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, broken, deployment, ended, gathered, now, refused, retry

import spillway
from spillway import Backpressure, Priority, RateLimited, Serving, Timeout

SLOW = (Reply(delay_s=10.0),)
ONE_AT_A_TIME = Serving(max_concurrent=1)


def order_of(world):
    """The prompts in the order in which they reached the provider."""
    return [call.batch.request.messages[0]["content"] for call in world.calls]


@pytest.mark.option("serving.queue_capacity", "serving.max_concurrent")
@pytest.mark.error("backpressure")
def test_a_full_queue_refuses_at_once_where_it_is_told_to(play):
    async def test(world):
        answers = await world.all(104)
        refused = [a for a in answers if isinstance(a, Backpressure)]
        assert len(refused) == 3
        assert {e.reason for e in refused} == {"full"}
        assert {e.attempts for e in refused} == {0}
        assert len(world.calls) == 101
        assert world.metrics().refused == 3

    play(
        test,
        (Reply(delay_s=1.0),),
        serving=Serving(max_concurrent=1, queue_capacity=100, on_capacity_exhausted="reject"),
    )


@pytest.mark.option("serving.on_capacity_exhausted")
@pytest.mark.parametrize(
    ("policy", "served_by", "refusals"), [("queue", ["m"] * 4, 0), ("reject", ["m"] * 2, 2), ("fallback", "mmbb", 0)]
)
def test_what_a_full_queue_does_to_a_caller_is_the_deployments_choice(play, policy, served_by, refusals):
    async def test(world):
        answers = await world.all(4)
        assert sorted(a.deployment for a in answers if isinstance(a, spillway.Tokens)) == sorted(served_by)
        assert sum(isinstance(a, Backpressure) for a in answers) == refusals

    serving = Serving(max_concurrent=1, queue_capacity=1, on_capacity_exhausted=policy)
    play(test, SLOW, deployments=[deployment(serving=serving, fallback=("b",)), deployment("b")])


def test_a_full_queue_with_nowhere_to_fall_back_to_refuses(play):
    async def test(world):
        answers = await world.all(3)
        assert [type(a).__name__ for a in answers] == ["Tokens", "Tokens", "Backpressure"]

    play(test, SLOW, serving=Serving(max_concurrent=1, queue_capacity=1, on_capacity_exhausted="fallback"))


@pytest.mark.option("serving.queue_timeout_s")
def test_a_caller_waits_for_room_and_dispatch_together_exactly_so_long(play):
    async def test(world):
        first = asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        for waiting in (world.ask(), world.ask()):  # the one in the queue, the other for room in it
            error, took = await ended(waiting)
            assert isinstance(error, Backpressure)
            assert (error.reason, error.limited_by) == ("queue_timeout", "queue")
            assert took == pytest.approx(2.0, abs=1e-6)
        await first
        assert len(world.calls) == 1

    play(test, SLOW, serving=Serving(max_concurrent=1, queue_capacity=1, queue_timeout_s=2.0))


def test_a_caller_is_taken_in_when_room_comes_a_moment_before_its_time_is_over(play):
    async def test(world):
        answers = await world.all(3)
        assert all(isinstance(a, spillway.Tokens) for a in answers)

    play(
        test,
        (Reply(delay_s=0.9), Reply(delay_s=0.9), Reply(delay_s=5.0)),
        serving=Serving(max_concurrent=1, queue_capacity=1, queue_timeout_s=2.0),
    )


@pytest.mark.error("rate_limited")
def test_a_wait_that_only_a_permit_lacked_ends_in_rate_limited(play):
    async def test(world):
        await world.ask()
        error, took = await ended(world.ask())
        assert isinstance(error, RateLimited)
        assert (error.reason, error.limited_by) == ("queue_timeout", "deployment")
        assert took == pytest.approx(5.0, abs=1e-6)
        assert error.retry_after == pytest.approx(55.5, abs=0.6)
        assert len(world.calls) == 1

    play(test, rate_limits=spillway.RateLimits(requests_per_minute=1), serving=Serving(queue_timeout_s=5.0))


@pytest.mark.error("timeout")
def test_a_deadline_in_the_queue_is_kept_to_the_instant_and_nothing_is_sent(play):
    async def test(world):
        first = asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        error, took = await ended(world.ask(timeout_s=5.0))
        assert isinstance(error, Timeout)
        assert (error.reason, error.attempts) == ("queue", 0)
        assert took == pytest.approx(5.0, abs=1e-6)
        assert not error.counts_as_circuit_failure
        await first
        assert len(world.calls) == 1

    play(test, SLOW, serving=ONE_AT_A_TIME)


def test_a_slot_that_comes_free_at_the_deadline_goes_to_the_next(play):
    async def test(world):
        first = asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        late = asyncio.create_task(ended(world.ask(timeout_s=10.0)))
        await asyncio.sleep(0)
        third = asyncio.create_task(world.ask(timeout_s=100.0))
        error, _ = await late
        assert isinstance(error, Timeout)
        await first
        await third
        assert len(world.calls) == 2

    play(test, SLOW, serving=ONE_AT_A_TIME)


def test_higher_classes_go_first_and_within_a_class_who_came_first(play):
    async def test(world):
        first = asyncio.create_task(world.ask(prompt="first"))
        await asyncio.sleep(0)
        wanted = [("low", Priority.BACKGROUND), ("n1", Priority.NORMAL), ("top", Priority.CRITICAL)]
        wanted += [("n2", Priority.NORMAL), ("high", Priority.HIGH)]
        await gathered(*(world.ask(prompt=p, priority=c) for p, c in wanted))
        await first
        assert order_of(world) == ["first", "top", "high", "n1", "n2", "low"]

    play(test, (Reply(delay_s=1.0),), serving=ONE_AT_A_TIME)


def test_higher_classes_get_room_first(play):
    async def test(world):
        tasks = [asyncio.create_task(world.ask(prompt=p)) for p in ("running", "queued")]
        await asyncio.sleep(0)
        for prompt, rank in (("a", Priority.BACKGROUND), ("b", Priority.HIGH), ("c", Priority.NORMAL)):
            tasks.append(asyncio.create_task(world.ask(prompt=prompt, priority=rank)))
            await asyncio.sleep(0)
        await gathered(*tasks)
        assert order_of(world) == ["running", "queued", "b", "c", "a"]

    play(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=1, queue_capacity=1))


@pytest.mark.option("serving.priority_aging_s")
@pytest.mark.parametrize(("aging_s", "place"), [(0.0, 40), (2.0, 5)])
def test_a_low_class_starves_unless_it_ages(play, aging_s, place):
    async def test(world):
        async def feed():
            for _ in range(20):
                feeds.extend(asyncio.create_task(world.ask(prompt="high", priority=Priority.HIGH)) for _ in range(2))
                await asyncio.sleep(1.0)

        feeds = []
        feeder = asyncio.create_task(feed())
        await asyncio.sleep(0.5)
        await world.ask(prompt="low", priority=Priority.BACKGROUND)
        await feeder
        await gathered(*feeds)
        position = order_of(world).index("low")
        assert position == place if aging_s == 0 else position <= place + 3

    play(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=1, priority_aging_s=aging_s))


def test_a_repetition_does_not_rise_by_age_it_never_had(play):
    """With aging, a request that had never waited came back from its backoff in the highest class of all."""

    async def test(world):
        async def low():
            await world.ask(prompt="low", priority=Priority.BACKGROUND)

        task = asyncio.create_task(low())
        await asyncio.sleep(0.5)
        others = [asyncio.create_task(world.ask(prompt="high", priority=Priority.HIGH)) for _ in range(5)]
        await gathered(task, *others)
        assert order_of(world) == ["low", *["high"] * 5, "low"]

    def script(batch):
        low = batch.request.messages[0]["content"] == "low"
        return broken() if low and batch.attempt == 0 else Reply(delay_s=1.0)

    play(test, script, serving=Serving(max_concurrent=1, priority_aging_s=100.0), retry=retry())


def test_tenants_of_a_class_share_fairly(play):
    async def test(world):
        many = [asyncio.create_task(world.ask(prompt="a", tenant="a")) for _ in range(200)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(world.ask(prompt="b", tenant="b")) for _ in range(10)]
        await gathered(*many, *few)
        assert order_of(world)[1:21].count("b") >= 9

    play(test, (Reply(delay_s=0.1),), serving=ONE_AT_A_TIME)


def test_backpressure_says_how_fast_the_queue_drains(play):
    async def test(world):
        fed = [asyncio.create_task(world.ask()) for _ in range(51)]
        for _ in range(75):  # 5 a second leave, and as many come: 50 wait
            await asyncio.sleep(0.2)
            fed.append(asyncio.create_task(world.ask()))
        await asyncio.sleep(0.1)
        error, took = await ended(world.ask())
        assert isinstance(error, Backpressure)
        assert took == 0.0
        assert error.retry_after == pytest.approx(10.0, rel=0.05)
        await gathered(*fed)

    play(
        test,
        (Reply(delay_s=0.2),),
        serving=Serving(max_concurrent=1, queue_capacity=50, on_capacity_exhausted="reject"),
    )


def test_room_that_refusals_make_is_offered_at_once(play):
    """When the circuit opened, all that waited were refused, and those who waited for their seats went on waiting."""

    async def test(world):
        tasks = [asyncio.create_task(ended(world.ask())) for _ in range(6)]
        results = await asyncio.gather(*tasks)
        assert [r.code for r, _ in results] == ["server_error"] + ["circuit_open"] * 5
        assert max(took for _, took in results) == pytest.approx(1.0, abs=1e-6)

    play(
        test,
        (Reply(delay_s=1.0, error=broken()),),
        serving=Serving(max_concurrent=1, queue_capacity=2),
        circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=1),
        retry=retry(max_retries=0),
    )


def test_a_newcomer_does_not_pass_one_who_was_just_promised_a_seat(play):
    """It found a slot free and nobody in the queue, for the one from the waiting room had not taken its seat yet."""

    async def test(world):
        async def twice(name):
            await world.ask(prompt=name)
            await world.ask(prompt=f"{name} again")

        tasks = [asyncio.create_task(twice("a")), asyncio.create_task(twice("b"))]
        await asyncio.sleep(0.1)
        for prompt in ("queued", "waiting"):
            tasks.append(asyncio.create_task(world.ask(prompt=prompt)))
            await asyncio.sleep(0.1)
        await gathered(*tasks)
        assert order_of(world)[:4] == ["a", "b", "queued", "waiting"]

    play(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=2, queue_capacity=1))


def test_waits_are_in_the_request_record_and_the_metrics(play):
    async def test(world):
        await world.all(2)
        assert sorted(round(r.queued_s, 6) for r in world.seen.requests) == [0.0, 10.0]
        assert world.metrics().queue_wait_p95_s == pytest.approx(10.0, rel=0.13)

    play(test, SLOW, serving=ONE_AT_A_TIME)


def test_a_permit_wait_does_not_stop_a_deadline_of_somebody_behind(play):
    async def test(world):
        await world.ask()
        began = now()
        results = await asyncio.gather(ended(world.ask(timeout_s=300.0)), ended(world.ask(timeout_s=3.0)))
        assert [type(r).__name__ for r, _ in results] == ["Tokens", "Timeout"]
        assert results[1][1] == pytest.approx(3.0, abs=1e-6)
        assert now() - began == pytest.approx(60.5, abs=0.6)

    play(test, rate_limits=spillway.RateLimits(requests_per_minute=1), circuit_breaker=NEVER_OPENS)


def test_a_pause_of_the_provider_that_outlasts_the_queue_timeout_names_it(play):
    async def test(world):
        first, _ = await ended(world.ask(timeout_s=20.0))
        assert first.code == "rate_limited"
        error, took = await ended(world.ask())
        assert isinstance(error, RateLimited)
        assert took == pytest.approx(4.0, abs=1e-6)
        assert error.retry_after == pytest.approx(56.0, abs=0.1)

    play(test, (refused(60.0), "ok"), serving=Serving(queue_timeout_s=4.0))
