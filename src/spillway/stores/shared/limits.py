"""Limits that are exact over all processes that share a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import Clock, loop_clock
from spillway.core.limit_store import AcquirePermit, Room, SharedLimits
from spillway.stores.shared.leases import LeasedWindows, Sync, SyncAnswer

if TYPE_CHECKING:
    from spillway.core.options import RateLimits
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

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
        holder: this process, among all that share the store.
    """

    def __init__(
        self,
        key: str,
        limits: RateLimits,
        *,
        settings: StoreSettings,
        holder: str,
        syncing: Syncing,
        window_s: float,
        gives_back: bool,
    ) -> None:
        self._keys = (f"{settings.prefix}{{{key}}}:limits", f"{settings.prefix}{{{key}}}:holders")
        self._holder = holder
        self._clock: Clock = loop_clock()
        self._last = self._clock()
        self._sync: Sync | None = None
        self._started = 0.0
        self._room = Room()
        self._lock = threading.Lock()
        self.made_for = limits, window_s, gives_back
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

    async def _fetch(self, want: AcquirePermit, timeout_s: float) -> bool:  # noqa: ARG002 - what is wanted was noted
        return await self._syncing.synced(timeout_s)
