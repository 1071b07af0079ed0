"""`spillway run --report`: what the page shows of a run through an outage, and what a full disk costs."""

import asyncio

from run_cli import prompts, world

QUICK = """
[deployment.retry]
initial_backoff_s = 0.05
[deployment.circuit_breaker]
failure_threshold = 5
open_duration_s   = 0.3
"""


async def test_the_report_shows_the_circuit_that_opened_and_closed(tmp_path):
    async with world(tmp_path, latency_s=0.02) as here:
        here.project(more=QUICK)
        here.input.write_text(prompts(300))
        process = here.spawn("--report", "report.html", "--max-cost", "5")
        await here.written(30, process)
        here.sim.set_scenario({"phase": [{"fault": "503"}]})
        await asyncio.sleep(1.0)
        here.sim.set_scenario({})
        found = await process.end()
        assert found.code == 0, found
        page = (tmp_path / "report.html").read_text()
        for said in ("300 of 300 lines answered", "Circuit breakers", "half-open", "server_error", "$5"):
            assert said in page, said


async def test_a_report_that_can_not_be_written_costs_no_result(tmp_path):
    async with world(tmp_path) as here:
        here.input.write_text(prompts(3))
        found = await here.run("--report", "/proc/page.html")
        assert found.code == 0, found
        assert "the report /proc/page.html can't be written" in found.err
        assert len(here.results()) == 3
