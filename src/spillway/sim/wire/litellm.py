"""A LiteLLM proxy: OpenAI's shape, its own headers, and error codes that are the HTTP status as a string."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.limits import Verdict
from spillway.sim.prices import PICO_PER_USD, PriceList
from spillway.sim.wire import openai_errors
from spillway.sim.wire.dialect import Refusal, Trouble, bearer, json_bytes, sse, whole_seconds
from spillway.sim.wire.openai import DONE, OpenAiDialect

_UPSTREAM = "OpenAIException - "
_PRICES = PriceList()

_ROWS: dict[str, tuple[int, str | None, str]] = {
    "bad_request": (400, "invalid_request_error", "litellm.BadRequestError: {message}"),
    "no_route": (404, None, "Not Found"),
    "no_method": (405, None, "Method Not Allowed"),
    "no_model": (400, "invalid_request_error", "Invalid model name passed in model={model}."),
    "no_key": (401, "auth_error", "Authentication Error, No api key passed in."),
    "bad_key": (401, "token_not_found_in_db", "Authentication Error, Invalid proxy server token passed."),
    "forbidden": (403, "key_model_access_denied", "key not allowed to access model. Tried to access {model}"),
    "rate_limit": (429, "throttling_error", "Rate limit exceeded for api_key. Limit type: {limited_by}."),
    "quota": (422, "budget_exceeded", "Budget has been exceeded! Current cost: 1.01, Max budget: 1.0"),
    "content_filter": (
        400,
        "invalid_request_error",
        "litellm.ContentPolicyViolationError: ContentPolicyViolationError: "
        + _UPSTREAM
        + "rejected by the safety system",
    ),
    "context_length": (
        400,
        "invalid_request_error",
        "litellm.ContextWindowExceededError: ContextWindowExceededError: "
        + _UPSTREAM
        + "This model's maximum context length is 128000 tokens.",
    ),
    "server": (500, None, "litellm.InternalServerError: InternalServerError: " + _UPSTREAM + "server error"),
    "unavailable": (503, None, "litellm.ServiceUnavailableError: ServiceUnavailableError: " + _UPSTREAM + "overloaded"),
    "overloaded": (529, None, "litellm.ServiceUnavailableError: ServiceUnavailableError: " + _UPSTREAM + "overloaded"),
}


class LiteLlmDialect(OpenAiDialect):
    """The proxy with one virtual key a caller."""

    name = "litellm"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return `x-litellm-api-key`, else the bearer token."""
        del query
        own = headers.get("x-litellm-api-key", "")
        return own.removeprefix("Bearer ").strip() or bearer(headers)

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
            headers["x-litellm-response-cost"] = f"{cost:.12g}"
        headers.pop("x-ratelimit-reset-requests", None)
        headers.pop("x-ratelimit-reset-tokens", None)
        return headers

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write the proxy's error object."""
        del wall
        status, kind, template = _ROWS[trouble.kind]
        limited_by = trouble.verdict.limited_by if trouble.verdict is not None else "requests"
        message = template.format(message=trouble.message, model=trouble.model, limited_by=limited_by or "requests")
        headers = {"x-litellm-call-id": request_id}
        if trouble.kind == "rate_limit":
            headers["rate_limit_type"] = limited_by
            if trouble.retry_after_s is not None:
                headers["retry-after"] = whole_seconds(trouble.retry_after_s)
        body = openai_errors.error(message, kind, str(status), trouble.param)
        return Refusal(status=status, body=json_bytes(body), headers=headers)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return an error object as data and then `[DONE]`, which here does not mean success."""
        del request_id
        return [sse(openai_errors.error(_ROWS["server"][2], None, "500")), DONE]
