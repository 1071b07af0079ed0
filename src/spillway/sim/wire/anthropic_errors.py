"""Anthropic's refusals and rate-limit headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.sim.limits import Verdict
from spillway.sim.wire.dialect import Refusal, Trouble, json_bytes, whole_seconds

_ROWS: dict[str, tuple[int, str, str]] = {
    "bad_request": (400, "invalid_request_error", "Invalid request."),
    "no_route": (404, "not_found_error", "Not Found"),
    "no_method": (405, "invalid_request_error", "Method Not Allowed"),
    "no_model": (404, "not_found_error", "model: {model}"),
    "no_key": (401, "authentication_error", "x-api-key header is required"),
    "bad_key": (401, "authentication_error", "invalid x-api-key"),
    "forbidden": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "rate_limit": (429, "rate_limit_error", "This request would exceed the rate limit for your organization."),
    "quota": (429, "rate_limit_error", "You have reached your specified API usage limits."),
    "context_length": (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    "server": (500, "api_error", "Internal server error"),
    "unavailable": (503, "api_error", "Service unavailable"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}


def error(kind: str, message: str, request_id: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the error object."""
    inner: dict[str, Any] = {"type": kind, "message": message}
    if details is not None:
        inner["details"] = details
    return {"type": "error", "error": inner, "request_id": request_id}


def refusal(trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
    """Write a refusal; one for money names no wait."""
    status, kind, template = _ROWS[trouble.kind]
    headers = {"request-id": request_id}
    details = {"error_code": "enforced_spend_limit_reached"} if trouble.kind == "quota" else None
    if trouble.kind == "rate_limit":
        headers |= limit_headers(trouble.verdict, wall)
        if trouble.retry_after_s is not None and not (trouble.verdict is not None and trouble.verdict.fits_never):
            headers["retry-after"] = whole_seconds(trouble.retry_after_s)
    message = trouble.message or template.format(model=trouble.model)
    return Refusal(status=status, body=json_bytes(error(kind, message, request_id, details)), headers=headers)


def limit_headers(verdict: Verdict | None, wall: datetime) -> dict[str, str]:
    """Return `anthropic-ratelimit-*`; one limit stands for all tokens, so input and output have none of their own."""
    if verdict is None:
        return {}
    headers: dict[str, str] = {}
    rows = (
        ("requests", verdict.limit_requests, verdict.remaining_requests, verdict.reset_requests_s),
        ("tokens", verdict.limit_tokens, verdict.remaining_tokens, verdict.reset_tokens_s),
    )
    for name, limit, remaining, reset_s in rows:
        if limit is not None:
            headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(remaining)
            headers[f"anthropic-ratelimit-{name}-reset"] = rfc3339(wall + timedelta(seconds=reset_s))
    return headers


def rfc3339(instant: datetime) -> str:
    """Write an instant in whole seconds, rounded up."""
    whole = instant.astimezone(UTC)
    if whole.microsecond:
        whole = whole.replace(microsecond=0) + timedelta(seconds=1)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")
