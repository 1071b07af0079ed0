"""Who answers as one with this process, and what each of them publishes: texts by name, which the store only keeps.

What a node publishes is there for the others within a second, and for whoever wants to read it, when it wants to. A
node that has left, or was silent for an hour, is folded: some other node adds what it leaves behind to what all that
went before have left, and takes it out. That is a compare and set, so that each is added once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from spillway.stores.shared.port import PATIENCE_S

if TYPE_CHECKING:
    from spillway.stores.shared.port import ScriptCall
    from spillway.stores.shared.sharing import Sharing

EVERY_S = 1.0
"""Seconds between two syncs of a node that nobody asks."""

SILENT_S = 15.0
"""Seconds after which a node that says nothing counts as dead."""

FORGET_S = 3600.0
"""Seconds after which a node that says nothing is folded."""

Pieces = Mapping[str, str]


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says in a sync.

    Attributes:
        pieces: names and texts of what has changed since its last sync.
        known: whether it has been there before, in this life of the store.
        reads: whether it wants to know what others publish that is newer than version `since`.
        behind_version: of what it has read of those that are no more.
        fold_nodes: nodes that it folds into `fold_text`, where the store still has version `fold_version`; -1: none.
    """

    node: str
    pieces: list[tuple[str, str]]
    known: bool
    leaving: bool
    reads: bool
    since: int
    behind_version: int
    keep_ms: int
    fold_nodes: list[str] = []
    fold_version: int = -1
    fold_text: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says.

    Attributes:
        told: node, piece and text of what has changed.
        nodes: who is known, for how many milliseconds it has been silent, and whether it has left.
        lapsed: it was folded; nothing it says is taken before it begins anew.
        folded: its fold was taken.
        behind_text: of those that are no more; empty where that has not changed.
    """

    version: int
    told: list[tuple[str, str, str]]
    nodes: list[tuple[str, int, bool]]
    lapsed: bool
    folded: bool
    behind_version: int
    behind_text: str


class Publisher(Protocol):
    """What a node publishes, and how what nodes leave behind is put together."""

    def publish(self) -> Pieces:
        """Return all pieces of this node as they are now."""
        ...

    def fold(self, behind: str, nodes: list[Pieces]) -> str:
        """Return what stays of `nodes` and of all before them, `behind`, which is empty at first."""
        ...

    def begin_anew(self) -> None:
        """Publish from now on only what happens from now on: what was until now has been folded."""
        ...


class Fellow(msgspec.Struct, frozen=True):
    """Another node.

    Attributes:
        silent_s: since its last sync, when that was asked last.
        alive: it has not left and was not silent for too long.
    """

    node: str
    pieces: Pieces
    silent_s: float
    alive: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class Presence:
    """This node among those that answer as one; a part of its syncing.

    Args:
        publisher: says what this node publishes.
        name: of what is published, where there are several such things.
        reads: whether it is to read at each sync, asked then.

    Attributes:
        published: what the store has of this node.
        behind: the text of those that are no more.

    Invariants: what is `published` was in the store when the others were read last, so that nobody who reads later sees
    less of this node.
    """

    def __init__(
        self,
        sharing: Sharing,
        publisher: Publisher,
        *,
        name: str = "presence",
        reads: Callable[[], bool] = lambda: False,
    ) -> None:
        prefix = f"{sharing.settings.prefix}{{{name}}}:"
        self._reads = reads
        self._keys = tuple(prefix + name for name in ("pieces", "versions", "seen", "left", "behind"))
        self._sharing = sharing
        self._publisher = publisher
        self._clock = sharing.clock
        self._last = self._told_at = float("-inf")
        self._run = ""
        self._known = self._sure = False
        self.published: dict[str, str] = {}
        self._offered: dict[str, str] = {}
        self._others: dict[str, dict[str, str]] = {}
        self._nodes: dict[str, tuple[float, bool]] = {}
        self._version = -1
        self._behind_version = 0
        self._to_fold: list[str] = []
        self._wants_read = self._reading = False
        self._fold_text = ""
        self.behind = ""

    @property
    def fellows(self) -> list[Fellow]:
        """The others that there are or were, as far as was read."""
        since_s = self._clock() - self._told_at
        return [
            Fellow(node, self._others.get(node, {}), silent_s + since_s, not gone and silent_s + since_s < SILENT_S)
            for node, (silent_s, gone) in self._nodes.items()
            if node != self._sharing.node
        ]

    def hurry(self) -> None:
        """Publish with the next sync."""
        self._last = float("-inf")

    async def read(self) -> bool:
        """Publish, and read what the others publish, from now on; return whether the store answered."""
        self._wants_read = True
        return await self._sharing.syncing.synced(2 * PATIENCE_S)

    def next_sync(self) -> float:
        """Return when it wants to be synced: at once for whoever reads."""
        return float("-inf") if self._wants_read else self._last + EVERY_S

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        if run != self._run:
            self._begin_with_an_empty_store(run)
        self._last = self._clock()
        self._offered = dict(self._publisher.publish())
        self._reading, self._wants_read = self._wants_read or self._reads(), False
        fold_nodes, self._fold_text, fold_version = self._fold()
        return (
            "presence",
            self._keys,
            _encode(
                Telling(
                    node=self._sharing.node,
                    pieces=[
                        (name, text)
                        for name, text in self._offered.items()
                        if not self._sure or self.published.get(name) != text
                    ],
                    known=self._known,
                    leaving=leaving,
                    reads=self._reading,
                    since=self._version,
                    behind_version=self._behind_version,
                    keep_ms=int(2 * FORGET_S * 1000),
                    fold_nodes=fold_nodes,
                    fold_text=self._fold_text,
                    fold_version=fold_version,
                )
            ),
        )

    def end(self, answer: Any) -> None:
        """Take what the store answered."""
        told = _decode(answer)
        self._told_at = self._clock()
        nodes = {node: (silent / 1000, gone) for node, silent, gone in told.nodes}
        if self._reading:
            self._version = told.version
            self._others = {node: pieces for node, pieces in self._others.items() if node in nodes}
            for node, piece, text in told.told:
                if node in nodes:
                    self._others.setdefault(node, {})[piece] = text
            if told.behind_version != self._behind_version:
                self.behind, self._behind_version = told.behind_text, told.behind_version
        elif told.folded:
            self.behind, self._behind_version = self._fold_text, told.behind_version
        else:
            # Whoever was folded meanwhile stays until what was left behind is read too: nothing is lost in between.
            nodes = {**self._nodes, **nodes}
        self._nodes = nodes
        self._to_fold = []
        if told.lapsed:
            self._known = False
            self.published = {}
            self._publisher.begin_anew()
            self._last = float("-inf")
            return
        self._known = self._sure = True
        self.published = self._offered
        leftover = self._leftover() if self._is_first() else []
        if leftover and self._reading:
            self._to_fold = leftover
        elif leftover:
            self._wants_read = True

    def failed(self) -> None:
        """Take note that the store was not reached: what was told may have been taken, and is told again."""
        self._sure = False

    def _begin_with_an_empty_store(self, run: str) -> None:
        self._run = run
        self._known = False
        self.published, self._others, self._nodes = {}, {}, {}
        self._version, self._behind_version, self.behind = -1, 0, ""
        self._to_fold = []

    def _is_first(self) -> bool:
        """Return whether it is this node that folds: one of those that live, the same for all of them."""
        living = [node for node, (silent_s, gone) in self._nodes.items() if not gone and silent_s < SILENT_S]
        return min(living, default="") == self._sharing.node

    def _leftover(self) -> list[str]:
        return [node for node, (silent_s, gone) in self._nodes.items() if gone or silent_s >= FORGET_S]

    def _fold(self) -> tuple[list[str], str, int]:
        """Return whom to fold, into what, and the version that this rests on."""
        nodes = [node for node in self._to_fold if node in self._others]
        if not nodes:
            return [], "", -1
        text = self._publisher.fold(self.behind, [self._others[node] for node in nodes])
        return nodes, text, self._behind_version

    def __repr__(self) -> str:
        return f"<Presence {self._sharing.node} with {sum(fellow.alive for fellow in self.fellows)} others>"
