"""`/openapi.json`: the gateway's API, described from its own routing table."""

from __future__ import annotations

from spillway.gateway.description.document import describe, paths_of

__all__ = ["describe", "paths_of"]
