"""A LiteLLM proxy's own grammar: whose fault an error is, and what it means."""

from __future__ import annotations

import json

import pytest

from spillway.core.errors import (
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    Forbidden,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Timeout,
    Unauthorized,
)
from spillway.providers.litellm import errors

SUFFIX = "\n\nLiteLLM: model group 'm' failed with the error above. No fallback was attempted."
QUOTED = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "Quota exceeded",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}],
            }
        ],
    }
}


def refused(status, message, kind=None, headers=None, **more):
    body = {"error": {"message": message, "type": kind, "param": None, "code": str(status), **more}}
    return errors.refusal(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected", "reason"),
    [
        (422, "budget_exceeded", "Budget has been exceeded! Current cost: 2, Max budget: 1", QuotaExhausted, "gateway"),
        (429, "budget_exceeded", "Budget has been exceeded!", QuotaExhausted, "gateway"),
        (400, "budget_exceeded", "ExceededBudget: User=u over budget.", QuotaExhausted, "gateway"),
        (429, "throttling_error", "Rate limit exceeded for api_key: h. Limit type: tokens.", RateLimited, "gateway"),
        (429, None, "No deployments available for selected model, Try again in 5 seconds.", RateLimited, "gateway"),
        (429, "throttling_error", f"litellm.RateLimitError: this is a mock{SUFFIX}", RateLimited, "gateway"),
        (
            429,
            "throttling_error",
            f"litellm.RateLimitError: RateLimitError: OpenAIException - slow down{SUFFIX}",
            RateLimited,
            "upstream",
        ),
        (
            429,
            "throttling_error",
            "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please check "
            f"your plan and billing details.{SUFFIX}",
            QuotaExhausted,
            "upstream",
        ),
        (
            429,
            None,
            f"litellm.RateLimitError: RateLimitError: VertexAIException - {json.dumps(QUOTED, indent=1)}{SUFFIX}",
            QuotaExhausted,
            "upstream",
        ),
        (401, "auth_error", "Authentication Error, No api key passed in.", Unauthorized, "gateway"),
        (401, "expired_key", "Authentication Error - Expired Key.", Unauthorized, "gateway"),
        (401, "key_model_access_denied", "key not allowed to access model.", Forbidden, "gateway"),
        (403, "team_model_access_denied", "team not allowed to access model.", Forbidden, "gateway"),
        (400, "no_db_connection", "No connected db.", Unauthorized, "gateway"),
        (503, "no_db_connection", "No connected db.", ServerError, "gateway"),
        (
            401,
            None,
            f"litellm.AuthenticationError: AuthenticationError: AnthropicException - invalid x-api-key{SUFFIX}",
            Forbidden,
            "upstream",
        ),
        (
            400,
            "invalid_request_error",
            "/chat/completions: Invalid model name passed in model=x. Call `/v1/models`",
            ModelNotFound,
            "gateway",
        ),
        (404, None, f"litellm.NotFoundError: OpenAIException - no such model{SUFFIX}", ModelNotFound, "upstream"),
        (400, None, "litellm.UnsupportedParamsError: openai does not support parameters: x", BadRequest, "gateway"),
        (
            400,
            None,
            "litellm.ContextWindowExceededError: litellm.BadRequestError: mock",
            ContextLengthExceeded,
            "gateway",
        ),
        (
            400,
            None,
            'litellm.BadRequestError: OpenAIException - {"error":{"code":"context_length_exceeded","message":"long"}}',
            ContextLengthExceeded,
            "upstream",
        ),
        (
            400,
            None,
            "litellm.ContentPolicyViolationError: ContentPolicyViolationError: AzureException - filtered",
            ContentFiltered,
            "upstream",
        ),
        (402, "PaymentRequiredError", "litellm.PaymentRequiredError: OpenAIException - pay", QuotaExhausted, "upstream"),
        (408, "Timeout", "litellm.Timeout: APITimeoutError - timed out", Timeout, "provider"),
        (500, "internal_server_error", f"litellm.InternalServerError: OpenAIException - x{SUFFIX}", ServerError, "upstream"),
        (500, "internal_server_error", "litellm.APIConnectionError: 'str' object has no …", ServerError, "gateway"),
    ],
)  # fmt: skip
def test_whose_fault_it_is_and_what_it_means(status, kind, message, expected, reason):
    error = refused(status, message, kind)
    assert type(error) is expected
    assert (error.reason, error.provider, error.status) == (reason, "litellm", status)
    assert error.body
    again = errors.in_answer(
        json.dumps({"error": {"message": message, "type": kind, "param": None, "code": str(status)}}).encode()
    )
    assert (type(again), again.reason) == (expected, reason)


def test_no_deployments_name_their_wait_in_words():
    assert refused(429, "No deployments available for selected model, Try again in 5 seconds.").retry_after == 5.0


def test_the_limiters_reset_is_the_wait_when_there_is_no_other():
    words = "Rate limit exceeded for api_key: h. Limit type: tokens. Limit resets at: 2000-01-01 00:00:00 UTC"
    assert refused(429, words).retry_after == 0.0
    assert refused(429, words, headers={"retry-after": "7"}).retry_after == 7.0
    assert refused(429, "slow", headers={"reset_at": "9000-01-01 00:00:00 UTC"}).retry_after > 1e9
    assert refused(429, "slow", headers={"reset_at": "2026-13-41 00:00:00 UTC"}).retry_after is None


def test_a_body_of_the_framework_is_read():
    error = errors.refusal(405, {}, b'{"detail":"Method Not Allowed"}')
    assert (type(error), error.message) == (BadRequest, "Method Not Allowed")
