"""What each route takes and gives; a route that the table has not is left out of the document."""

from __future__ import annotations

from typing import Any

import msgspec


class Operation(msgspec.Struct, frozen=True):
    """One method of one route.

    Attributes:
        name: the operation's id.
        body: the schema of its body; None: it reads none.
        answers: schemas of a good answer by content type; empty: text.
        asks: whether it asks a provider, so that the `x-spillway-*` headers count.
        other: schemas of further statuses that are no errors.
        query: parameters of the query.
    """

    name: str
    summary: str
    body: str | None = None
    answers: dict[str, str] = msgspec.field(default_factory=lambda: {"application/json": "Object"})
    asks: bool = False
    body_required: bool = True
    other: dict[str, str] = {}
    query: list[dict[str, Any]] = []


_JSON = "application/json"
_EVENTS = "text/event-stream"


_NOT_KEPT = "Refused: no response is kept here."
_COUNT = {_JSON: "Count"}


def _query(name: str, schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": what}


OPERATIONS: dict[str, dict[str, Operation]] = {
    "/v1/chat/completions": {
        "post": Operation(
            "createChatCompletion",
            "OpenAI's chat completions, for any deployment.",
            "ChatRequest",
            {_JSON: "ChatCompletion", _EVENTS: ""},
            asks=True,
        )
    },
    "/v1/responses": {
        "post": Operation(
            "createResponse",
            "OpenAI's responses, for any deployment.",
            "ResponsesRequest",
            {_JSON: "Object", _EVENTS: ""},
            asks=True,
        )
    },
    "/v1/responses/input_tokens": {
        "post": Operation(
            "countInputTokens", "How many input tokens a response's request has.", "ResponsesRequest", _COUNT, asks=True
        )
    },
    "/v1/responses/{name}": {
        "get": Operation("getResponse", _NOT_KEPT, answers={}),
        "delete": Operation("deleteResponse", _NOT_KEPT, answers={}),
        "post": Operation("changeResponse", _NOT_KEPT, answers={}),
    },
    "/v1/embeddings": {
        "post": Operation("createEmbedding", "Vectors of texts.", "EmbeddingsRequest", {_JSON: "Embeddings"}, asks=True)
    },
    "/v1/models": {"get": Operation("listModels", "What the key may ask for.", answers={_JSON: "Models"})},
    "/v1/models/{name}": {
        "get": Operation("getModel", "One model that the key may ask for.", answers={_JSON: "Model"})
    },
    "/v1/messages": {
        "post": Operation(
            "createMessage",
            "Anthropic's messages, for any deployment.",
            "MessagesRequest",
            {_JSON: "Message", _EVENTS: ""},
            asks=True,
        )
    },
    "/v1/messages/count_tokens": {
        "post": Operation("countTokens", "How many input tokens a message has.", "CountRequest", _COUNT, asks=True)
    },
    "/healthz": {"get": Operation("alive", "The process runs.", answers={_JSON: "Status"})},
    "/readyz": {
        "get": Operation("ready", "Some deployment can serve.", answers={_JSON: "Status"}, other={"503": "Status"})
    },
    "/openapi.json": {"get": Operation("describe", "This document.", answers={_JSON: "Object"})},
    "/metrics": {"get": Operation("metrics", "Prometheus metrics.", answers={"text/plain": ""})},
    "/dashboard": {"get": Operation("dashboard", "The live page, without data.", answers={"text/html": ""})},
    "/admin/deployments": {"get": Operation("listDeployments", "All deployments and their state.")},
    "/admin/deployments/{name}": {"get": Operation("getDeployment", "One deployment and its state.")},
    "/admin/deployments/{name}/breaker": {
        "post": Operation("setBreaker", "Force the circuit breaker open, or close it.", "BreakerOrder")
    },
    "/admin/deployments/{name}/rebuild-session": {
        "post": Operation("rebuildSession", "Read the secret again.", "NoOrder", body_required=False)
    },
    "/admin/deployments/{name}/drain": {
        "post": Operation("drain", "Take out of service, or put back.", "DrainOrder", body_required=False)
    },
    "/admin/deployments/{name}/limits": {
        "post": Operation("setLimits", "Change the limits for an incident, or reset them.", "LimitsOrder")
    },
    "/admin/costs": {
        "get": Operation(
            "costs",
            "Spend and tokens.",
            query=[
                _query("by", {"enum": ["deployment", "model", "key", "day"]}, "what the rows are"),
                _query("since", {"type": "string", "format": "date"}, "from that day on, UTC"),
            ],
        )
    },
    "/admin/events": {"get": Operation("events", "What the dashboard shows, live.", answers={_EVENTS: ""})},
    "/admin/reload": {"post": Operation("reload", "Read the project file again.", "NoOrder", body_required=False)},
}
"""Operations by path and method."""
