"""The file of recorded exchanges: JSON Lines, a line that says what it is, then one line for each exchange."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from spillway.core import errors
from spillway.core.errors import ConfigError, InferenceError, NetworkError

_NO_JSON = msgspec.Raw(b"")

VERSION = 1
"""Of the format; a file of a later one is refused."""


class RecordedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is recorded: what it is matched by, and nothing of its headers or its host.

    Attributes:
        path: of the URL, with its query.
        body: a JSON value; text where it is none.
    """

    method: str
    path: str
    body: Any = None


class RecordedError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What broke an exchange."""

    kind: str
    message: str
    reason: str | None = None
    sent: bool = False
    retryable: bool = False
    counts: bool = False

    @classmethod
    def of(cls, error: InferenceError, message: str) -> RecordedError:
        """Return what is recorded of `error`, in other words."""
        return cls(
            kind=type(error).__name__,
            message=message,
            reason=error.reason,
            sent=bool(error.sent),
            retryable=error.retryable,
            counts=error.counts_as_circuit_failure,
        )

    def again(self) -> InferenceError:
        """Return that error, anew."""
        kind = getattr(errors, self.kind, NetworkError)
        if not (isinstance(kind, type) and issubclass(kind, InferenceError)):
            kind = NetworkError
        error = kind(self.message, reason=self.reason, retryable=self.retryable, counts_as_circuit_failure=self.counts)
        error.sent = self.sent
        return error


class Bytes(msgspec.Struct, frozen=True):
    """A piece of a body that is no text."""

    base64: str


Piece = str | Bytes


class RecordedResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An answer as it is recorded.

    Attributes:
        status: 0 when there was none.
        headers: those that mean something to a client.
        json: a whole body that is JSON, on one line; empty for any other.
        chunks: any other body in the pieces that came from the network.
        at: seconds from the request to the head and to each piece; empty unless times are kept.
        error: what broke it.
        left: whether its reader left before its end.
    """

    status: int = 0
    headers: dict[str, str] = {}
    json: msgspec.Raw = _NO_JSON
    chunks: list[Piece] = []
    at: list[float] = []
    error: RecordedError | None = None
    left: bool = False

    def pieces(self) -> list[bytes]:
        """Return the body in the pieces in which it is to be read."""
        if bytes(self.json):
            return [bytes(self.json)]
        return [piece.encode() if isinstance(piece, str) else b64decode(piece.base64) for piece in self.chunks]


class Exchange(msgspec.Struct, kw_only=True):
    """A request and what was answered."""

    request: RecordedRequest
    response: RecordedResponse


class _Head(msgspec.Struct):
    spillway_cassette: int


def as_piece(data: bytes) -> Piece:
    """Return a piece of a body as the file holds it: text if it is any."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Bytes(b64encode(data).decode())


def on_one_line(data: bytes) -> msgspec.Raw:
    """Return a body that is JSON without its line breaks, its values to the letter; an empty one for any other."""
    try:
        msgspec.json.decode(data)  # `format` trusts what it is given
        several = b"\n" in data or b"\r" in data
        return msgspec.Raw(msgspec.json.format(data, indent=0) if several else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NO_JSON


def as_json(data: bytes) -> Any:
    """Return the JSON value of a body; text, or its base64, where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        piece = as_piece(data)
        return piece if isinstance(piece, str) else piece.base64


def load(path: Path) -> list[tuple[int, Exchange]]:
    """Return the exchanges of a file, each with its line.

    Raises:
        ConfigError: there is no such file, it is of a later version, or a line is no exchange.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise ConfigError(f'{path}: there is no such cassette; record one with mode="record"') from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        version = msgspec.json.decode(lines[0], type=_Head).spillway_cassette
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path}:1: not a cassette of Spillway's") from None
    if version > VERSION:
        raise ConfigError(
            f"{path}: its format {version} is newer than this Spillway reads ({VERSION}); "
            "upgrade Spillway, or record it again"
        )
    found: list[tuple[int, Exchange]] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            found.append((number, msgspec.json.decode(line, type=Exchange)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}:{number}: not a recorded exchange: {error}") from None
    return found


def save(path: Path, exchanges: Sequence[Exchange]) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with written.open("wb") as file:
            file.writelines(_lines(exchanges))
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def _lines(exchanges: Sequence[Exchange]) -> Iterable[bytes]:
    yield msgspec.json.encode(_Head(VERSION)) + b"\n"
    for exchange in exchanges:
        yield msgspec.json.encode(exchange) + b"\n"
