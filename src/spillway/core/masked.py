"""Values that hold secrets on their way to where they are used, and show nothing of them in a repr.

A report of an error often holds the local variables of every frame. What stands in one of ours, or in one of a library
that we hand it to, must not be readable there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn


class Masked(str):
    """Text like any other, but for its `repr`, and that it is in no pickle and no msgspec encoding."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("masked text can't be pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("masked text can't be pickled")


class MaskedVariables(Mapping[str, str]):
    """Variables of an environment, as they are now, of which a `repr` shows nothing.

    Args:
        variables: where they are looked up.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"
