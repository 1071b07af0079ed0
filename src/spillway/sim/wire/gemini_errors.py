"""Google's refusals: one error object, its reasons and waits in `details`."""

from __future__ import annotations

from typing import Any

from spillway.sim.wire.dialect import Refusal, Trouble, json_bytes

_TYPES = "type.googleapis.com/google.rpc."

_ROWS: dict[str, tuple[int, str, str]] = {
    "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "no_route": (404, "NOT_FOUND", "Requested entity was not found."),
    "no_method": (405, "INVALID_ARGUMENT", "Method not allowed."),
    "no_model": (404, "NOT_FOUND", "models/{model} is not found for API version v1beta."),
    "no_key": (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."),
    "bad_key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "forbidden": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan."),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "context_length": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "server": (500, "INTERNAL", "An internal error has occurred."),
    "unavailable": (503, "UNAVAILABLE", "This model is currently experiencing high demand. Please try again later."),
    "overloaded": (529, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}

_VERTEX_ROWS: dict[str, tuple[int, str, str]] = {
    "no_key": (401, "UNAUTHENTICATED", "Request is missing required authentication credential."),
    "bad_key": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "Resource exhausted, please try again later."),
}


def refusal(trouble: Trouble, *, vertex: bool) -> Refusal:
    """Write a refusal; the wait of a 429 is a `RetryInfo`, which Vertex does not send for its limits."""
    status, name, template = (_VERTEX_ROWS if vertex else {}).get(trouble.kind) or _ROWS[trouble.kind]
    message = trouble.message or template.format(model=trouble.model)
    details: list[dict[str, Any]] = []
    if trouble.kind == "bad_key" and not vertex:
        details.append(
            {
                "@type": f"{_TYPES}ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        )
    elif trouble.kind == "quota":
        details.append(_quota_failure("GenerateRequestsPerDayPerProjectPerModel-FreeTier", trouble.model))
        details.append(_retry_info(1.0))
    elif trouble.kind == "rate_limit":
        message = _rate_limit(trouble, message, details, vertex=vertex)
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = details
    return Refusal(status=status, body=json_bytes({"error": error}))


def _rate_limit(trouble: Trouble, message: str, details: list[dict[str, Any]], *, vertex: bool) -> str:
    wait = trouble.retry_after_s
    verdict = trouble.verdict
    if not vertex:
        what = "InputTokens" if verdict is not None and verdict.limited_by == "tokens" else "Requests"
        details.append(_quota_failure(f"Generate{what}PerMinutePerProjectPerModel", trouble.model))
    if wait is None or (verdict is not None and (vertex or verdict.fits_never)):
        return message
    details.append(_retry_info(wait))
    return f"{message}\nPlease retry in {_duration(wait)}."


def unavailable() -> dict[str, Any]:
    """Return what a stream carries when the provider sheds it."""
    status, name, message = _ROWS["unavailable"]
    return {"error": {"code": status, "message": message, "status": name}}


def _quota_failure(quota_id: str, model: str) -> dict[str, Any]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": model},
    }
    return {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]}


def _retry_info(seconds: float) -> dict[str, Any]:
    return {"@type": f"{_TYPES}RetryInfo", "retryDelay": _duration(seconds)}


def _duration(seconds: float) -> str:
    nanos = -int(-seconds * 10**9 // 1)
    whole, part = divmod(nanos, 10**9)
    return f"{whole}.{part:09}s" if part else f"{whole}s"
