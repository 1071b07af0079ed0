"""What a script is, and what it sees of the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

Value = TypeVar("Value")


class Shelf(Protocol):
    """The store, as a script sees it."""

    @property
    def now_ms(self) -> int:
        """The present in whole milliseconds."""
        ...

    @property
    def up_ms(self) -> int:
        """For how many milliseconds it can't have forgotten anything before its time."""
        ...

    def value(self, key: str, make: Callable[[], Value], *, keep_ms: float) -> Value:
        """Return what is kept under `key`, or what is kept there from now on, and keep it for `keep_ms` from now on."""
        ...


Script = Callable[[Shelf, tuple[str, ...], bytes], bytes]
"""`script(shelf, keys, argument) -> answer`: the twin of the Lua script of the same name."""
