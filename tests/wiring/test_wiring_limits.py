"""Limits of a deployment: each that is set holds, is learned from the provider, and settles to the truth."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, deployment, ended, gathered, now, refused, retry

import spillway
from spillway import RateLimits, Serving, Usage
from spillway.core.limits_seen import LimitSeen, LimitsSeen

LONG = Serving(queue_timeout_s=10_000.0, max_concurrent=1000)


def sent_in_first_minute(world):
    began = world.calls[0].sent
    return sum(call.sent < began + 60.0 for call in world.calls)


@pytest.mark.option(
    "rate_limits.requests_per_minute",
    "rate_limits.tokens_per_minute",
    "rate_limits.input_tokens_per_minute",
    "rate_limits.output_tokens_per_minute",
)
@pytest.mark.parametrize(
    ("limits", "first"),
    [
        ({"requests_per_minute": 7}, 7),
        ({"tokens_per_minute": 1000}, 8),  # 18 in at most, 100 out
        ({"input_tokens_per_minute": 100}, 5),
        ({"output_tokens_per_minute": 1000}, 10),
        ({"requests_per_minute": 7, "output_tokens_per_minute": 300}, 3),
    ],
)
def test_each_limit_that_is_set_holds(play, limits, first):
    async def test(world):
        answers = await world.all(20, max_tokens=100, timeout_s=1e4)
        assert all(isinstance(a, spillway.Tokens) for a in answers)
        assert sent_in_first_minute(world) == first

    script = (Reply(usage=Usage(input_tokens=18, output_tokens=100)),)
    play(test, script, rate_limits=RateLimits(**limits), serving=LONG)


@pytest.mark.option("rate_limits.concurrent_requests")
@pytest.mark.parametrize(("most", "seen"), [(None, 10), (3, 3)])
def test_a_limit_on_requests_at_once_holds(play, most, seen):
    async def test(world):
        began = now()
        await world.all(12)
        assert world["m"].max_open == seen
        assert now() - began == pytest.approx(-(-12 // seen))

    play(
        test,
        (Reply(delay_s=1.0),),
        rate_limits=RateLimits(concurrent_requests=most),
        serving=Serving(max_concurrent=10),
    )


@pytest.mark.option("rate_limits.burst_s")
@pytest.mark.parametrize(("burst_s", "at_once"), [(60.0, 60), (10.0, 10), (1.0, 1)])
def test_a_minutes_worth_goes_out_at_once_only_where_that_is_allowed(play, burst_s, at_once):
    async def test(world):
        await world.all(60, timeout_s=1e4)
        began = world.calls[0].sent
        assert sum(call.sent == began for call in world.calls) == at_once
        starts = [c.sent for c in world.calls]
        assert max(sum(t <= s < t + burst_s for s in starts) for t in starts) <= max(1, burst_s)

    play(test, rate_limits=RateLimits(requests_per_minute=60, burst_s=burst_s), serving=LONG)


@pytest.mark.option("rate_limits.strict")
def test_strict_limits_hold_through_the_store(play):
    async def test(world):
        await world.all(10, timeout_s=1e4)
        assert sent_in_first_minute(world) == 4
        assert "Strict" in repr(world.cluster._room.limiters["m"])

    play(test, rate_limits=RateLimits(requests_per_minute=4, strict=True), serving=LONG)


def test_what_can_never_fit_is_refused_and_nothing_is_sent(play):
    async def test(world):
        error, took = await ended(world.ask(max_tokens=2000))
        assert isinstance(error, spillway.BadRequest)
        assert error.reason == "unacquirable_cost"
        assert took == 0.0
        assert world.calls == []
        assert world.cluster.deployment("m").rate_limiter().snapshot().tokens.used == 0

    play(test, rate_limits=RateLimits(tokens_per_minute=1000))


@pytest.mark.parametrize(
    "limits", [{"tokens_per_minute": 100}, {"input_tokens_per_minute": 10}, {"output_tokens_per_minute": 50}]
)
def test_an_estimate_alone_never_makes_a_request_impossible(play, limits):
    """An estimated output above `output_tokens_per_minute`, or an input bound above its own limit, was a BadRequest."""

    async def test(world):
        assert (await world.ask(prompt="x" * 200)).text == "ok"

    play(test, rate_limits=RateLimits(**limits))


def test_an_explicit_output_above_its_limit_is_refused(play):
    async def test(world):
        error, _ = await ended(world.ask(max_tokens=51))
        assert isinstance(error, spillway.BadRequest)

    play(test, rate_limits=RateLimits(output_tokens_per_minute=50))


def test_tokens_settle_to_what_came(play):
    async def test(world):
        await world.ask(max_tokens=900)
        state = world.cluster.deployment("m").rate_limiter().snapshot()
        assert state.tokens.used == 15
        # So the next nine hundred fit in the same minute.
        _, took = await ended(world.ask(max_tokens=900))
        assert took == 0.0

    play(test, rate_limits=RateLimits(tokens_per_minute=1000))


def test_without_a_report_of_usage_the_estimate_stands(play):
    """A guess of a quarter of the bound was settled in its place, though the provider may have counted more."""

    async def test(world):
        await world.ask(prompt="x" * 84, max_tokens=100)
        assert world.cluster.deployment("m").rate_limiter().snapshot().tokens.used == 200

    play(test, (Reply(usage=None),), rate_limits=RateLimits(tokens_per_minute=1000))


def test_of_an_attempt_that_was_lost_the_estimate_stands_too(play):
    async def test(world):
        await ended(world.ask(prompt="x" * 84, max_tokens=100))
        assert world.cluster.deployment("m").rate_limiter().snapshot().tokens.used == 200

    lost = spillway.NetworkError("reset", reason="reset")
    play(test, (lost,), rate_limits=RateLimits(tokens_per_minute=1000), retry=retry(max_retries=0))


@pytest.mark.parametrize(("kind", "counted"), [("anthropic", 110), ("openai", 1010)])
def test_cache_reads_count_where_the_provider_counts_them(play, kind, counted):
    """They counted everywhere, although they do not count as input at Anthropic."""
    from spillway.testing import ScriptedRunner

    class Named(ScriptedRunner):
        runtime_kind = kind

    async def test(world):
        await world.ask(max_tokens=500)
        state = world.cluster.deployment("m").rate_limiter().snapshot()
        assert state.tokens.used == counted
        assert state.input_tokens.used == counted - 10

    usage = Usage(input_tokens=1000, cached_tokens=900, output_tokens=10)
    play(
        test,
        scripts={"m": Named((Reply(usage=usage),))},
        rate_limits=RateLimits(tokens_per_minute=5000, input_tokens_per_minute=5000),
    )


def test_a_429_shuts_the_limiter_for_all_and_leaves_the_circuit_alone(play):
    async def test(world):
        tasks = [asyncio.create_task(world.ask()) for _ in range(5)]
        await gathered(*tasks)
        # The second to come found it shut, so the provider refused only once.
        assert [round(c.started, 6) for c in world.calls] == [1000.0] + [1020.0] * 5
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0
        _, took = await ended(world.ask())
        assert took == 0.0

    play(
        test, (refused(20.0), "ok"), circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=1, minimum_calls=1)
    )


def test_a_429_that_was_never_marked_as_sent_counts_as_sent(play):
    """A runner that does not report the send had its permits given back when the provider refused."""

    class Quiet:
        runtime_kind, transport_kind, rate_limits = "quiet", "memory", None
        calls = ()

        async def execute(self, batch):
            raise spillway.RateLimited("no", status=429)

        async def rebuild_session(self, cause):
            raise cause

    async def test(world):
        await ended(world.ask())
        assert world.cluster.deployment("m").rate_limiter().snapshot().requests.used == 1

    play(test, scripts={"m": Quiet()}, rate_limits=RateLimits(requests_per_minute=10), retry=retry(max_retries=0))


def test_headers_lower_the_local_limit_and_never_raise_it(play):
    low = LimitsSeen(requests=LimitSeen(limit=100, remaining=0, reset_s=12.0))
    high = LimitsSeen(requests=LimitSeen(limit=100, remaining=99, reset_s=12.0))

    async def test(world):
        await world.ask()
        _, took = await ended(world.ask())
        assert took > 0.0
        await asyncio.sleep(60.0)
        assert world.cluster.deployment("m").rate_limiter().snapshot().requests.ceiling == 50

    play(test, (Reply(limits_seen=low), Reply(limits_seen=high)), rate_limits=RateLimits(requests_per_minute=50))


@pytest.mark.option("limit_group")
@pytest.mark.parametrize(("group", "took"), [("", 0.0), ("key", 30.0)])
def test_a_limit_group_shares_limits_pauses_and_circuit(play, group, took):
    def of(name):
        return deployment(name, limit_group=group, rate_limits=RateLimits(requests_per_minute=6), retry=retry())

    async def test(world):
        task = asyncio.create_task(ended(world.ask("a")))
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        _, elapsed = await ended(world.ask("b"))
        assert elapsed == pytest.approx(took)
        await task
        shared = world.cluster.deployment("a").circuit_breaker() is world.cluster.deployment("b").circuit_breaker()
        assert shared == bool(group)

    play(test, deployments=[of("a"), of("b")], scripts={"a": (refused(30.0), "ok"), "b": ("ok",)})


def test_members_of_a_limit_group_must_agree(play):
    deployments = [
        deployment("a", limit_group="key", rate_limits=RateLimits(requests_per_minute=6)),
        deployment("b", limit_group="key", rate_limits=RateLimits(requests_per_minute=7)),
    ]

    async def test(world):
        await world.ask("a")

    with pytest.raises(spillway.ConfigError, match="key"):
        play(test, deployments=deployments)


def test_a_refused_request_takes_nothing_of_any_limit(play):
    async def test(world):
        await world.ask(max_tokens=800)
        blocked = asyncio.create_task(ended(world.ask(max_tokens=900, timeout_s=5.0)))
        await asyncio.sleep(1.0)
        state = world.cluster.deployment("m").rate_limiter().snapshot()
        assert (state.requests.used, state.requests.unsent) == (1, 0)
        await blocked

    script = (Reply(usage=Usage(input_tokens=10, output_tokens=800)),)
    play(test, script, rate_limits=RateLimits(requests_per_minute=60, tokens_per_minute=1000), serving=LONG)


def test_a_cancelled_send_gives_its_permit_back_and_a_sent_one_does_not(play):
    async def test(world):
        limiter = world.cluster.deployment("m").rate_limiter()
        for after, used in ((0.5, 0), (1.5, 1)):
            task = asyncio.create_task(world.ask())
            await asyncio.sleep(after)
            task.cancel()
            await gathered(task)
            assert limiter.snapshot().requests.used == used

    play(
        test,
        (Reply(send_delay_s=1.0, delay_s=10.0),),
        rate_limits=RateLimits(requests_per_minute=60),
        circuit_breaker=NEVER_OPENS,
    )
