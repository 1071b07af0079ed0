"""A process's part in what it shares with others through a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.clock import Clock, new_id
from spillway.core.errors import ConfigError
from spillway.core.limit_store import SharedLimits
from spillway.stores.shared.breakers import BreakersPart
from spillway.stores.shared.budgets import SharedBudgets
from spillway.stores.shared.gossip import GossipPart
from spillway.stores.shared.limits import LimitsPart
from spillway.stores.shared.port import PATIENCE_S, Store
from spillway.stores.shared.syncing import Syncing

if TYPE_CHECKING:
    from spillway.core.options import RateLimits


class Sharing:
    """One node: a life of a process that shares limits, budgets and circuits with others.

    Args:
        store: that they share.
        clock: monotonic seconds of the running loop.

    Attributes:
        node: its id, which no other life of any process has.
        exact: limits that hold over all nodes.
        approximate: limits that nodes keep together by telling.
        breakers: circuits that are open, probed and closed for all nodes at once.
        budgets: what all nodes may spend together.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.node = new_id()
        self.settings = store.settings
        self.clock = clock
        self.syncing = Syncing(store.connect(), clock)
        self.exact = SharedLimitStore(self, exact=True)
        self.approximate = SharedLimitStore(self, exact=False)
        self.breakers = BreakersPart(settings=self.settings, node=self.node, syncing=self.syncing, clock=clock)
        self.budgets = SharedBudgets(store.settings, holder=self.node, syncing=self.syncing, clock=clock)

    @property
    def lost(self) -> bool:
        """Whether the store was not reached at the last try."""
        return self.syncing.lost

    async def start(self) -> None:
        """Sync for the first time; a store that does not answer is gone on without."""
        await self.syncing.synced(2 * PATIENCE_S)

    async def aclose(self) -> None:
        """Give back what this node holds, and leave."""
        await self.syncing.aclose()

    def __repr__(self) -> str:
        return f"<Sharing {self.settings.name} node {self.node}{' lost' if self.lost else ''}>"


class SharedLimitStore:
    """A `LimitStore` over a store that processes share.

    Args:
        exact: whether limits hold over all nodes at any time; else nodes tell each other what they have counted.
    """

    def __init__(self, sharing: Sharing, *, exact: bool) -> None:
        self._sharing = sharing
        self._exact = exact
        self._parts: dict[str, LimitsPart | GossipPart] = {}

    def share(
        self, key: str, limits: RateLimits, *, holder: str, window_s: float | None = None, gives_back: bool = True
    ) -> SharedLimits:
        """Return the windows of `key`, the same for every holder in this process.

        Args:
            window_s: the length of the "minute"; None: as the store's settings say.

        Raises:
            ConfigError: another holder of this process has it with other limits.
        """
        sharing = self._sharing
        window_s = sharing.settings.window_s if window_s is None else window_s
        part = self._parts.get(key)
        if part is None:
            kind = LimitsPart if self._exact else GossipPart
            part = self._parts[key] = kind(
                key,
                limits,
                settings=sharing.settings,
                holder=sharing.node,
                syncing=sharing.syncing,
                window_s=window_s,
                gives_back=gives_back,
            )
            sharing.syncing.add(part)
        elif part.made_for != (limits, window_s, gives_back):
            raise ConfigError(f"{holder} shares the limits {key!r} with other settings than those it has")
        return part.shared

    def __repr__(self) -> str:
        return f"<SharedLimitStore {'exact' if self._exact else 'approximate'} of {len(self._parts)}>"
