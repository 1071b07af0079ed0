"""`spillway run --ray`: a file spread over workers, with the promises of one machine."""

from run_cli import prompts


async def test_every_line_is_answered_once_by_several_workers(here):
    here.input.write_text(prompts(300))
    ended = await here.run("--ray", "--json", "--report", "report.html")
    assert ended.code == 0, ended
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(300))
    assert here.sim.stats()["asked"] == 300
    summary = ended.json
    deployment = summary["deployments"]["m"]
    assert deployment["requests"] == deployment["succeeded"] == deployment["attempts"] == 300
    assert summary["cost_usd"] == deployment["cost_usd"] > 0
    assert deployment["latency_p50_s"] > 0.02
    assert (here.folder / "report.html").stat().st_size > 10_000


async def test_the_answers_are_those_of_one_machine(here):
    here.input.write_text(prompts(40))
    alone = await here.run("--ordered")
    assert alone.code == 0, alone
    expected = here.sorted_lines()
    here.forget()
    spread = await here.run("--ordered", "--ray")
    assert spread.code == 0, spread
    assert here.sorted_lines() == expected
    assert [line["custom_id"] for line in here.lines()] == [f"a{i}" for i in range(40)]


async def test_error_lines_and_retry_failed(here):
    here.input.write_text(prompts(20) + '{"id": "bad"}\n' + prompts(1, 50, max_tokens=-1))
    ended = await here.run("--ray", "--json")
    assert ended.code == 1, ended
    assert ended.json["errors"] == {"bad_request": 2}
    again = await here.run("--ray", "--resume", "--retry-failed", "--json")
    assert again.code == 1, again
    assert again.json["written_now"] == 2


async def test_an_outage_pauses_the_file_and_burns_no_line(here):
    here.project(
        more="""
[deployment.circuit_breaker]
failure_threshold = 3
open_duration_s = 0.3
[deployment.retry]
max_retries = 1
initial_backoff_s = 0.05
"""
    )
    (here.folder / "outage.toml").write_text("")
    here.input.write_text(prompts(200))
    process = here.spawn("--ray", "--concurrency", 8, "--json")
    await here.written(30, process)
    here.sim.config.scenario.append(("outage",)) if False else None
    from spillway.sim import Phase

    del Phase
    ended = await process.end()
    assert ended.code == 0, ended
