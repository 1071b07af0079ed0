"""What headers tell of limits, and what providers' errors mean, beyond what the shared classification is tested for."""

from __future__ import annotations

from datetime import UTC, datetime

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
    Unauthorized,
)
from spillway.core.limits_seen import LimitSeen, LimitsSeen
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.anthropic import errors as anthropic_errors
from spillway.providers.anthropic.limits import limits_seen as anthropic_limits
from spillway.providers.counting import decode_count
from spillway.providers.encoding import Losses
from spillway.providers.gemini import errors as gemini_errors
from spillway.providers.litellm import LiteLlmConfig
from spillway.providers.litellm import errors as litellm_errors
from spillway.providers.litellm.runner import LiteLlmWire
from spillway.providers.openai import errors as openai_errors
from spillway.providers.openai_limits import limits_seen as openai_limits

NOW = datetime(2026, 11, 23, 15, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        (
            {
                "x-ratelimit-limit-requests": "-1",
                "x-ratelimit-remaining-requests": "-1",
                "x-ratelimit-reset-requests": "0",
            },
            None,
        ),
        ({"x-ratelimit-limit-requests": "many"}, None),
        ({"x-ratelimit-limit-requests": "9" * 30}, None),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
            LimitsSeen(requests=LimitSeen(remaining=0, reset_s=360.0)),
        ),
        (
            {
                "x-ratelimit-limit-tokens": "2000",
                "x-ratelimit-remaining-tokens": "1999",
                "x-ratelimit-reset-tokens": "12ms",
            },
            LimitsSeen(tokens=LimitSeen(limit=2000, remaining=1999, reset_s=0.012)),
        ),
        (
            {"x-ratelimit-limit-tokens": "2000", "x-ratelimit-reset-tokens": "37"},
            LimitsSeen(tokens=LimitSeen(limit=2000, reset_s=37.0)),
        ),
        (
            {"x-ratelimit-limit-tokens": "2000", "x-ratelimit-reset-tokens": "soon"},
            LimitsSeen(tokens=LimitSeen(limit=2000)),
        ),
    ],
)
def test_openais_headers(headers, expected):
    assert openai_limits(headers) == expected


def test_anthropics_headers():
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-23T15:00:30Z",
        "anthropic-ratelimit-tokens-limit": "100000",
        "anthropic-ratelimit-tokens-remaining": "99000",
        "anthropic-ratelimit-tokens-reset": "2026-11-23T14:59:00Z",
        "anthropic-ratelimit-input-tokens-limit": "80000",
        "anthropic-ratelimit-input-tokens-remaining": "80000",
        "anthropic-ratelimit-input-tokens-reset": "never",
    }
    assert anthropic_limits(headers, lambda: NOW) == LimitsSeen(
        requests=LimitSeen(limit=50, remaining=49, reset_s=30.0),
        tokens=LimitSeen(limit=100000, remaining=99000, reset_s=0.0),
        input_tokens=LimitSeen(limit=80000, remaining=80000),
    )
    assert anthropic_limits({}, lambda: NOW) is None


def test_anthropics_headers_of_other_limits_are_tolerated():
    others = {
        "anthropic-priority-input-tokens-limit": "5",
        "anthropic-priority-input-tokens-remaining": "0",
        "anthropic-ratelimit-unified-5h-status": "allowed",
    }
    assert anthropic_limits(others, lambda: NOW) is None
    alone = {**others, "anthropic-ratelimit-output-tokens-limit": "9", "anthropic-ratelimit-output-tokens-reset": "x"}
    assert anthropic_limits(alone, lambda: NOW) == LimitsSeen(output_tokens=LimitSeen(limit=9))


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected"),
    [
        (400, "invalid_request_error", "context_length_exceeded", ContextLengthExceeded),
        (400, "invalid_request_error", "content_policy_violation", ContentFiltered),
        (400, "invalid_request_error", "unsupported_parameter", BadRequest),
        (401, "invalid_request_error", "invalid_api_key", Unauthorized),
        (403, "permission_error", "unsupported_country_region_territory", Forbidden),
        (404, "invalid_request_error", "model_not_found", ModelNotFound),
        (429, "requests", "rate_limit_exceeded", RateLimited),
        (429, "rate_limit_error", "slow_down", RateLimited),
        (429, "insufficient_quota", "insufficient_quota", QuotaExhausted),
        (429, "rate_limit_error", "project_spend_limit_exceeded", QuotaExhausted),
        (500, "server_error", None, ServerError),
        (503, "service_unavailable_error", "server_is_overloaded", ServerError),
    ],
)
def test_openais_errors_are_the_same_with_a_status_and_inside_a_200(status, kind, code, expected):
    written = "null" if code is None else f'"{code}"'
    body = f'{{"error":{{"message":"m","type":"{kind}","param":null,"code":{written}}}}}'.encode()
    assert type(openai_errors.refusal("openai", status, {}, body)) is expected
    assert type(openai_errors.in_answer("openai", body)) is expected


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("invalid_request_error", 400, BadRequest),
        ("authentication_error", 401, Unauthorized),
        ("billing_error", 402, QuotaExhausted),
        ("permission_error", 403, Forbidden),
        ("not_found_error", 404, ModelNotFound),
        ("request_too_large", 413, BadRequest),
        ("rate_limit_error", 429, RateLimited),
        ("api_error", 500, ServerError),
        ("timeout_error", 504, ServerError),
        ("overloaded_error", 529, ServerError),
    ],
)
def test_anthropics_errors_are_the_same_with_a_status_and_inside_a_200(kind, status, expected):
    body = f'{{"type":"error","error":{{"type":"{kind}","message":"m"}},"request_id":"req_1"}}'.encode()
    for error in (anthropic_errors.refusal(status, {}, body), anthropic_errors.in_answer(body)):
        assert (type(error), error.status) == (expected, status)


@pytest.mark.parametrize(
    "words",
    [
        "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    ],
)
def test_anthropics_spent_money_is_no_bad_request(words):
    body = f'{{"type":"error","error":{{"type":"invalid_request_error","message":"{words}"}}}}'.encode()
    for error in (anthropic_errors.refusal(400, {}, body), anthropic_errors.in_answer(body)):
        assert (type(error), error.status, error.retryable, error.retry_after) == (QuotaExhausted, 400, False, None)
        assert words[:20] in error.body
    assert anthropic_errors.refusal(400, {}, body).native


@pytest.mark.parametrize(
    ("code", "expected", "wait"),
    [
        ("enforced_spend_limit_reached", QuotaExhausted, None),
        ("contract_spend_limit_reached", QuotaExhausted, None),
        ("ramp_limit_exceeded", RateLimited, 3.0),
    ],
)
def test_anthropics_codes_tell_spending_from_rates(code, expected, wait):
    body = f'{{"type":"error","error":{{"type":"rate_limit_error","message":"m","details":{{"error_code":"{code}"}}}}}}'
    headers = {} if wait is None else {"retry-after": "3"}
    error = anthropic_errors.refusal(429, headers, body.encode())
    assert (type(error), error.retry_after) == (expected, wait)
    assert error.retryable == (expected is RateLimited)


def test_anthropics_refusals_that_are_not_its_own_and_those_it_calls_final():
    page = anthropic_errors.refusal(413, {}, b"<html><title>413 Request Entity Too Large</title></html>")
    assert (type(page), page.status, page.native) == (BadRequest, 413, None)
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    busy = anthropic_errors.refusal(529, {"retry-after": "2"}, body)
    assert (busy.reason, busy.retry_after, busy.retryable) == ("overloaded", 2.0, True)
    assert anthropic_errors.refusal(529, {"x-should-retry": "false"}, body).retryable is False


def test_geminis_quota_of_a_day_is_no_rate_limit_and_names_no_wait():
    def refused(quota):
        return gemini_errors.refusal(
            429,
            {},
            b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":['
            b'{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"%s"}]},'
            b'{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"36.5s"}]}}]' % quota,
        )

    minute, day = refused(b"GenerateRequestsPerMinutePerProject"), refused(b"GenerateRequestsPerDayPerProject")
    assert (type(minute), minute.retry_after) == (RateLimited, 36.5)
    assert (type(day), day.retry_after, day.retryable) == (QuotaExhausted, None, False)


def test_an_error_that_does_not_say_what_it_is_counts_as_a_500():
    error = litellm_errors.in_answer(b'{"error":"something broke"}')
    assert (type(error), error.status, error.retryable) == (ServerError, 500, True)


def test_litellms_codes_are_statuses():
    body = b'{"error":{"message":"m","type":"throttling_error","param":null,"code":"429"}}'
    assert type(litellm_errors.in_answer(body)) is RateLimited
    assert (
        type(litellm_errors.refusal(422, {}, b'{"error":{"message":"m","type":"budget_exceeded","code":"422"}}'))
        is QuotaExhausted
    )


def test_litellms_url_headers_and_model():
    wire = LiteLlmWire(LiteLlmConfig(endpoint="http://h:4000/v1/", tags=("a", "b")), "litellm/gpt-4o")
    url, body = wire.encode(
        GenerateRequest(messages=({"role": "user", "content": "x"},), max_tokens=3), Losses("litellm"), stream=False
    )
    assert url == "http://h:4000/v1/chat/completions"
    assert b'"model":"gpt-4o"' in body
    assert b'"max_tokens":3' in body
    headers = wire.headers(Secret("k"))
    assert (headers["authorization"], headers["x-litellm-tags"]) == ("Bearer k", "a,b")
    assert (
        wire.encode(GenerateRequest(inputs=("x",)), Losses("litellm"), stream=False)[0] == "http://h:4000/v1/embeddings"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"input_tokens": 12}', 12), (b'{"totalTokens": 12.0, "cached": 1}', 12), (b'{"input_tokens": 0}', 0)],
)
def test_a_count_is_read_under_every_providers_name(body, expected):
    assert decode_count(body, lambda _: AssertionError("it is no error")) == expected


@pytest.mark.parametrize(("body", "reason"), [(b"{}", "schema"), (b"", "empty"), (b"<html>", "malformed")])
def test_what_tells_of_no_count_is_an_error(body, reason):
    with pytest.raises(ServerError) as caught:
        decode_count(body, lambda _: AssertionError("it is no error"))
    assert caught.value.reason == reason
