"""Any of several gateways answers for all of them."""

import asyncio

from fellows_stage import play

import spillway
from spillway.testing.scripted import Reply


def test_counters_are_those_of_all_whoever_is_asked():
    async def test(stage):
        for place, gateway in enumerate(stage.gateways):
            for _ in range(place + 1):
                assert (await gateway.chat()).status == 200
        seen = []
        for gateway in stage.gateways:
            rows = await gateway.metrics()
            seen.append(
                (
                    rows['spillway_requests_total{deployment="m",door="chat",model="m",outcome="ok"}'],
                    rows['spillway_attempts_total{deployment="m",outcome="ok"}'],
                    rows['spillway_request_duration_seconds_count{door="chat",model="m"}'],
                )
            )
            await asyncio.sleep(1.5)
        assert seen[0][0] <= 6
        assert seen[1:] == [(6, 6, 6)] * 2

    play(test)


def test_a_counter_never_falls_whoever_is_asked_next():
    async def test(stage):
        before = {}
        for turn in range(60):
            await stage.gateways[turn % 3].chat(stream=bool(turn % 2))
            rows = await stage.gateways[(turn * 2 + 1) % 3].metrics()
            grows = {
                k: v for k, v in rows.items() if k.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
            }
            assert {k: (v, grows[k]) for k, v in before.items() if grows[k] < v} == {}
            before = grows
            await asyncio.sleep(0.13)
        assert before['spillway_attempts_total{deployment="m",outcome="ok"}'] > 50

    play(test)


def test_what_a_gateway_has_counted_outlives_it():
    async def test(stage):
        first, second, third = stage.gateways
        for gateway in stage.gateways:
            await gateway.chat()
        await third.app.aclose()
        told = []
        for _ in range(4):
            await asyncio.sleep(1.1)
            rows = await first.metrics()
            told.append(rows['spillway_attempts_total{deployment="m",outcome="ok"}'])
        assert told == [3, 3, 3, 3]
        state = await second.state()
        assert (state["since_start"]["succeeded"], state["workers"]) == (3, 2 * 128)
        assert state["last_15_min"]["ok"] == 3
        assert len((await second.get("/admin/deployments")).json["gateway"]["workers"]) == 2

    play(test)


def test_the_state_adds_up_what_each_has_for_itself_and_takes_once_what_is_shared():
    async def test(stage):
        waiting = [asyncio.ensure_future(gateway.chat()) for gateway in stage.gateways for _ in range(3)]
        await asyncio.sleep(1.5)
        states = [await gateway.state() for gateway in stage.gateways]
        for state in states:
            assert (state["busy"], state["queued"], state["workers"]) == (6, 3, 6)
            (window,) = [w for w in state["limits"]["windows"] if w["limit"] == "requests_per_minute"]
            assert window["most"] == 600
        await asyncio.gather(*waiting)
        answer = (await stage.gateways[0].get("/admin/deployments")).json
        assert [set(row) for row in answer["gateway"]["workers"]][0] >= {"worker", "ready", "in_flight", "up_s"}
        assert answer["gateway"]["ready"] is True
        assert [row["name"] for row in answer["deployments"]] == ["m"]

    play(
        test,
        script=[Reply(delay_s=5.0)],
        serving=spillway.Serving(max_concurrent=2),
        rate_limits=spillway.RateLimits(requests_per_minute=600),
    )


def test_the_dashboard_is_told_of_the_requests_of_all():
    async def test(stage):
        for gateway in stage.gateways:
            await gateway.chat()
        await asyncio.sleep(1.5)
        line = stage.gateways[0].open("GET", "/admin/events")
        await asyncio.sleep(0.2)
        (hello,) = line.events("hello")
        assert len(hello["requests"]) == 3
        assert len({row["worker"] for row in hello["requests"]}) == 3
        for gateway in stage.gateways:
            await gateway.chat()
        await asyncio.sleep(3.0)
        told = [row for event in line.events("requests") for row in event["requests"]]
        assert sorted(row["number"] for row in told) == [4, 5, 6]
        state = line.events("state")[-1]
        assert state["gateway"]["last_15_min"]["ok"] == 6
        assert sum(bucket["ok"] for bucket in state["history"]["whole"]) <= 6
        await line.leave()

    play(test)
