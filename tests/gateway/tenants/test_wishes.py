"""The headers by which a request says what it wants, and those that tell what happened to it."""

import asyncio

import pytest
from tenants_stage import Reply, deployment, key, play

import spillway

DOWN = spillway.ServerError("down", status=503)


def served_by(answer):
    return answer.headers.get("x-spillway-deployment"), answer.headers.get("x-spillway-attempts")


@pytest.mark.parametrize("stream", [False, True])
def test_who_answered_after_how_many_attempts_and_for_how_much(stream):
    async def test(stage):
        answer = await stage.ask(body={"stream": stream})
        assert answer.status == 200
        assert served_by(answer) == ("b", "3")
        assert answer.headers.get("x-spillway-cost-usd") == (None if stream else "0.00002")
        assert len(answer.headers["x-request-id"]) > 10

    deployments = [
        deployment("m", fallback=("b",), retry=spillway.RetryPolicy(max_retries=1)),
        deployment("b"),
    ]
    play(test, deployments=deployments, scripts={"m": (DOWN,)})


def test_fallback_off_asks_nobody_else():
    async def test(stage):
        answer = await stage.ask(fallback="off")
        assert (answer.status, served_by(answer)) == (502, ("m", "1"))
        assert answer.headers["x-should-retry"] == "false"
        assert not stage.runners["b"].calls
        assert (await stage.ask(fallback="on")).headers["x-spillway-deployment"] == "b"
        wrong = await stage.ask(fallback="maybe")
        assert (wrong.status, wrong.json["error"]["param"]) == (400, "x-spillway-fallback")

    play(test, deployments=[deployment("m", fallback=("b",)), deployment("b")], scripts={"m": (DOWN,)})


def test_a_timeout_of_its_own_ends_everything():
    async def test(stage):
        answer = await stage.ask(timeout_s=2.5)
        assert (answer.status, answer.json["error"]["code"]) == (504, "timeout")
        assert stage.now == pytest.approx(2.5)
        for wrong in ("0", "-1", "soon", "1e3", "inf", "9" * 30):
            assert (await stage.ask(timeout_s=wrong)).status == 400

    play(test, Reply(hang=True))


def test_a_priority_that_is_none_is_told():
    async def test(stage):
        wrong = await stage.ask(priority="urgent")
        assert (wrong.status, wrong.json["error"]["param"]) == (400, "x-spillway-priority")
        assert (await stage.ask(priority="HIGH")).status == 200

    play(test)


def test_a_dear_deployment_is_passed_over_for_one_that_the_request_can_afford():
    async def test(stage):
        answer = await stage.ask(max_cost_usd="0.00001")
        assert (answer.status, served_by(answer)) == (200, ("cheap", "1"))
        assert not stage.runners["m"].calls

    cheap = spillway.Pricing(input_per_mtok_usd=0.1, output_per_mtok_usd=0.1)
    play(test, deployments=[deployment("m", fallback=("cheap",)), deployment("cheap", pricing=cheap)])


def test_a_group_fails_over_inside_itself_and_then_to_its_fallbacks():
    async def test(stage):
        answer = await stage.ask(model="g")
        assert (answer.status, answer.headers["x-spillway-deployment"]) == (200, "z")
        assert (len(stage.order("x")), len(stage.order("y"))) == (1, 1)

    deployments = [
        deployment("x", group="g", fallback=("h",), retry=spillway.RetryPolicy(max_retries=1)),
        deployment("y", group="g", retry=spillway.RetryPolicy(max_retries=1)), deployment("z", group="h"),
    ]  # fmt: skip
    play(test, deployments=deployments, scripts={"x": (DOWN,), "y": (DOWN,)})


def test_the_least_busy_member_of_a_group_is_asked():
    async def test(stage):
        slow = asyncio.create_task(stage.ask(model="g"))
        await asyncio.sleep(0.1)
        busy = "x" if stage.order("x") else "y"
        idle = "y" if busy == "x" else "x"
        for _ in range(5):
            assert (await stage.ask(model="g")).headers["x-spillway-deployment"] == idle
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    script = (Reply(delay_s=100.0), Reply(text="hi"))
    deployments = [deployment("x", group="g"), deployment("y", group="g")]
    play(test, deployments=deployments, scripts={"x": script, "y": script[1:]})


def test_a_capped_key_is_answered_by_a_fallback_that_it_can_afford():
    async def test(stage):
        answer = await stage.ask()
        assert (answer.status, answer.headers["x-spillway-deployment"]) == (200, "cheap")

    cheap = spillway.Pricing(input_per_mtok_usd=0.1, output_per_mtok_usd=0.1)
    deployments = [deployment("m", fallback=("cheap",)), deployment("cheap", pricing=cheap)]
    play(test, keys=[key("a", max_spend_per_day_usd=0.00001)], deployments=deployments)
