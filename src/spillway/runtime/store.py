"""Where state is shared, as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.errors import ConfigError

if TYPE_CHECKING:
    from spillway.runtime.project import ProjectFile
    from spillway.stores.shared import Store

MEMORY = "memory"
"""Nothing is shared."""


def store_at(store: str | Store, **settings: Any) -> Store | None:
    """Return the store that is meant; None: nothing is shared.

    Args:
        store: `memory`, the URL of a Redis, or a store.
        settings: how it is used where a URL is given, see `StoreSettings`.

    Raises:
        ConfigError: the extra is missing, or it is neither.
    """
    if not isinstance(store, str):
        return store
    if store == MEMORY:
        return None
    from spillway.stores.redis import RedisStore, may_be_url  # noqa: PLC0415 - Redis only where it is used

    if not may_be_url(store):
        raise ConfigError('store must be "memory" or a URL that begins with redis:// or rediss://')
    return RedisStore(store, **settings)


def store_of(project: ProjectFile) -> str | Store:
    """Return the store that a project file names, as a Cluster takes it.

    Raises:
        ConfigError: the extra is missing, or the URL is not one; it names file, line and key, and not the URL.
    """
    cluster = project.cluster
    settings = {name: getattr(cluster, name) for name in ("name", "sync_s", "allowance_s", "weight", "keep_share_s")}
    try:
        return store_at(cluster.store, **settings) or MEMORY
    except ConfigError as error:
        raise ConfigError(f"{project.store_place} store: {error}") from None


def shown_store(project: ProjectFile) -> str:
    """Return where a project's state is shared, without login and options."""
    from spillway.stores.redis.address import shown  # noqa: PLC0415 - Redis only where it is used

    store = project.cluster.store
    return MEMORY if store == MEMORY else shown(store)


WITHOUT = (
    "until it does, strict limits admit nothing, others nothing before it was reached once, budgets are closed, and "
    "circuits are each process's own"
)
"""What it means that a store does not answer."""
