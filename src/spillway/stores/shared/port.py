"""The port of a store that several processes share: scripts that run one after the other, each as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

SILENT_S = 15.0
"""Seconds after which a node that does not sync is taken for dead, by default."""

PATIENCE_S = 0.25
"""Seconds after which a store that does not answer counts as lost."""

ScriptCall = tuple[str, tuple[str, ...], bytes]
"""Name of a script, its keys, its one argument: MessagePack without `bin`, which Redis can't read."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all who share a store must have alike, and what each may have for itself.

    Attributes:
        name: of the cluster; another name is another cluster in the same store.
        window_s: the length of the "minute" of limits; other lengths are for tests.
        sync_s: seconds between two syncs of limits that are kept together by telling.
        allowance_s: what a node may let through of such a limit between two syncs: what the limit is for so many
            seconds; None: for a `sync_s`.
        weight: of this node, where a limit is shared out.
        keep_share_s: for so long the share of such a limit that a silent node may be sending by itself is kept free;
            None: until the node is taken for dead.
        silent_s: after so much silence a node is taken for dead; other lengths are for tests.
    """

    name: str = "spillway"
    window_s: float = 60.0
    sync_s: float = 1.0
    allowance_s: float | None = None
    weight: float = 1.0
    keep_share_s: float | None = None
    silent_s: float = SILENT_S

    @property
    def prefix(self) -> str:
        """What all keys in the store begin with."""
        return f"spillway:{self.name}:"


class StoreLink(Protocol):
    """One process's way to a store.

    Attributes:
        lost: whether the last try failed.
    """

    lost: bool

    async def open(self) -> str:
        """Reach the store if need be and return the id of its life: with another one it has forgotten everything.

        Raises:
            NetworkError: the store did not answer within 0.25 s.
        """
        ...

    async def run_scripts(self, calls: Sequence[ScriptCall]) -> list[bytes]:
        """Run scripts in one round trip and return their answers in order, each MessagePack.

        Raises:
            NetworkError: the store did not answer within 0.25 s; which scripts have run is not known.

        Cancellation: which scripts have run is not known.
        """
        ...

    async def alive(self) -> bool:
        """Return whether nothing has ended the way to the store since it was used; nothing is sent for it."""
        ...

    async def aclose(self) -> None:
        """Leave the store."""
        ...


class Store(Protocol):
    """Where a store is, and how it is used; the same one may serve several Clusters."""

    @property
    def settings(self) -> StoreSettings:
        """How it is used."""
        ...

    def connect(self) -> StoreLink:
        """Return a way of one's own to it; nothing is sent before that is opened."""
        ...
