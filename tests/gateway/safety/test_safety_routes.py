"""Keys and routes over HTTP: nothing is answered to who shows no key, whatever the path, the method or the header."""

import json
import statistics
import time

import pytest
from safety_rig import ADMIN_KEY, BEARER, CHAT, KEY, OTHER_KEY, Served, answers, app_of, ask_app, said

from spillway.gateway.doors import BRANCHES, DOORS

OPEN = {path for path, door in DOORS.items() if door.access == "open"}
ODD = [
    "/", "//", "*", "/docs", "/redoc", "/v1", "/v1/", "//v1/models", "/v1//models", "/V1/models", "/v1/models/", "/v1/models?key=", "/v1/%2e%2e/metrics",
    "/v1/../metrics", "/%2e%2e/metrics", "/./v1/models", "/v1/models%00", "/v1/models%0d%0ax:y", "/v1/models;a=b", "/v1\\models", "/healthz/", "/healthz/..", "/healthz%2f..%2fv1/models",
    "/HEALTHZ", "/healthz%20", "/admin", "/admin/", "/admin/deployments/../../v1/models", "/admin/x", "/metrics/", "/dashboard/../admin/costs", "/.env", "/.git/config", "/static/..%2f..%2fetc/passwd",
    "/readyz/../openapi.json", "/openapi.yaml", "/%76%31/models", "/v1/chat/completions/../models", "http://localhost/v1/models", "/v1/models#x",
]  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PROPFIND")
BAD_KEYS = {
    "none": [],
    "empty": [("Authorization", "")],
    "no token": [("Authorization", "Bearer")],
    "no token but a blank": [("Authorization", "Bearer ")],
    "another": [("Authorization", "Bearer no")],
    "almost": [("Authorization", f"Bearer {KEY[:-1]}")],
    "longer": [("Authorization", f"Bearer {KEY}x")],
    "in capitals": [("Authorization", f"Bearer {KEY.upper()}")],
    "basic": [("Authorization", f"Basic {KEY}")],
    "no scheme": [("Authorization", KEY)],
    "two in one": [("Authorization", f"Bearer {KEY}, Bearer {KEY}")],
    "two headers": [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")],
    "two headers of x-api-key": [("x-api-key", KEY), ("X-Api-Key", KEY)],
    "a bad one beside": [("x-api-key", "no"), ("Authorization", f"Bearer {KEY}")],
    "blank inside": [("Authorization", f"Bearer  {KEY}")],
    "of the admin": [("Authorization", f"Bearer {ADMIN_KEY}")],
    "in a cookie": [("Cookie", f"authorization={KEY}")],
    "of 8,000 characters": [("Authorization", "Bearer " + "k" * 8000)],
    "beyond ASCII": [("Authorization", "Bearer \xe9\xff")],
    "as the proxy's": [("Proxy-Authorization", f"Bearer {KEY}")],
}


def raw(served, method, path, rows, body=b""):
    lines = "".join(f"{name}: {value}\r\n" for name, value in rows)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{lines}\r\n"
    return answers(served.raw(head.encode("latin-1") + body, 5)[0])[0]


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_is_none_is_401(served, upstream, name):
    before = len(upstream.requests)
    answer = raw(served, "POST", CHAT, BAD_KEYS[name], json.dumps(said()).encode())
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert answer.headers["connection"] == "close"
    assert KEY not in answer.body.decode()
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    "rows",
    [
        [("authorization", f"bearer {KEY}")],
        [("AUTHORIZATION", f"BEARER {KEY}")],
        [("x-api-key", KEY)],
        [("Authorization", f"Bearer {KEY} ")],
    ],
)
def test_a_key_that_is_one_is_let_in(served, rows):
    assert raw(served, "GET", "/v1/models", rows).status == 200


@pytest.mark.parametrize("query", ["key", "api_key", "api-key", "x-api-key", "access_token", "token", "authorization"])
def test_a_key_in_the_url_is_none(served, query):
    assert raw(served, "GET", f"/v1/models?{query}={KEY}", []).status == 401


def test_a_key_of_a_mebibyte_is_refused_with_its_head(served):
    came, closed = served.raw(
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"k" * 2**20 + b"\r\n\r\n"
    )
    assert came == b"" or answers(came)[0].status == 431
    assert closed
    assert served.ask("GET", "/v1/models", BEARER).status == 200


async def test_the_time_tells_nothing_of_how_near_a_key_is(upstream):
    async with app_of(upstream.url) as app:
        took = {}
        for name, key in {"far": "x" * len(KEY), "near": KEY[:-1] + "x", "long": "x" * 500}.items():
            times = []
            for _ in range(300):
                began = time.perf_counter()
                await ask_app(app, "POST", CHAT, {"authorization": f"Bearer {key}"})
                times.append(time.perf_counter() - began)
            took[name] = statistics.median(times)
    assert max(took.values()) < 2 * min(took.values()), took


@pytest.mark.parametrize("method", METHODS)
def test_every_route_needs_a_key_unless_it_is_open(served, method):
    for path in [*DOORS, *(f"{prefix}x" for prefix, _ in BRANCHES), *ODD]:
        if path.partition("?")[0] in OPEN or (path == "*" and method != "OPTIONS"):
            continue
        for rows in ([], [("Authorization", "Bearer no")]):
            came, closed = served.raw(
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
                + "".join(f"{name}: {value}\r\n" for name, value in rows).encode()
                + b"\r\n"
            )
            status = int(came.split(b" ")[1])
            assert status in {400, 401}, (method, path, came)
            assert closed


@pytest.mark.parametrize(
    "path",
    [path for path in ODD if not path.startswith(("*", "http:", "/v1/models?", "/v1/models#", "/%76", "/admin/"))],
)
def test_no_other_spelling_leads_anywhere(served, path):
    assert served.ask("GET", path, BEARER).status == (401 if path.startswith("/admin/deployments/") else 404)


@pytest.mark.parametrize(
    "name", ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"]
)
def test_no_header_changes_method_or_path(served, name):
    assert served.ask("GET", CHAT, {**BEARER, name: "POST"}).status == 405
    assert served.ask("GET", "/healthz", {**BEARER, name: "/v1/models"}).json == {"status": "ok"}


@pytest.mark.parametrize("path", [path for path, door in DOORS.items() if door.access != "operator"])
def test_methods_that_a_route_has_not(served, path):
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - set(DOORS[path].methods):
        answer = served.ask(method, path, BEARER)
        assert (answer.status, answer.code) == (405, "bad_request")
        assert answer.headers["allow"] == ", ".join(DOORS[path].methods)


class TestPages:
    """No page of another origin is told anything, and where no key is asked for none is let in."""

    PAGE = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }

    def test_no_answer_allows_another_origin(self, served):
        for method, path in (
            ("OPTIONS", CHAT),
            ("GET", "/v1/models"),
            ("GET", "/healthz"),
            ("OPTIONS", "/healthz"),
            ("POST", CHAT),
        ):
            for headers in (self.PAGE, {**self.PAGE, **BEARER}):
                answer = served.ask(method, path, headers, said() if method == "POST" else None)
                assert not any(name.startswith("access-control-") for name in answer.headers)
                if method == "OPTIONS":
                    assert answer.status in {401, 405}

    async def test_without_keys_no_page_is_let_in(self, upstream):
        body = json.dumps(said()).encode()
        async with app_of(upstream.url, keys=False, hosts=()) as app:
            assert (await ask_app(app, "POST", CHAT, {}, [body]))[0].status == 200
            for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
                answer, asked = await ask_app(app, "POST", CHAT, {**headers, "content-type": "text/plain"}, [body])
                assert (answer.status, asked) == (401, 0)

    async def test_a_form_is_no_request(self, upstream):
        async with app_of(upstream.url, keys=False) as app:
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                answer, _ = await ask_app(app, "POST", CHAT, {"content-type": kind}, [json.dumps(said()).encode()])
                assert answer.status == 415


class TestHosts:
    @pytest.mark.option("gateway.hosts")
    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.nip.io", "localhost.evil.example", "10.0.0.1", "2130706433", "0.0.0.0"]
    )
    def test_on_loopback_no_other_name_is_answered(self, served, host):
        for headers in ({}, BEARER):
            answer = served.ask("GET", "/v1/models", {**headers, "host": host})
            assert answer.status == 421
            assert "[gateway] hosts" in answer.json["error"]["message"]

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "localhost."])
    def test_loopbacks_own_names_are(self, served, host):
        assert served.ask("GET", "/v1/models", {**BEARER, "host": host}).status == 200

    @pytest.mark.option("gateway.hosts")
    def test_a_name_of_the_file_is_answered(self, upstream, tmp_path):
        with Served(tmp_path, upstream.url, gateway='hosts = ["api.example.com"]') as served:
            assert served.ask("GET", "/v1/models", {**BEARER, "host": "api.example.com:443"}).status == 200
            assert served.ask("GET", "/v1/models", {**BEARER, "host": "example.com"}).status == 421


class TestLongNames:
    @pytest.mark.parametrize(
        "model", ["m" * 100 * 1024, "*" * 100 * 1024, "[" * 100 * 1024, "a*" * 50 * 1024, "\u0000" * 1000, "../" * 1000]
    )
    async def test_a_long_model_name_takes_no_time(self, upstream, model):
        async with app_of(upstream.url) as app:
            body = json.dumps(said(model=model)).encode()
            await ask_app(app, "POST", CHAT, BEARER, [body])
            began = time.perf_counter()
            answer, _ = await ask_app(app, "POST", CHAT, BEARER, [body])
            assert time.perf_counter() - began < 0.01
            assert answer.status == 404
            assert len(answer.body) < 2048

    @pytest.mark.parametrize(
        "pattern", ["*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "?*?*?*?*?*?*?*?*x", "[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*!"]
    )
    def test_a_keys_patterns_are_no_trap(self, pattern):
        from spillway.core.secrets import Secret
        from spillway.gateway.callers import Caller
        from spillway.runtime.project import GatewayKey

        caller = Caller(GatewayKey(name="t", key=Secret("k"), models=(pattern,)), time.monotonic)
        began = time.perf_counter()
        assert not caller.may_ask("a" * 512)
        assert time.perf_counter() - began < 0.1


async def test_ten_thousand_names_of_models_leave_nothing_behind(upstream):
    """Of a name that is not known nothing is kept: neither in the records that metrics are made of, nor in the app."""
    records = []

    class Keep:
        def on_served(self, record):
            records.append(record)

    async with app_of(upstream.url, listeners=[Keep()]) as app:
        for number in range(10_000):
            answer, _ = await ask_app(app, "POST", CHAT, BEARER, [json.dumps(said(model=f"m-{number}")).encode()])
            assert answer.status == 404
        answer, _ = await ask_app(app, "GET", "/metrics", {"authorization": f"Bearer {ADMIN_KEY}"})
    assert {(r.model, r.deployment, r.caller, r.outcome) for r in records if r.door == "chat"} == {
        ("", "", "team-a", "model_not_found")
    }
    assert answer.status == 401 or answer.body.count(b"\n") < 1000


async def test_ten_thousand_paths_leave_nothing_behind(upstream):
    records = []

    class Keep:
        def on_served(self, record):
            records.append(record)

    async with app_of(upstream.url, listeners=[Keep()]) as app:
        for number in range(1000):
            await ask_app(app, "GET", f"/p{number}", BEARER)
    assert {(r.door, r.outcome) for r in records} == {("", "not_found")}


def test_tenants_do_not_see_each_others_keys(served):
    for key in (KEY, OTHER_KEY):
        answer = served.ask("GET", "/v1/models", {"x-api-key": key})
        assert answer.status == 200
        assert "team-" not in answer.body.decode()
