"""From records to the attributes of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from spillway.core.reply import Usage
    from spillway.remote.engine import AttemptRecord, RequestRecord

Attributes = dict[str, "AttributeValue"]

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
}
"""Names of providers where they are not our own."""

_OK = frozenset({"ok", "cancelled"})


def provider_name(kind: str) -> str:
    """Return what the conventions call the provider of a runtime."""
    return _PROVIDERS.get(kind, kind)


def error_type(outcome: str) -> str | None:
    """Return the type of the error that `outcome` is, None when it is none."""
    return None if outcome in _OK else outcome


@lru_cache(maxsize=256)
def _server(endpoint: str) -> tuple[tuple[str, str | int], ...]:
    if not endpoint:
        return ()
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ()
    return (("server.address", parts.hostname or ""), ("server.port", port))


def of_call(record: RequestRecord | AttemptRecord) -> Attributes:
    """Return who is asked for which model, and where."""
    return {
        "gen_ai.provider.name": provider_name(record.provider),
        "gen_ai.request.model": record.model,
        **dict(_server(record.endpoint)),
    }


def of_request(record: RequestRecord) -> Attributes:
    """Return what a request asks for, and how it went on its way."""
    found: Mapping[str, AttributeValue | None] = {
        "gen_ai.request.stream": record.stream or None,
        "gen_ai.request.max_tokens": record.max_tokens,
        "gen_ai.request.temperature": record.temperature,
        "gen_ai.request.top_p": record.top_p,
        "gen_ai.request.seed": record.seed,
        "spillway.asked": record.asked,
        "spillway.deployment": record.deployment,
        "spillway.outcome": record.outcome,
        "spillway.attempts": record.attempts,
        "spillway.retries": record.retries,
        "spillway.fell_back": record.fell_back,
        "spillway.queued_s": record.queued_s,
        "spillway.tenant": record.tenant or None,
        "error.type": error_type(record.outcome),
    }
    return _given(found)


def of_answer(record: AttemptRecord) -> Attributes:
    """Return what an attempt brought."""
    found: Mapping[str, AttributeValue | None] = {
        "gen_ai.response.id": record.response_id or None,
        "gen_ai.response.model": record.response_model or None,
        "gen_ai.response.finish_reasons": (record.finish_reason,) if record.finish_reason else None,
        **({} if record.usage is None or record.estimated else _usage(record.usage)),
    }
    return _given(found)


def of_attempt(record: AttemptRecord, retried: str) -> Attributes:
    """Return what is told of one attempt.

    Args:
        retried: how the attempt before it ended, empty for the first.
    """
    found: Mapping[str, AttributeValue | None] = {
        "spillway.deployment": record.deployment,
        "spillway.attempt": record.attempt,
        "spillway.outcome": record.outcome,
        "spillway.reason": record.reason or None,
        "spillway.retry_reason": retried or None,
        "spillway.cost_usd": None if record.cost_pico is None else pico_to_usd(record.cost_pico),
        "spillway.estimated": record.estimated or None,
        "spillway.first_content_s": record.first_content_s,
        "http.request.resend_count": record.attempt or None,
        "http.response.status_code": record.status,
        "error.type": error_type(record.outcome),
    }
    return {**_given(found), **of_answer(record)}


def cost_usd(attempts: Sequence[AttemptRecord]) -> float | None:
    """Return the cost of all attempts, None where the price of one is unknown."""
    costs = [each.cost_pico for each in attempts]
    known = [cost for cost in costs if cost is not None]
    return pico_to_usd(sum(known)) if len(known) == len(costs) else None


def _usage(usage: Usage) -> Mapping[str, AttributeValue | None]:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
    }


def _given(found: Mapping[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in found.items() if value is not None}
