"""The doors: each reads one API's requests, asks the Cluster, and answers in that API's words."""

from __future__ import annotations

from spillway.gateway.doors.chat import chat
from spillway.gateway.doors.costs import costs
from spillway.gateway.doors.door import Door
from spillway.gateway.doors.embeddings import embeddings
from spillway.gateway.doors.health import alive, ready
from spillway.gateway.doors.models import models
from spillway.gateway.doors.openapi import openapi

__all__ = ["BRANCHES", "DOORS", "Door", "door_of"]

DOORS: dict[str, Door] = {
    "/v1/chat/completions": Door("chat", chat),
    "/v1/embeddings": Door("embeddings", embeddings),
    "/v1/models": Door("models", models, methods=("GET", "HEAD")),
    "/openapi.json": Door("openapi", openapi, methods=("GET", "HEAD")),
    "/admin/costs": Door("costs", costs, methods=("GET", "HEAD"), access="operator"),
    "/healthz": Door("healthz", alive, methods=("GET", "HEAD"), access="open"),
    "/readyz": Door("readyz", ready, methods=("GET", "HEAD"), access="open"),
}
"""Every route by its exact path."""

BRANCHES: tuple[tuple[str, Door], ...] = ()
"""Routes by what their path begins with."""


def door_of(path: str) -> Door | None:
    """Return the door that a path leads to, None when there is none."""
    door = DOORS.get(path)
    if door is None:
        door = next((door for prefix, door in BRANCHES if path.startswith(prefix)), None)
    return door
