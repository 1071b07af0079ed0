"""The gateway: OpenAI's API over HTTP, any deployment behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.gateway.app import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spillway.core.secrets import Secret
    from spillway.gateway.served import Listener
    from spillway.runtime.cluster import Cluster
    from spillway.runtime.project import GatewayKey

__all__ = ["Gateway", "create_app"]


def create_app(
    cluster: Cluster,
    *,
    keys: Iterable[tuple[GatewayKey, Secret]] = (),
    admin_key: Secret | None = None,
    listeners: Sequence[Listener] = (),
    name: str = "spillway",
    hosts: Iterable[str] | None = None,
) -> Gateway:
    """Return an ASGI app in front of `cluster`; it may be mounted in another.

    Args:
        cluster: started and closed by the app's lifespan, where the server gives it one.
        keys: gateway keys with their secrets; none: open to everybody who reaches it.
        admin_key: opens the operator's routes; None: they are open to loopback only.
        listeners: told of every request after its end.
        name: what metrics and logs call the whole.
        hosts: beside those of loopback, the names that a `Host` header may have; None: any.
    """
    return Gateway(cluster, keys, admin_key=admin_key, listeners=listeners, name=name, hosts=hosts)
