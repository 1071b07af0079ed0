"""Shared state in a Redis: limits."""

from __future__ import annotations

from spillway.stores.redis.connection import RedisConnection
from spillway.stores.redis.limits import RedisLimits
from spillway.stores.redis.syncing import Syncing

__all__ = ["RedisConnection", "RedisLimits", "Syncing"]
