"""What Google's refusals mean: which are final, which wait, and for how long."""

import json

import pytest

from spillway.core import errors as e
from spillway.providers.gemini import errors


def body(code=429, status="RESOURCE_EXHAUSTED", message="You exceeded your current quota", *details, wrapped=False):
    error = {"error": {"code": code, "status": status, "message": message, "details": list(details)}}
    return json.dumps([error] if wrapped else error).encode()


def quota(*ids, value="20"):
    return {"@type": "…QuotaFailure", "violations": [{"quotaId": one, "quotaValue": value} for one in ids]}


def info(**metadata):
    return {"@type": "…ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED", "metadata": metadata}


RETRY = {"@type": "…RetryInfo", "retryDelay": "36.429760048s"}
DAY, MINUTE = "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "GenerateRequestsPerMinutePerProject"
LIMITED = ("RESOURCE_EXHAUSTED",)


@pytest.mark.parametrize(
    ("raw", "kind", "wait"),
    [
        (body(429, *LIMITED, "m", quota(MINUTE), RETRY), e.RateLimited, 36.429760048),
        (body(429, *LIMITED, "m", RETRY, quota(MINUTE)), e.RateLimited, 36.429760048),
        (body(429, *LIMITED, "m", {"retryDelay": "0s"}), e.RateLimited, 0.0),
        (body(429, *LIMITED, "m", quota(MINUTE, DAY), RETRY), e.QuotaExhausted, None),
        (body(429, *LIMITED, "m", RETRY, quota(DAY), wrapped=True), e.QuotaExhausted, None),
        (body(429, *LIMITED, "m", quota(MINUTE, value="0"), RETRY), e.QuotaExhausted, None),
        (body(429, *LIMITED, "Quota exceeded for metric: x, limit: 0, model: m"), e.QuotaExhausted, None),
        (body(429, *LIMITED, "Quota exceeded, limit: 20\nPlease retry in 36.4s."), e.RateLimited, 36.4),
        (body(429, *LIMITED, "Please retry in 250ms."), e.RateLimited, 0.25),
        (body(429, *LIMITED, "Please retry in 10h17m5.72s."), e.RateLimited, 37025.72),
        (body(429, *LIMITED, "Your project has exceeded its spend cap. Please retry in 5m."), e.RateLimited, 300.0),
        (body(429, *LIMITED, "Resource exhausted, please try again later."), e.RateLimited, None),
        (body(429, *LIMITED, "Too many requests. Exceeded the Provisioned Throughput."), e.RateLimited, None),
        (
            body(429, *LIMITED, "Quota exceeded for aiplatform.googleapis.com/x with base model: m."),
            e.RateLimited,
            None,
        ),
        (
            body(429, *LIMITED, "Quota exceeded for quota metric 'x' and limit 'Requests per day' of y."),
            e.QuotaExhausted,
            None,
        ),
        (
            body(429, *LIMITED, "m", info(quota_limit="GenerateRequestsPerDay", quota_limit_value="50")),
            e.QuotaExhausted,
            None,
        ),
        (
            body(429, *LIMITED, "m", info(quota_limit="RequestsPerMinute", quota_limit_value="0")),
            e.QuotaExhausted,
            None,
        ),
        (body(429, *LIMITED, "m", info(quota_limit="RequestsPerMinute", quota_limit_value="9")), e.RateLimited, None),
        (b'{"error": "busy"}', e.RateLimited, None),
        (b"<html><title>Too busy</title></html>", e.RateLimited, None),
    ],
)
def test_a_429_waits_or_is_final(raw, kind, wait):
    found = errors.refusal(429, {}, raw)
    assert type(found) is kind
    assert found.retry_after == (pytest.approx(wait) if wait is not None else None)
    assert (found.provider, found.status) == ("gemini", 429)


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (400, body(400, "INVALID_ARGUMENT", "API key not valid", {"reason": "API_KEY_INVALID"}), e.Unauthorized),
        (400, body(400, "FAILED_PRECONDITION", "billing is off"), e.Forbidden),
        (400, body(400, "INVALID_ARGUMENT", "Function call `f` is missing a thought_signature"), e.BadRequest),
        (401, body(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), e.Unauthorized),
        (402, b'{"error": {"code": "payment_required", "message": "m"}}', e.QuotaExhausted),
        (403, body(403, "PERMISSION_DENIED", "leaked key"), e.Forbidden),
        (404, body(404, "NOT_FOUND", "no model"), e.ModelNotFound),
        (500, body(500, "INTERNAL", "m"), e.ServerError),
        (503, body(503, "UNAVAILABLE", "high demand", wrapped=True), e.ServerError),
        (504, body(504, "DEADLINE_EXCEEDED", "m"), e.ServerError),
        (502, b"<html>", e.ServerError),
    ],
)
def test_other_refusals(status, raw, kind):
    assert type(errors.refusal(status, {}, raw)) is kind


def test_the_same_holds_inside_of_an_answer():
    assert type(errors.in_answer(body(429, *LIMITED, "m", quota(DAY)))) is e.QuotaExhausted
    assert type(errors.in_answer(body(429, *LIMITED, "m", info(quota_limit="PerDay")))) is e.QuotaExhausted
    assert errors.in_answer(body(503, "UNAVAILABLE", "m", wrapped=True)).status == 503
