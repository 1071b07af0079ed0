"""A store in a Redis."""

from __future__ import annotations

from spillway.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
