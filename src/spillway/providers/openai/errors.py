"""What OpenAI's and Azure's errors mean. Source: https://platform.openai.com/docs/guides/error-codes."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.errors import BadRequest, InferenceError
from spillway.providers import refusals
from spillway.providers.reading import decode_object


def refusal(kind: str, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means; a BadRequest's `param` is the field that the provider names."""
    return _named(refusals.of_status(kind, status, headers, body), body)


def in_answer(kind: str, body: bytes) -> InferenceError:
    """Return the error that `{"error": …}` in a 200 means."""
    return _named(refusals.in_answer(kind, body), body)


def _named(error: InferenceError, body: bytes) -> InferenceError:
    if isinstance(error, BadRequest):
        said = decode_object(body).get("error")
        param = said.get("param") if isinstance(said, dict) else None
        if isinstance(param, str):
            error.param = param  # type: ignore[attr-defined] # particular to this class of error
    return error
