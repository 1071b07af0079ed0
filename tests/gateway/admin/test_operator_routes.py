"""The operator's routes: who is let in, what is where, and what a look at it shows."""

import pytest
from operated import PRICE, operate

import spillway
from spillway.core.errors import ConfigError
from spillway.runtime.project import GatewayKey
from spillway.testing import Reply

ROUTES = [
    ("GET", "/admin/deployments"),
    ("GET", "/admin/deployments/m"),
    ("POST", "/admin/deployments/m/breaker"),
    ("POST", "/admin/deployments/m/rebuild-session"),
    ("POST", "/admin/deployments/m/drain"),
    ("POST", "/admin/deployments/m/limits"),
    ("POST", "/admin/reload"),
    ("GET", "/admin/events"),
]
KEY = spillway.Secret("the-admin-key")
BEARER = {"authorization": "Bearer the-admin-key"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_admin_key_nobody_is_let_in(method, path):
    async def test(o):
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"x-api-key": "the-admin-key"},
            {"cookie": "key=the-admin-key"},
        ):
            answer = await o.ask(method, path, {"action": "open"}, headers=headers)
            assert answer.status == 401, headers
            assert answer.json["error"]["code"] == "invalid_api_key"
        assert (await o.get("/admin/deployments", headers=BEARER)).json["deployments"][0]["in_service"]

    operate(test, admin_key=KEY)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_any_admin_key_only_this_machine_is_let_in(method, path):
    async def test(o):
        assert (await o.ask(method, path, {}, peer="10.1.2.3")).status == 401

    operate(test)


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[1] != "/admin/events"])
def test_a_web_page_of_others_can_do_nothing(method, path):
    async def test(o):
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:9999"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = await o.ask(method, path, {"action": "open"}, headers=headers)
            assert answer.status == 401, headers
        if method == "POST":
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                assert (await o.ask(method, path, {"action": "open"}, headers={"content-type": kind})).status == 415
        state = await o.state()
        assert state["breaker"]["state"] == "CLOSED"
        assert state["in_service"]
        own = {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
        assert (await o.get("/admin/deployments", headers=own)).status == 200

    operate(test)


def test_a_page_of_others_can_not_listen_either():
    async def test(o):
        assert (await o.get("/admin/events", headers={"origin": "http://evil.example"})).status == 401

    operate(test)


def test_an_unknown_name_names_the_nearest():
    async def test(o):
        answer = await o.do("gpt-4o-min", "drain")
        assert answer.status == 404
        assert "did you mean 'gpt-4o-mini'?" in answer.said
        answer = await o.get("/admin/deployments/gpt-4o-min")
        assert answer.status == 404
        assert "did you mean 'gpt-4o-mini'?" in answer.said

    operate(test, scripts={"gpt-4o-mini": ("ok",), "other": ("ok",)})


def test_an_unknown_action_names_the_nearest():
    async def test(o):
        answer = await o.do("m", "braker", {})
        assert answer.status == 404
        assert answer.said == 'no action "braker" (did you mean "breaker"?)'

    operate(test)


def test_a_group_names_its_members():
    async def test(o):
        answer = await o.do("g", "drain")
        assert answer.status == 400
        assert "'g' is a group; its deployments are: a, b" in answer.said

    made = [spillway.Deployment(name=n, group="g", pricing=PRICE) for n in ("a", "b")]
    operate(test, scripts={"a": ("ok",), "b": ("ok",)}, deployments=made)


@pytest.mark.parametrize("name", ["models/gpt 4o", "a/breaker", "ünïcode ✓", "what?", "a#b", "a%2Fb", "<script>"])
def test_odd_names_are_reached(name):
    async def test(o):
        assert (await o.state(name))["name"] == name
        assert (await o.do(name, "drain")).json["deployment"]["in_service"] is False

    operate(test, scripts={name: ("ok",)})


def test_methods_that_are_not_for_a_route_are_refused():
    async def test(o):
        assert (await o.ask("POST", "/admin/deployments", {})).status == 405
        assert (await o.ask("DELETE", "/admin/deployments/m", {})).status == 405
        assert (await o.get("/admin/reload")).status == 405

    operate(test)


def test_the_state_shows_what_there_is():
    async def test(o):
        held = o.open(
            "POST",
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            headers=caller,
        )
        for _ in range(3):
            await o.chat(headers=caller)
        answer = await o.get("/admin/deployments", headers=BEARER)
        assert answer.headers["cache-control"] == "no-store"
        told = answer.json
        (m,) = told["deployments"]
        assert (m["busy"], m["workers"], m["queued"], m["queue_capacity"]) == (1, 7, 0, 9)
        assert m["limits"]["windows"] == [
            {"limit": "requests_per_minute", "used": 4, "most": 100, "in_use": 100},
            {"limit": "concurrent_requests", "used": 1, "most": 50, "in_use": 50},
        ]
        (hour,) = m["budget"]["windows"]
        assert (hour["per"], hour["cap_usd"]) == ("hour", 2.0)
        assert hour["spent_usd"] == pytest.approx(3 * 20e-6)
        assert m["budget"]["reserved_usd"] > 0
        assert m["spent_usd"] == pytest.approx(3 * 20e-6)
        assert m["last_15_min"]["ok"] == 3
        assert m["since_start"]["succeeded"] == 3
        assert told["gateway"]["last_15_min"]["ok"] == 3
        assert told["gateway"]["ready"] is True
        (key,) = told["keys"]
        assert key["name"] == "team-a"
        assert key["models"] == ["m*"]
        assert key["max_priority"] == "high"
        assert key["limits"] == [{"limit": "requests_per_minute", "used": 4, "most": 60, "in_use": 60}]
        assert key["budget"]["windows"][0]["spent_usd"] == pytest.approx(3 * 20e-6)
        text = answer.body.decode()
        assert "sk-team-a" not in text
        assert "the-admin-key" not in text
        await held.leave()

    caller = {"authorization": "Bearer sk-team-a"}
    key = GatewayKey(
        name="team-a", key=spillway.Secret("sk-team-a"), models=("m*",), max_priority="high",
        requests_per_minute=60, max_spend_per_day_usd=5.0,
    )  # fmt: skip
    operate(
        test,
        (Reply(hang=True), "ok"),
        keys=[(key, spillway.Secret("sk-team-a"))],
        admin_key=KEY,
        serving=spillway.Serving(max_concurrent=7, queue_capacity=9),
        rate_limits=spillway.RateLimits(requests_per_minute=100, concurrent_requests=50),
        budget=spillway.Budget(max_spend_per_hour_usd=2.0),
    )


def test_reload_needs_something_to_read():
    async def test(o):
        answer = await o.ask("POST", "/admin/reload", {})
        assert answer.status == 501
        assert "not made from a project file" in answer.said

    operate(test)


def test_reload_does_it_and_a_bad_file_says_where():
    async def test(o):
        async def reads():
            return {"added": ["x"]}

        o.app.reloader = reads
        answer = await o.ask("POST", "/admin/reload", {})
        assert answer.json == {"did": "configuration read again", "result": {"added": ["x"]}}

        async def fails():
            raise ConfigError('spillway.toml:7: unknown key "modell"')

        o.app.reloader = fails
        answer = await o.ask("POST", "/admin/reload", {})
        assert answer.status == 400
        assert answer.said == 'spillway.toml:7: unknown key "modell"; the old configuration stays'
        assert [e["failed"] for e in o.app.console.journal.since(0)] == [None, 'spillway.toml:7: unknown key "modell"']

    operate(test)


def test_an_exchanged_cluster_is_the_one_that_is_shown():
    async def test(o):
        await o.chat()
        await o.do("m", "limits", {"requests_per_minute": 5, "for_s": 60})
        runner = o.runners["m"]
        other = spillway.Cluster(
            [spillway.Deployment(name="n", pricing=PRICE)], runners={"n": lambda _d: runner}, environ={}
        )
        async with other:
            o.app.cluster = other
            assert [d["name"] for d in (await o.get("/admin/deployments")).json["deployments"]] == ["n"]
            await o.chat("n")
            (row,) = [r for r in o.app.console.recent.since(0, 0.0) if r["model"] == "n"]
            assert [a["deployment"] for a in row["tried"]] == ["n"]
            assert set(o.app.console.history.by_deployment) == {"n"}

    operate(test)


def test_the_demonstration_has_no_route_where_there_is_none():
    async def test(o):
        assert (await o.ask("POST", "/admin/demo", {"provider": "openai"})).status == 404

    operate(test)
