"""The facts in a provider's error body, whatever shape the provider gives it.

OpenAI, LiteLLM   {"error": {"message", "type", "param", "code"}}
Azure             the same with {"innererror": {"code"}}; {"statusCode", "message"} from its gateway
Anthropic         {"type": "error", "error": {"type", "message", "details": {"error_code"}}}
Gemini, Vertex    {"error": {"code", "message", "status", "details": [...]}}, or a list of one of these
others            {"error": "..."}, {"detail": "..."}, {"message": "..."}, HTML, text, nothing
"""

from __future__ import annotations

import html
import re
from typing import Any

import msgspec

from spillway.remote.classify.durations import parse_go_duration, parse_protobuf_duration

_READ = 2 * 1024 * 1024
_PAGE = 64 * 1024
_TITLE_SHOWN = 200
_TEXT = 4096
_AGAIN = re.compile(
    r"\b(?:try again|retry) (?:in|after) (?:([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(seconds?|milliseconds?|minutes?)\b"
    r"|((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|s))+))",
    re.IGNORECASE,
)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,2000})", re.IGNORECASE)
_WORDS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0}
_NO_QUOTA = re.compile(r"\blimit: 0\b(?!\.)")
_UNFIT = re.compile(r"Request too large\b.*?\bLimit:? ([0-9]{1,15}), Requested:? ([0-9]{1,15})\b", re.DOTALL)


class ErrorBody(msgspec.Struct, frozen=True):
    """What an error body says.

    Attributes:
        message: the provider's own words; an HTML page's title; not redacted.
        type: `error.type` as sent.
        code: `error.code` as sent, numbers in digits.
        status: Gemini's `error.status`.
        marks: every machine-readable word about the cause, in lower case.
        retry_in: seconds that the body asks to wait, None when it does not.
        spent: a quota that no short wait refills is used up or was never there.
        unfit: the one request is larger than the limit per minute.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: str = ""
    marks: frozenset[str] = frozenset()
    retry_in: float | None = None
    spent: bool = False
    unfit: bool = False


def read_error_body(body: str | bytes | None) -> ErrorBody:
    """Return the facts in `body`; never raises."""
    if not body:
        return ErrorBody()
    text = body[:_READ].decode("utf-8", "replace") if isinstance(body, bytes) else body[:_READ]
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] in {"{", "["}:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return ErrorBody(message=text[:_TEXT])
        if isinstance(value, list):
            value = value[0] if value else None
        return _of_object(value) if isinstance(value, dict) else ErrorBody(message=text[:_TEXT])
    if text[:1] == "<":
        return ErrorBody(message=_title(text))
    message = text[:_TEXT]
    return ErrorBody(message=message, retry_in=_said_in_words(message))


def _of_object(value: dict[str, Any]) -> ErrorBody:
    error = value.get("error", value)
    if not isinstance(error, dict):
        error = {"message": error} if isinstance(error, str) else value
    message = _text(error.get("message")) or _text(error.get("detail")) or _text(value.get("message"))
    kind, code, status = (_text(error.get(key)) for key in ("type", "code", "status"))
    details = error.get("details")
    marks = {kind, code, status}
    retry_in: float | None = None
    spent = False
    if isinstance(details, dict):
        marks.add(_text(details.get("error_code")))
    elif isinstance(details, list):
        for detail in details:
            if isinstance(detail, dict):
                marks.add(_text(detail.get("reason")))
                spent = spent or _never_refills(detail.get("violations"))
                if retry_in is None:
                    retry_in = parse_protobuf_duration(_text(detail.get("retryDelay")))
    for holder in (error, error.get("provider_specific_fields")):
        if isinstance(holder, dict):
            for key in ("innererror", "inner_error"):
                inner = holder.get(key)
                if isinstance(inner, dict):
                    marks.add(_text(inner.get("code")))
    if status == "RESOURCE_EXHAUSTED" and _NO_QUOTA.search(message[:_TEXT]):
        spent = True
    unfit = _UNFIT.match(message[:_TEXT])
    return ErrorBody(
        message=message,
        type=kind,
        code=code,
        status=status,
        marks=frozenset(mark.lower() for mark in marks if mark),
        retry_in=_said_in_words(message) if retry_in is None else retry_in,
        spent=spent,
        unfit=unfit is not None and int(unfit[2]) > int(unfit[1]),
    )


def _never_refills(violations: Any) -> bool:
    if not isinstance(violations, list):
        return False
    return any(
        "PerDay" in _text(violation.get("quotaId")) or _text(violation.get("quotaValue")) == "0"
        for violation in violations
        if isinstance(violation, dict)
    )


def _said_in_words(message: str) -> float | None:
    match = _AGAIN.search(message[:_TEXT])
    if match is None:
        return None
    if match[3]:
        return parse_go_duration(match[3].lower())
    return float(match[1]) * _WORDS[match[2].lower().removesuffix("s")]


def _title(page: str) -> str:
    match = _TITLE.search(page[:_PAGE])
    title = " ".join(html.unescape(match[1]).split()) if match else ""
    return title[:_TITLE_SHOWN] or "a page without a title"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
