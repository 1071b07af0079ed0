"""What Gemini's and Vertex's errors mean. Source: https://ai.google.dev/gemini-api/docs/troubleshooting."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.errors import InferenceError
from spillway.providers import refusals


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """Return the error that a refusal means."""
    return refusals.of_status("gemini", status, headers, body)


def in_answer(body: bytes) -> InferenceError:
    """Return the error that `{"error": …}`, or a list of one, in a 200 means."""
    return refusals.in_answer("gemini", body)
