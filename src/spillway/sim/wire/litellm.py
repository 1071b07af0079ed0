"""A LiteLLM proxy: OpenAI's shape, its own headers, and error codes that are the HTTP status as a string."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.limits import Verdict
from spillway.sim.prices import PICO_PER_USD, PriceList
from spillway.sim.wire import openai_errors
from spillway.sim.wire.dialect import Refusal, StreamPlan, Trouble, bearer, json_bytes, sse, whole_seconds
from spillway.sim.wire.openai import DONE, OpenAiDialect, envelope

_UPSTREAM = "OpenAIException - "
_PRICES = PriceList()
_SUFFIX = "\n\nLiteLLM: model group '{model}' failed with the error above. No fallback was attempted."

_ROWS: dict[str, tuple[int, str | None, str]] = {
    "bad_request": (400, "invalid_request_error", "litellm.BadRequestError: {message}" + _SUFFIX),
    "no_route": (404, None, "Not Found"),
    "no_method": (405, None, "Method Not Allowed"),
    "no_model": (
        400,
        "invalid_request_error",
        "/chat/completions: Invalid model name passed in model={model}. Call `/v1/models` to view available models.",
    ),
    "no_key": (401, "auth_error", "Authentication Error, No api key passed in."),
    "bad_key": (401, "token_not_found_in_db", "Authentication Error, Invalid proxy server token passed."),
    "forbidden": (403, "key_model_access_denied", "key not allowed to access model. Tried to access {model}"),
    "rate_limit": (
        429,
        "throttling_error",
        "Rate limit exceeded for api_key: hashed. Limit type: {limited_by}. Limit resets at: {reset}",
    ),
    "quota": (422, "budget_exceeded", "Budget has been exceeded! Current cost: 1.01, Max budget: 1.0"),
    "content_filter": (
        400,
        "invalid_request_error",
        "litellm.ContentPolicyViolationError: ContentPolicyViolationError: "
        + _UPSTREAM
        + "rejected by the safety system"
        + _SUFFIX,
    ),
    "context_length": (
        400,
        "invalid_request_error",
        "litellm.ContextWindowExceededError: ContextWindowExceededError: "
        + _UPSTREAM
        + "This model's maximum context length is 128000 tokens."
        + _SUFFIX,
    ),
    "server": (
        500,
        "internal_server_error",
        "litellm.InternalServerError: InternalServerError: " + _UPSTREAM + "server error" + _SUFFIX,
    ),
    "unavailable": (
        503,
        None,
        "litellm.ServiceUnavailableError: ServiceUnavailableError: " + _UPSTREAM + "overloaded" + _SUFFIX,
    ),
    "overloaded": (
        529,
        None,
        "litellm.ServiceUnavailableError: ServiceUnavailableError: " + _UPSTREAM + "overloaded" + _SUFFIX,
    ),
}


class LiteLlmDialect(OpenAiDialect):
    """The proxy with one virtual key a caller; what it asks for reasons aloud."""

    name = "litellm"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return `x-litellm-api-key`, else the bearer token."""
        del query
        own = headers.get("x-litellm-api-key", "")
        return own.removeprefix("Bearer ").strip() or bearer(headers)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a `chat.completion` with what the proxy adds to the message."""
        whole = msgspec.json.decode(super().unary(ask, answer))
        for choice in whole["choices"]:
            choice["message"].update(_thought(ask, "".join(answer.thought), signed=answer.digest.hex()))
        whole["usage"].update(_CACHE)
        return json_bytes(whole)

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write chunks; the reasoning comes before the content, the signature of a thinking block last of it."""
        plan = super().stream(ask, answer)
        deltas = [_thought(ask, piece) for piece in answer.thought]
        if deltas and _blocks(ask):
            signature = {"type": "thinking", "thinking": "", "signature": answer.digest.hex()}
            deltas.append({"thinking_blocks": [signature], "reasoning_content": ""})
        opened = envelope(ask, answer, "chat.completion.chunk")
        reasoning = [
            sse({**opened, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas
        ]
        return StreamPlan(head=[*plan.head, *reasoning], body=plan.body, tail=plan.tail)

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return the call id, the model and, of a unary answer, the cost."""
        del wall
        cost = _PRICES.cost_pico(ask.model, answer.input_tokens, answer.output_tokens) / PICO_PER_USD
        headers = {
            "x-litellm-call-id": request_id,
            "x-litellm-model-id": "simulated",
            "x-litellm-model-group": ask.model,
            "x-litellm-version": "1.109.1",
            "x-litellm-attempted-retries": "0",
            "llm_provider-x-request-id": request_id,
        }
        headers |= openai_errors.limit_headers(verdict, openai_errors.go_duration)
        if not ask.stream:
            headers["x-litellm-response-cost"] = str(cost)
        headers.pop("x-ratelimit-reset-requests", None)
        headers.pop("x-ratelimit-reset-tokens", None)
        return headers

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write the proxy's error object."""
        status, kind, template = _ROWS[trouble.kind]
        limited_by = (trouble.verdict.limited_by if trouble.verdict is not None else "") or "requests"
        reset = f"{wall + timedelta(seconds=trouble.retry_after_s or 60.0):%Y-%m-%d %H:%M:%S} UTC"
        message = template.format(message=trouble.message, model=trouble.model, limited_by=limited_by, reset=reset)
        headers = {"x-litellm-call-id": request_id, "x-litellm-response-cost": "0"}
        if trouble.kind == "rate_limit":
            headers["rate_limit_type"] = limited_by
            headers["reset_at"] = reset
            if trouble.retry_after_s is not None:
                headers["retry-after"] = whole_seconds(trouble.retry_after_s)
        body = openai_errors.error(message, kind, str(status), trouble.param)
        return Refusal(status=status, body=json_bytes(body), headers=headers)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return an error object as data and then `[DONE]`, which here does not mean success."""
        del request_id
        return [sse(openai_errors.error(_ROWS["server"][2].format(model="simulated"), None, "500")), DONE]


_CACHE = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def _blocks(ask: Ask) -> bool:
    """Return whether a provider behind the proxy signs its thinking."""
    return "claude" in ask.model


def _thought(ask: Ask, text: str, *, signed: str = "") -> dict[str, Any]:
    """Return what a message or a delta says of its reasoning."""
    if not text:
        return {}
    said: dict[str, Any] = {"reasoning_content": text}
    if _blocks(ask):
        block = {"type": "thinking", "thinking": text, "signature": signed or None}
        said |= {"thinking_blocks": [block], "provider_specific_fields": {"thinking_blocks": [block]}}
    return said
