"""`spillway.ray.Deployment` as a stage of Ray Data."""

import asyncio
import json
import math

import pytest

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment as Options
from spillway.core.options import Pricing, RateLimits
from spillway.core.secrets import Secret
from spillway.providers.openai.config import OpenAiConfig
from spillway.ray import Deployment

pytestmark = pytest.mark.xdist_group("ray")


def options(here, **more):
    config = OpenAiConfig(endpoint=f"{here.sim.url}/v1", api_key=Secret("sk-canary-31415"))
    return Options(name="m", model="gpt-4o-mini", runtime="openai", runtime_config=config, **more)


@pytest.fixture
def data(ray):
    import ray.data as data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return data


async def test_rows_are_answered_and_errors_are_columns(here, ray, data):
    rows = [{"id": i, "prompt": f"say {i}"} for i in range(60)]
    rows[7]["prompt"] = ""
    stage = Deployment([options(here)], column="prompt", max_tokens=20)
    answered = data.from_items(rows, override_num_blocks=4).map_batches(stage, batch_size=10)
    found = await asyncio.to_thread(answered.take_all)
    by_id = {row["id"]: row for row in found}
    assert sorted(by_id) == list(range(60))
    good = [row for row in found if not row["error"]]
    assert len(good) >= 59
    assert all(
        row["text"] and row["output_tokens"] > 0 and row["cost_usd"] > 0 and row["attempts"] == 1 for row in good
    )
    assert {row["deployment"] for row in good} == {"m"}
    assert here.sim.stats()["by_key"].keys() == {"sk-canary-31415"}
    assert b"sk-canary-31415" not in ray.cloudpickle.dumps(stage)
    assert "sk-canary-31415" not in repr(stage)


async def test_messages_nested_or_as_json_and_a_final_error(here, ray, data):
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    stage = Deployment(options(here), column="messages", prefix="answer_")
    for column in (chat, json.dumps(chat)):
        answered = data.from_items([{"messages": column}] * 3).map_batches(stage)
        found = await asyncio.to_thread(answered.take_all)
        assert [row["answer_error"] for row in found] == [""] * 3
        assert all(row["answer_text"] for row in found)
    here.sim.set_scenario({"phase": [{"fault": "content-filter", "from_s": 0.0, "to_s": 1e9}]})
    found = await asyncio.to_thread(data.from_items([{"messages": chat}]).map_batches(stage).take_all)
    assert found[0]["answer_error"] == "content_filtered"
    assert found[0]["answer_text"] == ""
    assert found[0]["answer_attempts"] == 1
    assert math.isnan(found[0]["answer_cost_usd"])


async def test_one_limit_over_all_processes(here, ray, data):
    """Twice as many rows as a minute's limit may hold at once: over all processes not one more is sent."""
    limited = options(here, rate_limits=RateLimits(requests_per_minute=20), pricing=Pricing(input_per_mtok_usd=1))
    stage = Deployment(limited, timeout_s=4.0)
    answered = data.range(40, override_num_blocks=4).map(lambda row: {"prompt": f"say {row['id']}"})
    found = await asyncio.to_thread(
        answered.map_batches(stage, batch_size=10, compute=data.TaskPoolStrategy(size=2)).take_all
    )
    errors = [row["error"] for row in found]
    assert here.sim.stats()["asked"] <= 20
    assert errors.count("") >= 15
    assert set(errors) <= {"", "rate_limited", "timeout"}


async def test_what_is_wrong_is_said_before_anything_runs(here, ray):
    two = [options(here), Options(name="n", runtime="openai", model="gpt-4o")]
    with pytest.raises(ConfigError, match="name one of: m, n"):
        Deployment(two, environ={"OPENAI_API_KEY": "x"})
    with pytest.raises(ConfigError, match="mm"):
        Deployment(two, "mm", environ={"OPENAI_API_KEY": "x"})
    here.project(key='{ from_env = "NOT_SET" }')
    with pytest.raises(ConfigError, match="environment variable NOT_SET is not set"):
        Deployment(here.folder / "spillway.toml")
    stage = Deployment([options(here)], column="text")
    with pytest.raises(KeyError, match="no column 'text'"):
        stage({"prompt": ["x"]})
