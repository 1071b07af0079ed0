"""The twin of `gossip.lua`: one sync of one node of limits that are kept together by telling."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.stores.shared.gossip import Telling, Told

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Telling).decode


@dataclass(slots=True)
class _Board:
    """What nodes have told of one key."""

    entries: dict[tuple[int, str], tuple[str, int]] = field(default_factory=dict)
    nodes: dict[str, tuple[int, float, int]] = field(default_factory=dict)
    version: int = 0
    blocked_until: int = 0


def gossip(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take what a node has counted, give what others have."""
    telling = _decode(argument)
    now = shelf.now_ms
    board = shelf.value(keys[0], _Board, keep_ms=2 * telling.window_ms + telling.silent_ms + 60_000)
    since = telling.since if telling.since <= board.version else -1
    oldest = math.floor((now - telling.window_ms) / telling.width_ms) - 2
    for key in [key for key in board.entries if key[0] <= oldest]:
        del board.entries[key]
    told = [
        (node, slot, entry)
        for (slot, node), (entry, version) in board.entries.items()
        if version > since and node != telling.node
    ]
    for slot, entry in telling.deltas:
        board.version += 1
        board.entries[slot, telling.node] = entry, board.version
    board.blocked_until = max(board.blocked_until, now + telling.blocked_ms if telling.blocked_ms else 0)
    for node in [node for node, (seen, _, _) in board.nodes.items() if seen <= now - telling.silent_ms]:
        del board.nodes[node]
    if telling.leaving:
        board.nodes.pop(telling.node, None)
    else:
        board.nodes[telling.node] = now, telling.weight, telling.in_flight
    return _encode(
        Told(
            now=now,
            version=board.version,
            told=told,
            weights=sum(weight for _, weight, _ in board.nodes.values()),
            in_flight=sum(there for node, (_, _, there) in board.nodes.items() if node != telling.node),
            nodes=len(board.nodes),
            blocked_in=max(0, board.blocked_until - now),
            anew=since == -1,
        )
    )
