"""What Anthropic's errors mean. Source: https://docs.anthropic.com/en/api/errors."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.errors import InferenceError
from spillway.providers import refusals
from spillway.providers.reading import decode_object
from spillway.remote.classify import redact

NATIVE_LIMIT = 64 * 1024
"""Bytes up to which a body in the provider's own shape is kept whole."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means; `native` is its body, secrets masked, if it has the API's own shape."""
    error = refusals.of_status("anthropic", status, headers, body)
    if len(body) <= NATIVE_LIMIT:
        said = decode_object(body)
        if said.get("type") == "error" and isinstance(said.get("error"), dict):
            error.native = redact(body)  # type: ignore[attr-defined] # for who answers in the same dialect
    return error


def in_answer(body: bytes) -> InferenceError:
    """Return the error that an `error` event, or an error's body in a 200, means."""
    return refusals.in_answer("anthropic", body)
