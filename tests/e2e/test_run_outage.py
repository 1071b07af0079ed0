"""Trouble of the provider pauses a run; it never burns the file."""

import asyncio
import json
import signal
import time

import pytest
from run_cli import config, prompts, world

from spillway.sim import LimitSpec

PATIENCE_S = 20.0
"""What a busy machine may take for what is done at once."""

QUICK = """
[deployment.retry]
initial_backoff_s = 0.05
max_backoff_s     = 0.2
[deployment.circuit_breaker]
open_duration_s     = 0.5
max_open_duration_s = 1.0
[deployment.serving]
max_concurrent = 16
"""


def phase(fault, from_s=0.0, to_s=1e9, **more):
    return {"phase": [{"fault": fault, "from_s": from_s, "to_s": to_s, **more}]}


async def test_an_outage_without_a_fallback_is_waited_out_and_every_line_is_answered(tmp_path):
    async with world(tmp_path, latency_s=0.02) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(400))
        process = here.spawn("--json")
        await here.written(60, process)
        here.sim.set_scenario(phase("503"))
        asked = here.sim.stats()["asked"]
        await asyncio.sleep(3.0)
        # A provider that is down is asked a few times, not by every line.
        assert here.sim.stats()["asked"] - asked < 80
        here.sim.set_scenario({})
        found = await process.end()
        assert found.code == 0, found
        assert all(line["error"] is None for line in here.results().values())
        assert len(here.results()) == 400
        assert "m: circuit open, next probe in" in found.err


async def test_a_revoked_key_stops_the_run_and_the_new_key_finishes_it(tmp_path):
    async with world(tmp_path, latency_s=0.02, valid_keys=frozenset({"sk-one"})) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(300))
        process = here.spawn("--give-up-after", "3", OPENAI_API_KEY="sk-one")
        await here.written(50, process)
        here.sim.set_valid_keys(frozenset({"sk-two"}))
        found = await process.end()
        assert found.code == 3, found
        assert "nothing has succeeded for 3 s" in found.err
        assert [line for line in here.results().values() if line["error"]] == []
        assert 50 <= len(here.results()) < 300
        more = await here.run("--resume", OPENAI_API_KEY="sk-two")
        assert more.code == 0, more
        assert len(here.results()) == 300
        assert all(line["error"] is None for line in here.results().values())


async def test_a_key_that_comes_back_while_the_run_waits_costs_no_line(tmp_path):
    async with world(tmp_path, latency_s=0.02, valid_keys=frozenset({"sk-one"})) as here:
        key = tmp_path / "key"
        key.write_text("sk-one")
        here.project(more=QUICK, key=f'{{ from_file = "{key}" }}')
        here.input.write_text(prompts(300))
        process = here.spawn()
        await here.written(50, process)
        here.sim.set_valid_keys(frozenset({"sk-two"}))
        await asyncio.sleep(1.0)
        key.write_text("sk-two")
        found = await process.end()
        assert found.code == 0, found
        assert all(line["error"] is None for line in here.results().values())


@pytest.mark.parametrize("fault", ["403", "insufficient-quota"])
async def test_a_refusal_of_everything_is_an_outage(tmp_path, fault):
    async with world(tmp_path, latency_s=0.01) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(100))
        here.sim.set_scenario(phase(fault))
        process = here.spawn("--give-up-after", "30")
        await asyncio.sleep(2.0)
        assert here.count() == 0
        # All 16 may have been sent before the first refusal; then one at a time asks, ever more seldom.
        assert here.sim.stats()["asked"] < 16 + 20
        here.sim.set_scenario({})
        found = await process.end()
        assert found.code == 0, found
        assert all(line["error"] is None for line in here.results().values())


async def test_a_model_the_provider_does_not_know_is_an_outage(tmp_path):
    async with world(tmp_path) as here:
        here.project(config(here.sim.url, more=QUICK).replace("gpt-4o-mini", "missing-model"))
        here.input.write_text(prompts(20))
        found = await here.run("--give-up-after", "3")
        assert found.code == 3, found
        assert "model_not_found" in found.err
        assert here.results() == {}


async def test_a_line_that_alone_is_refused_becomes_an_error_line(tmp_path):
    async with world(tmp_path, latency_s=0.01) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(300))
        here.sim.set_scenario(phase("403", p=0.3))
        found = await here.run("--json")
        errors = [line["error"] for line in here.results().values() if line["error"]]
        assert found.code == 1, found
        assert len(here.results()) == 300
        # 0.09 of them are expected to be refused twice.
        assert 5 <= len(errors) <= 60
        assert {e["code"] for e in errors} == {"forbidden_upstream"}
        assert all(e["attempts"] >= 2 and e["deployment"] == "m" for e in errors)
        assert found.json["errors"] == {"forbidden_upstream": len(errors)}


async def test_a_line_that_fails_while_others_are_served_becomes_an_error_line(tmp_path):
    """One in two attempts fails: a line is given up after as many attempts as its deployment makes, no sooner."""
    async with world(tmp_path, latency_s=0.01) as here:
        retry = "[deployment.retry]\nmax_retries = 1\ninitial_backoff_s = 0.02\n"
        breaker = "[deployment.circuit_breaker]\nfailure_threshold = 1000\nfailure_ratio = 1.0\n"
        here.project(more=retry + breaker + "[deployment.serving]\nmax_concurrent = 16")
        here.input.write_text(prompts(150))
        here.sim.set_scenario(phase("500", p=0.5))
        found = await here.run("--json")
        errors = [line["error"] for line in here.results().values() if line["error"]]
        assert found.code == 1, found
        assert len(here.results()) == 150
        assert 5 <= len(errors) <= 80
        assert {e["code"] for e in errors} == {"server_error"}
        assert all(e["attempts"] >= 2 for e in errors)


async def test_final_errors_are_written_at_once_with_their_code(tmp_path):
    async with world(tmp_path) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(20))
        for fault, code in (("content-filter", "content_filtered"), ("context-length", "context_length_exceeded")):
            here.sim.reset()
            here.sim.set_scenario(phase(fault))
            found = await here.run("--json")
            assert found.code == 1, found
            assert {r["error"]["code"] for r in here.results().values()} == {code}
            assert all(r["response"] is None and r["error"]["attempts"] == 1 for r in here.results().values())
            assert here.sim.stats()["asked"] == 20
            assert found.json["errors"] == {code: 20}
            table = await here.run("--resume")
            assert table.code == 1
            assert f"20 ({code} 20)" in table.out
            here.forget()


async def test_a_limit_of_the_provider_is_waited_out(tmp_path):
    limit = LimitSpec(key="*", requests_per_minute=1200, window_s=1.0)
    async with world(tmp_path, latency_s=0.005, limits=(limit,)) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(60))
        found = await here.run()
        assert found.code == 0, found
        assert here.sim.stats()["over_limit"] > 0
        assert all(line["error"] is None for line in here.results().values())


async def test_only_an_outage_falls_back(tmp_path):
    async with world(tmp_path, latency_s=0.02) as here:
        limits = "[deployment.rate_limits]\nrequests_per_minute = 600\nburst_s = 1.0\n"
        first = config(here.sim.url, more=f"{limits}{QUICK}").replace('name    = "m"', 'name = "m"\nfallback = ["n"]')
        second = config(here.sim.url, name="n", more=QUICK).replace("/v1", "/litellm/v1")
        here.project(first + second)
        here.input.write_text(prompts(30, model="m"))
        found = await here.run("--json")
        assert found.code == 0, found
        # The wait for the limit is far above fallback_after_s, and still nothing went elsewhere.
        assert found.json["deployments"]["n"]["attempts"] == 0
        here.forget()
        here.sim.set_scenario(phase("503", path="/v1"))
        found = await here.run("--json")
        assert found.code == 0, found
        assert found.json["deployments"]["n"]["succeeded"] == 30


async def test_nothing_waits_for_ever(tmp_path):
    async with world(tmp_path) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(40))
        here.sim.set_scenario(phase("stall-before-headers"))
        began = time.monotonic()
        found = await here.run("--give-up-after", "2", "--json")
        assert found.code == 3, found
        assert time.monotonic() - began < PATIENCE_S
        assert found.json["ending"] == "gave_up"
        assert found.json["unwritten"] == 40
        assert here.results() == {}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_in_order_and_the_run_goes_on(tmp_path, number, code):
    async with world(tmp_path, latency_s=0.05) as here:
        here.input.write_text(prompts(300))
        process = here.spawn("--concurrency", 16)
        await here.written(40, process)
        process.kill(number)
        found = await process.end(PATIENCE_S)
        assert found.code == code, found
        assert "go on with --resume" in found.err
        assert 40 <= len(here.results()) < 300
        more = await here.run("--resume")
        assert more.code == 0, more
        assert len(here.results()) == 300
        assert here.sim.stats()["asked"] <= 300 + 16


async def test_the_second_signal_ends_at_once(tmp_path):
    async with world(tmp_path, latency_s=0.05) as here:
        here.input.write_text(prompts(300))
        process = here.spawn("--concurrency", 4)
        await here.written(10, process)
        process.kill(signal.SIGSTOP)
        for _ in range(2):
            process.kill(signal.SIGTERM)
            await asyncio.sleep(0.01)
        process.kill(signal.SIGCONT)
        process.kill(signal.SIGTERM)
        found = await process.end()
        assert found.code == 143, found
        json.dumps(list(here.results()))


async def test_a_stopped_process_sends_nothing_twice(tmp_path):
    async with world(tmp_path, latency_s=0.05) as here:
        here.input.write_text(prompts(200))
        process = here.spawn("--concurrency", 8)
        await here.written(40, process)
        process.kill(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        process.kill(signal.SIGCONT)
        found = await process.end()
        assert found.code == 0, found
        assert here.sim.stats()["asked"] == 200
