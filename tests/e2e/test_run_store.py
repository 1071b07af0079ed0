"""A run whose store dies waits for it as for any outage, says so, and burns no line."""

import asyncio

import pytest
from run_cli import config, prompts, world

CLUSTER = """
[cluster]
name = "{name}"
store = "{url}"
sync_s = 0.2
"""
BUDGET = """
[deployment.serving]
max_concurrent = 4
[deployment.budget]
max_spend_per_day_usd = {cap}
"""
STRICT = """
[deployment.rate_limits]
requests_per_minute = 60000
strict = true
"""
LOST = "m: the store that shares its limits and budgets does not answer"
CLOSED = "m: the store is lost or may have forgotten, and a strict limit lets nothing through without it"


async def told(process, words, seconds=20.0):
    """Wait until a run has said something on stderr."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        process.files[1].seek(0)
        said = process.files[1].read().decode()
        if words in said:
            return said
        assert loop.time() < until, said
        assert not process.over, said
        await asyncio.sleep(0.05)


async def test_a_run_over_a_budget_goes_on_when_its_store_is_back(tmp_path, redis_server):
    async with world(tmp_path, latency_s=0.05) as here:
        # A request costs so much of the cap that what is leased ahead of need is little.
        project = CLUSTER.format(name="run", url=redis_server.url)
        project += config(here.sim.url, more=BUDGET.format(cap=50.0), prices=(1000.0, 1000.0))
        here.project(project)
        here.input.write_text(prompts(300, max_tokens=100))
        process = here.spawn("--json")
        await here.written(40, process)
        redis_server.kill()
        await told(process, LOST)
        # What was leased is spent first.
        await asyncio.sleep(1.0)
        before = here.count()
        await asyncio.sleep(1.0)
        assert here.count() == before < 300
        redis_server.start()
        found = await process.end()
        assert found.code == 0, found
        results = here.results()
        assert len(results) == 300
        assert all(line["error"] is None for line in results.values())
        assert here.sim.stats()["served"] == 300
        assert found.err.count("budgets of deployments:m: the store is lost") == 1


async def test_a_run_that_is_held_by_a_strict_limit_says_what_holds_it(tmp_path, redis_server):
    async with world(tmp_path) as here:
        here.project(CLUSTER.format(name="run", url=redis_server.url) + config(here.sim.url, more=STRICT))
        here.input.write_text(prompts(10))
        process = here.spawn("--give-up-after", "4")
        said = await told(process, CLOSED)
        assert "next probe" not in said
        found = await process.end()
        assert found.code == 3, found
        assert here.count() == 0
        assert here.sim.stats()["asked"] == 0


async def test_a_store_that_is_not_there_at_the_start_is_waited_for(tmp_path, redis_server):
    redis_server.kill()
    async with world(tmp_path) as here:
        limits = "[deployment.rate_limits]\nrequests_per_minute = 60000\n"
        here.project(CLUSTER.format(name="run", url=redis_server.url) + config(here.sim.url, more=limits))
        here.input.write_text(prompts(20))
        process = here.spawn()
        await told(process, "m: the store has not been reached yet, and nothing is let through before")
        assert here.count() == 0
        redis_server.start()
        found = await process.end()
        assert found.code == 0, found
        assert len(here.results()) == 20


@pytest.mark.parametrize("url", ["redis://joe:canary-pw@127.0.0.1:99999/0", "redis://joe:canary-pw@127.0.0.1/zero"])
async def test_a_url_that_is_none_is_refused_with_its_place(tmp_path, url):
    async with world(tmp_path) as here:
        here.project(CLUSTER.format(name="run", url=url) + config(here.sim.url))
        here.input.write_text(prompts(1))
        found = await here.run()
        assert found.code == 2
        assert found.err.startswith("error: spillway.toml:4: [cluster] store: ")
        assert found.err.count("\n") == 1
        assert "joe" not in found.err
        assert "canary" not in found.err
