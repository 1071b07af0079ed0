"""What is told and counted: each attempt and each request once, whatever the listener does."""

import asyncio
import logging
import random

import pytest
from stage import Reply, broken, deployment, ended, gathered, refused, retry

import spillway
from spillway import CircuitBreakerConfig, Serving, Tokens, Usage


class Failing:
    def on_attempt(self, record):
        raise ZeroDivisionError("an observer's own trouble")

    def on_request(self, record):
        raise ZeroDivisionError("an observer's own trouble")


def test_an_observer_that_raises_changes_nothing(play, caplog):
    """Its exception became the answer of a request that had succeeded, and its attempt was counted twice."""

    async def test(world):
        answer = await world.ask()
        assert (answer.text, answer.attempts) == ("ok", 2)
        assert "".join([c.text_delta async for c in world.stream()]) == "ok"
        error, _ = await ended(world.ask())
        assert isinstance(error, spillway.BadRequest)
        assert world.metrics().attempts == 4
        assert world.metrics().usage_rows == 2

    bad = spillway.BadRequest("no", status=400)
    with caplog.at_level(logging.ERROR, "spillway.observers"):
        play(test, (broken(), "ok", "ok", bad), cluster={"observers": [Failing()]}, retry=retry())
    assert "an observer failed" in caplog.text


def test_each_attempt_and_each_request_is_told_once(play):
    async def test(world):
        await world.ask()
        first, second = world.seen.attempts
        assert (first.outcome, first.attempt, first.deployment, first.usage) == ("server_error", 0, "m", None)
        assert (second.outcome, second.attempt, second.cost_pico) == ("ok", 1, 20_000_000)
        assert second.usage == Usage(input_tokens=10, output_tokens=5)
        assert second.first_content_s == second.elapsed_s == pytest.approx(2.0)
        (request,) = world.seen.requests
        assert (request.asked, request.deployment, request.outcome) == ("m", "m", "ok")
        assert (request.attempts, request.retries, request.fell_back) == (2, 1, False)
        assert request.elapsed_s == pytest.approx(4.0)

    play(test, (Reply(delay_s=1.0, error=broken()), Reply(delay_s=2.0)), retry=retry())


def test_metrics_say_what_happened(play):
    async def test(world):
        await world.all(10)
        m = world.metrics()
        assert (m.requests, m.succeeded, m.failed, m.cancelled) == (10, 10, 0, 0)
        assert (m.input_tokens, m.output_tokens, m.usage_rows, m.attempts) == (100, 50, 10, 10)
        assert m.cost_usd == pytest.approx(10 * 20e-6)
        assert world.cluster.metrics().cost_usd == m.cost_usd
        assert m.latency_p50_s == pytest.approx(1.0, rel=0.13)
        assert (m.busy, m.queued, m.breaker) == (0, 0, "CLOSED")

    play(test, (Reply(delay_s=1.0),))


@pytest.mark.parametrize("seed", range(4))
def test_everything_adds_up_after_a_storm(play, seed):
    """Hundreds of requests of every kind, some cancelled, over a group and a fallback."""
    chance = random.Random(seed)

    def script(_batch):
        pick = chance.random()
        if pick < 0.5:
            return Reply(
                text="abcdef",
                chunks=3,
                delay_s=chance.uniform(0, 2),
                chunk_delay_s=chance.uniform(0, 1),
                send_delay_s=chance.choice([0.0, 0.3]),
                usage=chance.choice([None, Usage(input_tokens=3, output_tokens=chance.randrange(9))]),
            )
        if pick < 0.6:
            return Reply(text="abcdef", chunks=3, error=spillway.NetworkError("cut"), error_after=chance.randrange(4))
        if pick < 0.65:
            return Reply(hang=True)
        return chance.choice(
            [
                broken(),
                broken(503, 2.0),
                refused(1.0),
                refused(),
                spillway.BadRequest("no", status=400),
                spillway.QuotaExhausted("no", status=429),
                spillway.Timeout("slow", reason="connect"),
                ValueError("odd"),
            ]
        )

    async def test(world):
        async def unary(number):
            await asyncio.sleep(chance.uniform(0, 30))
            return await world.ask(chance.choice("gab"), prompt=str(number), timeout_s=20.0, max_tokens=20)

        async def streamed(number):
            await asyncio.sleep(chance.uniform(0, 30))
            stream = world.stream(chance.choice("gab"), prompt=str(number), timeout_s=20.0)
            wanted = chance.randrange(6)
            async for _chunk in stream:
                wanted -= 1
                if not wanted:
                    break
            if chance.random() < 0.5:
                await stream.aclose()

        tasks = [asyncio.create_task(chance.choice([unary, streamed])(n)) for n in range(300)]
        for task in chance.sample(tasks, 60):
            asyncio.get_running_loop().call_later(chance.uniform(0, 40), task.cancel)
        results = await gathered(*tasks)
        odd = [r for r in results if isinstance(r, Exception) and not isinstance(r, spillway.InferenceError)]
        assert odd == []
        await asyncio.sleep(30.0)  # what was left unread runs into its deadline
        totals = world.cluster.metrics().per_deployment.values()
        seen = world.seen
        asked = sum(m.requests for m in totals)
        assert asked == len(seen.requests)
        assert sum(r.attempts for r in seen.requests) == len(seen.attempts)
        assert sum(r.retries for r in seen.requests) == sum(m.retried for m in totals)
        assert sum(m.usage_rows for m in totals) == sum(a.usage is not None for a in seen.attempts)
        assert sum(len(world[n].calls) for n in "abc") == len(seen.attempts)
        for name in "abc":
            ledger = world.cluster.deployment(name).budget().snapshot()
            mine = [a for a in seen.attempts if a.deployment == name]
            assert ledger.spent_pico == sum(a.cost_pico or 0 for a in mine)
            assert ledger.windows[0].committed_pico <= 10**12
        sent = [c for n in "abc" for c in world[n].calls if c.sent is not None]
        limited = sum(world.cluster._room.router.engines[n].gates.limiter.snapshot().requests.used for n in "abc")
        assert limited <= len(sent)

    config = CircuitBreakerConfig(failure_threshold=6, open_duration_s=2.0)
    options = {
        "circuit_breaker": config,
        "retry": retry(max_retries=2, initial_backoff_s=0.5),
        "rate_limits": spillway.RateLimits(requests_per_minute=300, tokens_per_minute=200_000, concurrent_requests=6),
        "budget": spillway.Budget(max_spend_per_hour_usd=1.0),
        "serving": Serving(max_concurrent=8, queue_capacity=20, queue_timeout_s=10.0),
    }
    play(
        test,
        script,
        deployments=[
            deployment("a", group="g", fallback=("c",), **options),
            deployment("b", group="g", on_disconnect="drain", **options),
            deployment("c", **options),
        ],
    )


def test_ids_are_the_providers_and_the_attempts_number_is_its_own(play):
    async def test(world):
        answer = await world.ask()
        assert isinstance(answer, Tokens)
        assert answer.request_id == "scripted-1"
        assert [c.batch.attempt for c in world.calls] == [0, 1]

    play(test, (broken(), "ok"), retry=retry())


def test_errors_say_where_and_how_long(play):
    async def test(world):
        error, _ = await ended(world.ask())
        assert (error.provider, error.deployment, error.attempts) == ("scripted", "m", 1)
        assert error.elapsed_s == pytest.approx(3.0)
        assert error.history == (("m", "server_error", pytest.approx(3.0)),)
        assert error.sent

    play(test, (Reply(delay_s=3.0, error=broken()),), retry=retry(max_retries=0))


def test_refusals_say_where(play):
    async def test(world):
        world.cluster.deployment("m").circuit_breaker().force_open(5.0)
        error, _ = await ended(world.ask())
        assert (error.provider, error.deployment, error.limited_by) == ("scripted", "m", "breaker")
        assert world.metrics().refused == 1

    play(test)
