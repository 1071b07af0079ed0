"""OpenAI's refusals, and rate-limit headers in the three ways that its relatives write time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spillway.sim.limits import Verdict
from spillway.sim.wire.dialect import Refusal, Trouble, json_bytes, whole_seconds

_INVALID = "invalid_request_error"

_ROWS: dict[str, tuple[int, str, str | None, str]] = {
    "bad_request": (400, _INVALID, None, "Invalid request."),
    "no_route": (404, _INVALID, None, "Invalid URL: there is no such route."),
    "no_method": (405, _INVALID, None, "Not allowed to use this method on this route."),
    "no_model": (
        404,
        _INVALID,
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "no_key": (401, _INVALID, None, "You didn't provide an API key."),
    "bad_key": (401, _INVALID, "invalid_api_key", "Incorrect API key provided."),
    "forbidden": (
        403,
        "permission_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min (RPM)."),
    "quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan.",
    ),
    "content_filter": (400, _INVALID, "content_policy_violation", "Your request was rejected by our safety system."),
    "context_length": (
        400,
        _INVALID,
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 128001 tokens.",
    ),
    "server": (500, "server_error", None, "The server had an error while processing your request."),
    "unavailable": (503, "service_unavailable_error", "server_is_overloaded", "The engine is currently overloaded."),
    "overloaded": (529, "service_unavailable_error", "server_is_overloaded", "The engine is currently overloaded."),
}


def error(message: str, kind: str | None, code: str | None, param: str | None = None) -> dict[str, Any]:
    """Return the error object with all of its four keys."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def server_error() -> dict[str, Any]:
    """Return what a stream carries when the provider fails."""
    return error("The server had an error while processing your request.", "server_error", None)


def refusal(trouble: Trouble, request_id: str, *, clock: Callable[[float], str] | None = None) -> Refusal:
    """Write a refusal; `clock` writes the resets of its rate-limit headers, Go durations unless told."""
    status, kind, code, template = _ROWS[trouble.kind]
    message = trouble.message or template.format(model=trouble.model)
    param = trouble.param or ("messages" if trouble.kind == "context_length" else None)
    headers = {"x-request-id": request_id}
    if trouble.kind == "rate_limit":
        verdict = trouble.verdict
        headers |= limit_headers(verdict, clock or go_duration)
        if verdict is not None and verdict.limited_by == "tokens":
            kind = "tokens"
            message = over_tokens(verdict, trouble.model)
        if trouble.retry_after_s is not None and not (verdict is not None and verdict.fits_never):
            message = f"{message} Please try again in {go_duration(trouble.retry_after_s)}."
            headers |= retry_headers(trouble.retry_after_s)
    return Refusal(status=status, body=json_bytes(error(message, kind, code, param)), headers=headers)


def over_tokens(verdict: Verdict, model: str) -> str:
    """Return the message of a refusal for tokens."""
    if verdict.fits_never:
        start = f"Request too large for {model} on tokens per min (TPM):"
    else:
        start = f"Rate limit reached for {model} on tokens per min (TPM):"
    return f"{start} Limit {verdict.limit_tokens}, Requested {verdict.requested_tokens}."


def retry_headers(seconds: float) -> dict[str, str]:
    """Return the wait in whole seconds and, exactly, in milliseconds; neither is ever less than `seconds`."""
    return {"retry-after": whole_seconds(seconds), "retry-after-ms": whole_seconds(seconds * 1000)}


def limit_headers(verdict: Verdict | None, clock: Callable[[float], str]) -> dict[str, str]:
    """Return `x-ratelimit-*`; `clock` writes a reset."""
    if verdict is None:
        return {}
    headers: dict[str, str] = {}
    if verdict.limit_requests is not None:
        headers["x-ratelimit-limit-requests"] = str(verdict.limit_requests)
        headers["x-ratelimit-remaining-requests"] = str(verdict.remaining_requests)
        headers["x-ratelimit-reset-requests"] = clock(verdict.reset_requests_s)
    if verdict.limit_tokens is not None:
        headers["x-ratelimit-limit-tokens"] = str(verdict.limit_tokens)
        headers["x-ratelimit-remaining-tokens"] = str(verdict.remaining_tokens)
        headers["x-ratelimit-reset-tokens"] = clock(verdict.reset_tokens_s)
    return headers


def go_duration(seconds: float) -> str:
    """Write seconds as Go does, in milliseconds rounded up: `0s`, `12ms`, `8.64s`, `6m0s`, `2h3m4s`."""
    millis = int(whole_seconds(seconds * 1000))
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    whole, part = divmod(rest, 1000)
    text = f"{whole}.{part:03}".rstrip("0").rstrip(".") if part else str(whole)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{text}s"
    return f"{minutes}m{text}s" if minutes else f"{text}s"
