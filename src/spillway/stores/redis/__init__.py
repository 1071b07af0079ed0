"""A store in a Redis."""

from __future__ import annotations

from spillway.stores.redis.address import may_be_url
from spillway.stores.redis.store import RedisStore

__all__ = ["RedisStore", "may_be_url"]
