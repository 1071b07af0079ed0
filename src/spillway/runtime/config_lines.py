"""Where in a TOML text each table and key stands, which the parser does not tell."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file down."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n"
    r"|[\[\]{},=.]"
    r"|[^\s\[\]{},=.#\"']+",
    re.DOTALL,
)
_END = ""


def line_index(text: str) -> dict[KeyPath, int]:
    """Return the 1-based line of every table, key and list element of `text`, which is valid TOML.

    A text nested too deeply yields the lines up to there.

    Complexity: linear in the text.
    """
    scan = _Scan(text)
    with contextlib.suppress(RecursionError):
        scan.document()
    return scan.lines


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, else of the nearest table around it, else 1."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 1


class _Scan:
    """Walks over the tokens of a valid TOML text and notes lines; values themselves are of no interest."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._pieces = _pieces(text)
        self._piece, self._line = _END, 1
        self._last: dict[KeyPath, int] = {}
        self._next()

    def document(self) -> None:
        table: KeyPath = ()
        while self._piece != _END:
            if self._piece == "\n":
                self._next()
            elif self._piece == "[":
                table = self._header()
            else:
                self._pair(table)

    def _next(self) -> None:
        self._piece, self._line = next(self._pieces, (_END, self._line))

    def _header(self) -> KeyPath:
        line = self._line
        self._next()
        of_array = self._piece == "["
        if of_array:
            self._next()
        *parents, last = self._key("]") or [""]
        path: KeyPath = ()
        for part in parents:
            path = self._within((*path, part), line)
        path = (*path, last)
        if of_array:
            self._next()
            self.lines.setdefault(path, line)
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
        self._note(path, line)
        self._next()
        return path

    def _within(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return (*path, self._last[path]) if path in self._last else path

    def _pair(self, table: KeyPath) -> None:
        line = self._line
        path = table
        for part in self._key("="):
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._next()
        self._value(path)

    def _key(self, end: str) -> list[str]:
        parts = []
        while self._piece not in {end, _END}:
            if self._piece != ".":
                parts.append(_key_text(self._piece))
            self._next()
        return parts

    def _value(self, path: KeyPath) -> None:
        if self._piece == "[":
            self._next()
            position = 0
            while self._skip_newlines() not in {"]", _END}:
                element = (*path, position)
                self._note(element, self._line)
                self._value(element)
                position += 1
                if self._skip_newlines() == ",":
                    self._next()
            self._next()
        elif self._piece == "{":
            self._next()
            while self._skip_newlines() not in {"}", _END}:
                self._pair(path)
                if self._skip_newlines() == ",":
                    self._next()
            self._next()
        else:
            while self._piece not in {",", "]", "}", "\n", _END}:
                self._next()

    def _skip_newlines(self) -> str:
        while self._piece == "\n":
            self._next()
        return self._piece

    def _note(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        token = match.group()
        if not token.startswith("#"):
            yield token, line


def _key_text(token: str) -> str:
    if token.startswith(('"', "'")):
        return str(tomllib.loads(f"key = {token}")["key"])
    return token
