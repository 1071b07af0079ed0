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

    life: str
    entries: dict[tuple[int, str], tuple[str, int]] = field(default_factory=dict)
    nodes: dict[str, tuple[int, Telling]] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    version: int = 0
    blocked_until: int = 0

    def write(self, slot: int, node: str, said: str) -> None:
        """Take the larger of what is known and what is said, of each of the eight numbers."""
        known = self.entries.get((slot, node), ("", 0))[0]
        entry = said if not known else " ".join(map(str, map(max, _numbers(known), _numbers(said))))
        if entry != known:
            self.version += 1
            # The latest change is the last one.
            self.entries.pop((slot, node), None)
            self.entries[slot, node] = entry, self.version

    def drop_silent(self, now: int, telling: Telling) -> list[tuple[str, int, str]]:
        """Count what silent nodes had granted as sent, under names of their own, and return that."""
        slot = math.floor(now / telling.width_ms)
        news = []
        for node in [node for node, (seen, _) in self.nodes.items() if seen <= now - telling.silent_ms]:
            _, last = self.nodes.pop(node)
            self.gone[node] = now
            if any(last.unsent):
                said = " ".join(map(str, [*last.unsent, 0, 0, 0, 0]))
                self.write(slot, f"{node}*", said)
                news.append((f"{node}*", slot, said))
        self.gone = {node: when for node, when in self.gone.items() if when > now - telling.keep_ms}
        return news


def gossip(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take what a node has counted, give what others have."""
    telling = _decode(argument)
    now, me = shelf.now_ms, telling.node
    board = shelf.value(keys[0], lambda: _Board(str(shelf.now_ms)), keep_ms=telling.keep_ms)
    if telling.fresh and (me in board.nodes or me in board.gone):
        return _encode(Told(refused=True))
    known = telling.life == board.life and telling.since <= board.version
    since = telling.since if known else -1
    oldest = math.floor((now - telling.window_ms) / telling.width_ms) - 2
    for key in [key for key in board.entries if key[0] <= oldest]:
        del board.entries[key]
    told = [
        (node, slot, entry)
        for (slot, node), (entry, version) in board.entries.items()
        if version > since and node != me
    ]
    told += board.drop_silent(now, telling)
    for slot, entry in telling.deltas:
        board.write(slot, me, entry)
    for node, slot, entry in telling.heard:
        board.write(slot, node, entry)
    board.blocked_until = max(board.blocked_until, now + telling.blocked_ms if telling.blocked_ms else 0)
    if telling.leaving:
        board.nodes.pop(me, None)
        board.gone[me] = now
    else:
        board.gone.pop(me, None)
        board.nodes[me] = now, telling
    others = [(node, seen, last) for node, (seen, last) in board.nodes.items() if node != me]
    return _encode(
        Told(
            now=now,
            life=board.life,
            version=board.version,
            told=told,
            weights=sum(last.weight for _, last in board.nodes.values()),
            in_flight=sum(last.in_flight for _, _, last in others),
            unsent=[sum(last.unsent[kind] for _, _, last in others) for kind in range(4)],
            silent=[(node, last.weight) for node, seen, last in others if now - seen > last.late_ms],
            nodes=len(board.nodes),
            blocked_in=max(0, board.blocked_until - now),
            anew=since == -1,
        )
    )


def _numbers(entry: str) -> list[int]:
    return list(map(int, entry.split()))
