"""What a status means, what a Retry-After header says, and what every error knows of itself."""

import copy
import datetime as dt
import math
import pickle

import pytest

import spillway
from spillway.remote.classify import ProviderKind, classify_http_status, parse_retry_after

NOW = dt.datetime(2023, 9, 29, 16, 26, 37, tzinfo=dt.UTC)

TABLE = {
    "RateLimited": ("rate_limited", True, False),
    "Backpressure": ("backpressure", False, False),
    "BudgetExceeded": ("budget_exceeded", False, False),
    "QuotaExhausted": ("quota_exhausted", False, False),
    "CircuitOpen": ("circuit_open", False, False),
    "ServerError": ("server_error", True, True),
    "NetworkError": ("network_error", True, True),
    "Timeout": ("timeout", True, True),
    "ContentFiltered": ("content_filtered", False, False),
    "ContextLengthExceeded": ("context_length_exceeded", False, False),
    "BadRequest": ("bad_request", False, False),
    "Unauthorized": ("unauthorized_upstream", False, False),
    "Forbidden": ("forbidden_upstream", False, False),
    "StreamInterrupted": ("stream_interrupted", False, True),
    "ModelNotFound": ("model_not_found", False, False),
    "InvalidApiKey": ("invalid_api_key", False, False),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_error_knows_what_policy_asks_of_it(name):
    kind = getattr(spillway, name)
    code, retryable, counts = TABLE[name]
    error = kind("what happened")
    assert isinstance(error, spillway.InferenceError)
    assert (error.code, error.retryable, error.counts_as_circuit_failure) == (code, retryable, counts)
    assert kind.code == code
    assert error.provider is None
    assert error.deployment is None
    assert error.attempts == 0
    assert "what happened" in str(error)
    for particular in ("retry_after", "status", "body", "elapsed_s", "reason", "partial", "limited_by"):
        getattr(error, particular)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (kind, str(error), code)
    assert str(copy.copy(error)) == str(error)
    with pytest.raises(spillway.InferenceError):
        raise kind


def test_there_is_one_class_for_each_code():
    kinds = {kind.code: kind.__name__ for kind in spillway.InferenceError.__subclasses__()}
    assert kinds == {code: name for name, (code, _, _) in TABLE.items()}


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (402, "QuotaExhausted"),
        (403, "Forbidden"),
        (404, "ModelNotFound"),
        (405, "BadRequest"),
        (408, "Timeout"),
        (409, "BadRequest"),
        (413, "BadRequest"),
        (422, "BadRequest"),
        (425, "BadRequest"),
        (429, "RateLimited"),
        (500, "ServerError"),
        (502, "ServerError"),
        (503, "ServerError"),
        (504, "ServerError"),
        (520, "ServerError"),
        (529, "ServerError"),
        (599, "ServerError"),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "litellm", "azure", "vertex", "somebody-new"])
def test_what_each_status_is(provider, status, name):
    error = classify_http_status(provider, status)
    assert type(error).__name__ == name
    assert error.status == status
    assert error.provider == provider
    if status in {408, 500, 502, 503, 504, 529} or status > 500:
        assert (error.retryable, error.counts_as_circuit_failure) == (True, True)
    elif status == 429:
        assert (error.retryable, error.counts_as_circuit_failure) == (True, False)
    else:
        assert (error.retryable, error.counts_as_circuit_failure) == (False, False)


def test_any_status_from_400_on_is_something():
    for status in range(400, 1000):
        assert isinstance(classify_http_status("openai", status), spillway.InferenceError)
    with pytest.raises(ValueError):
        classify_http_status("openai", 200)


@pytest.mark.parametrize(
    "body", [None, "", b"", b"\xff\xfe", "<html>no</html>", "[]", "[1]", "null", "12", '{"error": 5}', "{" * 5000]
)
def test_no_body_is_too_strange(body):
    for status in (400, 429, 500):
        assert isinstance(classify_http_status("gemini", status, body=body), spillway.InferenceError)


def test_the_arguments_by_position_and_by_keyword():
    error = classify_http_status("openai", 429, 3.0, b'{"error": {"message": "slow down"}}')
    assert (error.retry_after, error.status) == (3.0, 429)
    assert "slow down" in str(error)
    error = classify_http_status(provider="openai", status=429, retry_after=3, body="text")
    assert error.retry_after == 3
    assert error.body == "text"


def test_a_provider_may_be_its_kind():
    for kind in ProviderKind:
        assert classify_http_status(kind, 500).provider == kind.value


@pytest.mark.parametrize(
    ("provider", "status", "body", "name"),
    [
        ("openai", 429, '{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}', "QuotaExhausted"),
        ("openai", 400, '{"error":{"code":"context_length_exceeded","type":"invalid_request_error"}}', "ContextLengthExceeded"),
        ("azure", 400, '{"error":{"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}', "ContentFiltered"),
        ("anthropic", 529, '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "ServerError"),
        ("anthropic", 400, '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}', "ContextLengthExceeded"),
        ("anthropic", 402, '{"type":"error","error":{"type":"billing_error"}}', "QuotaExhausted"),
        ("gemini", 400, '{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (12) exceeds the maximum number of tokens allowed (10)."}}', "ContextLengthExceeded"),
        ("gemini", 400, '{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}', "Unauthorized"),
        ("gemini", 429, '[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"RequestsPerDay"}]}]}}]', "QuotaExhausted"),
        ("litellm", 422, '{"error":{"type":"budget_exceeded","code":"422","message":"Budget"}}', "QuotaExhausted"),
    ],
)  # fmt: skip
def test_a_body_makes_it_more_exact(provider, status, body, name):
    assert type(classify_http_status(provider, status, None, body)).__name__ == name
    assert type(classify_http_status(provider, status, body=body.encode())).__name__ == name


def test_gemini_says_its_wait_in_the_body():
    body = '{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"36.4s"}]}}'
    assert classify_http_status("gemini", 429, None, body).retry_after == 36.4


def test_the_body_is_kept_redacted_and_short():
    body = '{"error":{"message":"wrong key sk-abcdefghijklmnopqrstuvwxyz0123456789"},"pad":"' + "é" * 5000 + '"}'
    error = classify_http_status("openai", 401, None, body)
    assert "abcdefgh" not in error.body
    assert "abcdefgh" not in str(error)
    assert "abcdefgh" not in repr(error)
    assert len(error.body.encode()) <= 2048


@pytest.mark.parametrize("wait", [math.nan, math.inf, -1.0])
def test_a_wait_that_is_none_is_dropped(wait):
    assert classify_http_status("openai", 429, wait).retry_after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("20", 20.0),
        (" 5 ", 5.0),
        ("\t5", 5.0),
        ("005", 5.0),
        ("1.5", 1.5),
        ("60", 60.0),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("  Fri, 29 Sep 2023 16:26:57 GMT ", 20.0),
        ("Friday, 29-Sep-23 16:26:57 GMT", 20.0),
        ("Fri Sep 29 16:26:57 2023", 20.0),
        ("Fri, 29 Sep 2023 16:26:37 GMT", 0.0),
        ("Fri, 29 Sep 2023 16:26:27 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Fri, 29 Sep 2023 16:27:37 GMT", 60.0),
        ("3, 5", 5.0),
        (None, None),
        ("", None),
        (" ", None),
        ("-10", None),
        ("-0.1", None),
        ("+5", None),
        ("1e3", None),
        ("0x10", None),
        ("1_000", None),
        ("\uff15", None),
        ("inf", None),
        ("nan", None),
        ("Infinity", None),
        ("soon", None),
        ("5 seconds", None),
        ("5s", None),
        ("1.", None),
        (".5", None),
        ("1.2.3", None),
        ("Zun, 29 Sep 2023 16:26:57 GMT", None),
        ("Fri, 32 Sep 2023 16:26:57 GMT", None),
        ("Fri, 29 Sep 2023 16:26:57 UTC", None),
        ("Fri, 29 Sep 2023 16:26:57", None),
        ("fri, 29 sep 2023 16:26:57 gmt", None),
        ("Fri, 29 Sep 2023 25:26:57 GMT", None),
        ("2023-09-29T16:26:57Z", None),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("value", ["9" * 20, "9" * 35, "9" * 400, "1" + "0" * 308])
def test_retry_after_of_any_length_is_long_and_finite(value):
    seconds = parse_retry_after(value, now=NOW)
    assert math.isfinite(seconds)
    assert seconds > 1e18


def test_retry_after_takes_the_clock_on_the_wall_by_default():
    in_an_hour = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    text = in_an_hour.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert 3590 < parse_retry_after(text) <= 3600
    assert parse_retry_after("7") == 7.0


def test_retry_after_counts_from_an_instant_in_any_zone():
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    assert parse_retry_after("Fri, 29 Sep 2023 16:26:57 GMT", now=NOW.astimezone(zone)) == 20.0
