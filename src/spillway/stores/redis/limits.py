"""Limits that are exact over all processes that share a Redis."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import Clock, loop_clock
from spillway.core.errors import ConfigError
from spillway.core.limit_store import AcquirePermit, Room, SharedLimits
from spillway.stores.redis.gossip import GossipPart
from spillway.stores.redis.leases import LeasedWindows, Sync, SyncAnswer

if TYPE_CHECKING:
    from spillway.core.options import RateLimits
    from spillway.stores.redis.connection import ScriptCall
    from spillway.stores.redis.syncing import Syncing

REPORT_S = 0.1
"""Seconds between two syncs while there is something to report."""

HEARTBEAT_S = 3.0
"""Seconds between two syncs that only show that this process lives."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SyncAnswer).decode


class LimitsPart:
    """The leases of one key in this process, as a part of its syncing.

    Args:
        key: of the limits, within the store's.
        prefix: of all keys of the store.
        holder: this process, among all that share the store.
    """

    def __init__(
        self, key: str, limits: RateLimits, *, prefix: str, holder: str, syncing: Syncing, window_s: float, gives_back: bool
    ) -> None:
        self._keys = (f"{prefix}{{{key}}}:limits", f"{prefix}{{{key}}}:holders")
        self._holder = holder
        self._clock: Clock = loop_clock()
        self._last = self._clock()
        self._sync: Sync | None = None
        self._started = 0.0
        self._room = Room()
        self._lock = threading.Lock()
        self.settings = limits, window_s, gives_back
        self.windows = LeasedWindows(limits, on_want=syncing.wake, window_s=window_s, gives_back=gives_back)
        self.shared = SharedLimits(
            windows=self.windows, lock=self._lock, room=self._room, clock=self._clock, fetch=self._fetch
        )
        self._syncing = syncing

    def next_sync(self) -> float:
        """Return when it wants to be synced: at once for whoever lacks a lease, soon to report, else to show life."""
        if self.windows.wants:
            return self.windows.again_at
        return self._last + (HEARTBEAT_S if self.windows.idle else REPORT_S)

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        now = self._clock()
        with self._lock:
            self._sync = self.windows.begin(
                now, holder=self._holder, run=run, elapsed_s=now - self._last, leaving=leaving
            )
        self._started = self._last = now
        return "limits", self._keys, _encode(self._sync)

    def end(self, answer: Any) -> None:
        """Take what the store answered."""
        sync = self._sync
        if sync is None:
            return
        with self._lock:
            self.windows.end(self._clock(), sync, _decode(answer), started=self._started)
        self._room.tell()

    def failed(self) -> None:
        """Go on without the store."""
        sync, self._sync = self._sync, None
        if sync is not None:
            with self._lock:
                self.windows.failed(self._clock(), sync)
        self._room.tell()

    async def _fetch(self, want: AcquirePermit, timeout_s: float) -> bool:
        return await self._syncing.synced(timeout_s)


class RedisLimits:
    """A `LimitStore` over a Redis: exact, or kept together by telling, as `exact` says.

    Args:
        syncing: of this process with the store.
        holder: this process, among all that share the store; no two may have the same.
        prefix: of all keys.
    """

    def __init__(self, syncing: Syncing, *, holder: str, prefix: str = "spillway:", exact: bool = True) -> None:
        self._exact = exact
        self._syncing = syncing
        self._holder = holder
        self._prefix = prefix
        self._parts: dict[str, LimitsPart | GossipPart] = {}

    def share(
        self, key: str, limits: RateLimits, *, holder: str, window_s: float = 60.0, gives_back: bool = True
    ) -> SharedLimits:
        """Return the windows of `key`, the same for every holder.

        Raises:
            ConfigError: another holder of this process has it with other limits.
        """
        part = self._parts.get(key)
        if part is None:
            kind = LimitsPart if self._exact else GossipPart
            part = self._parts[key] = kind(
                key,
                limits,
                prefix=self._prefix,
                holder=self._holder,
                syncing=self._syncing,
                window_s=window_s,
                gives_back=gives_back,
            )
            self._syncing.add(part)
        elif part.settings != (limits, window_s, gives_back):
            raise ConfigError(f"{holder} shares the limits {key!r} with other settings than those it has")
        return part.shared
