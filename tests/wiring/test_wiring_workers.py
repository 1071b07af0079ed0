"""Slots: how many run, replicas, resizing, the end of a Cluster and of a deployment."""

import asyncio

import pytest
from stage import Reply, World, deployment, ended, gathered, now

import spillway
from spillway import Backpressure, Serving
from spillway.testing import ScriptedRunner, run_virtual


def test_never_more_at_once_than_workers_and_never_fewer_while_some_wait(play):
    async def test(world):
        began = now()
        await world.all(1000, timeout_s=1e6)
        assert world["m"].max_open == 8
        assert 1000 / (now() - began) >= 7.9

    play(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=8, queue_timeout_s=1e5))


@pytest.mark.option("replicas")
@pytest.mark.parametrize("replicas", [1, 3])
def test_each_replica_has_workers_and_a_runner_of_its_own(play, replicas):
    runners = []

    def factory(_deployment):
        runners.append(ScriptedRunner((Reply(delay_s=1.0),)))
        return runners[-1]

    async def main():
        cluster = spillway.Cluster(
            [deployment(replicas=replicas, serving=Serving(max_concurrent=2))], runners={"m": factory}
        )
        began = now()
        await gathered(*(cluster.generate("m", "hi") for _ in range(12)))
        assert [len(runner.calls) for runner in runners] == [12 // replicas] * replicas
        assert [runner.max_open for runner in runners] == [2] * replicas
        assert now() - began == pytest.approx(6.0 / replicas)
        assert len(cluster.deployment("m").workers()) == 2 * replicas
        await cluster.aclose()

    run_virtual(main())


def test_replicas_share_limiter_and_breaker(play):
    async def main():
        runners = [ScriptedRunner((spillway.ServerError("down", status=503),)) for _ in range(2)]
        left = iter(runners)
        cluster = spillway.Cluster(
            [
                deployment(
                    replicas=2,
                    circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=4),
                    retry=spillway.RetryPolicy(max_retries=0),
                )
            ],
            runners={"m": lambda _d: next(left)},
        )
        for _ in range(8):
            await gathered(cluster.generate("m", "hi"))
        assert [len(runner.calls) for runner in runners] == [2, 2]
        await cluster.aclose()

    run_virtual(main())


def test_a_smaller_pool_starts_nothing_new_and_ends_nothing_that_runs(play):
    async def test(world):
        tasks = [asyncio.create_task(world.ask(timeout_s=1e4)) for _ in range(30)]
        await asyncio.sleep(0.5)
        dep = world.cluster.deployment("m")
        assert await dep.resize(2) == 2
        await asyncio.sleep(0.6)  # the first eight have left
        assert world["m"].open == 2
        assert len(world.calls) == 10
        assert await dep.resize(8) == 8
        assert world["m"].open == 8
        await gathered(*tasks)
        assert len(dep.workers()) == 8
        assert all(isinstance(t.result(), spillway.Tokens) for t in tasks)
        with pytest.raises(ValueError):
            await dep.resize(0)

    play(test, (Reply(delay_s=1.0),), serving=Serving(max_concurrent=8))


def test_while_the_running_are_more_than_the_pool_none_starts(play):
    async def test(world):
        tasks = [asyncio.create_task(world.ask()) for _ in range(9)]
        await asyncio.sleep(0.5)
        await world.cluster.deployment("m").resize(2)
        await asyncio.sleep(0.4)
        assert len(world.calls) == 8
        await gathered(*tasks)

    play(test, [Reply(delay_s=float(n)) for n in range(1, 9)] + ["ok"], serving=Serving(max_concurrent=8))


@pytest.mark.parametrize(("runs_s", "ends_s", "served"), [(5.0, 5.0, 8), (30.0, 10.0, 0)])
def test_closing_refuses_what_waits_and_lets_what_runs_finish_for_so_long(runs_s, ends_s, served):
    """What ran longer than the time to drain went on in its callers' tasks, with nobody to end it."""

    async def main():
        runner = ScriptedRunner((Reply(delay_s=runs_s),))
        world = World({"m": runner}, [deployment(serving=Serving(max_concurrent=8))], drain_s=10.0)
        tasks = [asyncio.create_task(ended(world.ask())) for _ in range(28)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        began = now()
        closing = asyncio.create_task(world.cluster.aclose())
        await asyncio.sleep(1e-6)
        waited = [t for t in tasks if t.done()]
        assert len(waited) == 20
        assert {t.result()[0].reason for t in waited} == {"shutting_down"}
        late, _ = await ended(world.ask())
        assert isinstance(late, Backpressure)
        await closing
        assert now() - began == pytest.approx(ends_s, abs=0.01)
        results = [(await task)[0] for task in tasks]
        assert sum(isinstance(r, spillway.Tokens) for r in results) == served
        assert sum(isinstance(r, Backpressure) and r.reason == "shutting_down" for r in results) == 28 - served
        assert runner.open == 0
        world.holds_nothing()

    run_virtual(main())


def test_closing_ends_streams_too(play):
    async def main():
        runner = ScriptedRunner((Reply(text="abcd", chunks=4, chunk_delay_s=20.0),))
        world = World({"m": runner}, [deployment()])
        stream, idle = world.stream(), world.stream()
        assert (await anext(stream)).text_delta == "a"
        assert (await anext(idle)).text_delta == "a"
        reading = asyncio.create_task(ended(anext(stream)))
        await asyncio.sleep(1.0)
        await world.cluster.aclose()
        for error, _ in (await reading, await ended(anext(idle))):
            assert isinstance(error, spillway.StreamInterrupted)
            assert error.partial.text == "a"
            assert isinstance(error.__cause__, Backpressure)
        assert runner.closed == 2
        world.holds_nothing()

    run_virtual(main())


def test_draining_one_deployment_sends_its_callers_to_its_fallback(play):
    async def test(world):
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1.0)
        await world.cluster.deployment("m").drain(2.0)
        assert (await task).deployment == "b"
        assert (await world.ask()).deployment == "b"
        assert world["m"].closed == 0
        assert len(world["m"].calls) == 1

    play(
        test,
        deployments=[deployment(fallback=("b",)), deployment("b")],
        scripts={"m": (Reply(delay_s=60.0),), "b": ("ok",)},
    )


def test_ten_thousand_requests_leave_no_task_behind(play):
    async def test(world):
        before = len(asyncio.all_tasks())
        for _ in range(2000):
            await world.ask()
        assert len(asyncio.all_tasks()) == before

    play(test)


def test_the_end_of_a_cluster_closes_its_runners_once(play):
    class Closing(ScriptedRunner):
        ends = 0

        async def aclose(self):
            self.ends += 1

    async def test(world):
        await world.ask()
        await world.cluster.deployment("m").drain(0.0)
        await world.cluster.aclose()
        assert world["m"].ends == 1

    play(test, scripts={"m": Closing()})


def test_a_cluster_starts_on_first_use_and_once(play):
    made = []

    def factory(_deployment):
        made.append(1)
        return ScriptedRunner()

    async def main():
        cluster = spillway.Cluster([deployment()], runners={"m": factory})
        assert made == []
        await gathered(*(cluster.generate("m", "hi") for _ in range(10)))
        assert made == [1]
        await cluster.aclose()
        with pytest.raises(Backpressure):
            await cluster.generate("m", "hi")

    run_virtual(main())
