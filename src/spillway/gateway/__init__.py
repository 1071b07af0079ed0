"""The gateway: OpenAI's API over HTTP, any deployment behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.gateway.app import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spillway.core.secrets import Secret
    from spillway.runtime.cluster import Cluster
    from spillway.runtime.project import GatewayKey

__all__ = ["Gateway", "create_app"]


def create_app(cluster: Cluster, *, keys: Iterable[tuple[GatewayKey, Secret]] = ()) -> Gateway:
    """Return an ASGI app in front of `cluster`; it may be mounted in another.

    Args:
        cluster: started and closed by the app's lifespan, where the server gives it one.
        keys: gateway keys with their secrets; none: open to everybody who reaches it.
    """
    return Gateway(cluster, keys)
