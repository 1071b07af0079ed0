"""Whose cancellation it was: a deadline and a caller that both want an end, and runners that swallow one."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, broken, perform, retry

import spillway
from spillway import Budget, Serving, Timeout
from spillway.testing import ScriptedRunner

HANG = (Reply(hang=True),)
ONE_A_MINUTE = spillway.RateLimits(requests_per_minute=1)
WHERE = {
    "queue": {"script": HANG, "busy": True, "serving": Serving(max_concurrent=1)},
    "room": {"script": HANG, "busy": True, "serving": Serving(max_concurrent=1, queue_capacity=1)},
    "return": {"script": (broken(),), "busy": False, "retry": retry(), "rate_limits": ONE_A_MINUTE},
    "attempt": {"script": HANG, "busy": False},
    "rebuild": {"busy": False, "runner": True},
}


def slow_rebuild():
    async def rebuild(_cause):
        await asyncio.sleep(100.0)

    return ScriptedRunner((spillway.Unauthorized("no", status=401),), on_rebuild=rebuild)


def run(test, *, script=HANG, busy=False, runner=False, **options):
    async def main(world):
        others = [asyncio.create_task(world.ask(timeout_s=50.0)) for _ in range(2 if busy else 0)]
        await asyncio.sleep(0)
        try:
            return await test(world)
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    options.setdefault("budget", Budget(max_spend_per_hour_usd=1.0))
    options.setdefault("circuit_breaker", NEVER_OPENS)
    scripts = {"m": slow_rebuild()} if runner else {"m": ScriptedRunner(script)}
    return perform(main, scripts=scripts, **options)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("order", ["caller first", "deadline first"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_cancels_at_the_deadline_gets_his_cancellation(where, order, stream):
    """While it waited in the queue, the deadline took the caller's cancellation for its own and raised a Timeout."""

    async def test(world):
        loop = asyncio.get_running_loop()
        at = loop.time() + 3.0

        async def asks():
            if stream:
                await anext(world.stream(timeout_s=3.0, max_tokens=10))
            else:
                await world.ask(timeout_s=3.0, max_tokens=10)

        task = asyncio.ensure_future(asks())
        if order == "caller first":
            loop.call_at(at, task.cancel)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.5)
            loop.call_at(at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1

    run(test, **WHERE[where])


@pytest.mark.parametrize("where", WHERE)
def test_a_deadline_leaves_no_cancellation_behind(where):
    async def test(world):
        with pytest.raises(spillway.InferenceError):
            await world.ask(timeout_s=3.0, max_tokens=10)
        task = asyncio.current_task()
        assert task.cancelling() == 0
        await asyncio.sleep(1.0)  # nothing is delivered late

    run(test, **WHERE[where])


@pytest.mark.parametrize("where", WHERE)
def test_a_task_that_is_being_cancelled_may_still_ask(where):
    """Asked while its task was being cancelled, a request that timed out raised CancelledError instead of Timeout."""

    async def test(world):
        result = None

        async def cleanup():
            nonlocal result
            try:
                await asyncio.sleep(1000.0)
            finally:
                try:
                    await world.ask(timeout_s=3.0, max_tokens=10)
                except spillway.InferenceError as error:
                    result = error

        task = asyncio.create_task(cleanup())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert result is not None

    run(test, **WHERE[where])


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("limit", [2.0, 3.0, 4.0])
def test_an_outer_timeout_and_the_deadline_do_not_take_each_other_for_themselves(where, limit):
    async def test(world):
        try:
            async with asyncio.timeout(limit) as scope:
                await world.ask(timeout_s=3.0, max_tokens=10)
        except TimeoutError:
            assert scope.expired()
            assert limit <= 3.0
        except spillway.InferenceError:
            assert not scope.expired()
            assert limit >= 3.0
        assert asyncio.current_task().cancelling() == 0

    run(test, **WHERE[where])


def test_a_runner_that_swallows_the_deadlines_cancellation_times_out_all_the_same():
    """Its own error was taken for the end, and the cancellation stayed on the caller's task."""

    class Swallowing(ScriptedRunner):
        async def execute(self, batch):
            self.calls.append(batch)
            try:
                await asyncio.sleep(1000.0)
            except asyncio.CancelledError:
                raise spillway.NetworkError("cut") from None

    async def test(world):
        with pytest.raises(Timeout) as caught:
            await world.ask(timeout_s=3.0)
        assert caught.value.reason == "deadline"
        assert asyncio.current_task().cancelling() == 0
        assert len(world.calls) == 1

    perform(test, scripts={"m": Swallowing()})


def test_a_runner_that_answers_in_spite_of_the_deadline_is_heard():
    class Stubborn(ScriptedRunner):
        async def execute(self, batch):
            try:
                await asyncio.sleep(1000.0)
            except asyncio.CancelledError:
                return await super().execute(batch)

    async def test(world):
        answer = await world.ask(timeout_s=3.0)
        assert answer.text == "ok"
        assert asyncio.current_task().cancelling() == 0

    perform(test, scripts={"m": Stubborn()})


def test_cancelled_twice_is_cancelled():
    async def test(world):
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1.0)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)


def test_a_grant_and_a_cancellation_of_the_same_instant():
    """The slot that was just given goes to the next in line."""

    async def test(world):
        first = asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        second, third = (asyncio.create_task(world.ask()) for _ in range(2))
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_at(1001.0, second.cancel)
        await asyncio.gather(first, third)
        with pytest.raises(asyncio.CancelledError):
            await second

    perform(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=1), budget=Budget(max_spend_per_hour_usd=1.0))


def test_money_is_released_once_for_each_way_a_kept_reservation_can_go():
    """Kept over a failure, then: paid by the retry, given back at the deadline, at a refusal, or by leaving."""

    async def test(world):
        ledger = world.cluster.deployment("m").budget()
        for options in ({}, {"timeout_s": 1.5}, {"timeout_s": 0.5}):
            try:
                await world.ask(max_tokens=10, **options)
            except spillway.InferenceError:
                pass
            assert (ledger.snapshot().reserved_pico, ledger.snapshot().open) == (0, 0)
        task = asyncio.create_task(world.ask(max_tokens=10))
        await asyncio.sleep(0.5)
        assert ledger.snapshot().open == 1
        world.cluster.deployment("m").circuit_breaker().force_open(100.0)
        with pytest.raises(spillway.ServerError):
            await task
        assert (ledger.snapshot().reserved_pico, ledger.snapshot().open) == (0, 0)

    def script(batch):
        return Reply(delay_s=0.2, error=None) if batch.attempt else broken()

    perform(
        test,
        script,
        budget=Budget(max_spend_per_hour_usd=1.0),
        retry=retry(),
        circuit_breaker=NEVER_OPENS,
    )
