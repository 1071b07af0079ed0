"""What is read of a configuration, and what is not: every value is taken once, and the rest is told line by line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spillway.runtime.config_errors import printable

if TYPE_CHECKING:
    from spillway.cli.litellm_config.yaml_file import Lines, Path

NO_COUNTERPART = "there is nothing like it"


class Findings:
    """The lines about what could not be carried over, in the order of the file.

    Args:
        name: the file's.
        lines: of its values.
    """

    def __init__(self, name: str, lines: Lines) -> None:
        self._name = name
        self._lines = lines
        self._found: list[tuple[int, int, str]] = []

    def add(self, path: Path, why: str) -> None:
        """Say of the value at `path` what becomes of it."""
        line = self._lines.of(path)
        self._found.append((line, len(self._found), f"{self._name}:{line}: {spelled(path)}: {why}"))

    def __iter__(self) -> Any:
        return (text for _, _, text in sorted(self._found))

    def __len__(self) -> int:
        return len(self._found)


class Table:
    """A mapping of the file that is emptied as it is read."""

    def __init__(self, value: Any, path: Path, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self._left: dict[str, Any] = {}
        if isinstance(value, Mapping):
            self._left = dict(value)
        elif value is not None:
            findings.add(path, "it must be a mapping; it is left out")

    def __contains__(self, key: str) -> bool:
        return self._left.get(key) is not None

    def names(self) -> list[str]:
        """Return the keys that nobody has taken."""
        return list(self._left)

    def add(self, key: str, why: str) -> None:
        """Say what becomes of a key."""
        self.findings.add((*self.path, key), why)

    def peek(self, key: str) -> Any:
        """Return what is at `key` without taking it."""
        return self._left.get(key)

    def lend(self, other: Table) -> None:
        """Have what `other` has and this has not; it stays there too."""
        self._left = {**other._left, **self._left}

    def take(self, key: str) -> Any:
        """Return the value of `key` as it is; None: it is not there."""
        return self._left.pop(key, None)

    def table(self, key: str) -> Table:
        """Return the mapping at `key`, an empty one if there is none."""
        return Table(self.take(key), (*self.path, key), self.findings)

    def tables(self, key: str) -> list[Table]:
        """Return the mappings of the list at `key`."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.add(key, "it must be a list; it is left out")
            return []
        return [Table(each, (*self.path, key, index), self.findings) for index, each in enumerate(value)]

    def text(self, key: str) -> str | None:
        """Return the text at `key`; a number is taken at its digits."""
        value = self.take(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if value is None or (isinstance(value, str) and value.strip()):
            return value.strip() if isinstance(value, str) else None
        self.add(key, "it must be a text; it is left out")
        return None

    def number(self, key: str, *, least: float = 0.0, above: bool = False) -> float | None:
        """Return the number at `key`; one below `least` (or at it, if it must be above) is said and left out."""
        value = self.take(key)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not (least < number if above else least <= number) or not math.isfinite(number):
            self.add(key, f"it must be a number {'above' if above else 'of at least'} {least:g}; it is left out")
            return None
        return number

    def count(self, key: str, *, least: int = 1) -> int | None:
        """Return the whole number at `key`, of at least `least`."""
        number = self.number(key, least=least)
        return None if number is None else int(number)

    def flag(self, key: str) -> bool:
        """Return whether `key` is true."""
        return self.take(key) in {True, "true", "True"}

    def rest(self, why: Mapping[str, str] | None = None, otherwise: str = NO_COUNTERPART) -> None:
        """Say of every key that nobody took why it is not carried over; one that is empty or off says nothing."""
        for key, value in self._left.items():
            if value not in (None, False, [], {}):
                self.add(key, (why or {}).get(key, otherwise))
        self._left = {}


def spelled(path: Path) -> str:
    """Return a path in words, such as `model_list[0].litellm_params.rpm`."""
    said = ""
    for part in path:
        said += f"[{part}]" if isinstance(part, int) else f".{printable(part)}" if said else printable(part)
    return said or "the file"
