"""What Gemini's and Vertex's errors mean. Source: https://ai.google.dev/gemini-api/docs/troubleshooting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spillway.core.errors import InferenceError, QuotaExhausted, RateLimited
from spillway.providers import refusals
from spillway.providers.reading import decode_object

_OF_A_DAY = re.compile(r"\bper[ _-]?day\b|PerDay|limit '[^']*day'", re.IGNORECASE)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means; a quota of a day, or of nothing, refills in no time worth waiting for."""
    return _exact(refusals.of_status("gemini", status, headers, body), body)


def in_answer(body: bytes) -> InferenceError:
    """Return the error that `{"error": …}`, or a list of one, in a 200 means."""
    return _exact(refusals.in_answer("gemini", body), body)


def _exact(error: InferenceError, body: bytes) -> InferenceError:
    """Tell a 429 that is final by what only Google says: an ErrorInfo's quota, or the words of Vertex."""
    if not isinstance(error, RateLimited):
        return error
    said = decode_object(body).get("error")
    if not isinstance(said, Mapping):
        return error
    if not (_OF_A_DAY.search(error.message) or any(_never_refills(one) for one in _list(said.get("details")))):
        return error
    final = QuotaExhausted(error.message, provider=error.provider, status=error.status)
    final.body = error.body
    return final


def _never_refills(detail: Any) -> bool:
    metadata = detail.get("metadata") if isinstance(detail, Mapping) else None
    if not isinstance(metadata, Mapping):
        return False
    limit = str(metadata.get("quota_limit") or "")
    return bool(_OF_A_DAY.search(limit)) or str(metadata.get("quota_limit_value")) == "0"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
