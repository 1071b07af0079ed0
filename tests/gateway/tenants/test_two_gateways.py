"""Keys over several gateways: what a key may spend, ask and take is the same whichever it asks."""

import asyncio

import pytest
from tenants_stage import Reply, Stage, deployment, key

import spillway
from spillway.stores.commons import Commons
from spillway.testing import ScriptedRunner, run_virtual

COSTLY = spillway.Pricing(input_per_mtok_usd=0.0, output_per_mtok_usd=10_000.0)  # a cent a token


def play(test, *keys, reply=None, of=None, gateways=2):
    async def main():
        commons = Commons(clock=asyncio.get_running_loop().time)
        stages = [
            Stage({"m": ScriptedRunner([reply or Reply(text="hi")])}, [deployment(**(of or {}))], keys, store=commons)
            for _ in range(gateways)
        ]
        for stage in stages:
            await stage.app.cluster.start()
            _ = stage.app.callers
        try:
            await asyncio.sleep(3.0)
            await test(*stages)
        finally:
            for stage in stages:
                await stage.cluster.aclose()

    run_virtual(main())


def ten_cents():
    return Reply(usage=spillway.Usage(input_tokens=0, output_tokens=10))


@pytest.mark.parametrize("which", ["key", "deployment"])
def test_what_was_spent_through_one_can_not_be_spent_through_the_other(which):
    async def test(one, other):
        answers = []
        for _ in range(8):
            for stage in (one, other):
                answers.append(await stage.ask())
                await asyncio.sleep(0.2)
        assert [answer.status for answer in answers] == [200] * 10 + [402] * 6
        refused = answers[-1]
        assert refused.limited_by == {"key": "key", "deployment": "budget"}[which]
        assert "1 of 1 USD are spent in the last day" in refused.message
        calls = sum(len(stage.runners["m"].calls) for stage in (one, other))
        assert calls == 10
        assert (await one.ask("b")).status == (200 if which == "key" else 402)

    if which == "key":
        play(test, key("a", max_spend_per_day_usd=1.0), key("b"), reply=ten_cents(), of={"pricing": COSTLY})
    else:
        budget = spillway.Budget(max_spend_per_day_usd=1.0)
        play(test, key("a"), key("b"), reply=ten_cents(), of={"pricing": COSTLY, "budget": budget})


def test_all_at_once_through_both_do_not_pass_the_keys_cap():
    async def test(one, other):
        answers = await asyncio.gather(*(stage.ask() for stage in (one, other) for _ in range(30)))
        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(402)) == (10, 50)

    play(test, key("a", max_spend_per_day_usd=1.0), reply=ten_cents(), of={"pricing": COSTLY})


@pytest.mark.parametrize("limits", [{"requests_per_minute": 60}, {"tokens_per_minute": 900}])
def test_a_keys_requests_and_tokens_count_wherever_they_were_asked(limits):
    async def test(one, other):
        served = 0
        for _ in range(200):
            for stage in (one, other):
                answer = await stage.ask()
                served += answer.status == 200
                if answer.status != 200:
                    assert (answer.status, answer.limited_by) == (429, "key")
            await asyncio.sleep(0.25)
        # An answer takes 15 tokens; what nodes may let through between two rounds of telling is on top.
        assert 55 <= served <= 66
        assert (await one.ask("b")).status == 200

    play(test, key("a", **limits), key("b"))


def test_a_limit_that_a_key_is_given_later_is_shared_too():
    async def test(one, other):
        assert (await one.ask()).status == 200
        for stage in (one, other):
            stage.app.callers.replace([key("a", requests_per_minute=600, max_spend_per_day_usd=1.0)])
        await asyncio.sleep(3.0)
        answers = []
        for _ in range(10):
            for stage in (one, other):
                answers.append((await stage.ask()).status)
                await asyncio.sleep(0.2)
        assert (answers.count(200), answers.count(402)) == (10, 10)
        for stage in (one, other):
            stage.app.callers.replace([key("a", requests_per_minute=20)])
        await asyncio.sleep(60.0)
        answers = []
        for _ in range(60):
            for stage in (one, other):
                answers.append((await stage.ask()).status)
                await asyncio.sleep(0.5)
        assert 16 <= answers.count(200) <= 24
        assert set(answers) == {200, 429}

    play(test, key("a"), reply=ten_cents(), of={"pricing": COSTLY})
