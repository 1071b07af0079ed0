"""What Anthropic's errors mean. Source: https://docs.anthropic.com/en/api/errors."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.errors import BadRequest, InferenceError, QuotaExhausted
from spillway.providers import refusals
from spillway.providers.reading import decode_object
from spillway.remote.classify import redact

NATIVE_LIMIT = 64 * 1024
"""Bytes up to which a body in the provider's own shape is kept whole."""


_SPENT = (
    "you have reached your specified api usage limits",
    "your credit balance is too low",
)
"""How a refusal for money begins that has no code of its own, but the type and status of any bad request."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means; `native` is its body, secrets masked, if it has the API's own shape."""
    return _with_native(_of_money(refusals.of_status("anthropic", status, headers, body)), body)


def in_answer(body: bytes) -> InferenceError:
    """Return the error that an `error` event, or an error's body in a 200, means."""
    return _with_native(_of_money(refusals.in_answer("anthropic", body)), body)


def _with_native(error: InferenceError, body: bytes) -> InferenceError:
    """Keep the body for who answers in the same dialect, if it has the API's own shape."""
    if len(body) <= NATIVE_LIMIT:
        said = decode_object(body)
        if said.get("type") == "error" and isinstance(said.get("error"), dict):
            error.native = redact(body)
    return error


def _of_money(error: InferenceError) -> InferenceError:
    """Return QuotaExhausted in the place of a BadRequest that is one: no change of the request helps against it."""
    if not isinstance(error, BadRequest) or not error.message.lower().startswith(_SPENT):
        return error
    spent = QuotaExhausted(error.message, provider=error.provider, status=error.status)
    spent.body = error.body
    return spent
