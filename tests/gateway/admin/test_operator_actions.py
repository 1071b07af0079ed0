"""What an operator does through the routes changes what callers get."""

import asyncio
import logging

import pytest
from operated import PRICE, operate

import spillway
from spillway.testing import Reply


def pair(**options):
    """`m`, which falls back to `n`."""
    made = [
        spillway.Deployment(name="m", fallback=("n",), pricing=PRICE, **options),
        spillway.Deployment(name="n", pricing=PRICE),
    ]
    return {"scripts": {"m": ("from m",), "n": ("from n",)}, "deployments": made}


def answered_by(answer):
    assert answer.status == 200, answer
    return answer.headers["x-spillway-deployment"]


def test_an_opened_circuit_sends_callers_elsewhere_until_its_time_is_over():
    async def test(o):
        done = await o.do("m", "breaker", {"action": "open", "for_s": 60})
        assert done.json["did"] == "circuit opened for 60 s"
        assert done.json["deployment"]["breaker"]["state"] == "OPEN"
        assert 59 < done.json["deployment"]["breaker"]["retry_after_s"] <= 60
        assert answered_by(await o.chat()) == "n"
        await asyncio.sleep(61)
        assert answered_by(await o.chat()) == "m"

    operate(test, **pair())


def test_an_opened_circuit_without_a_time_is_open_for_five_minutes():
    async def test(o):
        await o.do("m", "breaker", {"action": "open"})
        refused = await o.chat()
        assert refused.status == 503
        assert refused.headers["x-spillway-limited-by"] == "breaker"
        assert refused.headers["retry-after"] == "300"

    operate(test)


def test_a_closed_circuit_serves_at_once():
    async def test(o):
        await o.do("m", "breaker", {"action": "open", "for_s": 1000})
        done = await o.do("m", "breaker", {"action": "close"})
        assert done.json["did"] == "circuit closed"
        assert (await o.chat()).status == 200

    operate(test)


def test_a_circuit_held_closed_lets_failures_through():
    async def test(o):
        done = await o.do("m", "breaker", {"action": "close", "for_s": 100})
        assert done.json["deployment"]["breaker"]["held_closed"] is True
        for _ in range(5):
            assert (await o.chat()).status == 502
        assert len(o.runners["m"].calls) == 5

    operate(
        test,
        (spillway.ServerError("down", status=503),),
        circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=2),
        retry=spillway.RetryPolicy(max_retries=0),
    )


def test_every_key_of_a_pool_has_its_circuit_opened():
    async def test(o):
        assert (await o.do("m", "breaker", {"action": "open"})).status == 200
        assert (await o.chat()).status == 503

    config = spillway.OpenAiConfig(
        endpoint="http://127.0.0.1:1/v1", api_key=[spillway.Secret("sk-1"), spillway.Secret("sk-2")]
    )
    operate(test, deployments=[spillway.Deployment(name="m", runtime_config=config, pricing=PRICE)])


def test_a_rebuilt_session_is_asked_of_the_runner():
    async def test(o):
        done = await o.do("m", "rebuild-session")
        assert done.json["did"] == "secret read again, session rebuilt"
        assert o.runners["m"].rebuilds == [None]

    operate(test)


def test_a_session_that_can_not_be_rebuilt_says_why_and_stays():
    async def test(o):
        async def fails(cause):
            raise spillway.Unauthorized("environment variable KEY is not set")

        o.runners["m"].rebuild_session = fails
        answer = await o.do("m", "rebuild-session")
        assert answer.status == 502
        assert answer.json["error"]["code"] == "action_failed"
        assert "environment variable KEY is not set; the old session stays" in answer.said
        assert (await o.chat()).status == 200

    operate(test)


def test_a_source_that_never_answers_is_given_up():
    async def test(o):
        async def hangs(cause):
            await asyncio.get_running_loop().create_future()

        o.runners["m"].rebuild_session = hangs
        answer = await o.do("m", "rebuild-session")
        assert answer.status == 502
        assert answer.said == "the secret was not read within 60 s; the old session stays"

    operate(test)


def test_a_drained_deployment_finishes_what_runs_and_takes_nobody():
    async def test(o):
        running = o.open(
            "POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        )
        await asyncio.sleep(1)
        waiting = asyncio.ensure_future(o.chat())
        await asyncio.sleep(1)
        done = await o.do("m", "drain")
        assert done.json["did"] == "taken out of service; 1 in flight will finish"
        assert (await o.state())["in_service"] is False
        assert answered_by(await waiting) == "n"
        assert answered_by(await o.chat()) == "n"
        await running.task
        assert answered_by(running.answer) == "m"
        assert len(o.runners["m"].calls) == 1
        done = await o.do("m", "drain", {"action": "resume"})
        assert done.json["did"] == "put back into service"
        assert answered_by(await o.chat()) == "m"

    plan = pair(serving=spillway.Serving(max_concurrent=1))
    plan["scripts"]["m"] = (Reply(delay_s=10),)
    operate(test, **plan)


def test_a_drained_deployment_without_a_fallback_refuses_and_is_not_ready():
    async def test(o):
        assert (await o.get("/readyz")).status == 200
        await o.do("m", "drain", {"action": "drain"})
        refused = await o.chat()
        assert refused.status == 429
        assert refused.json["error"]["code"] == "backpressure"
        assert "out of service, by its operator" in refused.said
        assert (await o.get("/readyz")).status == 503

    operate(test)


def test_a_retry_does_not_come_back_to_a_drained_deployment():
    async def test(o):
        asked = asyncio.ensure_future(o.chat())
        await asyncio.sleep(1)
        await o.do("m", "drain")
        assert answered_by(await asked) == "n"
        assert len(o.runners["m"].calls) == 1

    plan = pair(retry=spillway.RetryPolicy(initial_backoff_s=20.0, max_backoff_s=20.0, jitter="none"))
    plan["scripts"]["m"] = (spillway.ServerError("down", status=503), "from m")
    plan["deployments"][0] = spillway.Deployment(
        name="m", fallback=("n",), pricing=PRICE, fallback_after_s=1000.0,
        retry=spillway.RetryPolicy(initial_backoff_s=20.0, max_backoff_s=20.0, jitter="none"),
    )  # fmt: skip
    operate(test, **plan)


def test_changed_limits_hold_at_once_and_end_by_themselves():
    async def test(o):
        for _ in range(5):
            await o.chat()
        done = await o.do("m", "limits", {"requests_per_minute": 6, "for_s": 600})
        assert done.json["did"] == "limits set for 600 s: requests_per_minute 6"
        assert done.json["above_configured"] == []
        limits = done.json["deployment"]["limits"]
        # What was sent under the old limit counts against the new one.
        assert limits["windows"] == [{"limit": "requests_per_minute", "used": 5, "most": 6, "in_use": 6}]
        assert limits["changed"] == ["requests_per_minute"]
        assert limits["configured"]["requests_per_minute"] == 100
        assert 599 < limits["end_in_s"] <= 600
        assert (await o.chat()).status == 200
        began = asyncio.get_running_loop().time()
        assert (await o.chat()).status == 200
        assert asyncio.get_running_loop().time() - began > 55
        await asyncio.sleep(600)
        limits = (await o.state())["limits"]
        assert limits["changed"] == []
        assert limits["windows"][0]["most"] == 100
        assert any("limits are back" in e["what"] for e in o.app.console.journal.since(0))

    operate(test, rate_limits=spillway.RateLimits(requests_per_minute=100))


def test_limits_stay_until_they_are_reset():
    async def test(o):
        done = await o.do("m", "limits", {"requests_per_minute": 200, "concurrent_requests": 1})
        assert done.json["did"] == "limits set until they are reset: requests_per_minute 200, concurrent_requests 1"
        assert done.json["above_configured"] == ["requests_per_minute"]
        await asyncio.sleep(100_000)
        both = await asyncio.gather(o.chat(), o.chat())
        assert [a.status for a in both] == [200, 200]
        assert o.runners["m"].max_open == 1
        done = await o.do("m", "limits", {"action": "reset"})
        assert done.json["deployment"]["limits"]["changed"] == []
        await asyncio.gather(o.chat(), o.chat())
        assert o.runners["m"].max_open == 2

    operate(test, (Reply(delay_s=1),), rate_limits=spillway.RateLimits(requests_per_minute=100))


def test_a_size_that_the_file_allows_is_not_refused_under_lower_limits():
    async def test(o):
        await o.do("m", "limits", {"tokens_per_minute": 50})
        assert (await o.chat(body={"max_tokens": 500})).status == 200
        await o.do("m", "limits", {"tokens_per_minute": 5000})
        assert (await o.chat(body={"max_tokens": 4000})).status == 200
        await o.do("m", "limits", {"action": "reset"})
        assert (await o.chat(body={"max_tokens": 4000})).status == 400

    operate(test, rate_limits=spillway.RateLimits(tokens_per_minute=1000))


def test_limits_hold_for_the_whole_limit_group():
    async def test(o):
        done = await o.do("a", "limits", {"requests_per_minute": 1, "for_s": 90})
        assert done.json["shared_with"] == ["b"]
        assert (await o.state("b"))["limits"]["windows"][0]["most"] == 1
        await o.chat("a")
        began = asyncio.get_running_loop().time()
        await o.chat("b")
        assert asyncio.get_running_loop().time() - began > 55
        await asyncio.sleep(90)
        assert (await o.state("b"))["limits"]["changed"] == []

    shared = {"limit_group": "g", "rate_limits": spillway.RateLimits(requests_per_minute=100), "pricing": PRICE}
    made = [spillway.Deployment(name=name, **shared) for name in ("a", "b")]
    operate(test, scripts={"a": ("ok",), "b": ("ok",)}, deployments=made)


def test_actions_are_logged_with_who_and_what(caplog):
    caplog.set_level(logging.INFO, "spillway.gateway.operator")

    async def test(o):
        await o.do("m", "breaker", {"action": "open", "for_s": 30})
        o.runners["m"].rebuild_session = None
        journal = o.app.console.journal.since(0)
        assert [(e["who"], e["deployment"], e["what"]) for e in journal] == [
            ("circuit", "m", "closed → open (forced open)"),
            ("127.0.0.1", "m", "circuit opened for 30 s"),
        ]

    operate(test)
    assert "operator 127.0.0.1: m circuit opened for 30 s" in caplog.text


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("breaker", {}, "missing required field `action`"),
        ("breaker", {"action": "opne"}, "Invalid enum value 'opne'"),
        ("breaker", {"action": "open", "for_s": 0}, "for_s must be above 0"),
        ("breaker", {"action": "open", "for_s": -1}, "for_s must be above 0"),
        ("breaker", b'{"action": "open", "for_s": 1e999}', "the body is not JSON"),
        ("breaker", {"action": "open", "for_s": "60"}, "Expected `float"),
        ("breaker", {"action": "open", "fors": 60}, 'unknown field "fors" (did you mean "for_s"?)'),
        ("breaker", b"{", "the body is not JSON"),
        ("breaker", b"[]", "the body is not a JSON object"),
        ("breaker", b"[" * 5000, "the body is not JSON"),
        ("breaker", b'{"action": "' + b"x" * 20_000 + b'"}', "the body is longer than 16384 bytes"),
        ("drain", {"action": "stop"}, "Invalid enum value 'stop'"),
        ("rebuild-session", {"now": True}, 'unknown field "now" (known: none)'),
        ("limits", {}, "no limit is named"),
        ("limits", {"for_s": 60}, "no limit is named"),
        ("limits", {"requests_per_minute": 0}, "requests_per_minute must be at least 1"),
        ("limits", {"requests_per_minute": 1.5}, "Expected `int"),
        ("limits", {"requests_per_minute": True}, "Expected `int"),
        ("limits", {"requests_per_minut": 5}, 'did you mean "requests_per_minute"?'),
        ("limits", {"action": "reset", "for_s": 5}, "reset takes no limit and no time"),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(action, body, said):
    async def test(o):
        answer = await o.do("m", action, body)
        assert answer.status == 400
        assert said in answer.said
        state = await o.state()
        assert state["in_service"]
        assert state["breaker"]["state"] == "CLOSED"
        assert o.app.console.journal.count == 0

    operate(test, rate_limits=spillway.RateLimits(requests_per_minute=100))
