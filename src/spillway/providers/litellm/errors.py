"""What a LiteLLM proxy's errors mean; its `error.code` is the HTTP status as text."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.errors import InferenceError
from spillway.providers import refusals


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means."""
    return refusals.of_status("litellm", status, headers, body)


def in_answer(body: bytes) -> InferenceError:
    """Return the error that `{"error": …}` in a 200 means; `[DONE]` after it means nothing."""
    return refusals.in_answer("litellm", body)
