"""The input: numbered lines of a file, of a folder's files or of a pipe, the same at every reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from spillway.batch.parts import Part, files_in, is_input_of
from spillway.core.errors import ConfigError

_BOM = b"\xef\xbb\xbf"


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one input from another.

    Attributes:
        digest: of the text, decompressed.
        lines: lines, blank ones included.
        requests: lines that are not blank.
    """

    digest: str
    size: int
    lines: int
    requests: int


class InputChangedError(ConfigError):
    """The input is not what it was."""


class Source:
    """An input that can be read more than once.

    A pipe is first written to a temporary file without a name: its fingerprint is to be known before anything is sent.
    Lines of a folder's files are numbered through, file after file in the order of their names.

    Args:
        name: path of the input, `-` for standard input.
        spool: folder of that temporary file.
        output: what the run writes.

    Raises:
        ConfigError: it can't be opened, there is nothing in the folder, or the output would come to be in it.
    """

    def __init__(self, name: str, spool: Path, *, output: Path | None = None) -> None:
        self.name = "standard input" if name == "-" else name
        self._spool = spool
        self._part: Part | None = None
        self._folder = Path(name) if name != "-" and Path(name).is_dir() else None
        if self._folder is None:
            self._part = Part(name, spool)
        elif output is not None and is_input_of(self._folder, output):
            raise ConfigError(f"{output} is in the input's folder and would be read as a part of it; put it elsewhere")
        else:
            files_in(self._folder)

    def fingerprint(self) -> Fingerprint:
        """Read all of it once and return its fingerprint.

        Raises:
            ConfigError: it can't be read to its end.
        """
        reading = _Reading()
        requests = sum(1 for _ in self._read(reading))
        return Fingerprint(digest=reading.digest.hexdigest(), size=reading.size, lines=reading.lines, requests=requests)

    def lines(self, known: Fingerprint) -> Iterator[tuple[int, bytes | None]]:
        """Yield `(number, line)` of every line that is not blank; None stands for a line that is too long.

        Args:
            known: what it was found to be before.

        Raises:
            InputChangedError: at its end it turns out to be something else.
            ConfigError: it can't be read to its end.
        """
        reading = _Reading()
        for number, raw in self._read(reading):
            if number > known.lines:
                break
            yield number, raw
        if reading.digest.hexdigest() != known.digest:
            raise InputChangedError(f"{self.name} changed while it was read")

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._part is not None:
            self._part.close()

    def _read(self, reading: _Reading) -> Iterator[tuple[int, bytes | None]]:
        if self._folder is None:
            if self._part is not None:
                yield from self._read_part(self._part, reading)
            return
        for name in files_in(self._folder):
            part = Part(name, self._spool)
            try:
                # What a file is called, and where it ends, belongs to what the input is.
                reading.digest.update(f"\0{Path(name).relative_to(self._folder)}\0".encode("utf-8", "surrogateescape"))
                yield from self._read_part(part, reading)
            finally:
                part.close()

    @staticmethod
    def _read_part(part: Part, reading: _Reading) -> Iterator[tuple[int, bytes | None]]:
        take, whole, first = reading.digest.update, True, True
        for raw, ends in part.pieces():
            take(raw)
            reading.size += len(raw)
            text = raw[len(_BOM) :] if first and raw.startswith(_BOM) else raw
            first = False
            if not ends:
                whole = False
                continue
            reading.lines += 1
            if not whole:
                yield reading.lines, None
            elif text and not text.isspace():
                yield reading.lines, text
            whole = True


class _Reading:
    """One pass over the text."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.size = 0
        self.lines = 0
