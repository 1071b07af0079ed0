"""Many requests at once, and the doors for those without an event loop."""

import asyncio
import itertools
import threading

import pytest
from stage import Reply, broken, deployment, now, retry

import spillway
from spillway import Backpressure, BadRequest, Serving, Tokens
from spillway.testing import ScriptedRunner

SMALL = Serving(max_concurrent=3, queue_capacity=2)


def by_length(batch):
    return Reply(text=batch.request.messages[0]["content"], delay_s=float(len(batch.request.messages[0]["content"])))


def test_answers_come_in_order_of_completion_each_with_its_item(play):
    async def test(world):
        pairs = [pair async for pair in world.cluster.map("m", ["xxx", "x", "xx"])]
        assert [item for item, _ in pairs] == ["x", "xx", "xxx"]
        assert [answer.text for _, answer in pairs] == ["x", "xx", "xxx"]

    play(test, by_length)


@pytest.mark.parametrize("kind", ["list", "generator", "async"])
def test_any_iterable_is_taken(play, kind):
    async def later():
        for number in range(20):
            await asyncio.sleep(0.1)
            yield str(number)

    async def test(world):
        items = {"list": [str(n) for n in range(20)], "generator": (str(n) for n in range(20)), "async": later()}[kind]
        got = {item: answer.text async for item, answer in world.cluster.map("m", items)}
        assert got == dict.fromkeys(map(str, range(20)), "ok")

    play(test, serving=SMALL)


def test_nothing_in_nothing_out(play):
    async def test(world):
        assert [pair async for pair in world.cluster.map("m", [])] == []

    play(test)


def test_it_reads_no_further_ahead_than_it_may_and_sends_no_more_at_once(play):
    async def test(world):
        read = itertools.count()
        taken = 0

        def endless():
            for number in read:
                nonlocal taken
                taken = number + 1
                yield "x"

        answers = world.cluster.map("m", endless())
        for handed_out in range(1, 40):
            await anext(answers)
            await asyncio.sleep(5.0)  # a slow reader: everything that may run ahead does
            assert taken <= handed_out + 5
        assert world["m"].max_open == 3
        await answers.aclose()
        assert world["m"].open == 0

    play(test, by_length, serving=SMALL)


def test_an_item_that_fails_is_an_error_in_its_place(play):
    async def test(world):
        items = ["good", "bad", "good", 7, []]
        results = [(item, answer) async for item, answer in world.cluster.map("m", items)]
        assert len(results) == 5
        kinds = {str(item): type(answer) for item, answer in results}
        assert kinds == {"good": Tokens, "bad": spillway.ServerError, "7": BadRequest, "[]": BadRequest}

    def script(batch):
        return broken() if batch.request.messages[0]["content"] == "bad" else "ok"

    play(test, script, retry=retry(max_retries=0))


@pytest.mark.parametrize("way", ["break", "cancel", "raise"])
def test_leaving_early_cancels_what_is_under_way(play, way):
    async def test(world):
        async def read():
            answers = world.cluster.map("m", itertools.repeat("xx"))
            try:
                async for _pair in answers:
                    if way == "break":
                        break
                    if way == "raise":
                        raise ZeroDivisionError
            finally:
                await answers.aclose()

        task = asyncio.create_task(read())
        await asyncio.sleep(3.0)
        if way == "cancel":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert world["m"].open == 0
        assert len(world.calls) <= 9

    play(test, by_length, serving=SMALL)


def test_a_source_that_fails_ends_it(play):
    def failing():
        yield "a"
        raise ZeroDivisionError("no more")

    async def test(world):
        got = []
        with pytest.raises(ZeroDivisionError):
            async for item, _answer in world.cluster.map("m", failing()):
                got.append(item)
        assert got in ([], ["a"])
        assert world["m"].open == 0

    play(test)


def test_options_are_those_of_generate(play):
    async def test(world):
        async for _pair in world.cluster.map("m", ["a"], max_tokens=7, temperature=0.0):
            pass
        assert world.calls[0].batch.request.max_tokens == 7

    play(test)


def test_a_group_is_used_to_the_full(play):
    async def test(world):
        began = now()
        assert len([pair async for pair in world.cluster.map("g", ["x"] * 60)]) == 60
        assert world["a"].max_open == world["b"].max_open == 3
        assert now() - began == pytest.approx(10.0)

    play(test, by_length, deployments=[deployment(n, group="g", serving=SMALL) for n in "ab"])


# Without an event loop: real loops in threads of their own, nothing waits for time.


def cluster(script=("ok",)):
    runner = ScriptedRunner(script)
    return spillway.Cluster([deployment(serving=SMALL)], runners={"m": lambda _d: runner}, environ={}), runner


def test_generate_sync_answers_and_ends_its_thread():
    before = threading.active_count()
    with cluster()[0] as c:
        assert c.generate_sync("m", "hi").text == "ok"
        with pytest.raises(spillway.ModelNotFound):
            c.generate_sync("n", "hi")
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_after_the_end_the_synchronous_doors_refuse():
    """They began another thread, which nobody ended."""
    c, _ = cluster()
    assert c.generate_sync("m", "hi").text == "ok"
    c.close()
    before = threading.active_count()
    with pytest.raises(Backpressure):
        c.generate_sync("m", "hi")
    with pytest.raises(Backpressure):
        list(c.map_sync("m", ["hi"]))
    c.close()
    assert threading.active_count() == before


def test_many_threads_share_one_loop():
    """Two threads that came first together made two loops, and one of them failed."""
    for _ in range(5):
        c, runner = cluster()
        gate = threading.Barrier(16)
        failures = []

        def work(c=c, gate=gate, failures=failures):
            gate.wait()
            try:
                for _ in range(5):
                    assert c.generate_sync("m", "hi", timeout_s=60.0).text == "ok"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(runner.calls) == 80
        c.close()


def test_map_sync_yields_and_may_be_left_early():
    c, runner = cluster()
    with c:
        assert {item for item, _ in c.map_sync("m", ["a", "b", "c"])} == {"a", "b", "c"}
        answers = c.map_sync("m", itertools.repeat("x"))
        assert next(answers)[1].text == "ok"
        answers.close()
        assert runner.open == 0


def test_closing_ends_what_other_threads_wait_for():
    c, runner = cluster((Reply(hang=True),))
    failures = []

    def work():
        try:
            c.generate_sync("m", "hi")
        except spillway.InferenceError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not runner.open:
        pass
    c.close()
    thread.join(5.0)
    assert [(e.code, e.reason) for e in failures] == [("backpressure", "shutting_down")]


def test_an_iteration_that_outlives_its_cluster_ends_in_a_refusal():
    """Closed in the middle, it spoke of an event loop, and of a coroutine that was never awaited."""
    c, _ = cluster()
    answers = c.map_sync("m", itertools.repeat("x"))
    next(answers)
    c.close()
    with pytest.raises(Backpressure):
        for _ in range(100):
            next(answers)
    other, _ = cluster()
    left = other.map_sync("m", ["x", "y"])
    next(left)
    other.close()
    left.close()


def test_the_synchronous_doors_refuse_where_they_would_wait_for_themselves():
    c, _ = cluster()

    async def inside():
        return c.generate_sync("m", "hi")

    with c:
        with pytest.raises(RuntimeError, match="loop"):
            c._in_thread().run(inside)


def test_a_cluster_belongs_to_one_loop(play):
    async def test(world):
        with pytest.raises(RuntimeError):
            world.cluster.generate_sync("m", "hi")

        def elsewhere():
            return asyncio.run(world.cluster.generate("m", "hi"))

        with pytest.raises(RuntimeError, match="loop"):
            await asyncio.to_thread(elsewhere)

    play(test)
