"""One key's flood, one key's cap: what they do to the other keys, through HTTP."""

import asyncio

import pytest
from tenants_stage import Reply, deployment, key, play

import spillway

ONE_AT_A_TIME = spillway.Serving(max_concurrent=1, queue_timeout_s=10_000.0)
LONG = spillway.Timeouts(total_timeout_s=10_000.0)
FREE = Reply(delay_s=1.0, usage=spillway.Usage(input_tokens=0, output_tokens=0))
ONE_FITS = 0.00005  # 17 input tokens at 1 and 10 of output at 2 USD a million are set aside for each


async def flood(stage, count, who="a", **more):
    """`count` requests of one key, under way."""
    tasks = [asyncio.create_task(stage.ask(who, **more)) for _ in range(count)]
    await settled()
    return tasks


async def settled(turns=40):
    for _ in range(turns):
        await asyncio.sleep(0)


async def statuses(tasks):
    return [answer.status for answer in await asyncio.gather(*tasks)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_queued_of_one_key_do_not_starve_another(stream):
    async def test(stage):
        loud = await flood(stage, 1000, body={"stream": stream})
        quiet = await asyncio.gather(*(stage.ask("b", body={"stream": stream}) for _ in range(10)))
        assert {answer.status for answer in quiet} == {200}
        assert max(answer.at for answer in quiet) <= 22.0
        order = stage.order()
        assert order[:22].count("b") >= 9
        assert set(await statuses(loud)) == {200}

    play(test, Reply(delay_s=1.0), of={"serving": ONE_AT_A_TIME, "timeouts": LONG})


def test_what_one_key_holds_of_a_full_queue_makes_room_for_another():
    async def test(stage):
        loud = await flood(stage, 1 + 100)
        quiet = await flood(stage, 60, "b")
        answers = await asyncio.gather(*quiet)
        # Half of the hundred seats are b's: with a's flood in them b would have got none.
        assert [answer.status for answer in answers].count(200) == 50
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.limited_by for answer in refused} == {"queue"}
        assert (await statuses(loud)).count(200) == 51

    serving = spillway.Serving(max_concurrent=1, queue_capacity=100, on_capacity_exhausted="reject")
    play(test, Reply(delay_s=1.0), of={"serving": serving, "timeouts": LONG})


def test_who_makes_room_waits_for_a_seat_and_is_served_in_the_end():
    async def test(stage):
        loud = await flood(stage, 1 + 20 + 30)
        quiet = await flood(stage, 8, "b")
        answers = await asyncio.gather(*quiet)
        assert {answer.status for answer in answers} == {200}
        assert max(answer.at for answer in answers) <= 18.0
        assert set(await statuses(loud)) == {200}
        assert stage.order().count("a") == 51

    serving = spillway.Serving(max_concurrent=1, queue_capacity=20, queue_timeout_s=1000.0)
    play(test, Reply(delay_s=1.0), of={"serving": serving, "timeouts": LONG})


def test_a_key_alone_may_fill_the_whole_queue():
    async def test(stage):
        assert (await statuses(await flood(stage, 102))).count(200) == 101

    serving = spillway.Serving(max_concurrent=1, queue_capacity=100, on_capacity_exhausted="reject")
    play(test, Reply(delay_s=1.0), of={"serving": serving, "timeouts": LONG})


def test_a_limit_of_the_deployment_is_shared_fairly_too():
    async def test(stage):
        loud = await flood(stage, 100)
        quiet = await asyncio.gather(*(stage.ask("b") for _ in range(5)))
        assert {answer.status for answer in quiet} == {200}
        # Ten a minute: of the second minute's ten, half are b's.
        assert max(answer.at for answer in quiet) < 61.5
        for task in loud:
            task.cancel()
        await asyncio.gather(*loud, return_exceptions=True)

    limits = spillway.RateLimits(requests_per_minute=10)
    play(test, Reply(), of={"rate_limits": limits, "timeouts": LONG})


def test_a_key_that_waits_for_its_own_money_holds_up_nobody_else():
    async def test(stage):
        poor = await flood(stage, 50)
        began = stage.now
        quick = await stage.ask("b")
        assert quick.status == 200
        assert quick.at - began == pytest.approx(1.0)
        # One at a time fits under the cap; each makes room for the next.
        assert set(await statuses(poor)) == {200}
        assert stage.runners["m"].max_open == 2
        assert stage.now == pytest.approx(50.0)

    play(
        test, FREE, keys=[key("a", max_spend_per_day_usd=ONE_FITS), "b"],
        of={"serving": spillway.Serving(max_concurrent=10), "timeouts": LONG},
    )  # fmt: skip


def test_who_waits_for_its_own_money_and_leaves_is_replaced_by_the_next():
    async def test(stage):
        poor = await flood(stage, 6)
        poor[1].cancel()
        await settled()
        poor[2].cancel()
        await asyncio.gather(*poor[1:3], return_exceptions=True)
        assert set(await statuses(poor[:1] + poor[3:])) == {200}
        assert stage.now == pytest.approx(4.0)

    play(
        test, FREE, keys=[key("a", max_spend_per_day_usd=ONE_FITS)],
        of={"serving": spillway.Serving(max_concurrent=10), "timeouts": LONG},
    )  # fmt: skip


def test_higher_classes_are_served_first_and_a_key_never_above_its_ceiling():
    async def test(stage):
        held = await flood(stage, 1)
        waiting = [*await flood(stage, 3, "low", priority="critical"), *await flood(stage, 2, "b", priority="high")]
        assert set(await statuses(held + waiting)) == {200}
        assert stage.order() == ["a", "b", "b", "low", "low", "low"]

    keys = ["a", key("b", max_priority="high"), key("low", max_priority="background")]
    play(test, Reply(delay_s=1.0), keys=keys, of={"serving": ONE_AT_A_TIME})


def test_the_other_members_of_a_group_take_what_one_has_no_room_for():
    async def test(stage):
        assert set(await statuses(await flood(stage, 40, model="g"))) == {200}
        assert len(stage.order("x")) == 30
        assert len(stage.order("y")) == 10

    deployments = [
        deployment("x", group="g", weight=3, serving=spillway.Serving(max_concurrent=100)),
        deployment("y", group="g", weight=1, serving=spillway.Serving(max_concurrent=100)),
    ]
    play(test, Reply(delay_s=1.0), deployments=deployments)
