"""The twin of `presence.lua`: one sync of one node of those that answer as one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.stores.shared.presence import Telling, Told

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Telling).decode


@dataclass(slots=True)
class _Board:
    """What nodes publish, and what is left of those that are no more."""

    pieces: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    version: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    behind: str = ""
    behind_version: int = 0


def presence(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take what a node publishes, give who is there and what they publish."""
    telling = _decode(argument)
    now = shelf.now_ms
    board = shelf.value(keys[0], _Board, keep_ms=telling.keep_ms)
    folded = telling.fold_version == board.behind_version
    if folded:
        gone = set(telling.fold_nodes)
        board.behind_version += 1
        board.behind = telling.fold_text
        board.pieces = {key: piece for key, piece in board.pieces.items() if key[0] not in gone}
        board.seen = {node: at for node, at in board.seen.items() if node not in gone}
        board.left -= gone
    lapsed = telling.known and telling.node not in board.seen
    if not lapsed:
        for name, text in telling.pieces:
            board.version += 1
            board.pieces[telling.node, name] = text, board.version
        board.seen[telling.node] = now
        if telling.leaving:
            board.left.add(telling.node)
    newer = telling.reads and telling.behind_version != board.behind_version
    return _encode(
        Told(
            version=board.version,
            told=[
                (node, name, text)
                for (node, name), (text, version) in board.pieces.items()
                if telling.reads and version > telling.since and node != telling.node
            ],
            nodes=[(node, max(0, now - at), node in board.left) for node, at in board.seen.items()],
            lapsed=lapsed,
            folded=folded,
            behind_version=board.behind_version,
            behind_text=board.behind if newer else "",
        )
    )
