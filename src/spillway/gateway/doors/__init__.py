"""The doors: each reads one API's requests, asks the Cluster, and answers in that API's words."""

from __future__ import annotations

from spillway.gateway import admin
from spillway.gateway.doors.chat import chat
from spillway.gateway.doors.costs import costs
from spillway.gateway.doors.count_tokens import count_tokens
from spillway.gateway.doors.door import Door
from spillway.gateway.doors.embeddings import embeddings
from spillway.gateway.doors.health import alive, ready
from spillway.gateway.doors.messages import messages
from spillway.gateway.doors.metrics import metrics
from spillway.gateway.doors.models import model, models
from spillway.gateway.doors.openapi import openapi
from spillway.gateway.doors.responses import input_tokens, kept, responses

__all__ = ["BRANCHES", "DOORS", "UNSEEN", "Door", "door_of"]

DOORS: dict[str, Door] = {
    "/v1/chat/completions": Door("chat", chat),
    "/v1/embeddings": Door("embeddings", embeddings),
    "/v1/messages": Door("messages", messages),
    "/v1/messages/count_tokens": Door("count_tokens", count_tokens),
    "/v1/models": Door("models", models, methods=("GET", "HEAD")),
    "/v1/responses": Door("responses", responses),
    "/v1/responses/input_tokens": Door("input_tokens", input_tokens),
    "/dashboard": Door("dashboard", admin.dashboard, methods=("GET", "HEAD"), access="open"),
    "/admin/deployments": Door("admin", admin.deployments, methods=("GET", "HEAD"), access="operator"),
    "/admin/events": Door("admin", admin.events, methods=("GET",), access="operator"),
    "/admin/reload": Door("admin", admin.reload, access="operator"),
    "/openapi.json": Door("openapi", openapi, methods=("GET", "HEAD")),
    "/admin/costs": Door("costs", costs, methods=("GET", "HEAD"), access="operator"),
    "/healthz": Door("healthz", alive, methods=("GET", "HEAD"), access="open"),
    "/metrics": Door("metrics", metrics, methods=("GET", "HEAD"), access="operator"),
    "/readyz": Door("readyz", ready, methods=("GET", "HEAD"), access="open"),
}
"""Every route by its exact path."""

BRANCHES: tuple[tuple[str, Door], ...] = (
    ("/v1/models/", Door("models", model, methods=("GET", "HEAD"))),
    ("/v1/responses/", Door("responses", kept, methods=("GET", "POST", "DELETE"))),
    (admin.DEPLOYMENTS, Door("admin", admin.deployment, methods=("GET", "HEAD", "POST"), access="operator")),
)
"""Routes by what their path begins with."""


UNSEEN = frozenset(door.name for door in (*DOORS.values(), *(door for _, door in BRANCHES)) if door.access != "caller")
"""The names of doors that are not for callers."""


def door_of(path: str) -> Door | None:
    """Return the door that a path leads to, None when there is none."""
    door = DOORS.get(path)
    if door is None:
        door = next((door for prefix, door in BRANCHES if path.startswith(prefix)), None)
    return door
