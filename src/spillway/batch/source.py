"""The input: numbered lines of a file, a gzip file or a pipe, the same at every reading."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from spillway.core.errors import ConfigError

LONGEST_LINE = 64 * 2**20
"""A longer line is not read, and becomes an error line."""

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_BUFFER = 1 << 20


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

    Args:
        name: path of the input, `-` for standard input.
        spool: folder of that temporary file.

    Raises:
        ConfigError: it can't be opened.
    """

    def __init__(self, name: str, spool: Path) -> None:
        self.name = "standard input" if name == "-" else name
        try:
            self._file = _open(name, spool)
            head = self._file.read(2)
            self._file.seek(0)
        except OSError as error:
            raise ConfigError(f"{self.name}: {error.strerror or error}") from error
        self._text = cast("BinaryIO", gzip.GzipFile(fileobj=self._file, mode="rb")) if head == _GZIP else None

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
        self._file.close()

    def _read(self, reading: _Reading) -> Iterator[tuple[int, bytes | None]]:
        take, whole = reading.digest.update, True
        for raw, ends in self._pieces():
            take(raw)
            reading.size += len(raw)
            if not ends:
                whole = False
                continue
            reading.lines += 1
            number = reading.lines
            text = raw[len(_BOM) :] if number == 1 and raw.startswith(_BOM) else raw
            if not whole:
                yield number, None
            elif text and not text.isspace():
                yield number, text
            whole = True

    def _pieces(self) -> Iterator[tuple[bytes, bool]]:
        """Yield pieces of at most the longest line, each with whether a line ends there."""
        try:
            file = self._text or self._file
            file.seek(0)
            read = file.readline
            raw = read(LONGEST_LINE)
            while raw:
                if len(raw) < LONGEST_LINE or raw.endswith(b"\n"):
                    yield raw, True
                    raw = read(LONGEST_LINE)
                else:
                    following = read(LONGEST_LINE)
                    yield raw, not following
                    raw = following
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{self.name}: can't be read to its end: {error}") from error


class _Reading:
    """One pass over the text."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.size = 0
        self.lines = 0


def _open(name: str, spool: Path) -> IO[bytes]:
    if name == "-":
        return _spool(sys.stdin.buffer, spool)
    file = Path(name).open("rb", buffering=_BUFFER)  # noqa: SIM115 - the source closes it
    if stat.S_ISREG(Path(name).stat().st_mode):
        return file
    with file:
        return _spool(file, spool)


def _spool(pipe: IO[bytes], folder: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # noqa: SIM115 - the source closes it
    try:
        shutil.copyfileobj(pipe, file, _BUFFER)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
