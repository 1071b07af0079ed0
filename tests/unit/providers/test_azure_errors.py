"""What Azure's error bodies mean, in all the shapes that they come in."""

from __future__ import annotations

import json
import pickle

import pytest

from spillway.core.errors import (
    BadRequest,
    ContentFiltered,
    Forbidden,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Timeout,
    Unauthorized,
)
from spillway.providers.openai import errors

RESULTS = {"violence": {"filtered": True, "severity": "medium"}, "jailbreak": {"filtered": False, "detected": False}}
MESSAGE = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."


def refused(status, body, headers=None):
    return errors.refusal("azure", status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    "error",
    [
        {
            "code": "content_filter",
            "param": "prompt",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": RESULTS},
        },
        {"inner_error": {"code": "ResponsibleAIPolicyViolation", "content_filter_results": RESULTS}},
        {"code": "content_filter", "content_filter_results": RESULTS},
    ],
)
def test_a_filtered_prompt_in_every_shape(error):
    found = refused(400, {"error": {"message": MESSAGE, "type": None, **error}})
    assert type(found) is ContentFiltered
    assert found.results == RESULTS
    assert pickle.loads(pickle.dumps(found)).results == RESULTS
    inside = errors.in_answer("azure", json.dumps({"error": {"message": MESSAGE, "code": "content_filter"}}).encode())
    assert type(inside) is ContentFiltered


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, {"error": {"code": "401", "message": "Access denied"}}, Unauthorized, False),
        (401, {"statusCode": 401, "message": "Access denied due to missing subscription key."}, Unauthorized, False),
        (403, {"error": {"code": "403", "message": "temporarily blocked"}}, Forbidden, False),
        (403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished"}, QuotaExhausted, False),
        (404, {"error": {"code": "DeploymentNotFound", "message": "x"}}, ModelNotFound, False),
        (408, {"error": {"code": "Timeout", "message": "The operation was timeout."}}, Timeout, True),
        (424, {"error": {"code": "424", "message": "Failed dependency"}}, ServerError, True),
        (429, {"error": {"code": "RateLimitReached", "message": "x"}}, RateLimited, True),
        (429, {"error": {"code": "too_many_requests", "message": "x"}}, RateLimited, True),
        (429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 7 seconds."}, RateLimited, True),
        (500, {"error": {"code": "InternalServerError", "message": "x"}}, ServerError, True),
        (503, {"statusCode": 503, "message": "System is experiencing high demand"}, ServerError, True),
    ],
)  # fmt: skip
def test_azures_own_bodies(status, body, kind, retryable):
    error = refused(status, body)
    assert (type(error), error.retryable, error.status, error.provider) == (kind, retryable, status, "azure")
    assert error.message


def test_a_wait_in_words():
    body = {"error": {"code": "429", "message": "exceeded token rate limit. Please retry after 37 seconds."}}
    assert refused(429, body).retry_after == 37.0
    assert refused(429, {"statusCode": 429, "message": "Try again in 7 seconds."}).retry_after == 7.0
    assert refused(429, body, {"retry-after-ms": "1500"}).retry_after == 1.5


def test_openais_424_is_a_bad_request():
    assert type(errors.refusal("openai", 424, {}, b'{"error":{"message":"x"}}')) is BadRequest
