"""The twin of `notices.lua`: one sync of one node with the notices that nodes post to all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.stores.shared.notices import Asking, Heard

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Asking).decode


@dataclass(slots=True)
class _Board:
    """What was posted and answered."""

    notices: dict[int, tuple[int, str]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    last: int = 0
    answers: dict[tuple[int, str], str] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    standing: dict[str, int] = field(default_factory=dict)


def notices(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take a node's posts and answers, give what is new."""
    asking = _decode(argument)
    now = shelf.now_ms
    board = shelf.value(keys[0], _Board, keep_ms=asking.keep_ms)
    board.nodes = {node: at for node, at in board.nodes.items() if at > now - asking.silent_ms}
    if asking.since < 0 and not board.nodes:
        board.standing.clear()
    stands = set(board.standing.values())
    for number in [n for n, (at, _) in board.notices.items() if at <= now - asking.notice_ms and n not in stands]:
        del board.notices[number]
        board.numbers = {post_id: n for post_id, n in board.numbers.items() if n != number}
        board.answers = {key: text for key, text in board.answers.items() if key[0] != number}
    new = asking.since < 0 or asking.since > board.last
    news = [
        (number, now - at, text, new)
        for number, (at, text) in board.notices.items()
        if (number in stands if new else number > asking.since)
    ]
    posted = []
    for post_id, name, text in asking.posts:
        number = board.numbers.get(post_id, 0)
        if not number:
            board.last = number = board.last + 1
            board.numbers[post_id] = number
            board.notices[number] = now, text
            if name:
                board.standing[name] = number
        posted.append(number)
    for number, text in asking.answers:
        board.answers[number, asking.node] = text
    if asking.leaving:
        board.nodes.pop(asking.node, None)
    else:
        board.nodes[asking.node] = now
    return _encode(
        Heard(
            last=board.last,
            news=news,
            posted=posted,
            got=[(number, node, text) for (number, node), text in board.answers.items() if number in asking.open],
            nodes=[(node, max(0, now - at)) for node, at in board.nodes.items()],
        )
    )
