"""The OpenAPI document: what the routing table has, in the words of the operations and schemas beside this file.

Source: https://spec.openapis.org/oas/v3.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spillway.gateway.description.operations import OPERATIONS, Operation
from spillway.gateway.description.schemas import SCHEMAS

if TYPE_CHECKING:
    from spillway.gateway.doors.door import Door

_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "caller": [{"gatewayKey": []}, {"gatewayKeyHeader": []}],
    "operator": [{"adminKey": []}],
    "open": [],
}
_SCHEMES = {
    "gatewayKey": {"type": "http", "scheme": "bearer", "description": "a gateway key"},
    "gatewayKeyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "a gateway key"},
    "adminKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "the admin key; without one these routes are open to the gateway's own machine only",
    },
}
_ERRORS = {
    "400": "bad_request, content_filtered or context_length_exceeded",
    "401": "invalid_api_key",
    "402": "budget_exceeded or quota_exhausted",
    "404": "model_not_found or not_found",
    "408": "the body came too slowly",
    "413": "the body is larger than 64 MiB",
    "415": "not JSON, or a content-encoding other than gzip",
    "421": "the gateway is not asked under that Host",
    "429": "rate_limited or backpressure",
    "431": "the headers are too large",
    "502": "server_error, network_error, unauthorized_upstream or forbidden_upstream",
    "503": "circuit_open, or it is about to stop",
    "504": "timeout",
    "Other": "an error",
}
_COMMON = ("400", "401", "404", "421", "431")
_READING = ("408", "413", "415")
_ASKING = ("402", "429", "502", "503", "504")
_WAITING = frozenset({"402", "429", "503"})


def describe(doors: Mapping[str, Door], branches: Sequence[tuple[str, Door]]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a routing table."""
    paths: dict[str, Any] = {}
    for path, operations in OPERATIONS.items():
        door = _door_of(path, doors, branches)
        if door is None:
            continue
        paths[path] = {
            method: _operation(path, operation, door)
            for method, operation in operations.items()
            if method.upper() in door.methods
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spillway gateway",
            "version": version("spillway"),
            "summary": "Any SDK in, any provider out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": _SCHEMES,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "responses": {
                f"{shape}{status}": _error(shape, status) for shape in ("OpenAI", "Anthropic") for status in _ERRORS
            },
        },
    }


def paths_of(doors: Mapping[str, Door], branches: Sequence[tuple[str, Door]]) -> set[str]:
    """Return every route that a document must have: exact paths, and what the paths of branches begin with."""
    return {*doors, *(prefix for prefix, _ in branches)}


def _door_of(path: str, doors: Mapping[str, Door], branches: Sequence[tuple[str, Door]]) -> Door | None:
    if path in doors:
        return doors[path]
    filled = path.replace("{name}", "x")
    return next((door for prefix, door in branches if filled.startswith(prefix)), None)


def _operation(path: str, operation: Operation, door: Door) -> dict[str, Any]:
    shape = "Anthropic" if path.startswith("/v1/messages") else "OpenAI"
    statuses: list[str] = [*_COMMON] if door.access != "open" else ["400", "421", "431"]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [{"caller": "inference", "operator": "operator", "open": "health"}[door.access]],
        "security": _SECURITY[door.access],
        "parameters": [{"$ref": "#/components/parameters/request-id"}],
    }
    if "{name}" in path:
        described["parameters"].append({"$ref": "#/components/parameters/name"})
    if operation.query:
        described["parameters"] += operation.query
    if operation.body is not None:
        statuses += _READING
        schema = {"$ref": f"#/components/schemas/{operation.body}"}
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": schema}},
        }
    if operation.asks:
        statuses += _ASKING
        described["parameters"] += [{"$ref": f"#/components/parameters/{name}"} for name in _WISHES]
    answers: dict[str, Any] = {"200": _answer(operation)} if operation.answers else {}
    answers |= {status: {"$ref": f"#/components/responses/{shape}{status}"} for status in sorted(statuses)}
    for status, schema_name in operation.other.items():
        answers[status] = {
            "description": operation.summary,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema_name}"}}},
        }
    answers["default"] = {"$ref": f"#/components/responses/{shape}Other"}
    described["responses"] = answers
    return described


def _answer(operation: Operation) -> dict[str, Any]:
    content = {
        kind: {"schema": {"$ref": f"#/components/schemas/{name}"}} if name else {}
        for kind, name in operation.answers.items()
    }
    headers = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
    if operation.asks:
        headers |= {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in ("x-spillway-deployment", "x-spillway-attempts", "x-spillway-cost-usd")
        }
    return {"description": "the answer", "headers": headers, "content": content}


def _error(shape: str, status: str) -> dict[str, Any]:
    headers = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
    if status in _WAITING:
        headers |= {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in ("retry-after", "x-should-retry", "x-spillway-limited-by")
        }
    return {
        "description": _ERRORS[status],
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}Error"}}},
    }


def _header_in(name: str, schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": what}


_WISHES = ("priority", "timeout", "fallback", "max-cost", "traceparent")
_NUMBER = {"type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{1,6})?$"}
_ABOVE_ZERO = {"type": "string", "pattern": "^[1-9][0-9]{0,5}([.][0-9]{1,3})?$"}
_PARAMETERS: dict[str, Any] = {
    "request-id": _header_in(
        "x-request-id",
        {"type": "string"},
        "names the request in the answer, logs and traces; of more than 128 visible characters none is taken",
    ),
    "priority": _header_in(
        "x-spillway-priority",
        {"enum": ["background", "normal", "high", "critical"]},
        "never above the ceiling of the key",
    ),
    "timeout": _header_in("x-spillway-timeout-s", _ABOVE_ZERO, "the deadline for everything, in seconds, above 0"),
    "fallback": _header_in("x-spillway-fallback", {"enum": ["on", "off"]}, "off: no other deployment is asked"),
    "max-cost": _header_in("x-spillway-max-cost-usd", _NUMBER, "refused when the estimate is above it"),
    "traceparent": _header_in("traceparent", {"type": "string"}, "W3C trace context"),
    "name": {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "of what is meant",
    },
}
_HEADERS: dict[str, Any] = {
    "x-request-id": {"schema": {"type": "string"}, "description": "the caller's, or ours"},
    "x-spillway-deployment": {"schema": {"type": "string"}, "description": "who answered"},
    "x-spillway-attempts": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "description": "requests sent"},
    "x-spillway-cost-usd": {"schema": {"type": "string"}, "description": "what it cost; whole answers only"},
    "retry-after": {"schema": {"type": "string", "pattern": "^[1-9][0-9]*$"}, "description": "whole seconds"},
    "x-should-retry": {"schema": {"const": "false"}, "description": "asking again is useless"},
    "x-spillway-limited-by": {
        "schema": {"enum": ["key", "deployment", "provider", "budget", "breaker", "queue"]},
        "description": "whose limit it is",
    },
}
