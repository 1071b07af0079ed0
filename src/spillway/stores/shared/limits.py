"""Limits that are exact over all processes that share a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.limit_store import Room, SharedLimits
from spillway.stores.shared.lease_messages import LeaseAnswer
from spillway.stores.shared.leases import LeasedWindows
from spillway.stores.shared.mode_log import ModeLog
from spillway.stores.shared.pocket import Spans

if TYPE_CHECKING:
    from spillway.core.options import RateLimits
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

REPORT_S = 0.1
"""Seconds between two syncs while there is something to report."""

_SPARE_S = 0.25
_PRESSED_S = 0.05
_HEARTBEAT_S = 3.0
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LeaseAnswer).decode


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
        spans = Spans(window_s, settings.silent_s)
        self._keys = (f"{settings.prefix}{{{key}}}:limits", f"{settings.prefix}{{{key}}}:holders")
        self._clock = syncing.clock
        self._wake = syncing.wake
        self._spare_s = min(_SPARE_S, spans.lease_s / 2)
        self._heartbeat_s = min(_HEARTBEAT_S, settings.silent_s / 5)
        self._last = self._clock()
        self._room = Room()
        self._lock = threading.Lock()
        self._mode = ModeLog(key)
        self._settings = window_s, gives_back
        self.windows = LeasedWindows(limits, spans=spans, holder=holder, on_want=self._wake, gives_back=gives_back)
        self.shared = SharedLimits(windows=self.windows, lock=self._lock, room=self._room, clock=self._clock)

    @property
    def made_for(self) -> tuple[RateLimits, float, bool]:
        """What another holder in this process must ask for to share it."""
        return (self.windows.limits, *self._settings)

    def next_sync(self) -> float:
        """Return when it wants to be synced: at once for whoever lacks a lease, soon to report, else to show life."""
        pocket = self.windows.pocket
        if pocket.lost:
            return self._last
        rest_s = REPORT_S if pocket.has_news else self._heartbeat_s
        if pocket.has_spare:
            rest_s = min(rest_s, _PRESSED_S if pocket.pressed else self._spare_s)
        at = self._last + rest_s
        return min(at, pocket.again_at) if pocket.wants else at

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        self._last = self._clock()
        with self._lock:
            report = self.windows.pocket.report(self._last, run, leaving=leaving)
            return "limits", self._keys, _encode(report)

    def end(self, answer: Any) -> None:
        """Take what the store answered."""
        pocket = self.windows.pocket
        was_lost = pocket.lost
        with self._lock:
            room = pocket.answered(self._clock(), _decode(answer), started=self._last)
        self._note_mode()
        if room or was_lost or self._room.waiting:
            self._room.tell()

    def failed(self) -> None:
        """Go on without the store."""
        pocket = self.windows.pocket
        was_lost = pocket.lost
        with self._lock:
            pocket.unanswered()
        self._note_mode()
        if not was_lost:
            self._room.tell()

    def _note_mode(self) -> None:
        if not self.windows.unlimited:
            self._mode.note(self.windows.mode(self._clock()))
