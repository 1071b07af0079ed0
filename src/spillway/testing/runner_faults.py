"""What every fault of a provider must come out as, whoever the provider is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.core.errors import (
    ContextLengthExceeded,
    Forbidden,
    InferenceError,
    NetworkError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Unauthorized,
)


class Expected(msgspec.Struct, frozen=True):
    """What a fault must come out as; `reason` and `retry_after` are not looked at when None."""

    kind: type[InferenceError]
    retryable: bool
    counts: bool
    reason: str | None = None
    retry_after: float | None = None


_SERVER = Expected(ServerError, retryable=True, counts=True)
_RESET = Expected(NetworkError, retryable=True, counts=True, reason="reset")
_INCOMPLETE = Expected(NetworkError, retryable=True, counts=True, reason="incomplete")
_MALFORMED = Expected(ServerError, retryable=True, counts=True, reason="malformed")

REFUSALS: Mapping[str, Expected] = {
    "429": Expected(RateLimited, retryable=True, counts=False),
    "429-retry-after=3": Expected(RateLimited, retryable=True, counts=False, retry_after=3.0),
    "insufficient-quota": Expected(QuotaExhausted, retryable=False, counts=False),
    "500": _SERVER,
    "503": _SERVER,
    "529": _SERVER,
    "401": Expected(Unauthorized, retryable=False, counts=False),
    "403": Expected(Forbidden, retryable=False, counts=False),
    "context-length": Expected(ContextLengthExceeded, retryable=False, counts=False),
    "html-error-page": _SERVER,
    "reset-before-headers": _RESET,
}
"""Faults before any answer: the same for unary and streamed requests."""

BROKEN_UNARY: Mapping[str, Expected] = {
    "reset-mid-stream": _RESET,
    "truncated-stream": _INCOMPLETE,
    "error-event-mid-stream": _SERVER,
    "garbage-json": _MALFORMED,
    "invalid-utf8": _MALFORMED,
}
"""Faults inside a whole answer."""

BROKEN_STREAM: Mapping[str, Expected] = {
    "reset-mid-stream": _RESET,
    "truncated-stream": _INCOMPLETE,
    "error-event-mid-stream": _SERVER,
    "garbage-json": _MALFORMED,
    "huge-line": Expected(ServerError, retryable=False, counts=True, reason="event_too_large"),
}
"""Faults inside a stream, after some content."""
