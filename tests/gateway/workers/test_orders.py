"""What an operator asks of one gateway is done by all, and by those that begin later."""

import asyncio

from fellows_stage import play

import spillway
from spillway.testing.scripted import Reply


async def answers(stage):
    return [(await gateway.chat()).status for gateway in stage.gateways]


def test_a_circuit_that_is_opened_at_one_is_open_at_all_and_closed_at_all():
    async def test(stage):
        one, two, _ = stage.gateways
        done = await one.do("m", "breaker", {"action": "open", "for_s": 60})
        assert (done.status, done.json["did"]) == (200, "circuit opened for 60 s")
        assert done.json["workers"] == {"asked": 3, "silent": 0}
        assert done.json["deployment"]["breaker"]["state"] == "OPEN"
        assert await answers(stage) == [503, 503, 503]
        await two.do("m", "breaker", {"action": "close"})
        assert await answers(stage) == [200, 200, 200]

    play(test)


def test_one_that_is_drained_at_one_is_out_of_service_at_all_and_what_runs_is_told_of_all():
    async def test(stage):
        running = [asyncio.ensure_future(gateway.chat()) for gateway in stage.gateways]
        await asyncio.sleep(0.5)
        done = await stage.gateways[0].do("m", "drain")
        assert done.json["did"] == "taken out of service; 3 in flight will finish"
        assert (done.json["in_flight"], done.json["deployment"]["in_service"]) == (3, False)
        assert await answers(stage) == [429, 429, 429]
        assert [answer.status for answer in await asyncio.gather(*running)] == [200, 200, 200]
        await stage.gateways[1].do("m", "drain", {"action": "resume"})
        state = await stage.gateways[2].state()
        assert state["in_service"] is True

    play(test, script=[Reply(delay_s=5.0)])


def test_limits_for_an_incident_hold_at_all_and_end_at_all():
    async def test(stage):
        await stage.gateways[0].do("m", "limits", {"concurrent_requests": 7, "for_s": 30})
        for gateway in stage.gateways:
            assert gateway.cluster.deployment("m").limits().concurrent_requests == 7
        await asyncio.sleep(31.0)
        for gateway in stage.gateways:
            assert gateway.cluster.deployment("m").limits().concurrent_requests is None
        journal = [entry["what"] for entry in (await stage.gateways[1].app.console.fellows.look()).journal()]
        assert journal.count("limits are back to those of the file") == 1

    play(test)


def test_a_session_is_rebuilt_at_all_and_one_that_can_not_is_named():
    async def test(stage):
        one, two, three = stage.gateways
        done = await one.do("m", "rebuild-session")
        assert done.json["did"] == "secret read again, session rebuilt"
        assert [len(gateway.runners["m"].rebuilds) for gateway in stage.gateways] == [1, 1, 1]

        def fail(_cause):
            raise spillway.InferenceError("the secret is gone")

        two.runners["m"]._on_rebuild = fail
        failed = await three.do("m", "rebuild-session")
        assert (failed.status, failed.json["error"]["code"]) == (502, "action_failed")
        name = two.app.console.fellows.worker
        assert f"worker {name}: " in failed.said
        assert "the secret is gone" in failed.said

    play(test)


def test_one_that_does_not_answer_is_told_of():
    async def test(stage):
        one, two, _ = stage.gateways

        async def never(notice, reply):
            await asyncio.sleep(0)

        two.app.console.fellows._obey = never
        done = await one.do("m", "breaker", {"action": "open"})
        assert done.json["did"] == "circuit opened for 300 s; 1 of 3 workers has not answered in time"
        assert done.json["workers"] == {"asked": 3, "silent": 1}

    play(test)


def test_one_that_begins_later_does_as_the_others():
    async def test(stage):
        one = stage.gateways[0]
        await one.do("m", "drain")
        await one.do("m", "limits", {"concurrent_requests": 7, "for_s": 60})
        await asyncio.sleep(20.0)
        late = await stage.join()
        await asyncio.sleep(1.0)
        assert (await late.chat()).status == 429
        assert late.cluster.deployment("m").limits().concurrent_requests == 7
        await asyncio.sleep(41.0)
        assert late.cluster.deployment("m").limits().concurrent_requests is None
        await one.do("m", "drain", {"action": "resume"})
        assert (await late.chat()).status == 200

    play(test, count=2)


def test_the_project_file_is_read_again_by_all_and_by_one_alone_where_it_is_wrong():
    async def test(stage):
        read = []
        for place, gateway in enumerate(stage.gateways):

            async def reload(place=place):
                read.append(place)
                if place == 2 and len(read) > 3:
                    raise spillway.ConfigError("spillway.toml: no such key")
                return {"changed": []}

            gateway.app.reloader = reload
        kind = {"content-type": "application/json"}
        done = await stage.gateways[0].ask("POST", "/admin/reload", {}, headers=kind)
        assert (done.json["did"], sorted(read)) == ("configuration read again", [0, 1, 2])
        failed = await stage.gateways[0].ask("POST", "/admin/reload", {}, headers=kind)
        assert failed.status == 502
        assert "spillway.toml: no such key" in failed.said
        del read[3:]
        read.append(0)
        wrong = await stage.gateways[2].ask("POST", "/admin/reload", {}, headers=kind)
        assert (wrong.status, read[3:]) == (400, [0, 2])

    play(test)


def test_a_wrong_body_is_refused_and_nobody_is_asked():
    async def test(stage):
        refused = await stage.gateways[0].do("m", "breaker", {"action": "melt"})
        assert refused.status == 400
        assert await answers(stage) == [200, 200, 200]

    play(test)


def test_spend_without_a_state_file_is_that_of_all():
    async def test(stage):
        assert await answers(stage) == [200, 200, 200]
        await asyncio.sleep(1.5)
        (row,) = (await stage.gateways[1].get("/admin/costs")).json["rows"]
        assert (row["requests"], row["input_tokens"]) == (3, 30)
        assert row["cost_usd"] > 0

    play(test)
