"""Where a Redis is, and how it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.errors import ConfigError
from spillway.stores.redis.address import shown
from spillway.stores.shared.port import StoreSettings

if TYPE_CHECKING:
    from spillway.stores.shared.port import StoreLink


class RedisStore:
    """A Redis that processes share; needs the extra `redis`.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///path?db=0`, or with sentinels
            `redis+sentinel://host:26379,host:26379/mymaster/0`.
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
        return f"<RedisStore {shown(self._url)} {self.settings.name}>"
