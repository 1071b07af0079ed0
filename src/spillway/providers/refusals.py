"""From a provider's error, with its status or inside a 200, to one of ours; what is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.clock import wall_now
from spillway.core.errors import InferenceError, QuotaExhausted, ServerError
from spillway.remote.classify import classify_http_status, implied_status, read_error_body, retry_delay, should_retry


def of_status(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that an answer with a status of 300 and more is.

    A redirect is final: it is never followed, for it would carry the credential elsewhere.
    """
    if status < 400:
        if status == 304:
            return ServerError("the answer is empty: HTTP 304", provider=provider, reason="empty", status=status)
        return ServerError(
            f"the endpoint answered with a redirect: HTTP {status}",
            provider=provider,
            reason="redirect",
            status=status,
            retryable=False,
        )
    error = classify_http_status(provider, status, retry_delay(headers, body, wall_now()), body)
    if isinstance(error, QuotaExhausted) and "retry-after" not in headers:
        error.retry_after = None
    if should_retry(headers) is False:
        error.retryable = False
    return error


def in_answer(provider: str, body: bytes) -> InferenceError:
    """Return the error that a body or an event of a 200 is; one that does not say what it is counts as a 500."""
    status = implied_status(read_error_body(body)) or 500
    return classify_http_status(provider, status, None, body)
