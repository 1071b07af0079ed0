"""From an HTTP status, and what the body adds to it, to one error.

    400, other 4xx   BadRequest
    401              Unauthorized
    402              QuotaExhausted
    403              Forbidden
    404              ModelNotFound
    408              Timeout (`reason="provider"`)
    429              RateLimited (`limited_by="provider"`)
    5xx and above    ServerError

The body can make a 4xx more exact: QuotaExhausted (billing, spend, a quota a day long), ContextLengthExceeded,
ContentFiltered, Unauthorized (a bad key sent as 400), Forbidden (an account that is not set up, sent as 400),
BadRequest (a 429 for a request that fits in no minute), ServerError (an overload sent as anything).
"""

from __future__ import annotations

import math
from enum import StrEnum

from spillway.core.errors import (
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    Forbidden,
    InferenceError,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Timeout,
    Unauthorized,
)
from spillway.remote.classify.body import ErrorBody, read_error_body
from spillway.remote.classify.redaction import bounded, one_line

_MESSAGE = 300
_BODY = 2048
_OVERLOADED = 529


class ProviderKind(StrEnum):
    """The providers whose errors are known."""

    OPENAI = "openai"
    AZURE = "azure"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    VERTEX = "vertex"
    LITELLM = "litellm"


_BY_STATUS: dict[int, type[InferenceError]] = {
    401: Unauthorized,
    402: QuotaExhausted,
    403: Forbidden,
    404: ModelNotFound,
    408: Timeout,
    429: RateLimited,
}
_QUOTA = frozenset({
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "payment_required",
    "paymentrequirederror",
    "quota_exceeded",
    "budget_exceeded",
})  # fmt: skip
_CONTEXT = frozenset({"context_length_exceeded", "model_context_window_exceeded"})
_FILTERED = frozenset({
    "content_filter",
    "content_policy_violation",
    "image_content_policy_violation",
    "responsibleaipolicyviolation",
    "invalid_prompt",
    "bio_policy",
    "misalignment_policy_violation",
})  # fmt: skip
_CONTEXT_WORDS = (
    "contextwindowexceedederror",
    "maximum context length is",
    "exceeds the context window",
    "prompt is too long",
    "exceed context limit",
)
_GEMINI_CONTEXT_WORDS = ("input token count", "exceeds the maximum number of tokens")
_FILTERED_WORDS = "contentpolicyviolationerror"
_AZURE_QUOTA_WORDS = "out of call volume quota"

_STATUS_OF = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "not_found": 404,
    "model_not_found": 404,
    "conflict_error": 409,
    "aborted": 409,
    "already_exists": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "throttling_error": 429,
    "insufficient_quota": 429,
    "slow_down": 429,
    "requests": 429,
    "tokens": 429,
    "resource_exhausted": 429,
    "cancelled": 499,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "internal": 500,
    "unknown": 500,
    "data_loss": 500,
    "unimplemented": 501,
    "service_unavailable_error": 503,
    "service_unavailable": 503,
    "server_is_overloaded": 503,
    "unavailable": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "overloaded_error": _OVERLOADED,
}  # fmt: skip


def classify_http_status(
    provider: str | ProviderKind,
    status: int,
    retry_after: float | None = None,
    body: str | bytes | None = None,
) -> InferenceError:
    """Return the error that a provider's refusal means.

    Its message is the provider's own in one line of at most 300 characters, its `body` at most 2 KB, without secrets.

    Args:
        provider: its name or kind.
        status: at least 400.
        retry_after: seconds the headers ask to wait; None: what the body asks for, if it does.
        body: the body as it came.

    Raises:
        ValueError: the status is no refusal.
    """
    if status < 400:
        raise ValueError(f"{status} is no status of an error")
    said = read_error_body(body)
    kind = _kind(status, said)
    if retry_after is not None and not 0.0 <= retry_after < math.inf:
        retry_after = None
    if retry_after is None and kind is not QuotaExhausted:
        retry_after = said.retry_in
    error = kind(
        one_line(said.message, _MESSAGE) or f"HTTP {status} without a message",
        provider=str(provider),
        status=status,
        retry_after=retry_after,
    )
    if body:
        error.body = bounded(body, _BODY)
    if kind is RateLimited:
        error.limited_by = "provider"
    elif kind is Timeout:
        error.reason = "provider"
    elif kind is ServerError and "overloaded_error" in said.marks:
        error.reason = "overloaded"
        error.status = status if status >= 500 else _OVERLOADED
    elif kind is BadRequest and said.unfit:
        error.reason = "unacquirable_cost"
    return error


def implied_status(said: ErrorBody) -> int | None:
    """Return the HTTP status that an error stands for which came inside a 200, None when it does not say."""
    if said.code.isascii() and said.code.isdigit() and len(said.code) == 3 and said.code >= "400":
        return int(said.code)
    for word in (said.code, said.status, said.type):
        status = _STATUS_OF.get(word.lower())
        if status is not None:
            return status
    return None


def _kind(status: int, said: ErrorBody) -> type[InferenceError]:
    if status >= 500 or "overloaded_error" in said.marks:
        return ServerError
    words = said.message[:4096].lower()
    if said.marks & _QUOTA or said.spent or (status == 403 and _AZURE_QUOTA_WORDS in words):
        return QuotaExhausted
    if status == 429 and said.unfit:
        return BadRequest
    if status in _BY_STATUS and status != 403:
        return _BY_STATUS[status]
    if said.marks & _FILTERED or _FILTERED_WORDS in words:
        return ContentFiltered
    if status == 403:
        return Forbidden
    return _of_bad_request(said, words)


def _of_bad_request(said: ErrorBody, words: str) -> type[InferenceError]:
    if said.marks & _CONTEXT or any(text in words for text in _CONTEXT_WORDS):
        return ContextLengthExceeded
    if all(text in words for text in _GEMINI_CONTEXT_WORDS):
        return ContextLengthExceeded
    if "api_key_invalid" in said.marks:
        return Unauthorized
    if "failed_precondition" in said.marks:
        return Forbidden
    return BadRequest
