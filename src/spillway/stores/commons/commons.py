"""The store: values by key, each with an end, and the scripts that change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from spillway.core.clock import Clock, monotonic, new_id
from spillway.core.errors import NetworkError
from spillway.stores.commons.breakers import breakers
from spillway.stores.commons.budgets import budgets
from spillway.stores.commons.gossip import gossip
from spillway.stores.commons.limits import limits
from spillway.stores.commons.notices import notices
from spillway.stores.commons.presence import presence
from spillway.stores.shared.port import ScriptCall, StoreSettings

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Script

Value = TypeVar("Value")

SCRIPTS: Mapping[str, Script] = {
    "breakers": breakers,
    "budgets": budgets,
    "gossip": gossip,
    "limits": limits,
    "notices": notices,
    "presence": presence,
}

_ALWAYS_MS = 10**15


class Commons:
    """What a Redis is for processes, for the Clusters of one process: a `Store` that needs nothing.

    Args:
        settings: see `StoreSettings`; they may be given by keyword.
        clock: monotonic seconds; the only time that counts in it.
        reborn: another one was in its place, and what that one knew is lost; strict limits wait until it has left the
            window.

    Attributes:
        run: the id of its life.

    It may be used from one thread.
    """

    def __init__(
        self,
        settings: StoreSettings | None = None,
        *,
        clock: Clock | None = None,
        reborn: bool = False,
        **more: Any,
    ) -> None:
        self.settings = StoreSettings(**more) if settings is None else settings
        self._clock = monotonic if clock is None else clock
        self._values: dict[str, tuple[Any, float]] = {}
        self.run = new_id()
        self._forgot_ms = self.now_ms if reborn else -_ALWAYS_MS

    def connect(self) -> CommonsLink:
        """Return a way to it."""
        return CommonsLink(self)

    def forget(self) -> None:
        """Lose everything and begin another life, as a Redis does that is killed and started."""
        self._values.clear()
        self.run = new_id()
        self._forgot_ms = self.now_ms

    def empty(self) -> None:
        """Lose everything and live on, as a Redis does that is told to flush."""
        self._values.clear()
        self._forgot_ms = self.now_ms

    async def ends(self) -> Mapping[str, float]:
        """Return its keys, and in how many seconds each of them ends."""
        return {key: (end - self.now_ms) / 1000 for key, (_, end) in self._values.items()}

    def run_scripts(self, calls: Sequence[ScriptCall]) -> list[bytes]:
        """Run scripts one after the other."""
        return [SCRIPTS[name](self, keys, argument) for name, keys, argument in calls]

    # What scripts use.

    @property
    def now_ms(self) -> int:
        """The present in whole milliseconds."""
        return int(self._clock() * 1000)

    @property
    def up_ms(self) -> int:
        """For how many milliseconds it can't have forgotten anything before its time."""
        return self.now_ms - self._forgot_ms

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

    async def alive(self) -> bool:
        """Return whether the way is not cut."""
        return not self.cut

    async def aclose(self) -> None:
        """Leave the store."""

    def __repr__(self) -> str:
        return f"<CommonsLink to {self._commons!r}{' cut' if self.cut else ''}>"
