"""Callers who leave, through a Cluster: the provider sees it within 100 ms, and nothing of them stays."""

import asyncio
import gc
import os
import random
import threading

import pytest
from matrix import DIALECTS, INPUT_GUESS, INPUT_PICO, OPENAI, PATIENCE_S, RESERVED_PICO, TEXT, gone, head, rig

import spillway
from spillway.testing.byte_server import Do, answer, chunk

BY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def begun(dialect, *, content=True):
    return head(stream=True) + chunk((dialect.before or b": hi\n\n") + (dialect.content if content else b""))


async def asked(here, number=0):
    """Return the nth connection once the server has the whole request."""
    conversation = await here.server.conversation(number)
    while not conversation.requests:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    return conversation


async def cancel(task):
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


STALLS = {
    "before the status": lambda d, s: [Do.STALL],
    "inside the head": lambda d, s: [b"HTTP/1.1 200 OK\r\ncontent-", Do.STALL],
    "before the content": lambda d, s: [begun(d, content=False) if s else head(stream=False) + chunk(b" "), Do.STALL],
    "inside the answer": lambda d, s: [begun(d) if s else head(stream=False) + chunk(d.whole[:20]), Do.STALL],
    "inside an error": lambda d, s: [b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nabc", Do.STALL],
}


@BY_DIALECT
@pytest.mark.parametrize("where", STALLS)
async def test_cancelled_caller_is_gone_at_once(where, dialect, stream):
    async with rig([Do.READ, *STALLS[where](dialect, stream)], dialect=dialect) as here:
        task = here.task(stream=stream)
        conversation = await asked(here)
        await cancel(task)
        await gone(conversation)
        assert (here.metrics.cancelled, here.metrics.failed, here.books.requests[0].outcome) == (1, 0, "cancelled")
        assert here.breaker.failures == 0
        [record] = here.books.attempts
        assert record.outcome == "cancelled" and record.estimated
        if stream:
            assert record.cost_pico >= INPUT_GUESS * INPUT_PICO
        else:
            assert record.cost_pico == RESERVED_PICO


@BY_DIALECT
@pytest.mark.parametrize("how", ["aclose", "break", "with", "drop", "cancel the reader"])
async def test_reader_who_leaves_a_stream_is_gone_at_once(how, dialect):
    async with rig([Do.READ, begun(dialect), Do.STALL], dialect=dialect) as here:
        reading = here.cluster.stream("m", "Say hello", max_tokens=100)
        if how == "with":
            async with reading:
                assert (await anext(reading)).text_delta == "hello"
        elif how == "break":
            async for piece in reading:
                assert piece.text_delta == "hello"
                break
            await reading.aclose()
        elif how == "cancel the reader":

            async def read():
                async for _ in reading:
                    pass

            task = asyncio.ensure_future(read())
            await asked(here)
            await cancel(task)
        else:
            assert (await anext(reading)).text_delta == "hello"
            if how == "aclose":
                await reading.aclose()
                await reading.aclose()
        if how == "drop":
            del reading
        await gone(here.server.conversations[0])
        here.cancelled += 1
        assert here.metrics.cancelled == 1
        [record] = here.books.attempts
        assert (record.outcome, record.usage.output_tokens, record.estimated) == ("cancelled", 2, True)


async def test_stream_that_was_never_read_asks_for_nothing(stream):
    async with rig([Do.READ, OPENAI.good(stream=True)]) as here:
        await here.cluster.start()
        reading = here.cluster.stream("m", "Say hello")
        if stream:
            await reading.aclose()
        del reading
        gc.collect()
        await asyncio.sleep(0.02)
        assert here.requests == here.metrics.requests == 0


@BY_DIALECT
async def test_hundred_streams_that_nobody_closes_are_closed(dialect):
    async with rig(
        [Do.READ, begun(dialect), Do.STALL], dialect=dialect, serving=spillway.Serving(max_concurrent=128)
    ) as here:
        streams = [here.cluster.stream("m", "Say hello", max_tokens=100) for _ in range(100)]
        assert [(await anext(s)).text_delta for s in streams] == ["hello"] * 100
        assert here.metrics.busy == 100
        streams.clear()
        gc.collect()
        async with asyncio.timeout(5.0):
            await asyncio.gather(*(c.gone.wait() for c in here.server.conversations))
        assert len(here.server.conversations) == 100
        here.cancelled += 100
        assert here.metrics.cancelled == 100


async def test_streams_of_a_cancelled_task_group_are_closed():
    async with rig([Do.READ, begun(OPENAI), Do.STALL]) as here:
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(here.ask(stream=True))
                for number in range(20):
                    await asked(here, number)
                raise ValueError
        await asyncio.gather(*(gone(c) for c in here.server.conversations))
        assert here.cancelled == 20


async def test_closing_the_cluster_ends_what_runs(stream):
    async with rig([Do.READ, Do.STALL]) as here:
        tasks = [here.task(stream=stream) for _ in range(5)]
        for number in range(5):
            await asked(here, number)
        await here.cluster.aclose()
        outcomes = await asyncio.gather(*tasks)
        assert {(type(o.error), o.error.reason) for o in outcomes} == {(spillway.Backpressure, "shutting_down")}
        await asyncio.gather(*(gone(c) for c in here.server.conversations))


async def test_callers_who_come_and_go_leave_the_pool_as_it_was(stream):
    """20 callers of 10 slots, each cancelled after 0 to 50 ms, for a while; then ten at once are answered."""
    good = OPENAI.good(stream=stream)
    script = [step for _ in range(500) for step in (Do.READ, 0.002, good)]
    dice = random.Random(7)
    async with rig(script, serving=spillway.Serving(max_concurrent=10)) as here:
        loop = asyncio.get_running_loop()
        end = loop.time() + (1.0 if stream else 2.0)

        async def come_and_go():
            while loop.time() < end:
                task = here.task(stream=stream)
                await asyncio.sleep(dice.uniform(0, 0.05))
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    continue
                assert task.result().text == TEXT

        await asyncio.gather(*(come_and_go() for _ in range(20)))
        assert here.metrics.busy == 0 and here.cancelled > 50
        never_started = here.metrics.requests - len(here.outcomes)
        assert 0 <= never_started <= here.cancelled
        here.cancelled = never_started  # a task that was cancelled before its first step has asked for nothing
        async with asyncio.timeout(1.0 + PATIENCE_S):
            outcomes = await asyncio.gather(*(here.ask(stream=stream) for _ in range(10)))
        assert [o.text for o in outcomes] == [TEXT] * 10


@pytest.mark.parametrize("delay_s", [0.0, 0.0001, 0.0003, 0.001])
async def test_cancelled_between_its_turn_and_the_connection(delay_s, stream):
    """A slot that was given in the instant of the cancellation goes to the next who waits."""
    async with rig(
        [Do.READ, 0.005, OPENAI.good(stream=stream)] * 1, serving=spillway.Serving(max_concurrent=1)
    ) as here:
        await here.cluster.start()
        for _ in range(20):
            tasks = [here.task(stream=stream) for _ in range(4)]
            await asyncio.sleep(delay_s)
            for task in tasks[:3]:
                task.cancel()
            await asyncio.wait(tasks)
            if not tasks[3].cancelled() and tasks[3].exception() is None:
                assert tasks[3].result().error is None
        here.cancelled = here.metrics.cancelled


async def test_two_thousand_requests_leave_no_trace(stream):
    async with rig([Do.READ, OPENAI.good(stream=stream)] * 2100) as here:
        for _ in range(50):
            await here.ask(stream=stream)
        tasks, fds, threads = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(950):
            await here.ask(stream=stream)
        assert len(asyncio.all_tasks()) == tasks
        assert abs(len(os.listdir("/proc/self/fd")) - fds) <= 2
        assert threading.active_count() == threads
        assert len(here.server.conversations) == 1 and here.requests == 1000


async def test_failures_and_cancellations_leave_no_trace(stream):
    """Connections that fail are let go of at once, not when somebody collects garbage."""
    async with rig([Do.READ, Do.RST], retry=spillway.RetryPolicy(max_retries=0)) as here:
        await here.ask(stream=stream)
        gc.disable()
        try:
            fds = len(os.listdir("/proc/self/fd"))
            for _ in range(100):
                await here.ask(stream=stream)
            await asyncio.sleep(0.05)
            assert abs(len(os.listdir("/proc/self/fd")) - fds) <= 2
        finally:
            gc.enable()


async def test_deadline_of_one_is_not_anothers(stream):
    """A request that is cut by its deadline takes nothing of those beside it with it."""
    slow = [Do.READ, 0.6, OPENAI.good(stream=stream), Do.STALL]
    async with rig(slow) as here:
        short, long = await asyncio.gather(
            here.ask(stream=stream, timeout_s=0.1), here.ask(stream=stream, timeout_s=5.0)
        )
        assert (type(short.error), short.error.reason) == (spillway.Timeout, "deadline")
        assert (long.error, long.text) == (None, TEXT)


async def test_whole_answer_that_nobody_waits_for_any_more_frees_its_slot(stream):
    async with rig([Do.READ, Do.STALL], [Do.READ, answer(b"{}")], serving=spillway.Serving(max_concurrent=1)) as here:
        first = here.task(stream=stream)
        await asked(here)
        second = here.task(stream=stream, timeout_s=0.2)
        await asyncio.sleep(0)
        assert here.metrics.queued <= 1
        outcome = await second
        assert (type(outcome.error), outcome.error.reason, outcome.error.attempts) == (spillway.Timeout, "queue", 0)
        await cancel(first)
