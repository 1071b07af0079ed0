"""Each phase's own limit, through the door."""

import asyncio

import pytest
from stage import Reply, deployment, ended, gathered, now, retry, text_of

import spillway
from spillway import StreamInterrupted, Timeout, Timeouts

EMPTY_THEN = {"text": "", "usage": None, "finish_reason": None}


@pytest.mark.option("timeouts.first_byte_timeout_s")
@pytest.mark.parametrize(("limit", "attempts"), [(5.0, 2), (50.0, 1)])
def test_a_stream_without_content_in_time_is_begun_anew(play, limit, attempts):
    async def test(world):
        stream = world.stream()
        assert await text_of(stream) == "abcd"
        assert stream.tokens.attempts == attempts
        if attempts == 2:
            assert world.calls[1].started == pytest.approx(1000.0 + 5.0 + 1.0)
            assert world.metrics().errors == {"timeout": 1}
            assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 1

    script = (Reply(text="abcd", delay_s=10.0), Reply(text="abcd"))
    play(test, script, timeouts=Timeouts(first_byte_timeout_s=limit), retry=retry())


def test_pings_do_not_keep_a_stream_without_content_alive(play):
    async def test(world):
        with pytest.raises(Timeout) as caught:
            await text_of(world.stream())
        assert caught.value.reason == "first_byte"
        assert now() == pytest.approx(1005.0)

    script = (Reply(**{**EMPTY_THEN, "chunks": 100, "chunk_delay_s": 1.0}),)
    play(test, script, timeouts=Timeouts(first_byte_timeout_s=5.0, idle_timeout_s=2.0), retry=retry(max_retries=0))


@pytest.mark.option("timeouts.idle_timeout_s")
@pytest.mark.error("stream_interrupted")
@pytest.mark.parametrize(("limit", "breaks"), [(2.0, True), (20.0, False)])
def test_silence_after_the_first_content_breaks_a_stream(play, limit, breaks):
    async def test(world):
        stream = world.stream()
        if not breaks:
            assert await text_of(stream) == "abcd"
            return
        with pytest.raises(StreamInterrupted) as caught:
            await text_of(stream)
        error = caught.value
        assert error.partial.text == "a"
        assert isinstance(error.__cause__, Timeout)
        assert (error.reason, error.attempts, error.deployment) == ("idle", 1, "m")
        assert now() == pytest.approx(1002.0)
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 1
        assert len(world.calls) == 1

    play(test, (Reply(text="abcd", chunks=4, chunk_delay_s=10.0),), timeouts=Timeouts(idle_timeout_s=limit))


def test_a_slow_reader_is_not_silence_of_the_provider(play):
    async def test(world):
        got = []
        async for chunk in world.stream():
            got.append(chunk.text_delta)
            await asyncio.sleep(60.0)
        assert "".join(got) == "abcd"

    play(test, (Reply(text="abcd", chunks=4, chunk_delay_s=1.0),), timeouts=Timeouts(idle_timeout_s=2.0))


def test_a_deadline_passes_while_nobody_reads_and_blames_nobody(play):
    """It counted as a failure of the provider, although it was the reader who was not there."""

    async def test(world):
        stream = world.stream(timeout_s=10.0)
        assert (await anext(stream)).text_delta == "a"
        await asyncio.sleep(100.0)
        assert world["m"].open == 0
        assert world["m"].closed == 1
        assert world.metrics().busy == 0
        assert [r.outcome for r in world.seen.requests] == ["stream_interrupted"]
        assert world.seen.requests[0].elapsed_s == pytest.approx(10.0)
        with pytest.raises(StreamInterrupted) as caught:
            await anext(stream)
        assert caught.value.partial.text == "a"
        assert caught.value.__cause__.reason == "deadline"
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    play(test, (Reply(text="abcd", chunks=4, chunk_delay_s=1.0),))


def test_a_deadline_in_the_middle_of_a_stream_is_kept_to_the_instant(play):
    async def test(world):
        with pytest.raises(StreamInterrupted) as caught:
            await text_of(world.stream(timeout_s=10.0))
        assert now() == pytest.approx(1010.0)
        assert caught.value.partial.text == "abcd"
        assert caught.value.reason == "deadline"

    play(test, (Reply(text="abcdefgh", chunks=8, chunk_delay_s=3.0),))


def test_a_deadline_before_the_first_content_is_a_timeout(play):
    async def test(world):
        with pytest.raises(Timeout) as caught:
            await text_of(world.stream(timeout_s=10.0))
        assert caught.value.reason == "deadline"
        assert now() == pytest.approx(1010.0)
        assert len(world.calls) == 1

    play(test, (Reply(hang=True),))


def test_a_deadline_during_a_backoff_is_the_deadlines(play):
    async def test(world):
        error, took = await ended(world.ask(timeout_s=30.0))
        # At 20.5 s the only slot is still busy for somebody else, so the retry waits for it into its deadline.
        assert isinstance(error, Timeout)
        assert error.reason == "deadline"
        assert took == pytest.approx(30.0)
        assert isinstance(error.__cause__, spillway.ServerError)

    def script(batch):
        if batch.request.messages[0]["content"] == "other":
            return Reply(delay_s=100.0)
        return spillway.ServerError("down", status=503)

    async def case(world):
        first = asyncio.create_task(test(world))
        await asyncio.sleep(0.5)
        other = asyncio.create_task(ended(world.ask(prompt="other")))
        await gathered(other)
        await first

    play(case, script, serving=spillway.Serving(max_concurrent=1), retry=retry(initial_backoff_s=20.5))


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan")])
def test_a_deadline_must_lie_ahead(play, timeout_s):
    async def test(world):
        error, _ = await ended(world.ask(timeout_s=timeout_s))
        assert isinstance(error, spillway.BadRequest)
        assert not world.calls

    play(test)


@pytest.mark.parametrize(
    ("name", "value"), [("max_tokens", -1), ("max_cost_usd", -1.0), ("max_cost_usd", float("nan"))]
)
def test_a_senseless_bound_is_a_bad_request(play, name, value):
    """A negative cap on the cost was a bare ValueError; negative tokens went out."""

    async def test(world):
        error, _ = await ended(world.ask(**{name: value}))
        assert isinstance(error, spillway.BadRequest)
        assert not world.calls

    play(test)


def test_an_unending_deadline_is_one(play):
    async def test(world):
        assert (await world.ask(timeout_s=float("inf"))).text == "ok"

    play(test, (Reply(delay_s=1000.0),), timeouts=Timeouts(unary_timeout_s=10_000.0))


def test_the_deadline_of_a_fallback_is_what_is_left_of_the_callers(play):
    async def test(world):
        error, took = await ended(world.ask(timeout_s=10.0))
        assert isinstance(error, Timeout)
        assert took == pytest.approx(10.0)
        assert world["b"].calls[0].batch.deadline == pytest.approx(1010.0)
        assert error.attempts == 2

    play(
        test,
        deployments=[
            deployment(fallback=("b",), timeouts=Timeouts(total_timeout_s=3.0), retry=retry(max_retries=0)),
            deployment("b"),
        ],
        scripts={"m": (Reply(delay_s=4.0, error=spillway.ServerError("x", status=500)),), "b": (Reply(hang=True),)},
    )
