"""Where a Redis is, and how it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spillway.core.errors import ConfigError
from spillway.stores.shared.port import StoreSettings

if TYPE_CHECKING:
    from spillway.stores.shared.port import StoreLink


class RedisStore:
    """A Redis that processes share; needs the extra `redis`.

    Args:
        url: `redis://host:6379/0`, or `rediss://` for TLS.
        settings: see `StoreSettings`; they may be given by keyword.

    Raises:
        ConfigError: the extra is missing, or the URL is not one.
    """

    def __init__(self, url: str, settings: StoreSettings | None = None, **more: Any) -> None:
        self._url = url
        self.settings = StoreSettings(**more) if settings is None else settings
        self.connect()

    def connect(self) -> StoreLink:
        """Return a connection of one's own; nothing is sent before it is opened."""
        try:
            from spillway.stores.redis.link import RedisLink  # noqa: PLC0415 - Redis only where it is used
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "redis":
                raise
            raise ConfigError("redis is missing; the extra redis brings it: pip install 'spillway[redis]'") from None
        return RedisLink(self._url)

    def __repr__(self) -> str:
        url = urlsplit(self._url)
        return f"<RedisStore {url.scheme}://{url.hostname}:{url.port or 6379}{url.path} {self.settings.name}>"
