"""Whole runs in virtual time, against a provider that plays a script."""

import errno
import io
import json

import pytest

from spillway.batch import Ending, Run, RunOptions
from spillway.batch.progress import Progress, duration, show
from spillway.core.clock import sleep
from spillway.core.errors import (
    CircuitOpen,
    ConfigError,
    Forbidden,
    NetworkError,
    RateLimited,
    ServerError,
    Timeout,
)
from spillway.core.options import CircuitBreakerConfig, Deployment, Pricing, RateLimits, RetryPolicy, Serving, Timeouts
from spillway.core.priority import Priority
from spillway.testing import Reply, ScriptedRunner, run_virtual

PRICE = Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
STURDY = CircuitBreakerConfig(failure_threshold=10_000, failure_ratio=1.0, minimum_calls=10_000)


class Stage:
    """A folder and scripted deployments; the loop's time is virtual, and the disk is done with at once."""

    def __init__(self, folder):
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.runners = {}
        self.sync = lambda fd: None

    def write(self, count, **more):
        lines = [json.dumps({"id": f"a{i}", "prompt": f"p{i}", **more}) for i in range(count)]
        self.input.write_text("\n".join(lines))

    def deploy(self, name="m", script=("ok",), **options):
        options.setdefault("pricing", PRICE)
        options.setdefault("retry", RetryPolicy(max_retries=1, initial_backoff_s=0.1, max_backoff_s=0.1))
        self.runners[name] = script if isinstance(script, ScriptedRunner) else ScriptedRunner(script)
        return Deployment(name=name, **options)

    def play(self, *deployments, meanwhile=None, observers=(), **options):
        """Run to the end and return the summary."""
        deployments = deployments or (self.deploy(),)

        async def inline(work):
            work()

        async def main():
            run = Run(
                deployments,
                RunOptions(input=str(self.input), output=self.output, **options),
                environ={},
                runners={name: (lambda _d, r=runner: r) for name, runner in self.runners.items()},
                observers=observers,
                sync=self.sync,
                in_thread=inline,
            )
            if meanwhile is None:
                return await run.go()
            import asyncio

            helper = asyncio.ensure_future(meanwhile(run))
            try:
                return await run.go()
            finally:
                helper.cancel()
                await asyncio.wait({helper})

        return run_virtual(main())

    def lines(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def errors(self):
        return {line["custom_id"]: line["error"] for line in self.lines() if line["error"]}


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def prompt_of(batch):
    return batch.request.messages[0]["content"]


def poison(*bad, error=None, good=None):
    """Fail for some prompts, answer all others."""

    def script(batch):
        if prompt_of(batch) in bad:
            return error or ServerError("poison")
        return good or Reply(delay_s=0.05)

    return ScriptedRunner(script)


def test_every_line_is_answered_once_and_summed_up(stage):
    stage.write(50)
    summary = stage.play()
    assert (summary.ending, summary.exit_code) == (Ending.THROUGH, 0)
    assert (summary.lines, summary.ok, summary.failed, summary.unwritten) == (50, 50, 0, 0)
    assert summary.cost_usd == pytest.approx(50 * 20e-6)
    assert sorted(line["custom_id"] for line in stage.lines()) == sorted(f"a{i}" for i in range(50))
    assert len(stage.runners["m"].calls) == 50


@pytest.mark.parametrize("concurrency", [1, 2, 16, 128])
def test_a_line_that_can_not_be_answered_costs_nobody_else(stage, concurrency):
    """Whatever the company it has, it is given up, and so only."""
    stage.write(40)
    m = stage.deploy(script=poison("p5", "p6"), circuit_breaker=STURDY)
    summary = stage.play(m, concurrency=concurrency)
    assert summary.exit_code == 1
    assert set(stage.errors()) == {"a5", "a6"}
    for error in stage.errors().values():
        assert error["code"] == "server_error" and error["deployment"] == "m"
        assert 2 <= error["attempts"] <= 8
    assert summary.elapsed_s < 60


def test_the_last_line_of_a_file_that_fits_at_once_is_given_up_too(stage):
    stage.write(30)
    m = stage.deploy(script=poison("p29", error=Forbidden("no", status=403)))
    assert stage.play(m).exit_code == 1
    assert set(stage.errors()) == {"a29"}


def test_without_retries_a_line_is_still_sent_twice_before_it_is_given_up(stage):
    stage.write(40)
    retry = RetryPolicy(max_retries=0)
    m = stage.deploy(script=poison("p5"), retry=retry, circuit_breaker=STURDY, serving=Serving(max_concurrent=4))
    assert stage.play(m).exit_code == 1
    assert set(stage.errors()) == {"a5"}


def outage(start, end, error):
    """Answer, but fail from `start` to `end` of the loop's time since the first attempt."""
    import asyncio

    began = []

    def script(batch):
        now = asyncio.get_running_loop().time()
        began.append(now) if not began else None
        return error() if start <= now - began[0] < end else Reply(delay_s=0.3)

    return ScriptedRunner(script)


@pytest.mark.parametrize(
    "error",
    [
        lambda: ServerError("down", status=503),
        lambda: NetworkError("reset"),
        lambda: RateLimited("slow down", status=429),
        lambda: RateLimited("slow down", status=429, retry_after=20.0),
        lambda: Forbidden("no", status=403),
        lambda: Timeout("x", reason="first_byte"),
    ],
)
@pytest.mark.parametrize("breaker", [STURDY, CircuitBreakerConfig()])
def test_an_outage_burns_no_line(stage, error, breaker):
    stage.write(300)
    runner = outage(2.0, 400.0, error)
    m = stage.deploy(script=runner, circuit_breaker=breaker, serving=Serving(max_concurrent=20))
    summary = stage.play(m)
    assert summary.exit_code == 0, stage.errors()
    assert len(stage.lines()) == 300
    during = [call for call in runner.calls if 2.0 < call.started - runner.calls[0].started < 400.0]
    # All that were under way, and then one at a time, ever more seldom.
    assert len(during) < 20 * 2 + 400


def test_a_provider_that_is_back_is_not_run_over(stage):
    stage.write(4000)
    runner = outage(2.0, 100.0, lambda: ServerError("down"))
    stage.play(stage.deploy(script=runner, circuit_breaker=STURDY, serving=Serving(max_concurrent=64)))
    began = runner.calls[0].started
    after = [call.started for call in runner.calls if call.started - began >= 100.0]
    first = after[0]
    assert sum(at < first + 0.29 for at in after) == 1
    assert sum(first + 0.29 <= at < first + 0.59 for at in after) <= 3
    assert sum(first + 0.59 <= at < first + 0.89 for at in after) <= 6


def test_two_targets_do_not_wait_for_each_other(stage):
    lines = [json.dumps({"id": f"{name}{i}", "prompt": "x", "model": name}) for i in range(50) for name in "mn"]
    stage.input.write_text("\n".join(lines))
    down = stage.deploy("m", script=outage(0.0, 300.0, lambda: ServerError("down")))
    up = stage.deploy("n", script=[Reply(delay_s=0.1)])
    ended = []

    async def watch(run):
        while len([line for line in stage.output.read_text().splitlines() if '"n' in line[:40]]) < 50:
            await sleep(0.1)
        ended.append(run.outcomes.total())

    summary = stage.play(down, up, meanwhile=watch)
    assert summary.exit_code == 0
    assert ended == [50]


def test_nothing_that_succeeds_for_so_long_stops_the_run(stage):
    stage.write(30)
    runner = outage(1.0, 1e9, lambda: ServerError("down"))
    m = stage.deploy(script=runner, serving=Serving(max_concurrent=4))
    summary = stage.play(m, give_up_after_s=600.0)
    assert (summary.ending, summary.exit_code) == (Ending.GAVE_UP, 3)
    assert 600.0 <= summary.elapsed_s < 610.0
    assert "nothing has succeeded for 600 s; m: " in summary.message
    assert summary.ok == len(stage.lines()) == 30 - summary.unwritten
    assert not stage.errors()
    assert runner.open == 0
    stage.runners["m"] = ScriptedRunner()
    assert stage.play(m, resume=True).exit_code == 0
    assert len(stage.lines()) == 30


def test_a_hung_provider_is_waited_for_as_long_and_then_let_go(stage):
    stage.write(10)
    runner = ScriptedRunner([Reply(hang=True)])
    summary = stage.play(stage.deploy(script=runner), give_up_after_s=50.0)
    assert summary.exit_code == 3 and 50.0 <= summary.elapsed_s < 52.0
    assert runner.open == 0


def test_an_answer_that_may_have_been_billed_is_asked_for_once(stage):
    """A unary request that hangs while others are answered is given up after one attempt."""
    stage.write(60)

    def script(batch):
        return Reply(hang=True) if prompt_of(batch) == "p3" else Reply(delay_s=1.0)

    runner = ScriptedRunner(script)
    m = stage.deploy(script=runner, timeouts=Timeouts(unary_timeout_s=5.0), serving=Serving(max_concurrent=4))
    assert stage.play(m).exit_code == 1
    assert stage.errors()["a3"]["code"] == "timeout"
    assert sum(prompt_of(call.batch) == "p3" for call in runner.calls) == 1


def test_what_is_not_idempotent_is_never_repeated(stage):
    stage.write(20)
    runner = poison("p5")
    assert stage.play(stage.deploy(script=runner, idempotent=False)).exit_code == 1
    assert sum(prompt_of(call.batch) == "p5" for call in runner.calls) == 1


def test_a_spent_retry_quota_is_waited_out(stage):
    """Half of all attempts fail for a while, more than the quota has retries for."""
    stage.write(600)
    numbers = iter(range(10**9))

    def script(batch):
        return ServerError("flaky") if (n := next(numbers)) < 900 and n % 2 else Reply(delay_s=0.01)

    m = stage.deploy(script=ScriptedRunner(script), circuit_breaker=STURDY, serving=Serving(max_concurrent=8))
    summary = stage.play(m)
    # Lines that happened to fail twice in a row while the quota paid for it are errors; the rest waited it out.
    assert summary.ok + summary.failed == 600
    assert summary.failed < 200


def test_the_cap_is_never_exceeded_and_never_undercut_by_more_than_a_line(stage):
    stage.write(200, max_tokens=5)
    bound = 16 + 4 + 2 * 5
    cap = 1000e-6
    runner = ScriptedRunner([Reply(delay_s=0.1)])
    m = stage.deploy(script=runner, serving=Serving(max_concurrent=16))
    summary = stage.play(m, max_cost_usd=cap)
    assert (summary.ending, summary.exit_code) == (Ending.MAX_COST, 3)
    assert cap - bound * 1e-6 < summary.cost_usd <= cap
    assert summary.ok == len(runner.calls) == 49
    assert "--max-cost is reached" in summary.message
    stage.runners["m"] = ScriptedRunner()
    summary = stage.play(m, max_cost_usd=1.0, resume=True)
    assert summary.exit_code == 0
    assert summary.cost_usd == pytest.approx(200 * 20e-6)


def test_at_the_cap_nobody_is_waited_for_who_was_not_sent(stage):
    """Lines wait for permits that come one a minute when the cap is reached."""
    stage.write(30, max_tokens=5)
    limits = RateLimits(requests_per_minute=1, burst_s=60.0)
    m = stage.deploy(script=[Reply(delay_s=1.0)], rate_limits=limits, serving=Serving(max_concurrent=8))
    summary = stage.play(m, max_cost_usd=75e-6)
    assert summary.exit_code == 3 and summary.ok == 3
    assert summary.elapsed_s < 200.0


def test_a_fault_of_ours_costs_one_line(stage, monkeypatch):
    stage.write(10)
    from spillway.runtime.cluster import Cluster

    real = Cluster.submit

    async def submit(self, name, request, **options):
        if request.messages[0]["content"] == "p3":
            raise TypeError("odd")
        return await real(self, name, request, **options)

    monkeypatch.setattr(Cluster, "submit", submit)
    assert stage.play().exit_code == 1
    assert stage.errors()["a3"]["message"] == "the line can't be sent: TypeError: odd"


def test_the_cap_is_shared_by_all_deployments_and_wakes_the_one_that_waits(stage):
    lines = [json.dumps({"id": f"{n}{i}", "prompt": "x", "model": n, "max_tokens": 5}) for i in range(20) for n in "mn"]
    stage.input.write_text("\n".join(lines))
    m = stage.deploy("m", script=[Reply(delay_s=1.0)], serving=Serving(max_concurrent=2))
    n = stage.deploy("n", script=[Reply(delay_s=3.0)], serving=Serving(max_concurrent=2))
    # Room for three estimates at once: somebody always waits for another deployment's line to settle.
    summary = stage.play(m, n, max_cost_usd=40 * 20e-6 + 61e-6)
    assert summary.exit_code == 0
    assert summary.elapsed_s < 60.0


def test_an_ordered_output_is_in_order_however_the_answers_come(stage):
    stage.write(60)

    def script(batch):
        return Reply(delay_s=1.0 if prompt_of(batch) in {"p0", "p17"} else 0.01)

    summary = stage.play(stage.deploy(script=ScriptedRunner(script)), ordered=True)
    assert summary.exit_code == 0
    assert [line["id"] for line in stage.lines()] == [f"line-{i}" for i in range(1, 61)]


def test_an_ordered_run_keeps_what_came_too_early_when_it_stops(stage):
    stage.write(30)

    def script(batch):
        return Reply(hang=True) if prompt_of(batch) == "p4" else Reply(delay_s=0.01)

    m = stage.deploy(script=ScriptedRunner(script))
    assert stage.play(m, ordered=True, give_up_after_s=5.0).ok == 29
    assert len(stage.lines()) == 4
    stage.runners["m"] = runner = ScriptedRunner()
    assert stage.play(m, resume=True).exit_code == 0
    assert [line["id"] for line in stage.lines()] == [f"line-{i}" for i in range(1, 31)]
    assert len(runner.calls) == 1


def test_reading_stays_so_far_ahead_and_no_further(stage):
    stage.write(400)
    most = []

    async def watch(run):
        while True:
            most.append(run._outstanding)
            await sleep(0.01)

    m = stage.deploy(script=[Reply(delay_s=0.1)], serving=Serving(max_concurrent=4, queue_capacity=10))
    assert stage.play(m, meanwhile=watch).exit_code == 0
    assert max(most) == 14


def test_priority_and_stream_reach_the_cluster_and_no_early_shift_is_allowed(stage, monkeypatch):
    stage.write(2, stream=True)
    from spillway.runtime.cluster import Cluster

    real, seen = Cluster.submit, []

    async def submit(self, name, request, **options):
        seen.append((options["priority"], options["stream"], options["shift_early"]))
        return await real(self, name, request, **options)

    monkeypatch.setattr(Cluster, "submit", submit)
    assert stage.play(priority=Priority.HIGH).exit_code == 0
    assert seen == [(Priority.HIGH, True, False)] * 2


def test_a_terminal_shows_one_line_in_place(stage):
    stage.write(100)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()

    async def watch(run):
        import asyncio

        await show(Progress(run, asyncio.get_running_loop().time), terminal)

    m = stage.deploy(script=[Reply(delay_s=1.0)], serving=Serving(max_concurrent=10))
    assert stage.play(m, meanwhile=watch).exit_code == 0
    assert "50 of 100 (50%)" in terminal.getvalue()
    assert "0:05 left" in terminal.getvalue()
    assert terminal.getvalue().count("\n") <= 2


def test_progress_adds_up_at_every_instant(stage):
    stage.write(200)
    seen = []

    async def watch(run):
        import asyncio

        progress = Progress(run, asyncio.get_running_loop().time)
        while True:
            seen.append(progress.snapshot())
            await sleep(0.05)

    runner = outage(1.0, 60.0, lambda: ServerError("down"))
    m = stage.deploy(script=runner, serving=Serving(max_concurrent=10))
    summary = stage.play(m, meanwhile=watch)
    assert summary.exit_code == 0
    assert all(s.ok + s.failed + s.pending == s.total == 200 for s in seen)
    assert all(s.eta_s is None or s.eta_s >= 0 for s in seen)
    assert all(s.per_s >= 0 and s.tokens_per_s >= 0 for s in seen)
    assert any("m: circuit open, next probe in" in str(s) for s in seen)
    assert seen[-1].pending < seen[0].pending
    assert str(seen[-1]).startswith(f"{seen[-1].ok:,} of 200 (")
    assert (duration(59.6), duration(3661)) == ("1:00", "1:01:01")


def test_a_disk_that_loses_what_it_took_stops_the_run_and_the_lines_are_sent_again(stage):
    stage.write(60)
    calls = []

    def sync(fd):
        calls.append(fd)
        if len(calls) > 4:
            raise OSError(errno.EIO, "Input/output error")

    stage.sync = sync
    m = stage.deploy(script=[Reply(delay_s=0.03)], serving=Serving(max_concurrent=2))
    summary = stage.play(m)
    assert (summary.ending, summary.exit_code) == (Ending.DISK, 3)
    assert "can't be made durable" in summary.message
    kept = len(stage.lines())
    assert kept < 60
    stage.sync = lambda fd: None
    assert stage.play(m, resume=True).exit_code == 0
    assert len({line["custom_id"] for line in stage.lines()}) == len(stage.lines()) == 60


def test_a_run_that_can_not_begin_leaves_nothing_behind(stage):
    stage.write(3)
    from spillway import OpenAiConfig
    from spillway.core.secrets import SecretRef

    m = Deployment(
        name="m", runtime="openai", pricing=PRICE, runtime_config=OpenAiConfig(api_key=SecretRef(from_env="NOT_SET"))
    )
    with pytest.raises(ConfigError):
        stage.play(m)
    assert not stage.output.exists()
    assert [path.name for path in stage.input.parent.iterdir()] == ["in.jsonl"]


def test_an_input_that_changes_meanwhile_ends_the_run(stage):
    stage.write(300, user="u" * 5000)

    async def change(run):
        with stage.input.open("a") as file:
            file.write('\n{"prompt": "new"}')
        await sleep(1e9)

    m = stage.deploy(script=[Reply(delay_s=1.0)], serving=Serving(max_concurrent=1, queue_capacity=1))
    with pytest.raises(ConfigError, match="changed while it was read"):
        stage.play(m, meanwhile=change)
    assert len({line["custom_id"] for line in stage.lines()}) == len(stage.lines())


def test_a_circuit_that_closes_sooner_wakes_the_lane(stage):
    stage.write(50)
    runner = outage(1.0, 10.0, lambda: ServerError("down"))
    m = stage.deploy(
        script=runner, serving=Serving(max_concurrent=10),
        circuit_breaker=CircuitBreakerConfig(open_duration_s=300.0),
    )  # fmt: skip

    async def operator(run):
        await sleep(20.0)
        run.cluster.deployment("m").circuit_breaker().reset()
        await sleep(1e9)

    summary = stage.play(m, meanwhile=operator)
    assert summary.exit_code == 0 and summary.elapsed_s < 30.0


def test_the_newest_error_and_all_attempts_are_told(stage):
    stage.write(30)
    m = stage.deploy(script=poison("p9", error=NetworkError("reset by peer")), circuit_breaker=STURDY)
    stage.play(m)
    error = stage.errors()["a9"]
    assert error == {
        "code": "network_error",
        "message": "reset by peer",
        "attempts": error["attempts"],
        "deployment": "m",
    }
    calls = [call for call in stage.runners["m"].calls if prompt_of(call.batch) == "p9"]
    assert error["attempts"] == len(calls)
    assert CircuitOpen.code not in json.dumps(error)
