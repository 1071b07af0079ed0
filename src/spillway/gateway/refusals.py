"""From an error to what a caller is told: status, headers and a body in the words of the door it came through."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from spillway.core.errors import InferenceError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_USELESS = frozenset({"budget_exceeded", "quota_exhausted", "unauthorized_upstream", "forbidden_upstream"})
"""Codes after which the caller's own retry changes nothing."""

_WAITS = frozenset({429, 503})
_DEFAULT_WAIT_S = 1


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that says no."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = {}

    def openai(self) -> dict[str, Any]:
        """Return the body in OpenAI's shape."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": self.param}}

    def anthropic(self, request_id: str) -> dict[str, Any]:
        """Return the body in Anthropic's shape; its type follows the status, the code stands in `details`."""
        kind = _ANTHROPIC_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error = {"type": kind, "message": self.message, "details": {"error_code": self.code}}
        return {"type": "error", "error": error, "request_id": request_id}


def refusal_of(error: InferenceError) -> Refusal:
    """Return what a caller is told of `error`.

    `retry-after` is whole seconds, at least 1, on 429 and 503; `x-spillway-limited-by` names whose limit it is;
    `x-should-retry: false` says that asking again is useless: the retries are spent, or nothing changes by itself.
    """
    status = error.http_status
    headers: dict[str, str] = {}
    limited_by = error.limited_by
    if limited_by is not None:
        headers["x-spillway-limited-by"] = limited_by
    if status in _WAITS:
        wait = error.retry_after
        whole = _DEFAULT_WAIT_S if wait is None or not math.isfinite(wait) else max(1, math.ceil(wait))
        headers["retry-after"] = str(whole)
    elif error.retry_after is not None and math.isfinite(error.retry_after) and error.code == "budget_exceeded":
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.code in _USELESS or error.attempts > 0:
        headers["x-should-retry"] = "false"
    if error.attempts:
        headers["x-spillway-attempts"] = str(error.attempts)
    message = str(error)
    if limited_by == "key":
        # It is the same whichever deployment was asked.
        message = error.message
    elif error.deployment:
        headers["x-spillway-deployment"] = error.deployment
    if limited_by is not None and "retry-after" in headers:
        message = f"{message}; worth asking again in {headers['retry-after']} s"
    param = getattr(error, "param", None)
    return Refusal(status=status, code=error.code, message=message, param=param, headers=headers)
