"""Reading what a provider sent: typed JSON, and one error for each way in which it can't be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from spillway.core.errors import ServerError
from spillway.remote.classify import redact

T = TypeVar("T")

Count = int | float | None
"""A token count as providers write it; some write `12.0`, some `null`."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a msgspec decoder raises for bytes it can't make a value of."""

ABSENT = msgspec.Raw(b"")
"""The default of a field that is only passed on."""

_NOTHING = frozenset({b"", b"null", b"{}", b'""', b"false", b"[]"})
_SHOWN = 200


def is_set(raw: msgspec.Raw) -> bool:
    """Whether a raw JSON value says anything."""
    return raw is not ABSENT and bytes(raw) not in _NOTHING


def count(value: Count) -> int:
    """Return a token count, 0 for one that is absent or negative."""
    return max(0, int(value)) if value else 0


def unreadable(error: Exception, data: bytes, what: str = "the answer") -> ServerError:
    """Return the error for `data` that could not be decoded."""
    if not data.strip():
        return ServerError(f"{what} is empty", reason="empty")
    reason = "schema" if isinstance(error, msgspec.ValidationError) else "malformed"
    return ServerError(f"{what} can't be read: {error}", reason=reason, body=redact(data[:_SHOWN]))


def reread(decode: Callable[[bytes], T], data: bytes, error: Exception) -> T:
    """Decode a stream's event again, with U+FFFD for what is not UTF-8.

    Raises:
        ServerError: it can't be read (`malformed`); nothing is skipped.
    """
    if isinstance(error, UnicodeDecodeError):
        data = data.decode("utf-8", "replace").encode()
        try:
            return decode(data)
        except UNREADABLE as again:
            error = again
    raise ServerError(
        f"an event of the stream can't be read: {error}", reason="malformed", body=redact(data[:_SHOWN])
    ) from error


def decode_object(data: Any) -> dict[str, Any]:
    """Return `data` as a JSON object, an empty one when it is none; for bodies of errors."""
    try:
        value = msgspec.json.decode(data)
    except (*UNREADABLE, TypeError):
        return {}
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}
