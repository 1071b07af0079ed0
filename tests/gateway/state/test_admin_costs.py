"""`GET /admin/costs`: what was spent, by deployment, model, key and day."""

import pytest
from tenants_stage import Reply, Stage, deployment, key, play

from spillway.core.clock import wall_now
from spillway.testing import ScriptedRunner

EACH = {"requests": 1, "input_tokens": 10, "output_tokens": 5, "cached_tokens": 0}
USD = 0.00002


def row(times, **of):
    return {**of, **{name: times * n for name, n in EACH.items()}, "cost_usd": pytest.approx(times * USD)}


def plain(rows):
    return [{k: v for k, v in each.items() if k not in {"estimated_usd", "margin_usd"}} for each in rows]


@pytest.fixture
async def stage(tmp_path):
    """A gateway with a state file, in real time: its writer is a thread."""
    made = []

    async def make(*, state="s.db", keys=("a", "b"), deployments=None, **options):
        found = deployments or [deployment("m", model="gpt-x"), deployment("n", model="gpt-x")]
        runners = {d.name: ScriptedRunner((Reply(text="hi"),)) for d in found}
        known = [key(k) if isinstance(k, str) else k for k in keys]
        one = Stage(runners, found, known, state=None if state is None else tmp_path / state, **options)
        await one.cluster.start()
        made.append(one)
        return one

    yield make
    for one in made:
        await one.cluster.aclose()


async def costs(stage, query=""):
    answer = await stage.admin("/admin/costs" + query)
    assert answer.status == 200, answer
    return answer.json


async def test_every_request_is_in_every_sum_as_soon_as_it_is_answered(stage):
    one = await stage()
    for who, model in (("a", "m"), ("a", "m"), ("a", "n"), ("b", "n")):
        assert (await one.ask(who, model)).status == 200
    answers = {by: await costs(one, f"?by={by}") for by in ("deployment", "model", "key", "day")}
    assert plain(answers["deployment"]["rows"]) == [row(2, deployment="m"), row(2, deployment="n")]
    assert plain(answers["model"]["rows"]) == [row(4, model="gpt-x")]
    assert plain(answers["key"]["rows"]) == [row(3, key="a"), row(1, key="b")]
    today = f"{wall_now():%Y-%m-%d}"
    assert plain(answers["day"]["rows"]) in ([row(4, day=today)], [row(4, day=f"{wall_now():%Y-%m-%d}")])
    assert [answer["total_usd"] for answer in answers.values()] == [pytest.approx(4 * USD)] * 4
    assert await costs(one) == answers["deployment"]


async def test_spend_and_caps_go_on_after_an_orderly_end(stage):
    capped = [key("a", max_spend_per_day_usd=0.00006), "b"]
    first = await stage(keys=capped)
    assert [(await first.ask()).status for _ in range(3)] == [200, 200, 402]
    await first.cluster.aclose()
    second = await stage(keys=capped)
    refused = await second.ask()
    assert (refused.status, refused.limited_by) == (402, "key")
    assert "4e-05 of 6e-05 USD are spent in the last day" in refused.message
    assert (await second.ask("b")).status == 200
    assert plain((await costs(second, "?by=key"))["rows"]) == [row(2, key="a"), row(1, key="b")]


async def test_since_a_day(stage):
    one = await stage()
    assert (await one.ask()).status == 200
    assert len((await costs(one, "?by=key&since=2020-01-01"))["rows"]) == 1
    assert (await costs(one, "?by=key&since=2999-01-01"))["rows"] == []


async def test_without_a_state_file_the_deployments_own_counts_are_told(stage):
    one = await stage(state=None)
    assert (await one.ask()).status == 200
    answer = await costs(one)
    assert (answer["source"], plain(answer["rows"])) == ("since the start", [row(1, deployment="m")])
    refused = await one.admin("/admin/costs?by=key")
    assert (refused.status, refused.json["error"]["param"]) == (400, "by")
    assert "[cluster] state names none" in refused.message


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?by=year", "by must be one of deployment, model, key, day"),
        ("?by=key&by=day", "by stands there twice"),
        ("?since=yesterday", "since must be a day, YYYY-MM-DD"),
        ("?since=2026-13-01", "since must be a day, YYYY-MM-DD"),
        ("?nay=1", "no parameter 'nay'"),
    ],
)
def test_a_wrong_question_is_told(query, said):
    async def test(stage):
        answer = await stage.admin("/admin/costs" + query)
        assert answer.status == 400
        assert said in answer.message

    play(test)


def test_it_is_the_operators():
    async def test(stage):
        for headers in ([], [("authorization", "Bearer key-a")]):
            assert (await stage.http("GET", "/admin/costs", headers=headers)).status == 401
        assert (await stage.admin("/admin/costs", method="POST")).status == 405

    play(test)


async def test_a_request_that_was_refused_or_never_sent_is_in_no_sum(stage):
    one = await stage(keys=["a"])
    assert (await one.ask(max_cost_usd=0)).status == 402
    assert (await one.ask(model="no-such")).status == 404
    assert (await costs(one, "?by=key"))["rows"] == []


async def test_a_fallback_is_paid_where_it_was_answered(stage):
    import spillway

    deployments = [deployment("m", model="x", fallback=("n",)), deployment("n", model="y")]
    one = await stage(deployments=deployments)
    one.runners["m"]._script = (spillway.ServerError("down", status=503),)
    answer = await one.ask()
    assert (answer.status, answer.headers["x-spillway-deployment"]) == (200, "n")
    assert plain((await costs(one))["rows"]) == [row(1, deployment="n")]
    assert plain((await costs(one, "?by=model"))["rows"]) == [row(1, model="y")]


async def test_a_state_file_that_can_not_be_read_is_one_error_and_the_gateway_goes_on(stage, tmp_path):
    one = await stage()
    assert (await one.ask()).status == 200
    (tmp_path / "s.db").rename(tmp_path / "elsewhere")
    answer = await one.admin("/admin/costs")
    assert answer.status == 502
    assert "there is no state file" in answer.message
    assert (await one.ask()).status == 200
    (tmp_path / "elsewhere").rename(tmp_path / "s.db")
