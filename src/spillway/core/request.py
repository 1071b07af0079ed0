"""What is asked of a model, in the one shape that every provider translates from (OpenAI Chat Completions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.priority import Priority

Message = Mapping[str, Any]
"""An OpenAI-shaped chat message."""

Prompt = str | Sequence[Message]
"""A user's text, or whole messages."""


OPENAI_CHAT = "openai_chat"
OPENAI_RESPONSES = "openai_responses"
ANTHROPIC = "anthropic"
"""Whose words a `NativeBody` is in."""


class NativeBody(msgspec.Struct, frozen=True, kw_only=True):
    """A request as its caller wrote it, in the words of one provider's API.

    Attributes:
        wire: whose words: `OPENAI_CHAT`, `OPENAI_RESPONSES` or `ANTHROPIC`.
        body: the JSON object.
        headers: the caller's headers that are that provider's to read, names in lower case.
    """

    wire: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a model's answer; field names are the keywords of `Cluster.generate`.

    Attributes:
        messages: OpenAI-shaped messages, at least one unless it asks for embeddings.
        extra: fields of the provider, passed on as they are.
        extra_headers: headers of the provider, passed on as they are.
        timeout_s: the deadline for everything, in seconds; None: the deployment's `total_timeout_s`.
        max_cost_usd: it is refused when the estimate is above it.
        fallback: whether other deployments may be asked.
        inputs: texts to embed, or lists of token numbers; set, it makes this a request for embeddings.
        dimensions: how long the vectors are to be; None: as the model makes them.
        counts: ask only how many input tokens it has; no answer is generated and nothing is billed.
        native: the same request in the words of one API; a deployment that speaks it is sent these, and its answer
            keeps the bytes that came.
        idempotency_id: the same over all attempts of one request, another for each request.
    """

    messages: Sequence[Message] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | Sequence[str] | None = None
    seed: int | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None
    extra: Mapping[str, Any] | None = None
    extra_headers: Mapping[str, str] | None = None
    priority: Priority = Priority.NORMAL
    timeout_s: float | None = None
    max_cost_usd: float | None = None
    fallback: bool = True
    inputs: Sequence[str | Sequence[int]] | None = None
    dimensions: int | None = None
    counts: bool = False
    native: NativeBody | None = None
    idempotency_id: str = ""


def as_messages(prompt: Prompt) -> Sequence[Message]:
    """Return `prompt` as messages.

    Raises:
        BadRequest: it is neither text nor a list of messages, or it is empty.
    """
    if isinstance(prompt, str):
        return ({"role": "user", "content": prompt},)
    if type(prompt) is not list and (isinstance(prompt, Mapping) or not isinstance(prompt, Sequence)):
        raise BadRequest(f"a prompt is text or a list of messages, not {type(prompt).__name__}")
    if not prompt:
        raise BadRequest("messages is empty")
    for index, message in enumerate(prompt):
        if type(message) is not dict and not isinstance(message, Mapping):
            raise BadRequest(f"messages[{index}] is not an object with a role")
        if not isinstance(message.get("role"), str):
            raise BadRequest(f"messages[{index}] is not an object with a role")
    return cast("Sequence[Message]", prompt)


def as_inputs(given: Any, field: str = "inputs") -> Sequence[str | Sequence[int]]:
    """Return what is to be embedded as a list: texts, or lists of token numbers.

    Args:
        field: what it is called where it was given, for errors.

    Raises:
        BadRequest: it is neither a text nor a list of them, or one of them is empty.
    """
    if isinstance(given, str) or (isinstance(given, Sequence) and given and _is_tokens(given)):
        given = (given,)
    if not isinstance(given, Sequence) or not given:
        raise BadRequest(f"{field} must be a text or a list of texts, and not empty")
    for index, each in enumerate(given):
        if not each or not (isinstance(each, str) or _is_tokens(each)):
            raise BadRequest(f"{field}[{index}] must be a text, or a list of token numbers, and not empty")
    return cast("Sequence[str | Sequence[int]]", given)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(type(each) is int for each in value)
