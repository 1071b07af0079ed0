"""What an input is made of: one file, a pipe, or the files of a folder; each gives lines, in pieces."""

from __future__ import annotations

import gzip
import importlib
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec

from spillway.core.errors import ConfigError

LONGEST_LINE = 64 * 2**20
"""A longer line is not read, and becomes an error line."""

Pieces = Iterator[tuple[bytes, bool]]
"""Pieces of at most the longest line, each with whether a line ends there."""

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_BUFFER = 1 << 20
_ROWS = 1024
_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_AS_JSON = frozenset({"messages", "body", "tools", "tool_choice", "response_format", "stop"})
"""Columns whose text is JSON where it begins like an object or a list."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Part:
    """One file of an input, which can be read more than once.

    Args:
        path: of the file, `-` for standard input.
        spool: folder of a temporary file without a name: what can't be read twice is written there first.

    Raises:
        ConfigError: it can't be opened.
    """

    def __init__(self, path: str, spool: Path) -> None:
        self.name = "standard input" if path == "-" else path
        try:
            self._file = _open(path, spool)
            head = self._file.read(4)
            self._file.seek(0)
        except OSError as error:
            raise ConfigError(f"{self.name}: {error.strerror or error}") from error
        self._text: BinaryIO | None = None
        self._parquet = head == _PARQUET
        if self._parquet:
            try:
                _pyarrow(self.name)
            except ConfigError:
                self._file.close()
                raise
        elif head.startswith(_GZIP):
            self._text = cast("BinaryIO", gzip.GzipFile(fileobj=self._file, mode="rb"))

    def pieces(self) -> Pieces:
        """Yield its lines from the first on.

        Raises:
            ConfigError: it can't be read to its end.
        """
        if self._parquet:
            yield from _rows(self._file, self.name)
            return
        try:
            file = self._text or self._file
            file.seek(0)
            yield from _lines(file.readline)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{self.name}: can't be read to its end: {error}") from error

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


def files_in(folder: Path) -> list[str]:
    """Return the files of a folder, and of those in it, that are an input, in the order of their names.

    Raises:
        ConfigError: there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(_SUFFIXES)
        and path.is_file()
        and not any(name.startswith((".", "_")) for name in path.relative_to(folder).parts)
    )
    if not found:
        raise ConfigError(f"{folder}: there is no file in it that ends in {', '.join(_SUFFIXES)}")
    return [str(path) for path in found]


def is_input_of(folder: Path, path: Path) -> bool:
    """Return whether `path`, a file to come, would be taken for a part of the input in `folder`."""
    return path.name.endswith(_SUFFIXES) and path.resolve().is_relative_to(folder.resolve())


def _lines(read: Callable[[int], bytes]) -> Pieces:
    raw = read(LONGEST_LINE)
    while raw:
        if len(raw) < LONGEST_LINE or raw.endswith(b"\n"):
            yield raw, True
            raw = read(LONGEST_LINE)
        else:
            following = read(LONGEST_LINE)
            yield raw, not following
            raw = following


def _rows(file: IO[bytes], name: str) -> Pieces:
    """Yield the rows of a Parquet file as the lines of JSON that they stand for."""
    pyarrow = _pyarrow(name)
    try:
        file.seek(0)
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                line = _row(row)
                # A piece is never longer than the longest line.
                for at in range(0, len(line), LONGEST_LINE):
                    yield line[at : at + LONGEST_LINE], at + LONGEST_LINE >= len(line)
    except (OSError, EOFError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{name}: can't be read to its end: {str(error).splitlines()[0]}") from error


def _row(row: dict[str, Any]) -> bytes:
    """Return a row as a line: a column is a field, what is null is not there."""
    return _encode({key: _value(key, value) for key, value in row.items() if value is not None}) + b"\n"


def _value(key: str, value: Any) -> Any:
    if isinstance(value, str) and key in _AS_JSON and value.lstrip()[:1] in {"[", "{"}:
        try:
            return msgspec.Raw(msgspec.json.format(value, indent=-1).encode())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return value
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    """Return a nested value without null fields: in a column of structs each has the fields of all others."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _pyarrow(name: str) -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise ConfigError(
            f"{name}: Parquet needs pyarrow; the extra ray brings it: pip install 'spillway[ray]'"
        ) from None


def _open(path: str, spool: Path) -> IO[bytes]:
    if path == "-":
        return _spool(sys.stdin.buffer, spool)
    file = Path(path).open("rb", buffering=_BUFFER)  # noqa: SIM115 - the part closes it
    if stat.S_ISREG(Path(path).stat().st_mode):
        return file
    with file:
        return _spool(file, spool)


def _spool(pipe: IO[bytes], folder: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # noqa: SIM115 - the part closes it
    try:
        shutil.copyfileobj(pipe, file, _BUFFER)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
