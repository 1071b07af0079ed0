"""`spillway run --ray`: a file spread over workers, with the promises of one machine."""

import asyncio
import gzip
import json
import signal

import pytest
from run_cli import prompts

pytestmark = pytest.mark.xdist_group("ray")

QUICK = """
[deployment.retry]
initial_backoff_s = 0.05
max_backoff_s     = 0.2
[deployment.circuit_breaker]
open_duration_s     = 0.3
max_open_duration_s = 0.6
[deployment.serving]
max_concurrent = 8
"""


async def test_every_line_is_answered_once_by_several_workers(here, ray_server):
    here.input.write_text(prompts(300))
    ended = await here.run(f"--ray={ray_server.address}", "--json", "--report", "report.html", RAY_ADDRESS="")
    assert ended.code == 0, ended
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(300))
    assert here.sim.stats()["asked"] == 300
    summary = ended.json
    deployment = summary["deployments"]["m"]
    assert deployment["requests"] == deployment["succeeded"] == deployment["attempts"] == 300
    assert summary["cost_usd"] == pytest.approx(deployment["cost_usd"])
    assert summary["cost_usd"] == pytest.approx(here.sim.stats()["billed_usd"])
    assert deployment["latency_p50_s"] > 0.02
    assert (here.folder / "report.html").stat().st_size > 10_000


async def test_the_answers_are_those_of_one_machine(here):
    here.input.write_text(prompts(40) + '{"id": "bad"}\n\n' + prompts(2))
    alone = await here.run("--ordered")
    assert alone.code == 1, alone
    expected = here.output.read_text()
    here.forget()
    here.sim.reset()
    spread = await here.run("--ordered", "--ray")
    assert spread.code == 1, spread
    assert [line["custom_id"] for line in here.lines()] == [
        json.loads(each)["custom_id"] for each in expected.splitlines()
    ]
    assert {json.dumps(line["error"]) for line in here.lines()} == {
        json.dumps(json.loads(line)["error"]) for line in expected.splitlines()
    }
    again = await here.run("--ray", "--resume", "--retry-failed", "--json")
    assert again.code == 1, again
    assert again.json["written_now"] >= 3


async def test_a_folder_of_parquet_and_json_lines(here):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = here.folder / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text(prompts(30))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(prompts(30, 30).encode()))
    pq.write_table(
        pa.Table.from_pylist([{"id": f"a{i}", "prompt": f"say {i}"} for i in range(60, 90)]), folder / "c.parquet"
    )
    ended = await here.run("--ray", input_="in")
    assert ended.code == 0, ended
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(90))


async def test_an_outage_pauses_the_file_and_burns_no_line(here):
    here.project(more=QUICK)
    here.input.write_text(prompts(300))
    process = here.spawn("--ray", "--json")
    await here.written(50, process)
    here.sim.set_scenario({"phase": [{"fault": "503", "from_s": 0.0, "to_s": 1e9}]})
    asked = here.sim.stats()["asked"]
    await asyncio.sleep(3.0)
    assert here.sim.stats()["asked"] - asked < 120
    here.sim.set_scenario({})
    ended = await process.end()
    assert ended.code == 0, ended
    assert len(here.results()) == 300
    assert ended.json["deployments"]["m"]["errors"]["server_error"] > 0


async def test_a_killed_driver_is_resumed_and_repeats_only_what_was_in_flight(here):
    here.project(more="[deployment.serving]\nmax_concurrent = 4")
    here.input.write_text(prompts(300))
    for lines in (40, 120):
        process = here.spawn("--ray", "--resume")
        await here.written(lines, process)
        process.kill()
        assert (await process.end()).code == -signal.SIGKILL
    ended = await here.run("--ray", "--resume", "--json")
    assert ended.code == 0, ended
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(300))
    assert 300 <= here.sim.stats()["asked"] <= 300 + 2 * 16


async def test_an_interrupted_run_stops_in_order_and_is_resumed(here):
    here.input.write_text(prompts(2000))
    process = here.spawn("--ray", "--concurrency", 8)
    await here.written(20, process)
    second = await here.run("--ray", "--resume")
    assert second.code == 2
    assert "is in use by process" in second.err
    process.kill(signal.SIGINT)
    ended = await process.end()
    assert ended.code == 130, ended
    assert "go on with --resume" in ended.err
    done = here.count()
    limited = await here.run("--ray", "--resume", "--limit", str(done + 10), "--json")
    assert limited.code == 0, limited
    assert here.count() == done + 10


async def test_a_cap_is_never_exceeded_and_a_higher_one_goes_on(here):
    here.project(prices=(1000.0, 1000.0))
    here.input.write_text(prompts(60, max_tokens=40))
    first = await here.run("--ray", "--max-cost", 1.0, "--json")
    assert first.code == 3, first
    assert 0.5 < first.json["cost_usd"] <= 1.0
    billed = first.json["cost_usd"]
    assert 0 < here.count() < 60
    second = await here.run("--ray", "--resume", "--max-cost", 100.0, "--json")
    assert second.code == 0, second
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(60))
    assert here.sim.stats()["asked"] == 60
    assert second.json["cost_usd"] > billed


async def test_a_key_that_is_replaced_reaches_the_workers(here):
    key = here.folder / "key"
    key.write_text("sk-one")
    key.chmod(0o600)
    here.project(key=f'{{ from_file = "{key}" }}', more=QUICK)
    here.input.write_text(prompts(300))
    process = here.spawn("--ray", "--json")
    await here.written(50, process)
    here.sim.set_valid_keys(frozenset({"sk-two"}))
    await asyncio.sleep(2.5)
    key.write_text("sk-two")
    ended = await process.end()
    assert ended.code == 0, ended
    assert len(here.results()) == 300
