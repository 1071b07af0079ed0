"""Streams: the commit point, how each may end, and that it ends once."""

import asyncio
import gc

import pytest
from stage import Reply, broken, ended, now, retry, text_of

import spillway
from spillway import FinishReason, StreamInterrupted, TokenChunk, Usage
from spillway.testing import ScriptedRunner

LONG = Reply(text="a" * 50, chunks=50, chunk_delay_s=1.0)


class Pieces:
    """A runner whose answers are lists of what each read brings: chunks, an error, or seconds to wait."""

    runtime_kind, transport_kind, rate_limits = "pieces", "memory", None

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.open = 0

    async def execute(self, batch):
        self.calls.append(batch)
        batch.on_sent()
        self.open += 1
        return self._play(self.answers[min(len(self.calls), len(self.answers)) - 1])

    async def _play(self, pieces):
        try:
            for piece in pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, (int, float)):
                    await asyncio.sleep(piece)
                else:
                    yield piece
        finally:
            self.open -= 1

    async def rebuild_session(self, cause):
        raise cause


def rows(world):
    return [(a.outcome, a.usage, a.estimated) for a in world.seen.attempts]


ROLE, PING = [TokenChunk()], []
USAGE = [TokenChunk(usage=Usage(input_tokens=7, output_tokens=0))]
HELLO = [TokenChunk(text_delta="hello")]
END = [TokenChunk(finish_reason=FinishReason.STOP, usage=Usage(input_tokens=7, output_tokens=1))]


@pytest.mark.parametrize("before", [[], [ROLE], [PING, ROLE, USAGE, PING], [1.0, ROLE]])
@pytest.mark.parametrize("trouble", [broken(), spillway.NetworkError("reset", reason="reset")])
def test_before_the_first_content_a_failure_is_repeated_and_nobody_sees_it(play, before, trouble):
    async def test(world):
        stream = world.stream()
        chunks = [chunk async for chunk in stream]
        assert "".join(c.text_delta for c in chunks) == "hello"
        assert stream.tokens.attempts == 2
        assert stream.tokens.usage == END[0].usage

    play(test, scripts={"m": Pieces([*before, trouble], [ROLE, HELLO, END])}, retry=retry())


@pytest.mark.parametrize(
    "first",
    [
        HELLO,
        [TokenChunk(reasoning_delta="hm")],
        [TokenChunk(tool_call_delta=spillway.ToolCallDelta(id="t", name="f"))],
        [TokenChunk(finish_reason=FinishReason.STOP)],
    ],
)
def test_after_it_a_failure_interrupts_with_what_came(play, first):
    async def test(world):
        got = []
        with pytest.raises(StreamInterrupted) as caught:
            async for chunk in world.stream():
                got.append(chunk)
        error = caught.value
        assert got == first
        assert error.partial.text == first[0].text_delta
        assert error.partial.reasoning == first[0].reasoning_delta
        assert len(error.partial.tool_calls) == (first[0].tool_call_delta is not None)
        assert isinstance(error.__cause__, spillway.NetworkError)
        assert (error.attempts, error.deployment, error.reason) == (1, "m", "reset")
        assert len(world["m"].calls) == 1
        assert [r.outcome for r in world.seen.requests] == ["stream_interrupted"]

    play(test, scripts={"m": Pieces([first, spillway.NetworkError("reset", reason="reset")])}, retry=retry())


def test_an_answer_without_content_but_with_usage_is_an_empty_stream(play):
    """It came back whole, and the stream raised a TypeError at its reader."""

    async def test(world):
        stream = world.stream()
        chunks = [chunk async for chunk in stream]
        assert "".join(c.text_delta for c in chunks) == ""
        assert stream.tokens.usage.input_tokens == 7
        assert rows(world) == [("ok", USAGE[0].usage, False)]

    play(test, scripts={"m": Pieces([ROLE, USAGE])})


def test_a_stream_that_brings_nothing_at_all_is_repeated(play):
    async def test(world):
        assert await text_of(world.stream()) == "hello"

    play(test, scripts={"m": Pieces([ROLE, PING], [HELLO, END])}, retry=retry())


def test_chunks_of_one_read_travel_together_and_in_order(play):
    async def test(world):
        stream = world.stream()
        assert [c.text_delta async for c in stream] == ["a", "b", "c", ""]

    reads = [[TokenChunk(text_delta="a"), TokenChunk(text_delta="b")], PING, [TokenChunk(text_delta="c")], END]
    play(test, scripts={"m": Pieces(reads)})


@pytest.mark.parametrize("way", ["aclose", "break", "context", "drop", "cancel", "unread"])
def test_however_its_reader_leaves_upstream_is_closed_and_one_usage_row_is_written(play, way):
    async def test(world):
        stream = world.stream()

        async def read(count):
            for _ in range(count):
                await anext(stream)

        if way == "unread":
            await stream.aclose()
            assert not world.calls
            return
        await read(5)
        if way == "aclose":
            await stream.aclose()
            await stream.aclose()
        elif way == "break":
            async for _chunk in stream:
                break
            del stream
        elif way == "context":
            async with stream:
                await anext(stream)
        elif way == "drop":
            del stream
        else:
            task = asyncio.create_task(read(40))
            await asyncio.sleep(2.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        gc.collect()
        left_at = now()
        await asyncio.sleep(0.05)
        assert world["m"].open == 0
        assert world["m"].closed == 1
        assert world.metrics().busy == 0
        assert now() - left_at <= 0.1
        ((outcome, usage, estimated),) = rows(world)
        assert (outcome, estimated) == ("cancelled", True)
        assert usage.input_tokens > 0
        assert 1 <= usage.output_tokens <= 3
        assert [r.outcome for r in world.seen.requests] == ["cancelled"]
        assert world.metrics().usage_rows == 1
        assert world.metrics().cost_usd > 0
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0

    play(test, (LONG,))


def test_reading_on_after_the_end_is_the_end(play):
    async def test(world):
        stream = world.stream()
        assert await text_of(stream) == "ok"
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await stream.aclose()
        assert len(rows(world)) == 1

    play(test)


def test_a_stream_closed_while_another_task_reads_ends_there_and_once(play):
    """The reader saw the end of the closed answer as its success, and slot and usage were settled twice."""

    async def test(world):
        stream = world.stream()
        await anext(stream)
        reader = asyncio.create_task(text_of(stream))
        await asyncio.sleep(0.5)
        await stream.aclose()
        assert await reader in {"", "a"}
        assert world.metrics().busy == 0
        assert len(rows(world)) == 1
        assert (await world.ask()).text

    class Patient(ScriptedRunner):
        async def execute(self, batch):
            answer = await super().execute(batch)

            class Uncloseable:
                request_id = "x"

                def __aiter__(self):
                    return self

                async def __anext__(self):
                    return await anext(answer)

                async def aclose(self):
                    pass

                def abort(self):
                    answer.abort()

            return Uncloseable()

    play(test, scripts={"m": Patient((Reply(text="aa", chunks=2, chunk_delay_s=1.0),))})


def test_the_end_that_a_reader_meets_after_the_close_is_no_success(play):
    class Ending:
        request_id = "e"

        def __init__(self):
            self.reads = 0

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.reads += 1
            if self.reads == 1:
                return HELLO
            await asyncio.sleep(1.0)
            raise StopAsyncIteration

        async def aclose(self):
            pass

    class Runner(Pieces):
        async def execute(self, batch):
            return Ending()

    async def test(world):
        stream = world.stream()
        await anext(stream)
        reader = asyncio.create_task(text_of(stream))
        await asyncio.sleep(0.5)
        await stream.aclose()
        await reader
        assert [r.outcome for r in world.seen.requests] == ["cancelled"]
        assert len(rows(world)) == 1
        assert world.metrics().busy == 0

    play(test, scripts={"m": Runner()})


def test_a_stream_closed_while_it_opens_is_closed(play):
    """It went on to open, and nobody was left to close it."""

    async def test(world):
        stream = world.stream()
        opening = asyncio.create_task(ended(anext(stream)))
        await asyncio.sleep(0.5)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await opening
        assert world["m"].open == 0
        assert [r.outcome for r in world.seen.requests] == ["cancelled"]

    play(test, (Reply(text="abcd", chunks=4, delay_s=1.0, chunk_delay_s=1.0),))


def test_usage_of_a_stream_is_that_of_its_last_report(play):
    cumulative = [[TokenChunk(text_delta="x", usage=Usage(input_tokens=7, output_tokens=n))] for n in (1, 2, 3)]

    async def test(world):
        stream = world.stream()
        await text_of(stream)
        assert stream.tokens.usage == Usage(input_tokens=7, output_tokens=3)
        assert stream.tokens.cost_usd == pytest.approx((7 * 1 + 3 * 2) / 1e6)
        assert world.metrics().output_tokens == 3

    play(test, scripts={"m": Pieces([*cumulative, END[:0]])})


def test_a_stream_asked_for_as_a_whole_answer_is_put_together(play):
    async def test(world):
        from spillway.core.request import GenerateRequest

        request = GenerateRequest(messages=({"role": "user", "content": "hi"},), idempotency_id="i")
        answer = await world.cluster.submit("m", request, stream=True)
        assert (answer.text, answer.usage, answer.attempts) == ("abcd", Usage(input_tokens=10, output_tokens=5), 1)
        assert world.calls[0].batch.stream

    play(test, (Reply(text="abcd", chunks=4),))


def test_a_wrong_keyword_and_a_wrong_prompt_are_refused_at_the_call(play):
    async def test(world):
        with pytest.raises(TypeError):
            world.stream(temprature=1.0)
        with pytest.raises(spillway.BadRequest):
            world.stream(prompt=[])
        assert not world.calls

    play(test)


def test_sampling_reaches_the_runner(play):
    options = {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 3,
        "tools": [{"type": "function"}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "extra": {"user": "u"},
        "extra_headers": {"x-a": "b"},
    }

    async def test(world):
        await world.ask(**options)
        await text_of(world.stream(**options))
        for call in world.calls:
            for name, value in options.items():
                assert getattr(call.batch.request, name) == value
        assert [c.batch.stream for c in world.calls] == [False, True]

    play(test)


def test_a_runner_cancelled_from_within_is_its_own_trouble_and_not_the_callers_wish(play):
    """A caller who had cancelled nothing got a CancelledError."""

    class Odd(ScriptedRunner):
        async def execute(self, batch):
            self.calls.append(batch)
            if len(self.calls) == 1:
                raise asyncio.CancelledError
            return await super().execute(batch)

    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, spillway.ServerError)
        assert error.reason == "runner"

    play(test, scripts={"m": Odd()}, retry=retry(max_retries=0))


@pytest.mark.parametrize("how", ["error", "leave", "unary"])
def test_an_answer_that_can_not_even_be_closed_holds_nothing_up(play, how, caplog):
    """What its `abort` raised hid the error, and slot, ticket and money were never given back."""

    class Stuck:
        request_id = "s"

        def __init__(self):
            self.pieces = iter([HELLO])

        def __aiter__(self):
            return self

        async def __anext__(self):
            for piece in self.pieces:
                return piece
            raise spillway.NetworkError("reset", reason="reset")

        async def aclose(self):
            pass

        def abort(self):
            raise OSError("already gone")

    class Runner(Pieces):
        async def execute(self, batch):
            return Stuck()

    async def test(world):
        if how == "unary":
            error, _ = await ended(world.ask())
            assert isinstance(error, spillway.NetworkError)
            return
        stream = world.stream()
        await anext(stream)
        if how == "leave":
            await stream.aclose()
            return
        with pytest.raises(StreamInterrupted):
            await anext(stream)

    play(test, scripts={"m": Runner()}, budget=spillway.Budget(max_spend_per_hour_usd=1.0), retry=retry(max_retries=0))
    assert "failed to close" in caplog.text
