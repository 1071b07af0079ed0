import json
import pickle
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from spillway.core import errors as e
from spillway.remote.classify import (
    ProviderKind,
    classify_http_status,
    implied_status,
    one_line,
    parse_go_duration,
    parse_protobuf_duration,
    parse_retry_after,
    parse_retry_after_ms,
    read_error_body,
    redact,
    retry_delay,
    should_retry,
)

NOW = datetime(2023, 9, 29, 16, 26, 37, tzinfo=UTC)


def err(**fields):
    return json.dumps({"error": fields})


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20", 20.0),
        ("0", 0.0),
        (" 5 ", 5.0),
        ("\t5\t", 5.0),
        ("005", 5.0),
        ("1.5", 1.5),
        ("60", 60.0),
        ("5, 7", 7.0),
        ("7 ,5,  6", 7.0),
        ("99999999999999999999", 1e20),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("Fri, 29 Sep 2023 16:26:37 GMT", 0.0),
        ("Fri, 29 Sep 2023 16:26:27 GMT", 0.0),
        ("Fri, 29 Sep 2023 16:27:38 GMT", 61.0),
        ("Friday, 29-Sep-23 16:26:57 GMT", 20.0),
        ("Fri Sep 29 16:26:57 2023", 20.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Fri, 29 Sep 2023 16:26:60 GMT", 22.0),
    ],
)
def test_a_valid_retry_after(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-5", "-0.1", "-10", "+5", "1e3", "0x10", "1_000", "５", "inf", "nan", "Infinity", "5.", ".5", "5s", "5\n",
        "5;", "5,", ",5", "5, x", "5, Fri, 29 Sep 2023 16:26:57 GMT", "Zun, 29 Sep 2023 16:26:57 GMT", "soon",
        "Fri, 29 Sep 2023 16:26:57", "Fri, 29 Sep 2023 16:26:57 UTC", "Fri, 29 Sep 2023 16:26:57 +0000",
        "fri, 29 sep 2023 16:26:57 gmt", "Fri, 31 Feb 2023 16:26:57 GMT", "Fri, 29 Sep 2023 25:26:57 GMT",
        "Fri, 29 Sep 2023 16:26:61 GMT", "Fri, 29 Sep 0000 16:26:57 GMT", "29 Sep 2023 16:26:57 GMT", "2023-09-29T16:26:57Z",
        "Fri, 29 Sep 2023 16:26:57 GMT, Fri, 29 Sep 2023 16:26:57 GMT", "Fri, ２９ Sep 2023 16:26:57 GMT",
    ],
)  # fmt: skip
def test_what_is_no_retry_after_is_ignored(value):
    assert parse_retry_after(value, NOW) is None


def test_an_absent_retry_after_is_none():
    assert parse_retry_after(None) is None
    assert parse_retry_after_ms(None) is None


@pytest.mark.parametrize("digits", ["9" * 35, "9" * 400, "9" * 5000, "9" * 400 + ".5"])
def test_more_digits_than_a_float_has_are_still_a_finite_long_wait(digits):
    seconds = parse_retry_after(digits, NOW)
    assert 1e30 < seconds < float("inf")


@pytest.mark.parametrize(
    ("now_year", "two_digits", "year"),
    [
        (2026, "76", 2076),
        (2026, "77", 1977),
        (2026, "00", 2000),
        (2099, "05", 2105),
        (2099, "49", 2149),
        (2099, "50", 2050),
    ],
)
def test_a_two_digit_year_is_at_most_fifty_years_ahead(now_year, two_digits, year):
    now = datetime(now_year, 6, 1, tzinfo=UTC)
    seconds = parse_retry_after(f"Monday, 01-Jun-{two_digits} 00:00:00 GMT", now)
    assert seconds == max(0.0, (datetime(year, 6, 1, tzinfo=UTC) - now).total_seconds())


def test_fifty_years_are_counted_to_the_second():
    now = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
    assert parse_retry_after("Monday, 01-Jun-76 12:00:00 GMT", now) > 0
    assert parse_retry_after("Monday, 01-Jun-76 12:00:01 GMT", now) == 0.0


def test_now_may_be_in_any_zone():
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert parse_retry_after("Fri, 29 Sep 2023 16:26:57 GMT", there) == 20.0
    assert parse_retry_after("Friday, 29-Sep-23 16:26:57 GMT", there) == 20.0


def test_without_now_a_date_counts_from_the_wall_clock():
    ahead = datetime.now(UTC) + timedelta(seconds=100)
    assert 95 < parse_retry_after(ahead.strftime("%a, %d %b %Y %H:%M:%S GMT")) <= 100
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0


@pytest.mark.parametrize(
    ("value", "seconds"), [("1500", 1.5), ("0", 0.0), (" 250.5 ", 0.2505), ("-1", None), ("1e3", None), ("nan", None)]
)
def test_retry_after_in_milliseconds(value, seconds):
    assert parse_retry_after_ms(value) == seconds


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0), ("6m0s", 360.0), ("12ms", 0.012), ("1m30.5s", 90.5), ("8.64s", 8.64), ("2h3m4s", 7384.0), ("0s", 0.0),
        ("15µs", 15e-6), ("15μs", 15e-6), ("15us", 15e-6), ("3ns", 3e-9), ("10h17m5.72s", 37025.72),
        ("", None), ("5", None), ("s", None), ("-1s", None), ("1s ", None), ("1.s", None), ("1d", None), ("1m30", None),
        ("١s", None),
    ],
)  # fmt: skip
def test_go_durations(text, seconds):
    assert parse_go_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("26s", 26.0), ("45.837906927s", 45.837906927), ("0s", 0.0), ("-1s", None), ("1.s", None), ("1", None), ("1m", None),
        ("1.0123456789s", None), ("1234567890123s", None), ("", None),
    ],
)  # fmt: skip
def test_protobuf_durations(text, seconds):
    assert parse_protobuf_duration(text) == seconds


# The wait of an answer

RETRY_INFO = json.dumps(
    [
        {
            "error": {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "message": "You exceeded your current quota. Please retry in 99s.",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.5s"},
                ],
            }
        }
    ]
)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After-Ms": "1500", "Retry-After": "9"}, RETRY_INFO, 1.5),
        ({"retry-after-ms": "junk", "RETRY-AFTER": "9"}, RETRY_INFO, 9.0),
        ({"retry-after": "junk"}, RETRY_INFO, 36.5),
        ({}, RETRY_INFO.encode(), 36.5),
        ({}, err(message="Rate limit reached. Please try again in 1.2s."), 1.2),
        ({}, err(message="Rate limit reached. Please try again in 6m0s."), 360.0),
        ({}, err(message="Please try again in 20ms."), 0.02),
        ({}, err(message="exceeded token rate limit. Please retry after 37 seconds."), 37.0),
        ({}, err(message="Please retry after 1 second."), 1.0),
        ({}, err(message="* limit: 20\nPlease retry in 10h17m5.72s."), 37025.72),
        ({}, err(message="try again later"), None),
        ({}, None, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s"}, None, 90.5),
        ({"X-RateLimit-Remaining-Tokens": "0", "X-RateLimit-Reset-Tokens": "12"}, None, 12.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "12"}, None, None),
        ({"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}, None, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7s",
            },
            None,
            7.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "10",
                "anthropic-ratelimit-requests-reset": "2023-09-29T17:00:00Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2023-09-29T16:26:57Z",
            },
            None,
            20.0,
        ),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2023-09-29T16:00:00",
            },
            None,
            0.0,
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "Today"},
            None,
            None,
        ),
    ],
)  # fmt: skip
def test_the_wait_an_answer_asks_for(headers, body, seconds):
    assert retry_delay(headers, body, NOW) == seconds


def test_a_date_counts_from_the_servers_own_clock():
    headers = {"Date": "Fri, 29 Sep 2023 10:00:00 GMT", "Retry-After": "Fri, 29 Sep 2023 10:00:20 GMT"}
    assert retry_delay(headers, None, NOW) == 20.0
    headers["Date"] = "junk"
    assert retry_delay(headers, None, datetime(2023, 9, 29, 10, 0, 5, tzinfo=UTC)) == 15.0
    assert retry_delay(headers) == 0.0


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-should-retry": "false"}, False),
        ({"date": "x", "X-Should-Retry": " TRUE "}, True),
        ({"x-should-retry": "maybe"}, None),
        ({}, None),
    ],
)
def test_should_retry(headers, said):
    assert should_retry(headers) is said


# From a status to an error


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "counts"),
    [
        (400, e.BadRequest, False, False), (401, e.Unauthorized, False, False), (402, e.QuotaExhausted, False, False),
        (403, e.Forbidden, False, False), (404, e.ModelNotFound, False, False), (405, e.BadRequest, False, False),
        (408, e.Timeout, True, True), (409, e.BadRequest, False, False), (413, e.BadRequest, False, False),
        (415, e.BadRequest, False, False), (422, e.BadRequest, False, False), (425, e.BadRequest, False, False),
        (429, e.RateLimited, True, False), (451, e.BadRequest, False, False), (499, e.BadRequest, False, False),
        (500, e.ServerError, True, True), (501, e.ServerError, True, True), (502, e.ServerError, True, True),
        (503, e.ServerError, True, True), (504, e.ServerError, True, True), (505, e.ServerError, True, True),
        (520, e.ServerError, True, True), (529, e.ServerError, True, True), (599, e.ServerError, True, True),
    ],
)  # fmt: skip
def test_every_status_has_one_meaning_whatever_came_with_it(status, kind, retryable, counts):
    for provider in [*ProviderKind, "a-third-party"]:
        for body in [None, b"", "", "no JSON", b"\xff\xfe", "[]", "{}", "null", '{"error": null}', "[[["]:
            error = classify_http_status(provider, status, 3.5, body)
            assert type(error) is kind
            assert (error.retryable, error.counts_as_circuit_failure) == (retryable, counts)
            assert (error.provider, error.status, error.retry_after) == (str(provider), status, 3.5)
            assert str(error)


def test_a_refusal_by_the_provider_is_no_limit_of_ours():
    assert classify_http_status("openai", 429).limited_by == "provider"
    assert classify_http_status("openai", 408).reason == "provider"


@pytest.mark.parametrize("status", [200, 204, 302, 399, 0, -1])
def test_a_status_that_is_no_refusal_is_a_mistake(status):
    with pytest.raises(ValueError, match="no status"):
        classify_http_status("openai", status)


@pytest.mark.parametrize("told", [-1.0, float("nan"), float("inf")])
def test_a_senseless_wait_is_dropped(told):
    assert classify_http_status("openai", 429, told).retry_after is None


def violations(*quotas, **more):
    details = [
        {"violations": [{"quotaId": quota, "quotaValue": value} for quota, value in quotas]},
        {"retryDelay": "2s"},
    ]
    return err(code=429, status="RESOURCE_EXHAUSTED", message="Quota exceeded", details=details, **more)


@pytest.mark.parametrize(
    ("provider", "status", "body", "kind"),
    [
        # OpenAI
        ("openai", 429, err(message="m", type="insufficient_quota", code="insufficient_quota"), e.QuotaExhausted),
        ("openai", 429, err(message="m", type="insufficient_quota", code="credit_balance_exhausted"), e.QuotaExhausted),
        ("openai", 429, err(message="m", type="x", code="project_spend_limit_exceeded"), e.QuotaExhausted),
        ("openai", 429, err(message="m", type="x", code="organization_spend_limit_exceeded"), e.QuotaExhausted),
        ("openai", 429, err(message="m", type="x", code="organization_usage_limit_exceeded"), e.QuotaExhausted),
        ("openai", 429, err(message="m", type="tokens", code="rate_limit_exceeded"), e.RateLimited),
        ("openai", 429, err(message="m", type="rate_limit_error", code="slow_down"), e.RateLimited),
        ("openai", 429, err(message="Request too large for m: Limit 100, Requested 200.", type="tokens"), e.BadRequest),
        ("openai", 429, err(message="Rate limit: Limit 100, Used 90, Requested 20.", type="tokens"), e.RateLimited),
        ("openai", 400, err(message="m", code="context_length_exceeded"), e.ContextLengthExceeded),
        ("openai", 400, err(message="This model's maximum context length is 8 tokens."), e.ContextLengthExceeded),
        ("openai", 400, err(message="m", code="content_policy_violation"), e.ContentFiltered),
        ("openai", 400, err(message="m", code="invalid_prompt"), e.ContentFiltered),
        ("openai", 400, err(message="m", code="unsupported_value", param="temperature"), e.BadRequest),
        ("openai", 403, err(message="m", code="unsupported_country_region_territory"), e.Forbidden),
        ("openai", 503, err(message="m", code="server_is_overloaded"), e.ServerError),
        ("openai", 500, err(message="m", type="insufficient_quota"), e.ServerError),
        # Azure
        ("azure", 400, err(message="m", code="content_filter"), e.ContentFiltered),
        ("azure", 400, err(message="m", innererror={"code": "ResponsibleAIPolicyViolation"}), e.ContentFiltered),
        ("azure", 400, err(message="m", inner_error={"code": "ResponsibleAIPolicyViolation"}), e.ContentFiltered),
        ("azure", 404, err(message="m", code="DeploymentNotFound"), e.ModelNotFound),
        ("azure", 429, err(message="m", code="429"), e.RateLimited),
        ("azure", 401, json.dumps({"statusCode": 401, "message": "Access denied"}), e.Unauthorized),
        ("azure", 403, json.dumps({"statusCode": 403, "message": "Out of call volume quota. Wait."}), e.QuotaExhausted),
        ("azure", 408, err(message="m", code="Timeout"), e.Timeout),
        # Anthropic
        ("anthropic", 400, err(type="invalid_request_error", message="prompt is too long: 9 > 8"), e.ContextLengthExceeded),
        ("anthropic", 400, err(type="invalid_request_error", message="max_tokens: required"), e.BadRequest),
        ("anthropic", 402, err(type="billing_error", message="m"), e.QuotaExhausted),
        ("anthropic", 429, err(type="rate_limit_error", message="m"), e.RateLimited),
        (
            "anthropic",
            429,
            err(type="rate_limit_error", message="m", details={"error_code": "enforced_spend_limit_reached"}),
            e.QuotaExhausted,
        ),
        (
            "anthropic",
            429,
            err(type="rate_limit_error", message="m", details={"error_code": "contract_spend_limit_reached"}),
            e.QuotaExhausted,
        ),
        (
            "anthropic",
            429,
            err(type="rate_limit_error", message="m", details={"error_code": "ramp_limit_exceeded"}),
            e.RateLimited,
        ),
        ("anthropic", 529, err(type="overloaded_error", message="Overloaded"), e.ServerError),
        ("anthropic", 413, err(type="request_too_large", message="m"), e.BadRequest),
        # Gemini and Vertex
        ("gemini", 429, violations(("GenerateRequestsPerMinutePerProject", "20")), e.RateLimited),
        ("gemini", 429, violations(("PerMinute", "20"), ("GenerateRequestsPerDayPerProject", "50")), e.QuotaExhausted),
        ("gemini", 429, violations(("GenerateRequestsPerMinutePerProject", "0")), e.QuotaExhausted),
        ("gemini", 429, err(status="RESOURCE_EXHAUSTED", message="Quota exceeded, limit: 0, model: m"), e.QuotaExhausted),
        ("gemini", 429, err(status="RESOURCE_EXHAUSTED", message="Quota exceeded, limit: 20, model: m"), e.RateLimited),
        ("vertex", 429, err(status="RESOURCE_EXHAUSTED", message="Resource exhausted, try again later."), e.RateLimited),
        (
            "gemini",
            400,
            err(
                status="INVALID_ARGUMENT",
                message="The input token count (12) exceeds the maximum number of tokens allowed (10).",
            ),
            e.ContextLengthExceeded,
        ),
        (
            "gemini",
            400,
            err(status="INVALID_ARGUMENT", message="m", details=[{"reason": "API_KEY_INVALID"}]),
            e.Unauthorized,
        ),
        ("gemini", 400, err(status="INVALID_ARGUMENT", message="m"), e.BadRequest),
        ("gemini", 400, err(status="FAILED_PRECONDITION", message="billing is off"), e.Forbidden),
        ("gemini", 429, "[" + violations(("PerDay", "1")) + "]", e.QuotaExhausted),
        # LiteLLM
        ("litellm", 422, err(type="budget_exceeded", message="m", code="422"), e.QuotaExhausted),
        ("litellm", 429, err(type="budget_exceeded", message="m", code="429"), e.QuotaExhausted),
        (
            "litellm",
            400,
            err(message="litellm.ContextWindowExceededError: ContextWindowExceededError: m", code="400"),
            e.ContextLengthExceeded,
        ),
        (
            "litellm",
            400,
            err(message="litellm.ContentPolicyViolationError: m", type=None, code="400"),
            e.ContentFiltered,
        ),
        (
            "litellm",
            400,
            err(message="m", provider_specific_fields={"innererror": {"code": "ResponsibleAIPolicyViolation"}}),
            e.ContentFiltered,
        ),
        ("litellm", 429, err(message="No deployments available", type="throttling_error", code="429"), e.RateLimited),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encode", [str, str.encode])
def test_the_body_makes_a_status_more_exact(provider, status, body, kind, encode):
    error = classify_http_status(provider, status, None, encode(body))
    assert type(error) is kind
    assert error.status == status
    assert error.counts_as_circuit_failure == (kind in {e.ServerError, e.Timeout})


def test_an_overload_is_one_whatever_status_it_came_with():
    error = classify_http_status("anthropic", 400, None, err(type="overloaded_error", message="Overloaded"))
    assert (type(error), error.status, error.reason) == (e.ServerError, 529, "overloaded")
    assert error.retryable
    assert error.counts_as_circuit_failure


def test_the_wait_comes_from_the_body_when_no_header_names_it():
    body = violations(("PerMinute", "20"))
    assert classify_http_status("gemini", 429, None, body).retry_after == 2.0
    assert classify_http_status("gemini", 429, 0.5, body).retry_after == 0.5


def test_a_quota_that_is_used_up_names_no_short_wait():
    assert classify_http_status("gemini", 429, None, violations(("PerDay", "20"))).retry_after is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (err(message="Two\nlines\r\n and\x1b[31m colour\x00"), "Two lines and [31m colour"),
        ('{"error": "boom"}', "boom"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"message": "top"}', "top"),
        ("plain text", "plain text"),
        (err(message="odd", details=[7, {"violations": [7]}, {"violations": 7}], innererror=7), "odd"),
        (err(message="odd", details=7, provider_specific_fields=[]), "odd"),
        ("\ufeff" + err(message="with a mark"), "with a mark"),
        (err(message=""), "HTTP 503 without a message"),
        (err(message=7), "7"),
        ("<!DOCTYPE html><html><head><TITLE>\n 502 Bad&nbsp;&amp; Gateway\n</TITLE></head>", "502 Bad & Gateway"),
        ("  <html><body>no title</body>", "a page without a title"),
        ("<html><title>", "a page without a title"),
    ],
)
def test_the_message_is_the_providers_own_in_one_line(body, message):
    assert classify_http_status("openai", 503, None, body).message == message


def test_what_is_long_is_cut():
    body = err(message="word " * 200_000)
    error = classify_http_status("openai", 503, None, body)
    assert len(error.message) <= 300
    assert error.message.startswith("word word")
    assert len(error.body.encode()) <= 2048
    page = classify_http_status("openai", 502, None, "<html><title>" + "t" * 5000 + "</title>")
    assert len(page.message) <= 200
    wide = classify_http_status("openai", 502, None, "é€😀" * 3000)
    assert len(wide.body.encode()) <= 2048
    assert "�" not in wide.body


CANARIES = [
    ("sk-CANARYsecretvalue12345678", "Incorrect API key provided: {}."),
    ("sk-proj-CANARY_secret-value", "key {} is not valid"),
    ("AIzaCANARYsecretvalue", "https://h/v1beta/models?key={}&alt=sse"),
    ("CANARYsecretvalue99", "GET /x?key={}&alt=sse failed"),
    ("CANARYsecretvalue99", "authorization: Bearer {}"),
    ("CANARYsecretvalue99", "Bearer {} was refused"),
    ("Q0FOQVJZOnNlY3JldHZhbHVl", "Proxy said Basic {} is wrong"),
    ("AKIACANARYSECRET7777", "credential {}/eu"),
    ("CANARYsecretvalue99", '{{"api_key": "{}"}}'),
    ("CANARYsecretvalue99", '{{\\"x-api-key\\": \\"{}\\"}}'),
    ("CANARYsecretvalue99", "client_secret={}"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlY2FuYXJ5", "token {} expired"),
    ("ya29.CANARYsecretvalue", "{}"),
]


@pytest.mark.parametrize(("secret", "text"), CANARIES)
def test_no_part_of_a_secret_is_repeated(secret, text):
    told = text.format(secret)
    for body in (
        told,
        err(message=told),
        err(message="m", param=told),
        "x" * 290 + " " + told,
        "y" * 2040 + " " + told,
    ):
        error = classify_http_status("openai", 401, None, body)
        shown = f"{error!r} {error} {error.body} {pickle.loads(pickle.dumps(error)).__dict__}"
        assert not [secret[i : i + 8] for i in range(len(secret) - 7) if secret[i : i + 8] in shown]


def test_a_known_secret_is_masked_whatever_it_looks_like():
    assert redact("the password is hunter2, yes", known=["hunter2", ""]) == "the password is [redacted], yes"


@pytest.mark.parametrize(
    "harmless",
    [
        "max_tokens=500 is too large; sort_key=7",
        "You are on the Basic plan. See task-force-one at https://platform.example.com/account/api-keys.",
        "model: gpt-4o-mini, param: key, token: 17",
    ],
)
def test_what_is_no_secret_stays(harmless):
    assert redact(harmless) == harmless


def test_no_text_makes_reading_slow():
    began = time.process_time()
    for text in ("<title" * 40_000, "eyJ" * 60_000, "secret " * 30_000, "api_key" + " " * 200_000, "1h" * 100_000,
                 "Request too large Limit " * 10_000, "bearer " * 30_000, "{" * 200_000, "sk-" * 60_000,
                 "try again in 1" + "1h1m" * 50_000):  # fmt: skip
        classify_http_status("openai", 429, None, text)
        classify_http_status("openai", 429, None, err(message=text))
        retry_delay({}, text, NOW)
        redact(text)
    assert time.process_time() - began < 3.0


def test_control_characters_and_broken_text_are_made_blank():
    assert redact(b"a\xffb\x1b[0m\r\nc") == "a\ufffdb [0m  c"
    assert redact("a\u2028b\x85c\ud800d") == "a b c d"
    assert one_line("  a\n\n b\t", 80) == "a b"
    assert one_line("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (err(type="overloaded_error"), 529),
        (err(type="rate_limit_error"), 429),
        (err(type="api_error"), 500),
        (err(type="invalid_request_error", code="context_length_exceeded"), 400),
        (err(type="requests", code="rate_limit_exceeded"), 429),
        (err(code=503, status="UNAVAILABLE"), 503),
        (err(status="RESOURCE_EXHAUSTED"), 429),
        (err(code="429", type=None), 429),
        (err(message="who knows"), None),
        (err(code=200), None),
        ("junk", None),
    ],
)
def test_the_status_that_an_error_inside_an_answer_stands_for(body, status):
    assert implied_status(read_error_body(body)) == status
