"""What is wrong with a project file, one line each: file, line, table, key, and the nearest thing that is valid."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spillway.runtime.config_lines import KeyPath, line_of

_LONGEST = 80


class Problems:
    """Collects the problems of one file.

    Invariants: a problem is one line, is there once, and quotes no free text of the file but names and near misses, for
    it may be a secret in the wrong place.
    """

    def __init__(self, file: str, lines: Mapping[KeyPath, int]) -> None:
        self._file = printable(file)
        self._lines = dict(lines)
        self._found: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._found, key=self._found.__getitem__))

    def __repr__(self) -> str:
        return f"<Problems {self._file}: {len(self._found)}>"

    def where(self, table: KeyPath, *key: str | int) -> str:
        """Return the place of a key in words: `file:line: [table]`."""
        names = [part for part in table if isinstance(part, str)]
        label = f" [{'.'.join(map(shown, names))}]" if names else ""
        return f"{self._file}:{self.line(table, *key)}:{label}"

    def line(self, table: KeyPath, *key: str | int) -> int:
        """Return the line of a key, or of what is around it."""
        return line_of(self._lines, (*table, *key))

    def add(self, message: str, table: KeyPath, *key: str | int) -> None:
        """Note what is wrong with a key of a table."""
        self._found.setdefault(f"{self.where(table, *key)} {message}", self.line(table, *key))

    def unknown_key(self, key: str, known: Iterable[str], table: KeyPath) -> None:
        """Note a key that a table does not have."""
        names = list(known)
        hint = near(key, names) or f"known: {', '.join(names)}"
        self.add(f"unknown key {quoted(key)} ({hint})", table, key)

    def not_one_of(self, value: str, choices: Iterable[str], table: KeyPath, *key: str | int) -> None:
        """Note a value that is not among the few that a key takes."""
        names = list(choices)
        hint = near(value, names)
        said = f"{quoted(value)} is not" if hint else "must be"
        self.add(f"{_name(key)} {said} one of {', '.join(names)}{f' ({hint})' if hint else ''}", table, *key)


def near(word: str, known: Iterable[str]) -> str:
    """Return `did you mean "…"?` with the nearest of `known`, empty when nothing is near."""
    names = list(known)
    folded = {name.casefold(): name for name in reversed(names)}
    found = difflib.get_close_matches(word[:200].casefold(), folded, 1)
    return f"did you mean {quoted(folded[found[0]])}?" if found else ""


def quoted(text: str) -> str:
    """Return a name from the file in quotes, on one line and not longer than a message bears."""
    return f'"{shown(text)}"'


def shown(text: str) -> str:
    """Return a name from the file as one short piece of printable text."""
    return printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def printable(text: str) -> str:
    """Return the text with line breaks and other control signs escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def without_text(message: str, values: Iterable[Any]) -> str:
    """Take quoted free text out of a message that an option struct wrote: it may be a secret in the wrong place."""
    for value in values:
        if isinstance(value, str) and value:
            message = message.replace(f", not {value!r}", "").replace(f", not the text {value!r}", "")
            message = message.replace(repr(value), "the value given")
    return " ".join(message.split())


def _name(key: tuple[str | int, ...]) -> str:
    return next((part for part in reversed(key) if isinstance(part, str)), "")
