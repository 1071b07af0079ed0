"""The project file read again: a good one takes effect without anybody noticing, a bad one changes nothing."""

import asyncio
import json
import signal
import urllib.request

import pytest
from running_rig import ADMIN, outcome, project

from spillway.core.errors import ConfigError


async def reload(serving, text, kind="reloaded", times=1):
    """Write the file, ask for it to be read, and return what is said of it."""
    serving.file.write_text(text)
    serving.send(signal.SIGHUP)
    return (await serving.says(rf"{kind}: (.*)", times=times))[1]


async def models(serving, key="key-a"):
    status, _, body = await serving.ask("GET", "/v1/models", key=key)
    return [row["id"] for row in json.loads(body)["data"]] if status == 200 else status


async def test_deployments_come_and_go(serve, sim):
    one, two = "gpt-4o-mini", "other"
    serving = await serve(project(sim.url, deployments=(one,))).up()
    said = await reload(serving, project(sim.url, deployments=(one, two)))
    assert said == "added other"
    assert await models(serving) == [one, two]
    assert (await serving.chat(model=two))[0] == 200
    said = await reload(serving, project(sim.url, deployments=(two,), options="weight = 2"), times=2)
    assert said == f"removed {one}; changed {two}"
    assert (await serving.chat(model=one))[0] == 404
    assert (await serving.chat(model=two))[0] == 200
    assert await reload(serving, serving.file.read_text(), times=3) == "nothing has changed"


async def test_streams_of_a_deployment_that_changes_or_goes_end_as_they_would_have(serve, slow_sim):
    names = ("gpt-4o-mini", "other")
    serving = await serve(project(slow_sim.url, deployments=names)).up()
    began = [asyncio.Event() for _ in range(20)]
    tasks = [
        asyncio.create_task(serving.chat(stream=True, model=names[n % 2], on_bytes=event))
        for n, event in enumerate(began)
    ]
    await asyncio.gather(*(event.wait() for event in began))
    more = "[deployment.serving]\nmax_concurrent = 3"
    await reload(serving, project(slow_sim.url, deployments=names[:1], more=more))
    assert not all(task.done() for task in tasks)
    assert {outcome(body) for _, _, body in await asyncio.gather(*tasks)} == {"done"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[[deployment]]", "[[deployment]", r"spillway\.toml:\d+: not TOML"),
        ('runtime = "openai"', 'runtime = "openia"', r"spillway\.toml:\d+: .*openai"),
        ("weight = 1", "weight = -1", r"spillway\.toml:\d+: .*weight"),
        ('{ inline = "key-a" }', '{ from_env = "NOT_THERE" }', "NOT_THERE is not set"),
        ('{ from_env = "OPENAI_API_KEY" }', '{ from_file = "gone" }', "gone"),
        ('inline = "key-b"', 'inline = "key-a"', "are the same key"),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_why(serve, sim, old, new, says):
    limits = "[deployment.rate_limits]\nrequests_per_minute = 3"
    text = project(sim.url, keys=("key-a", "key-b"), options="weight = 1", more=limits)
    serving = await serve(text).up()
    assert [(await serving.chat())[0] for _ in range(2)] == [200, 200]
    assert old in text
    assert await reload(serving, text.replace(old, new), kind="error")
    line = next(each for each in serving.said.splitlines() if each.startswith("error: "))
    assert await serving.says(says)
    assert line.endswith("; the old configuration stays")
    assert "key-a" not in line.replace("'a'", "")
    assert (await serving.chat(key="key-b"))[0] == 200
    # The window has gone on: the fourth has to wait, longer than it may.
    status, headers, _ = await serving.chat(headers="x-spillway-timeout-s: 1\r\n")
    assert status in {429, 504}, headers
    assert (await serving.ask("GET", "/readyz"))[0] == 200


async def test_limits_budgets_and_keys_follow_and_keep_what_they_have_counted(serve, sim):
    text = project(sim.url).replace('key = { inline = "key-a" }', 'key = { inline = "key-a" }\nrequests_per_minute = 3')
    serving = await serve(text).up()
    assert [(await serving.chat())[0] for _ in range(4)] == [200, 200, 200, 429]
    said = await reload(serving, text.replace("requests_per_minute = 3", "requests_per_minute = 5"))
    assert said == "keys changed a"
    assert [(await serving.chat())[0] for _ in range(3)] == [200, 200, 429]


async def test_keys_come_go_and_are_renewed(serve, sim, tmp_path):
    (tmp_path / "a.key").write_text("key-a")
    text = project(sim.url, keys=("key-a", "key-b"), gateway='admin_key = { from_file = "admin.key" }')
    text = text.replace('{ inline = "key-a" }', '{ from_file = "a.key" }')
    (tmp_path / "admin.key").write_text("first")
    serving = await serve(text).up()
    assert await models(serving, "key-a")
    assert await models(serving, "key-b")
    (tmp_path / "a.key").write_text("key-new")
    without = text.replace('[[gateway.keys]]\nname = "b"\nkey = { inline = "key-b" }\n', "")
    assert await reload(serving, without) == "keys removed b; keys changed a"
    assert [await models(serving, key) for key in ("key-a", "key-b")] == [401, 401]
    assert await models(serving, "key-new") == ["gpt-4o-mini"]


async def test_a_provider_s_secret_is_read_again_where_it_has_changed(serve, sim, tmp_path):
    (tmp_path / "provider.key").write_text("sk-old")
    text = project(sim.url, deployments=("gpt-4o-mini", "other"))
    head, _, tail = text.rpartition('{ from_env = "OPENAI_API_KEY" }')
    text = head + '{ from_file = "provider.key" }' + tail
    serving = await serve(text).up()
    assert (await serving.chat(model="other"))[0] == 200
    (tmp_path / "provider.key").write_text("sk-new")
    assert await reload(serving, text) == "secrets other"
    assert (await serving.chat(model="other"))[0] == 200
    assert (await serving.chat())[0] == 200
    stats = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(f"{sim.url}/sim/stats").read()))
    assert set(stats["by_key"]) == {"sk-old", "sk-new", "sk-test"}


async def test_what_needs_a_start_is_said(serve, sim):
    text = project(sim.url)
    serving = await serve(text).up()
    said = await reload(serving, '[cluster]\nname = "x"\nstate = "y.db"\n' + text.replace("127.0.0.1:0", "127.0.0.1:1"))
    for what in ("[cluster] name", "[cluster] state", "[gateway] bind"):
        assert f"{what} takes effect at the next start" in said
    assert (await serving.chat())[0] == 200


async def test_it_can_t_become_open_to_others(serve, sim):
    serving = await serve(project(sim.url), "--bind", "0.0.0.0:0").up()
    said = await reload(serving, project(sim.url, keys=()), kind="error")
    assert "open to others" in said
    assert await models(serving, "wrong") == 401
    assert await models(serving) == ["gpt-4o-mini"]


async def test_many_readings_at_once_are_few_in_turn(serve, sim):
    serving = await serve(project(sim.url)).up()
    serving.file.write_text(project(sim.url, options="weight = 2"))
    for _ in range(50):
        serving.send(signal.SIGHUP)
    assert (await serving.says("reloaded: (.*)"))[1] == "changed gpt-4o-mini"
    await asyncio.sleep(0.3)
    assert (await serving.chat())[0] == 200
    assert 1 <= serving.said.count("reloaded") <= 50


async def test_the_reader_of_the_app_does_the_same(sim, tmp_path):
    """What `POST /admin/reload` calls."""
    from spillway.core.secrets import Secret
    from spillway.gateway import create_app
    from spillway.gateway.binding import read_bind
    from spillway.gateway.credentials import read_credentials
    from spillway.gateway.reloading import Reloader
    from spillway.runtime.cluster import Cluster
    from spillway.runtime.config import load

    path = tmp_path / "spillway.toml"
    environ = {"OPENAI_API_KEY": "sk-test"}
    path.write_text(project(sim.url))
    before = load(path)
    credentials = await read_credentials(before, environ)
    async with Cluster(before.deployments, environ=environ) as cluster:
        app = create_app(cluster, keys=credentials.keys)
        app.reloader = Reloader(app, before, credentials, bind=read_bind("127.0.0.1:0"), environ=environ)
        path.write_text(project(sim.url, keys=("key-a", "key-b"), deployments=("gpt-4o-mini", "other")))
        told = await app.reloader()
        assert (told.added, told.keys_added, told.notes) == (("other",), ("b",), ())
        assert str(told) == "added other; keys added b"
        path.write_text("nonsense")
        with pytest.raises(ConfigError, match="spillway.toml:1: not TOML"):
            await app.reloader()
        path.write_text(project(sim.url, keys=("key-b",), options='fallback = ["nobody"]'))
        with pytest.raises(ConfigError, match="nobody"):
            await app.reloader()
        assert sorted(caller.name for caller in app.callers.every) == ["a", "b"]
        assert app.callers.identify({"x-api-key": Secret("key-b").reveal()}, ()).name == "b"
        assert cluster.deployments() == ["gpt-4o-mini", "other"]


async def test_an_operator_has_the_file_read_over_http(serve, sim):
    admin = f'admin_key = {{ inline = "{ADMIN}" }}'
    serving = await serve(project(sim.url, gateway=admin)).up()
    serving.file.write_text(project(sim.url, gateway=admin, deployments=("gpt-4o-mini", "other")))
    status, _, body = await serving.ask("POST", "/admin/reload", {}, key=ADMIN)
    assert (status, json.loads(body)["result"]["added"]) == (200, ["other"])
    assert (await serving.chat(model="other"))[0] == 200
    serving.file.write_text("nonsense")
    status, _, body = await serving.ask("POST", "/admin/reload", {}, key=ADMIN)
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_config")
    assert "spillway.toml:1: not TOML" in json.loads(body)["error"]["message"]
    assert (await serving.chat(model="other"))[0] == 200
    assert (await serving.ask("POST", "/admin/reload", {}))[0] == 401


async def test_a_budget_that_is_new_begins_with_what_was_spent_before(serve, sim):
    serving = await serve(project(sim.url)).up()
    assert [(await serving.chat())[0] for _ in range(3)] == [200] * 3
    cap = "[deployment.budget]\nmax_spend_per_day_usd = {}"
    await reload(serving, project(sim.url, more=cap.format("1e-7")))
    assert (await serving.chat())[0] == 402
    await reload(serving, project(sim.url, more=cap.format("1.0")), times=2)
    assert (await serving.chat())[0] == 200


async def test_nobody_notices_a_storm_of_reloads(serve, sim):
    names = ("gpt-4o-mini", "other")
    serving = await serve(project(sim.url, deployments=names)).up()
    over = asyncio.Event()
    statuses = []

    async def keep_asking(n):
        while not over.is_set():
            status, _, body = await serving.chat(model=names[0], stream=n % 2 == 0)
            statuses.append(status if n % 2 else outcome(body))

    asking = [asyncio.create_task(keep_asking(n)) for n in range(8)]
    for turn in range(20):
        more = f"[deployment.serving]\nmax_concurrent = {turn % 3 + 1}" if turn % 2 else ""
        await reload(serving, project(sim.url, deployments=names[: turn % 2 + 1], more=more), times=turn + 1)
    over.set()
    await asyncio.gather(*asking)
    assert len(statuses) > 20
    assert set(statuses) == {200, "done"}
    serving.send(signal.SIGTERM)
    assert await serving.ends(10.0) == 0
