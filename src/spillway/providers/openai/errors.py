"""What OpenAI's and Azure's errors mean. Source: https://platform.openai.com/docs/guides/error-codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from spillway.core.errors import BadRequest, ContentFiltered, InferenceError, ServerError
from spillway.providers import refusals
from spillway.providers.reading import decode_object
from spillway.remote.classify import classify_http_status, implied_status, read_error_body

_FAILED_DEPENDENCY = 424
_STATUS_OF_FAILURES = {
    "data_residency_mismatch": 400,
    "bio_policy": 400,
    "invalid_prompt": 400,
    "misalignment_policy_violation": 400,
    "failed_to_download_image": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "vector_store_timeout": 504,
}
"""HTTP statuses that the codes of a failed response stand for; those of images are 400 too."""


def refusal(kind: str, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means.

    A BadRequest's `param` is the field that the provider names; a ContentFiltered has the filter's `results`, if it
    told them. Azure's 424 is no fault of the request: something behind the model failed.
    """
    error = refusals.of_status(kind, status, headers, body)
    if status == _FAILED_DEPENDENCY and kind == "azure" and type(error) is BadRequest:
        failed = ServerError(error.message, provider=kind, status=status, retry_after=error.retry_after)
        failed.body = error.body
        return failed
    return _named(error, body)


def in_answer(kind: str, body: bytes) -> InferenceError:
    """Return the error that `{"error": …}` in a 200 means."""
    return _named(refusals.in_answer(kind, body), body)


def of_response(kind: str, said: Any) -> InferenceError:
    """Return the error that a failed response, or the event `error` of its stream, means.

    Args:
        said: the object with `code` and `message`; they may stand inside another `error`.
    """
    found = said if isinstance(said, Mapping) else {}
    inner = found.get("error")
    if isinstance(inner, Mapping):
        found = inner
    if not found.get("code") and not found.get("message"):
        return ServerError("the response failed without a reason", provider=kind, reason="failed")
    shown = {"message": found.get("message"), "type": found.get("type"), "code": found.get("code")}
    if shown["type"] == "error":
        shown["type"] = None
    body = msgspec.json.encode({"error": {**shown, "param": found.get("param")}})
    return _named(classify_http_status(kind, _status_of(str(shown["code"] or ""), body), None, body), body)


def _status_of(code: str, body: bytes) -> int:
    status = _STATUS_OF_FAILURES.get(code) or implied_status(read_error_body(body))
    if status is None:
        status = 400 if code.startswith(("invalid_", "image_")) else 500
    return status


def _named(error: InferenceError, body: bytes) -> InferenceError:
    if isinstance(error, BadRequest):
        param = _error_of(body).get("param")
        if isinstance(param, str):
            error.param = param  # type: ignore[attr-defined] # particular to this class of error
    elif isinstance(error, ContentFiltered):
        said = _error_of(body)
        for holder in (said.get("innererror"), said.get("inner_error"), said):
            for name in ("content_filter_result", "content_filter_results"):
                results = holder.get(name) if isinstance(holder, Mapping) else None
                if isinstance(results, Mapping):
                    error.results = results  # type: ignore[attr-defined] # particular to this class of error
                    return error
    return error


def _error_of(body: bytes) -> Mapping[str, Any]:
    said = decode_object(body).get("error")
    return said if isinstance(said, Mapping) else {}
