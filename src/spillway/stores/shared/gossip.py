"""Limits that processes keep together by telling each other through a store what they have counted."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import Clock, loop_clock, new_id
from spillway.core.limit_store import Room, SharedLimits
from spillway.remote.rate_limit.counter import Delta
from spillway.remote.rate_limit.gossip import JOINING, GossipMachine
from spillway.stores.shared.port import SILENT_S

if TYPE_CHECKING:
    from spillway.core.options import RateLimits
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

_encode = msgspec.msgpack.Encoder().encode


class Telling(msgspec.Struct, kw_only=True):
    """What one sync says, see `gossip.lua`; times in milliseconds."""

    node: str
    since: int
    window_ms: int
    width_ms: float
    silent_ms: int
    deltas: list[tuple[int, str]]
    weight: float
    in_flight: int
    blocked_ms: int
    leaving: bool


class Told(msgspec.Struct, kw_only=True):
    """What the store answers; times in milliseconds."""

    now: float
    version: int
    told: list[tuple[str, int, str]] | dict[str, str]
    weights: float
    in_flight: int
    nodes: int
    blocked_in: float
    anew: bool


_decode = msgspec.msgpack.Decoder(Told).decode


class GossipPart:
    """The counter of one key in this process, as a part of its syncing.

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
        self._keys = tuple(
            f"{settings.prefix}{{{key}}}:gossip:{what}" for what in ("entries", "changes", "slots", "facts", "nodes")
        )
        self._sync_s = settings.sync_s
        self._window_s = window_s
        self._clock: Clock = loop_clock()
        self._began = -math.inf
        self._since = -1
        self._blocked_told = -math.inf
        self._lock = threading.Lock()
        self._room = Room()
        self.made_for = limits, window_s, gives_back
        self.windows = GossipMachine(
            f"{holder}-{new_id()}",
            limits,
            sync_s=settings.sync_s,
            window_s=window_s,
            gives_back=gives_back,
            allowance=settings.allowance,
            weight=settings.weight,
        )
        self.shared = SharedLimits(windows=self.windows, lock=self._lock, room=self._room, clock=self._clock)
        del syncing

    def next_sync(self) -> float:
        """Return when it wants to be synced."""
        return self._began + self._sync_s

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:  # noqa: ARG002 - the version tells of another store
        """Return the script call of one sync."""
        now = self._began = self._clock()
        machine = self.windows
        with self._lock:
            deltas = machine.news()
            blocked_s = machine.blocked_for(now)
        telling = Telling(
            node=machine.node,
            since=self._since,
            window_ms=round(self._window_s * 1000),
            width_ms=self._window_s * 1000 / 120,
            silent_ms=round(SILENT_S * 1000),
            deltas=[(delta.slot, " ".join(map(str, delta.entry))) for delta in deltas],
            weight=machine.weight,
            in_flight=machine.in_flight,
            blocked_ms=math.ceil(blocked_s * 1000),
            leaving=leaving,
        )
        return "gossip", self._keys, _encode(telling)

    def end(self, answer: Any) -> None:
        """Take what others have counted."""
        told = _decode(answer)
        now = self._clock()
        if told.anew and self._since >= 0:
            # Another store, or one that was emptied: it is told everything again.
            self.windows.not_synced()
        self._since = told.version
        rows = told.told if isinstance(told.told, list) else []
        deltas = [Delta(node, slot, tuple(map(int, packed.split()))) for node, slot, packed in rows]
        with self._lock:
            self.windows.synced(
                now,
                deltas,
                store_now=told.now / 1000.0 + (now - self._began) / 2.0,
                share=self.windows.weight / told.weights if told.weights else 1.0,
                others_in_flight=told.in_flight,
                blocked_s=told.blocked_in / 1000.0,
            )
        self._room.tell()

    def failed(self) -> None:
        """Go on without the store: after three rounds with this node's share alone."""
        with self._lock:
            self.windows.not_synced()
        self._room.tell()

    @property
    def joining(self) -> bool:
        """Whether it has never been synced."""
        return self.windows.mode(self._clock()) == JOINING
