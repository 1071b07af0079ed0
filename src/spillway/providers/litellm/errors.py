"""What a LiteLLM proxy's errors mean; its `error.code` is the HTTP status as text.

Its messages tell who failed: `litellm.<Class>: <Class>: <Provider>Exception - <the provider's own words>` is a provider
behind the proxy (`reason` `upstream`), anything else the proxy itself (`gateway`). Source: the package `litellm`.

    401 of a provider behind it                 Forbidden: the proxy's key is refused, ours is good
    401 of a key that may not use the model     Forbidden: no other key would be read
    400 `no_db_connection`                      Unauthorized: only the master key is known there
    400 `Invalid model name`                    ModelNotFound
    `budget_exceeded` with any status           QuotaExhausted
    the provider's own body, quoted             what that body means, where it is more exact
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from spillway.core.clock import wall_now
from spillway.core.errors import (
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    Forbidden,
    InferenceError,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    Unauthorized,
)
from spillway.providers import refusals
from spillway.remote.classify import classify_http_status, read_error_body

RUNTIME = "litellm"

_UPSTREAM = re.compile(r"\b[A-Z][A-Za-z]{1,40}Exception - ")
_RESETS = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\b")
_MORE_EXACT = (QuotaExhausted, ContextLengthExceeded, ContentFiltered)
_NOT_ALLOWED = "_model_access_denied"
_OPENAI = re.compile(r"(exceeded your current quota)|rejected (?:by|as a result of) our safety system")
_READ = 64 * 1024


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means."""
    return _told(refusals.of_status(RUNTIME, status, headers, body), status, headers, body)


def in_answer(body: bytes) -> InferenceError:
    """Return the error that `{"error": …}` in a 200 means; `[DONE]` after it means nothing."""
    error = refusals.in_answer(RUNTIME, body)
    return _told(error, error.status or 500, {}, body)


def _told(error: InferenceError, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    said = read_error_body(body)
    words = said.message[:_READ]
    upstream = _UPSTREAM.search(words)
    if 400 <= status < 500:
        kind = type(error)
        if upstream is not None:
            kind = _behind(error, status, upstream[0], words[upstream.end() :])
        elif kind is Unauthorized and said.type.endswith(_NOT_ALLOWED):
            kind = Forbidden
        elif kind is BadRequest and said.type == "no_db_connection":
            kind = Unauthorized
        elif kind is BadRequest and "Invalid model name passed in" in words:
            kind = ModelNotFound
        if kind is not type(error):
            error = kind(error.message, provider=RUNTIME, status=error.status, body=error.body)
        if error.retry_after is None and isinstance(error, RateLimited):
            error.retry_after = _until_reset(f"{headers.get('reset_at', '')} {words}")
    if error.reason is None:
        error.reason = "upstream" if upstream is not None else "gateway"
    return error


def _behind(error: InferenceError, status: int, who: str, quoted: str) -> type[InferenceError]:
    """Return the class of what a provider behind the proxy said, and take over the wait that its body asks for."""
    kind = type(error)
    body = _object_in(quoted)
    if body is not None:
        inner = classify_http_status(RUNTIME, status, error.retry_after, body)
        if isinstance(inner, _MORE_EXACT):
            kind = type(inner)
        error.retry_after = inner.retry_after
    elif who.startswith(("OpenAI", "Azure")) and (found := _OPENAI.search(quoted)):
        # The proxy hands on OpenAI's words without its code.
        kind = QuotaExhausted if found[1] else ContentFiltered
    return Forbidden if kind is Unauthorized else kind


def _object_in(text: str) -> str | None:
    """Return the JSON object or list that `text` begins with, None when it begins with none."""
    text = text.lstrip()
    if text[:1] not in {"{", "["}:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end]


def _until_reset(text: str) -> float | None:
    """Return the seconds to the reset that the proxy's limiter names, None when it names none."""
    match = _RESETS.search(text)
    if match is None:
        return None
    try:
        at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, (at - wall_now()).total_seconds())
