"""`/openapi.json`: valid, and the routing table to the letter."""

import json

import jsonschema
from safety_rig import ADMIN_KEY, BEARER, CHAT, KEY, app_of, ask_app, said

from spillway.gateway.description import describe, paths_of
from spillway.gateway.description.operations import OPERATIONS
from spillway.gateway.doors import BRANCHES, DOORS, door_of

METHODS = {"get", "post", "put", "patch", "delete"}


async def document(upstream):
    async with app_of(upstream.url) as app:
        answer, _ = await ask_app(app, "GET", "/openapi.json", BEARER)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        return answer.json


async def test_it_needs_a_callers_key(upstream):
    async with app_of(upstream.url) as app:
        for headers in ({}, {"authorization": f"Bearer {ADMIN_KEY}"}):
            answer, _ = await ask_app(app, "GET", "/openapi.json", headers)
            assert answer.status == 401
        answer, _ = await ask_app(app, "HEAD", "/openapi.json", {"x-api-key": KEY})
        assert (answer.status, answer.body) == (200, b"")


async def test_every_route_is_described_and_nothing_else(upstream):
    told = await document(upstream)
    for route in paths_of(DOORS, BRANCHES):
        assert any(path == route or path.startswith(route) for path in told["paths"]), f"{route} is not described"
    assert told["paths"].keys() == OPERATIONS.keys(), "described, and leads nowhere"
    for path, operations in told["paths"].items():
        door = door_of(path.replace("{name}", "x"))
        assert operations, path
        methods = {method.upper() for method in operations}
        assert methods <= set(door.methods)
        if path in DOORS:
            assert methods == set(door.methods) - {"HEAD"}, path


async def test_who_may_ask_is_told_as_it_is(upstream):
    told = await document(upstream)
    for path, operations in told["paths"].items():
        door = door_of(path.replace("{name}", "x"))
        for operation in operations.values():
            schemes = {name for scheme in operation["security"] for name in scheme}
            assert (
                schemes
                == {"caller": {"gatewayKey", "gatewayKeyHeader"}, "operator": {"adminKey"}, "open": set()}[door.access]
            )
            assert ("401" in operation["responses"]) == (door.access != "open")


async def test_it_keeps_the_rules_of_openapi(upstream):
    told = await document(upstream)
    assert told["openapi"].startswith("3.1")
    assert {"title", "version"} <= told["info"].keys()
    ids = []
    for path, operations in told["paths"].items():
        assert path.startswith("/")
        assert operations.keys() <= METHODS
        for operation in operations.values():
            ids.append(operation["operationId"])
            assert all("description" in resolved(told, answer) for answer in operation["responses"].values())
            names = [(resolved(told, one)["in"], resolved(told, one)["name"]) for one in operation["parameters"]]
            assert len(names) == len(set(names))
            assert ("{name}" in path) == (("path", "name") in names)
            for scheme in operation["security"]:
                assert scheme.keys() <= told["components"]["securitySchemes"].keys()
    assert len(ids) == len(set(ids))
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in references(told):
        assert resolved(told, {"$ref": reference}) is not None


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolved(told, part):
    while "$ref" in part:
        where = told
        for step in part["$ref"].removeprefix("#/").split("/"):
            where = where[step]
        part = where
    return part


async def test_answers_and_refusals_are_what_it_says(upstream):
    told = await document(upstream)

    def check(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": told["components"]}
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)

    check("ChatRequest", said(max_tokens=3, temperature=0.5))
    async with app_of(upstream.url) as app:
        body = json.dumps(said()).encode()
        check("ChatCompletion", (await ask_app(app, "POST", CHAT, BEARER, [body]))[0].json)
        check("Models", (await ask_app(app, "GET", "/v1/models", BEARER))[0].json)
        check("Status", (await ask_app(app, "GET", "/healthz"))[0].json)
        for headers, sent in (({}, body), (BEARER, b"[]"), (BEARER, json.dumps(said(model="no")).encode())):
            check("OpenAIError", (await ask_app(app, "POST", CHAT, headers, [sent]))[0].json)
        answer, _ = await ask_app(app, "POST", "/v1/messages", {}, [b"{}"])
        check("AnthropicError", answer.json)


def test_what_the_table_has_not_is_not_described():
    assert describe({}, ())["paths"] == {}
    assert set(describe({"/healthz": DOORS["/healthz"]}, ())["paths"]) == {"/healthz"}
