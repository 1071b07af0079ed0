"""Limits that processes keep together by telling each other through a store what they have counted."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import new_id
from spillway.core.limit_store import Room, SharedLimits
from spillway.remote.rate_limit.counter import Delta
from spillway.remote.rate_limit.gossip import GossipMachine
from spillway.remote.rate_limit.telling import Heard
from spillway.stores.shared.mode_log import ModeLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.core.options import RateLimits
    from spillway.stores.shared.port import ScriptCall, StoreSettings
    from spillway.stores.shared.syncing import Syncing

_logger = logging.getLogger("spillway.rate_limit")

_LATE_ROUNDS = 2.5
_LATE_S = 0.25
_ENTRY = 8
_encode = msgspec.msgpack.Encoder().encode


class Telling(msgspec.Struct, kw_only=True):
    """What one sync says, see `gossip.lua`; times in milliseconds.

    Attributes:
        fresh: this incarnation has never been synced.
        life: of the store's memory, as it was last answered.
        since: the version that was last answered.
        late_ms: silence after which this node may be cut off.
        silent_ms: silence after which a node is dead.
        deltas: slot and entry of what this node has counted.
        heard: node, slot and entry of what it knows of others that have gone.
    """

    node: str
    fresh: bool
    life: str
    since: int
    window_ms: int
    width_ms: float
    late_ms: int
    silent_ms: int
    keep_ms: int
    deltas: list[tuple[int, str]]
    heard: list[tuple[str, int, str]]
    unsent: list[int]
    weight: float
    in_flight: int
    blocked_ms: int
    leaving: bool


class Told(msgspec.Struct, kw_only=True):
    """What the store answers; times in milliseconds.

    Attributes:
        refused: the name is or was another incarnation's; nothing was done.
        anew: all that is known was told.
    """

    refused: bool = False
    now: float = 0.0
    life: str = ""
    version: int = -1
    told: list[tuple[str, int, str]] | dict[str, str] = []
    weights: float = 0.0
    in_flight: int = 0
    unsent: list[int] = []
    silent: list[tuple[str, float]] | dict[str, str] = []
    nodes: int = 0
    blocked_in: float = 0.0
    anew: bool = False


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
        parts = ("entries", "changes", "slots", "facts", "nodes", "gone")
        self._keys = tuple(f"{settings.prefix}{{{key}}}:gossip:{part}" for part in parts)
        self._sync_s = settings.sync_s
        self._window_ms = round(window_s * 1000)
        self._holder = holder
        self._clock = syncing.clock
        self._began = -math.inf
        self._fresh = True
        self._life = self._run = ""
        self._since = -1
        self._heard: list[Delta] = []
        self._lock = threading.Lock()
        self._room = Room()
        self._settings = window_s, gives_back
        self._silent_s = settings.silent_s if settings.keep_share_s is None else settings.keep_share_s
        self.windows = GossipMachine(
            f"{holder}-{new_id()}",
            limits,
            sync_s=settings.sync_s,
            window_s=window_s,
            gives_back=gives_back,
            allowance_s=settings.allowance_s,
            weight=settings.weight,
        )
        self._mode = ModeLog(key)
        self.shared = SharedLimits(windows=self.windows, lock=self._lock, room=self._room, clock=self._clock)

    @property
    def made_for(self) -> tuple[RateLimits, float, bool]:
        """What another holder in this process must ask for to share it."""
        return (self.windows.limits, *self._settings)

    def next_sync(self) -> float:
        """Return when it wants to be synced: when another round may begin."""
        return self.windows.refilled_at + self._sync_s

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        now = self._began = self._clock()
        machine = self.windows
        with self._lock:
            if run != self._run and not self._fresh:
                # Another process, which may have lost the last that the one before it knew.
                self._tell_all()
            news = machine.begin(now)
        self._run = run
        telling = Telling(
            node=machine.node,
            fresh=self._fresh,
            life=self._life,
            since=self._since,
            window_ms=self._window_ms,
            width_ms=self._window_ms / 120,
            late_ms=round((_LATE_ROUNDS * self._sync_s + _LATE_S) * 1000),
            silent_ms=round(self._silent_s * 1000),
            keep_ms=round(2 * self._window_ms + self._silent_s * 1000 + 60_000),
            deltas=[(delta.slot, _packed(delta)) for delta in news.deltas],
            heard=[(delta.node, delta.slot, _packed(delta)) for delta in self._heard],
            unsent=list(news.unsent),
            weight=machine.weight,
            in_flight=news.in_flight,
            blocked_ms=math.ceil(news.blocked_s * 1000),
            leaving=leaving,
        )
        return "gossip", self._keys, _encode(telling)

    def end(self, answer: Any) -> None:
        """Take what others have counted."""
        told = _decode(answer)
        if told.refused:
            _logger.warning("%s: the store knows this node's name already; it takes another", self._keys[0])
            self.windows.have_name(f"{self._holder}-{new_id()}")
            return
        now = self._clock()
        machine = self.windows
        weights = told.weights or machine.weight
        heard = Heard(
            # The script ran between the sync's begin and its end, and cut its time to a whole millisecond.
            store_now=told.now / 1000.0,
            deltas=[_unpacked(*row) for row in _rows(told.told)],
            nodes=max(1, told.nodes),
            part=machine.weight / weights,
            silent=tuple((node, weight / weights) for node, weight in _rows(told.silent)),
            unsent=tuple(told.unsent),
            in_flight=told.in_flight,
            blocked_s=told.blocked_in / 1000.0,
        )
        with self._lock:
            machine.synced(now, heard, began=self._began)
            self._heard = []
            if told.anew and self._life not in {"", told.life}:
                # A store that has forgotten: it is told everything again.
                self._tell_all()
        self._fresh = False
        self._since, self._life = told.version, told.life
        self._tell_room(now)

    def failed(self) -> None:
        """Go on without the store, with this node's share alone."""
        now = self._clock()
        with self._lock:
            self.windows.failed(now)
        self._tell_room(now)

    def _tell_all(self) -> None:
        self._since = -1
        self._heard = self.windows.retell()

    def _tell_room(self, now: float) -> None:
        if not self.windows.unlimited:
            self._mode.note(self.windows.mode(now))
        self._room.tell()

    def __repr__(self) -> str:
        return f"<GossipPart {self.windows!r} {self.windows.mode(self._clock())}>"


def _packed(delta: Delta) -> str:
    return " ".join(map(str, delta.entry))


def _unpacked(node: str, slot: int, entry: str) -> Delta:
    """Return a delta; one that is not numbers has an entry that can't be true."""
    words = entry.split()
    plain = len(words) == _ENTRY and all(word.isascii() and word.isdigit() and len(word) < 20 for word in words)
    return Delta(node, slot, tuple(map(int, words)) if plain else ())


def _rows(packed: list[Any] | dict[str, str]) -> Sequence[Any]:
    """Return a Lua table as a list; an empty one comes as a map."""
    return packed if isinstance(packed, list) else ()
