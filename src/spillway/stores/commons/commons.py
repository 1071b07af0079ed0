"""The store: values by key, each with an end, and the scripts that change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from spillway.core.clock import Clock, monotonic, new_id
from spillway.core.errors import NetworkError
from spillway.stores.commons.gossip import gossip
from spillway.stores.shared.port import ScriptCall, StoreSettings

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Script

Value = TypeVar("Value")

SCRIPTS: Mapping[str, Script] = {"gossip": gossip}


class Commons:
    """What a Redis is for processes, for the Clusters of one process: a `Store` that needs nothing.

    Args:
        settings: see `StoreSettings`; they may be given by keyword.
        clock: monotonic seconds; the only time that counts in it.

    Attributes:
        run: the id of its life.

    It may be used from one thread.
    """

    def __init__(self, settings: StoreSettings | None = None, *, clock: Clock | None = None, **more: Any) -> None:
        self.settings = StoreSettings(**more) if settings is None else settings
        self._clock = monotonic if clock is None else clock
        self._values: dict[str, tuple[Any, float]] = {}
        self.run = new_id()

    def connect(self) -> CommonsLink:
        """Return a way to it."""
        return CommonsLink(self)

    def forget(self) -> None:
        """Lose everything and begin another life, as a Redis does that is killed and started."""
        self._values.clear()
        self.run = new_id()

    def run_scripts(self, calls: Sequence[ScriptCall]) -> list[bytes]:
        """Run scripts one after the other."""
        return [SCRIPTS[name](self, keys, argument) for name, keys, argument in calls]

    # What scripts use.

    @property
    def now_ms(self) -> int:
        """The present in whole milliseconds."""
        return int(self._clock() * 1000)

    def value(self, key: str, make: Callable[[], Value], *, keep_ms: float) -> Value:
        """Return what is kept under `key`, or what is kept there from now on, and keep it for `keep_ms` from now on."""
        now = self.now_ms
        known = self._values.get(key)
        value = make() if known is None or known[1] <= now else known[0]
        self._values[key] = value, now + keep_ms
        return value

    def __repr__(self) -> str:
        return f"<Commons {self.settings.name} {len(self._values)} keys>"


class CommonsLink:
    """A Cluster's way to a `Commons`.

    Attributes:
        cut: whether nothing gets through; for tests.
    """

    def __init__(self, commons: Commons) -> None:
        self._commons = commons
        self.lost = False
        self.cut = False

    async def open(self) -> str:
        """Return the id of the store's life.

        Raises:
            NetworkError: the way is cut.
        """
        self.lost = self.cut
        if self.cut:
            raise NetworkError("the store did not answer: the way to it is cut", reason="store")
        return self._commons.run

    async def run_scripts(self, calls: Sequence[ScriptCall]) -> list[bytes]:
        """Run scripts and return their answers in order.

        Raises:
            NetworkError: the way is cut.
        """
        await self.open()
        return self._commons.run_scripts(calls)

    async def aclose(self) -> None:
        """Leave the store."""

    def __repr__(self) -> str:
        return f"<CommonsLink to {self._commons!r}{' cut' if self.cut else ''}>"
