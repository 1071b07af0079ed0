"""The circuit breaker of a deployment, as its callers meet it."""

import asyncio

import pytest
from stage import Reply, broken, deployment, ended, gathered, now, refused, retry

import spillway
from spillway import CircuitBreakerConfig, CircuitOpen, Serving
from spillway.remote.circuit_breaker import CircuitState

NEVER = 10**6
ONCE = retry(max_retries=0)
MANY = Serving(max_concurrent=1000)


async def asked(world, count, name="m"):
    """Ask one after the other; the codes of what came back."""
    codes = []
    for _ in range(count):
        result, _ = await ended(world.ask(name))
        codes.append(getattr(result, "code", "ok"))
    return codes


def breaker_of(world, name="m"):
    return world.cluster.deployment(name).circuit_breaker()


@pytest.mark.option("circuit_breaker.failure_threshold")
@pytest.mark.error("circuit_open")
@pytest.mark.parametrize("threshold", [1, 4])
def test_so_many_failures_in_a_row_open_it(play, threshold):
    async def test(world):
        codes = await asked(world, threshold + 3)
        assert codes == ["server_error"] * threshold + ["circuit_open"] * 3
        assert len(world.calls) == threshold
        error, took = await ended(world.ask())
        assert isinstance(error, CircuitOpen)
        assert (error.deployment, error.limited_by, took) == ("m", "breaker", 0.0)
        assert error.retry_after == pytest.approx(30.0)
        assert error.attempts == 0

    config = CircuitBreakerConfig(failure_threshold=threshold, minimum_calls=NEVER)
    play(test, (broken(),), circuit_breaker=config, retry=ONCE)


@pytest.mark.option("circuit_breaker.failure_ratio", "circuit_breaker.minimum_calls")
@pytest.mark.parametrize(("ratio", "minimum", "opens_after"), [(0.5, 4, 4), (0.5, 8, 8), (0.7, 4, None), (0.3, 10, 10)])
def test_a_share_of_failures_opens_it_once_there_are_enough_calls(play, ratio, minimum, opens_after):
    async def test(world):
        codes = await asked(world, 20)
        assert (codes.index("circuit_open") if "circuit_open" in codes else None) == opens_after

    config = CircuitBreakerConfig(failure_threshold=NEVER, failure_ratio=ratio, minimum_calls=minimum)
    play(test, [broken(), "ok"] * 20, circuit_breaker=config, retry=ONCE)


@pytest.mark.option("circuit_breaker.window_s")
@pytest.mark.parametrize(("window_s", "state"), [(9.0, CircuitState.CLOSED), (11.0, CircuitState.OPEN)])
def test_failures_count_for_so_long(play, window_s, state):
    async def test(world):
        await asked(world, 2)
        await asyncio.sleep(10.0)
        await asked(world, 1)
        assert breaker_of(world).state is state

    config = CircuitBreakerConfig(failure_threshold=3, minimum_calls=NEVER, window_s=window_s)
    play(test, (broken(),), circuit_breaker=config, retry=ONCE)


@pytest.mark.option("circuit_breaker.open_duration_s", "circuit_breaker.max_open_duration_s")
def test_it_stays_open_for_longer_each_time_a_probe_fails_up_to_the_cap(play):
    async def test(world):
        await asked(world, 1)
        waits = []
        for _ in range(4):
            began = now()
            while (await asked(world, 1)) == ["circuit_open"]:
                await asyncio.sleep(0.5)
            waits.append(round(now() - began, 3))
        assert waits == [5.0, 10.0, 20.0, 25.0]
        assert len(world.calls) == 5
        await asyncio.sleep(25.0)

    config = CircuitBreakerConfig(failure_threshold=1, open_duration_s=5.0, max_open_duration_s=25.0)
    play(test, (broken(),), circuit_breaker=config, retry=ONCE)


@pytest.mark.option("circuit_breaker.half_open_max_probes")
@pytest.mark.parametrize("probes", [1, 4])
def test_half_open_lets_exactly_so_many_through_of_a_thousand(play, probes):
    async def test(world):
        await asked(world, 1)
        await asyncio.sleep(30.0)
        results = await world.all(1000)
        assert len(world.calls) == 1 + probes
        errors = [r for r in results if isinstance(r, CircuitOpen)]
        assert len(errors) == 1000 - probes
        assert all(e.retry_after > 0 for e in errors)
        assert breaker_of(world).state is CircuitState.CLOSED
        assert len([r for r in await world.all(50) if isinstance(r, spillway.Tokens)]) == 50

    config = CircuitBreakerConfig(failure_threshold=1, half_open_max_probes=probes)
    play(test, [broken(), Reply(delay_s=0.5)], circuit_breaker=config, retry=ONCE, serving=MANY)


def test_a_probe_that_is_cancelled_gives_its_slot_back_however_often(play):
    async def test(world):
        await asked(world, 1)
        await asyncio.sleep(30.0)
        for _ in range(100):
            probes = [asyncio.create_task(world.ask()) for _ in range(4)]
            await asyncio.sleep(0.1)
            assert world["m"].open == 4
            error, _ = await ended(world.ask())
            assert isinstance(error, CircuitOpen)
            for probe in probes:
                probe.cancel()
            await gathered(*probes)
            assert breaker_of(world).state is CircuitState.HALF_OPEN
        results = await world.all(4)
        assert [r.text for r in results] == ["ok"] * 4
        assert breaker_of(world).state is CircuitState.CLOSED

    config = CircuitBreakerConfig(failure_threshold=1, half_open_max_probes=4)
    play(test, [broken(), Reply(delay_s=0.5)], circuit_breaker=config, retry=ONCE)


@pytest.mark.parametrize("end", [spillway.BadRequest("no", status=400), refused(0.0)])
def test_a_probe_that_says_nothing_of_health_neither_counts_nor_holds_its_slot(play, end):
    async def test(world):
        await asked(world, 1)
        await asyncio.sleep(30.0)
        assert await asked(world, 2) == [end.code, "ok"]
        assert breaker_of(world).state is CircuitState.CLOSED

    play(test, [broken(), end, "ok"], circuit_breaker=CircuitBreakerConfig(failure_threshold=1), retry=ONCE)


def test_one_failed_probe_of_several_reopens_it(play):
    async def test(world):
        await asked(world, 1)
        await asyncio.sleep(30.0)
        await world.all(4)
        assert breaker_of(world).state is CircuitState.OPEN

    config = CircuitBreakerConfig(failure_threshold=1, half_open_max_probes=4)
    script = [broken(), "ok", "ok", "ok", Reply(error=broken(), delay_s=0.1)]
    play(test, script, circuit_breaker=config, retry=ONCE)


@pytest.mark.option("circuit_breaker.slow_call_s", "circuit_breaker.slow_call_ratio")
@pytest.mark.parametrize(
    ("slow_s", "ratio", "state"),
    [(None, 0.5, CircuitState.CLOSED), (4.0, 0.5, CircuitState.OPEN), (4.0, 0.9, CircuitState.CLOSED)],
)
def test_slow_calls_open_it(play, slow_s, ratio, state):
    async def test(world):
        await asked(world, 5)
        assert breaker_of(world).state is state

    config = CircuitBreakerConfig(slow_call_s=slow_s, slow_call_ratio=ratio, minimum_calls=5)
    script = [Reply(delay_s=5.0), "ok", Reply(delay_s=5.0), "ok", Reply(delay_s=5.0)]
    play(test, script, circuit_breaker=config)


def test_a_long_stream_that_began_quickly_is_not_slow(play):
    async def test(world):
        for _ in range(5):
            async for _chunk in world.stream():
                pass
        assert breaker_of(world).state is CircuitState.CLOSED

    config = CircuitBreakerConfig(slow_call_s=4.0, minimum_calls=5)
    play(test, (Reply(text="x" * 60, chunks=60, chunk_delay_s=1.0),), circuit_breaker=config)


def test_a_broken_stream_is_a_failure_of_its_own(play):
    """In a half-open circuit a stream that broke after its first content left the probe a success."""

    async def test(world):
        for _ in range(3):
            with pytest.raises(spillway.StreamInterrupted):
                async for _chunk in world.stream():
                    pass
        assert breaker_of(world).state is CircuitState.OPEN
        await asyncio.sleep(30.0)
        first, second = world.stream(), world.stream()
        await anext(first)
        with pytest.raises(spillway.StreamInterrupted):
            async for _chunk in first:
                pass
        assert breaker_of(world).state is CircuitState.OPEN
        await second.aclose()

    config = CircuitBreakerConfig(failure_threshold=1000, minimum_calls=6, half_open_max_probes=2)
    cut = Reply(text="abcd", chunks=4, error=spillway.NetworkError("reset"), error_after=2)
    play(test, (cut,), circuit_breaker=config, retry=ONCE)


def test_what_counts_is_what_speaks_of_the_provider(play):
    not_counted = [
        spillway.BadRequest("x", status=400),
        spillway.ContentFiltered("x", status=400),
        spillway.Forbidden("x", status=403),
        spillway.ModelNotFound("x", status=404),
        spillway.QuotaExhausted("x", status=429),
        refused(0.0),
    ]
    counted = [broken(500), broken(529), spillway.NetworkError("reset"), Reply(text="", usage=None, finish_reason=None)]

    async def test(world):
        await asked(world, len(not_counted) + len(counted))
        seen = breaker_of(world).snapshot()
        assert (seen.failures, seen.released) == (len(counted), len(not_counted))

    play(test, [*not_counted, *counted], retry=ONCE)


def test_a_caller_who_leaves_does_not_count_and_a_deadline_at_the_provider_does(play):
    async def test(world):
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1.0)
        task.cancel()
        await gathered(task)
        assert breaker_of(world).snapshot().failures == 0
        await ended(world.ask(timeout_s=2.0))
        assert breaker_of(world).snapshot().failures == 1

    play(test, (Reply(hang=True),))


def test_forced_open_and_closed_by_an_operator(play):
    async def test(world):
        breaker_of(world).force_open(300.0)
        assert await asked(world, 1) == ["circuit_open"]
        await asyncio.sleep(299.0)
        assert await asked(world, 1) == ["circuit_open"]
        breaker_of(world).reset()
        assert await asked(world, 1) == ["ok"]

    play(test)


def test_circuits_are_separate(play):
    async def test(world):
        await asked(world, 1, "a")
        assert await asked(world, 1, "a") == ["circuit_open"]
        assert await asked(world, 1, "b") == ["ok"]

    config = CircuitBreakerConfig(failure_threshold=1)
    play(
        test,
        deployments=[deployment(n, circuit_breaker=config, retry=ONCE) for n in "ab"],
        scripts={"a": (broken(),), "b": ("ok",)},
    )


def test_with_every_circuit_open_the_refusal_is_immediate_and_names_the_shortest_wait(play):
    async def test(world):
        breaker_of(world, "a").force_open(10.0)
        breaker_of(world, "b").force_open(300.0)
        error, took = await ended(world.ask("a"))
        assert isinstance(error, CircuitOpen)
        assert took == 0.0
        assert error.retry_after == pytest.approx(10.0)
        assert not world["a"].calls
        assert not world["b"].calls
        assert world.metrics("a").queued == world.metrics("b").queued == 0

    play(test, deployments=[deployment("a", fallback=("b",)), deployment("b")])


def test_those_who_wait_when_it_opens_are_refused_with_nothing_sent(play):
    async def test(world):
        results = await world.all(20)
        assert [r.code for r in results] == ["server_error"] + ["circuit_open"] * 19
        assert len(world.calls) == 1

    play(
        test,
        (Reply(delay_s=1.0, error=broken()),),
        serving=Serving(max_concurrent=1),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1),
        retry=ONCE,
    )


def test_a_retry_whose_circuit_has_opened_ends_in_the_error_it_had(play):
    async def test(world):
        error, took = await ended(world.ask())
        assert isinstance(error, spillway.ServerError)
        assert isinstance(error.refusal, CircuitOpen)
        assert error.attempts == 1
        assert took <= 1.0

    play(test, (broken(),), circuit_breaker=CircuitBreakerConfig(failure_threshold=1), retry=retry())
