"""What more important requests use of shared limits elsewhere, so that background ones here leave it to them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from spillway.remote.engine.leftover import Leftover, LiveUse
from spillway.stores.shared.presence import Pieces, Presence

if TYPE_CHECKING:
    from spillway.stores.shared import Sharing

_PIECE = "use"
_ASKS_S = 10.0
"""A process reads of others for so long after a background request was there last."""


class LiveTraffic:
    """One process among those that share limits: publishes what it uses of each, and adds up what others do.

    Args:
        sharing: its part in what they share.
    """

    def __init__(self, sharing: Sharing) -> None:
        self._clock = sharing.clock
        self._here: dict[str, list[Leftover]] = {}
        self._presence = Presence(sharing, self, name="live", reads=self._is_asked)
        sharing.syncing.add(self._presence)

    def join(self, key: str, leftover: Leftover) -> None:
        """Have one engine tell, and be told, of the limits `key`."""
        self._here.setdefault(key, []).append(leftover)
        leftover.elsewhere = partial(self._elsewhere, key, leftover)

    def publish(self) -> Pieces:
        """Return what is used here, by limits."""
        now = self._clock()
        use = {key: self._sum(each.use(now) for each in engines) for key, engines in self._here.items()}
        return {_PIECE: msgspec.json.encode(use).decode()}

    def fold(self, behind: str, nodes: list[Pieces]) -> str:  # noqa: ARG002 - whoever is no more uses nothing
        """Return what stays of nodes that are no more: nothing."""
        return ""

    def begin_anew(self) -> None:
        """Do nothing: what is used now is used now."""

    def _is_asked(self) -> bool:
        since = self._clock() - _ASKS_S
        return any(each.asked_at > since for engines in self._here.values() for each in engines)

    def _elsewhere(self, key: str, but: Leftover) -> LiveUse:
        now = self._clock()
        here = self._sum(each.use(now) for each in self._here[key] if each is not but)
        texts = (fellow.pieces.get(_PIECE, "{}") for fellow in self._presence.fellows if fellow.alive)
        told = (msgspec.json.decode(text, type=dict[str, LiveUse]) for text in texts)
        return here.plus(self._sum(use[key] for use in told if key in use))

    @staticmethod
    def _sum(uses: Iterable[LiveUse]) -> LiveUse:
        total = LiveUse()
        for use in uses:
            total = total.plus(use)
        return total

    def __repr__(self) -> str:
        return f"<LiveTraffic {', '.join(self._here)}>"
