"""One limit and one budget over all workers of a run."""

import pytest
from ray_rig import QUIET
from run_cli import prompts, world

from spillway.sim import LimitSpec

pytestmark = pytest.mark.xdist_group("ray")


async def test_one_limit_is_kept_by_all_workers_together(tmp_path, ray_server):
    """20 a second; the provider judges at arrival, and takes 25."""
    limit = LimitSpec(requests_per_minute=1500, window_s=1.0)
    async with world(tmp_path, latency_s=0.02, limits=(limit,)) as here:
        here.environ |= {"RAY_ADDRESS": ray_server.address, **QUIET, "PYTHONWARNINGS": "default"}
        here.project(more="[deployment.rate_limits]\nrequests_per_minute = 1200\nburst_s = 1.0")
        here.input.write_text(prompts(120))
        ended = await here.run("--ray", "--json")
        assert ended.code == 0, ended
        stats = here.sim.stats()
        assert (stats["asked"], stats["rejected"], stats["over_limit"]) == (120, 0, 0)
        assert ended.json["elapsed_s"] < 60


async def test_one_budget_is_kept_by_all_workers_together(here):
    here.project(prices=(1000.0, 1000.0), more="[deployment.budget]\nmax_spend_per_day_usd = 1.0")
    here.input.write_text(prompts(100, max_tokens=40))
    ended = await here.run("--ray", "--json", "--give-up-after", 3)
    assert ended.code == 3, ended
    assert "budget_exceeded" in ended.err
    assert 0.5 < ended.json["cost_usd"] <= 1.0
    assert here.sim.stats()["asked"] == here.count() < 100
