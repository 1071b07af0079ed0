"""Where state is shared, as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.errors import ConfigError

if TYPE_CHECKING:
    from spillway.runtime.project import ProjectFile
    from spillway.stores.shared import Store

MEMORY = "memory"
"""Nothing is shared."""


def store_at(store: str | Store, *, name: str | None = None) -> Store | None:
    """Return the store that is meant; None: nothing is shared.

    Args:
        store: `memory`, the URL of a Redis, or a store.
        name: of the cluster, where a URL is given.

    Raises:
        ConfigError: the extra is missing, or it is neither.
    """
    if not isinstance(store, str):
        return store
    if store == MEMORY:
        return None
    if not store.startswith(("redis://", "rediss://")):
        raise ConfigError('store must be "memory" or a URL that begins with redis:// or rediss://')
    from spillway.stores.redis import RedisStore  # noqa: PLC0415 - Redis only where it is used

    return RedisStore(store) if name is None else RedisStore(store, name=name)


def store_of(project: ProjectFile) -> str | Store:
    """Return the store that a project file names, as a Cluster takes it.

    Raises:
        ConfigError: the extra is missing.
    """
    return store_at(project.cluster.store, name=project.cluster.name) or MEMORY
