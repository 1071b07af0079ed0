"""Every refusal says what limited it, whose limit that is, and when it ends."""

import asyncio

import pytest
from tenants_stage import Reply, deployment, key, play

import spillway

HELD = Reply(delay_s=100.0)


def check(answer, status, limited_by, wait, *words, retry=None):
    assert (answer.status, answer.limited_by, answer.wait) == (status, limited_by, wait), answer
    assert answer.headers.get("x-should-retry") == retry, answer
    for word in words:
        assert word in answer.message, answer
    if wait is not None:
        assert f"worth asking again in {wait} s" in answer.message


async def held(stage, count=1, who="a"):
    tasks = [asyncio.create_task(stage.ask(who)) for _ in range(count)]
    for _ in range(30):
        await asyncio.sleep(0)
    return tasks


async def let_go(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("model", ["m", "x"])
def test_a_keys_own_requests(model):
    async def test(stage):
        assert {(await stage.ask()).status for _ in range(3)} == {200}
        await asyncio.sleep(10)
        answer = await stage.ask(model=model)
        check(answer, 429, "key", "51", "key 'a': its 3 requests per minute are used up")
        assert "x-spillway-deployment" not in answer.headers
        (used,) = (c.used().requests for c in stage.app.callers.every if c.name == "a")
        assert (used.limit, used.used) == (3, 3)
        await asyncio.sleep(int(answer.wait))
        assert (await stage.ask()).status == 200
        assert (await stage.ask("b")).status == 200

    play(test, deployments=[deployment("m"), deployment("x")], keys=[key("a", requests_per_minute=3), "b"])


def test_a_keys_own_tokens_are_settled_by_what_the_answer_took():
    async def test(stage):
        # An answer takes 15; set aside are 17 + 10 of input and output while it is under way.
        assert {(await stage.ask()).status for _ in range(5)} == {200}
        check(await stage.ask(), 429, "key", "61", "key 'a': its 100 tokens per minute are used up")
        never = await stage.ask(body={"max_tokens": 90})
        assert (never.status, never.json["error"]["param"]) == (400, "max_tokens")
        assert "no wait can make room" in never.message

    play(test, keys=[key("a", tokens_per_minute=100)])


def test_a_keys_spend():
    async def test(stage):
        assert {(await stage.ask()).status for _ in range(4)} == {200}
        spent = await stage.ask()
        assert (spent.status, spent.limited_by) == (402, "key")
        assert "key 'a': 8e-05 of 0.0001 USD are spent in the last day" in spent.message
        assert spent.headers["x-should-retry"] == "false"
        assert 86_400 <= int(spent.wait) <= 87_300
        assert (await stage.ask("b")).status == 200
        await asyncio.sleep(int(spent.wait))
        assert (await stage.ask()).status == 200

    play(test, keys=[key("a", max_spend_per_day_usd=0.0001), "b"])


def test_a_capped_key_may_not_ask_what_has_no_price():
    async def test(stage):
        answer = await stage.ask()
        assert (answer.status, answer.limited_by) == (402, "key")
        assert "the price of its model is unknown" in answer.message
        assert not stage.runners["m"].calls
        assert (await stage.ask("b")).status == 200

    play(test, keys=[key("a", max_spend_per_day_usd=1.0), "b"], of={"pricing": None, "model": "no-such-model"})


def test_a_deployments_limit():
    async def test(stage):
        assert {(await stage.ask()).status for _ in range(2)} == {200}
        await asyncio.sleep(5)
        answer = await stage.ask(timeout_s=10)
        check(answer, 429, "deployment", "56", "m: its limit has no room for 55.5 s")
        assert stage.now == pytest.approx(5.0)
        assert answer.headers["x-spillway-deployment"] == "m"

    play(test, of={"rate_limits": spillway.RateLimits(requests_per_minute=2)})


def test_a_providers_limit_that_outlasts_our_retries():
    async def test(stage):
        answer = await stage.ask()
        check(answer, 429, "provider", "30", retry="false")
        assert answer.headers["x-spillway-attempts"] == "1"
        # It is known now, so nobody asks the provider again before its time.
        again = await stage.ask(timeout_s=10)
        check(again, 429, "provider", "30", "the provider asked for a pause")
        assert len(stage.runners["m"].calls) == 1

    refusal = spillway.RateLimited("slow down", status=429, retry_after=30.0, limited_by="provider")
    play(test, refusal)


def test_a_deployments_budget():
    async def test(stage):
        answers = [await stage.ask() for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 4 + [402] * 2
        last = answers[-1]
        assert last.limited_by == "budget"
        assert last.headers["x-should-retry"] == "false"
        assert "m: 8e-05 of 0.0001 USD are spent in the last hour" in last.message
        assert 3600 <= int(last.wait) <= 3660

    play(test, of={"budget": spillway.Budget(max_spend_per_hour_usd=0.0001)})


def test_an_open_breaker():
    async def test(stage):
        for _ in range(2):
            assert (await stage.ask()).status == 502
        await asyncio.sleep(10)
        check(await stage.ask(), 503, "breaker", "20", "m: ")

    breaker = spillway.CircuitBreakerConfig(failure_threshold=2, open_duration_s=30.0)
    play(test, spillway.ServerError("down", status=500), of={"circuit_breaker": breaker})


def test_a_full_queue():
    async def test(stage):
        waiting = await held(stage, 3)
        check(await stage.ask(), 429, "queue", "1", "m: the queue is full (2 of 2)")
        await let_go(waiting)

    serving = spillway.Serving(max_concurrent=1, queue_capacity=2, on_capacity_exhausted="reject")
    play(test, HELD, of={"serving": serving})


def test_a_wait_that_is_too_long_for_the_queue():
    async def test(stage):
        waiting = await held(stage)
        answer = await stage.ask()
        check(answer, 429, "queue", "1", "m: no worker became free within 5 s")
        await let_go(waiting)

    play(test, HELD, of={"serving": spillway.Serving(max_concurrent=1, queue_timeout_s=5.0)})


def test_what_a_request_itself_allows():
    async def test(stage):
        dear = await stage.ask(max_cost_usd="0.00001")
        assert (dear.status, dear.limited_by) == (402, "budget")
        assert "the estimated cost is 3.7e-05 USD, the request allows 1e-05 USD" in dear.message
        assert dear.headers["x-should-retry"] == "false"
        assert dear.wait is None
        assert not stage.runners["m"].calls
        assert (await stage.ask(max_cost_usd="0.00004")).status == 200

    play(test)


def test_a_key_that_is_not_for_a_model_does_not_learn_that_there_is_one():
    async def test(stage):
        answer = await stage.ask(model="secret")
        nothing = await stage.ask(model="nothing")
        assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
        assert answer.message.replace("secret", "nothing") == nothing.message
        assert (await stage.ask(model="g")).status == 200
        # The group is allowed; its members are reached through it and not by their own names.
        assert (await stage.ask(model="member")).status == 404

    deployments = [deployment("member", group="g"), deployment("secret")]
    play(test, keys=[key("a", models=("g*",))], deployments=deployments)


def test_a_key_that_waits_for_its_own_money_for_too_long():
    async def test(stage):
        waiting = await held(stage)
        answer = await stage.ask()
        assert (answer.status, answer.limited_by) == (402, "key")
        assert "no room under the caller's own cap within 5 s" in answer.message
        late = await stage.ask(timeout_s=3)
        assert (late.status, late.json["error"]["code"]) == (504, "timeout")
        await let_go(waiting)

    serving = spillway.Serving(max_concurrent=9, queue_timeout_s=5.0)
    play(test, HELD, keys=[key("a", max_spend_per_day_usd=0.00005)], of={"serving": serving})
