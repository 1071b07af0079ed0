"""The owners of a limiter's state: one for this process alone, one that shares it through a store."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from spillway.core.actor import Actor
from spillway.core.clock import Clock
from spillway.core.limit_store import LimitStore, Room, SharedLimits
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.handle import RateLimiterHandle
from spillway.remote.rate_limit.machine import LimitMachine


class GetLimits(msgspec.Struct, frozen=True, tag=True):
    """Ask for a `LimitsSnapshot`."""


class SetLimits(msgspec.Struct, frozen=True, tag=True):
    """Have other limits from now on."""

    limits: RateLimits


class NoteThrottled(msgspec.Struct, frozen=True, tag=True):
    """The provider answered 429."""

    retry_after: float | None = None


class NoteLimitsSeen(msgspec.Struct, frozen=True, tag=True):
    """The provider told of its limits."""

    seen: LimitsSeen


RateLimiterMsg = GetLimits | SetLimits | NoteThrottled | NoteLimitsSeen


class RateLimiterActor(Actor[RateLimiterMsg]):
    """Owns the limits of one deployment in this process; requests go through `handle`, never through the mailbox.

    Args:
        node_id: who it is, among those that keep the limits together.
        limits: what may be sent.
        clock: monotonic seconds; by default the running loop's.
        window_s: the length of the "minute"; None: a store's own, 60 s without one.
        gives_back: False where the provider keeps what a request asked and did not use.
        store: through which it keeps the limits together with others; None: it has them for itself.
        key: which limits, in the store.

    Raises:
        ConfigError: another holder of the key in this process has other limits.
    """

    def __init__(
        self,
        node_id: str,
        limits: RateLimits,
        *,
        clock: Clock | None = None,
        window_s: float | None = None,
        gives_back: bool = True,
        store: LimitStore | None = None,
        key: str = "",
    ) -> None:
        shared = _shared(store, key, limits, node_id, window_s, gives_back=gives_back)
        self._handle = RateLimiterHandle(key or node_id, shared, clock=clock)

    def handle(self) -> RateLimiterHandle:
        """Return the handle, always the same one."""
        return self._handle

    async def receive(self, message: RateLimiterMsg) -> Any:
        """Handle one message; only `GetLimits` has an answer."""
        return _receive(self._handle, message)

    async def on_restart(self, cause: Exception) -> None:
        """Keep the windows: what was sent was sent."""

    def __repr__(self) -> str:
        return repr(self._handle).replace("<RateLimiter", "<RateLimiterActor", 1)


class StrictRateLimiterActor(Actor[RateLimiterMsg]):
    """Owns one holder's part in limits that are exact over all holders of the same store and key.

    Args:
        node_id: who it is, among the holders.
        limits: what may be sent, the same for every holder.
        clock: monotonic seconds of waits, and of the windows if the store has no time of its own.
        window_s: the length of the "minute"; None: the store's own, 60 s without one.
        store: where the windows are; None: in this actor, for nobody else.
        key: which windows; holders of one key share them.
        gives_back: False where the provider keeps what a request asked and did not use.

    Raises:
        ConfigError: another holder of the key has other limits.
    """

    def __init__(
        self,
        node_id: str,
        limits: RateLimits,
        *,
        clock: Clock | None = None,
        store: LimitStore | None = None,
        window_s: float | None = None,
        key: str = "limits",
        gives_back: bool = True,
    ) -> None:
        shared = _shared(store, key, limits, node_id, window_s, gives_back=gives_back)
        self._handle = RateLimiterHandle(f"{key}@{node_id}", shared, clock=clock)

    def handle(self) -> RateLimiterHandle:
        """Return the handle, always the same one."""
        return self._handle

    async def receive(self, message: RateLimiterMsg) -> Any:
        """Handle one message; only `GetLimits` has an answer."""
        return _receive(self._handle, message)

    async def on_restart(self, cause: Exception) -> None:
        """Keep the windows: what was sent was sent."""

    def __repr__(self) -> str:
        return repr(self._handle).replace("<RateLimiter", "<StrictRateLimiterActor", 1)


def _shared(
    store: LimitStore | None, key: str, limits: RateLimits, node: str, window_s: float | None, *, gives_back: bool
) -> SharedLimits:
    """Return the windows of a store's key, or such as are nobody else's."""
    if store is not None:
        return store.share(key, limits, holder=node, window_s=window_s, gives_back=gives_back)
    machine = LimitMachine(limits, window_s=60.0 if window_s is None else window_s, gives_back=gives_back)
    return SharedLimits(windows=machine, lock=threading.Lock(), room=Room(), alone=True)


def _receive(handle: RateLimiterHandle, message: RateLimiterMsg) -> Any:
    match message:
        case GetLimits():
            return handle.snapshot()
        case SetLimits(limits):
            return handle.set_limits(limits)
        case NoteThrottled(retry_after):
            return handle.throttled(retry_after)
        case NoteLimitsSeen(seen):
            return handle.observe(seen)
