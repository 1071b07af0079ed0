"""What nodes that keep limits together tell each other: pure data."""

from __future__ import annotations

import msgspec

from spillway.remote.rate_limit.counter import DIMENSIONS, Delta

_NONE = (0,) * DIMENSIONS


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells at a sync.

    Attributes:
        deltas: what it has counted since the one before.
        unsent: granted and not sent, of each kind.
        in_flight: requests under way, where they are limited.
        blocked_s: for which the provider wants nothing.
    """

    deltas: list[Delta]
    unsent: tuple[int, ...]
    in_flight: int
    blocked_s: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is told at a sync.

    Attributes:
        store_now: seconds of the clock that all nodes share.
        deltas: what others have counted since the one before.
        nodes: that live, this one included.
        part: of this node, by weight among all that live.
        silent: nodes that live and may be cut off, each with its part: what they may send is kept for them.
        unsent: granted by others and not sent, of each kind.
        in_flight: of others.
        blocked_s: for which the provider told any of them to pause.
    """

    store_now: float = 0.0
    deltas: list[Delta] = []
    nodes: int = 1
    part: float = 1.0
    silent: tuple[tuple[str, float], ...] = ()
    unsent: tuple[int, ...] = _NONE
    in_flight: int = 0
    blocked_s: float = 0.0
