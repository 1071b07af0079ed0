"""The `openai` package, unchanged, where something goes wrong behind a served gateway: what it raises, how often it asks.

It retries by itself on 429 and 5xx unless `x-should-retry` says no, and waits as `retry-after` says.
"""

from __future__ import annotations

import pytest
from judging import case
from openai_served import FAULTS, hear_through_gateway, name_of

pytestmark = pytest.mark.xdist_group("judge-openai-gateway")

MESSAGES = [{"role": "user", "content": "Say hello"}]
MID_STREAM = ("reset-mid-stream", "truncated-stream", "error-event-mid-stream")
APIS = {"chat": {"messages": MESSAGES}, "responses": {"input": "Say hello"}}

REFUSED = {
    "429": (429, "RateLimitError", "rate_limited"),
    "429-retry-after=1": (429, "RateLimitError", "rate_limited"),
    "insufficient-quota": (402, "APIStatusError", "quota_exhausted"),
    "500": (502, "InternalServerError", "server_error"),
    "503": (502, "InternalServerError", "server_error"),
    "401": (502, "InternalServerError", "unauthorized_upstream"),
    "403": (502, "InternalServerError", "forbidden_upstream"),
    "content-filter": (400, "BadRequestError", "content_filtered"),
    "context-length": (400, "BadRequestError", "context_length_exceeded"),
    "html-error-page": (502, "InternalServerError", "server_error"),
}
RETRIED = {"429", "429-retry-after=1", "500", "503", "html-error-page"}
"""Faults after which the gateway itself asks once more; after a 401 it does not even ask, until the key is another."""


def rows():
    for api, asked in APIS.items():
        for fault in FAULTS:
            for how in ("whole", "streamed"):
                fields = {"model": name_of(fault), **asked, "stream": how == "streamed"}
                yield case(f"{api}, {fault}, {how}", "failing", fields, api=api)
        known = {"model": "gpt-4o-mini", **asked}
        yield case(f"{api}, a bad key", "failing", known, api=api, client={"key": "sk-wrong"})
        yield case(f"{api}, no such model", "failing", {"model": "nobody", **asked}, api=api)
    yield case("chat, nothing asked", "failing", {"model": "gpt-4o-mini", "messages": []}, api="chat")
    yield case("responses, nothing asked", "failing", {"model": "gpt-4o-mini", "input": []}, api="responses")
    kept = {"model": "gpt-4o-mini", "input": "and?", "previous_response_id": "resp_1"}
    yield case("responses, what is not kept", "failing", kept, api="responses")
    yield case("models, no such model", "failing", {"model": "nobody"}, api="models")
    asked = {"model": "paced", "messages": MESSAGES}
    yield case("chat, a limit that ends soon", "failing", asked, api="chat", after_another=True)
    tripping = {"model": "tripping", "messages": MESSAGES}
    yield case("chat, an open circuit", "failing", tripping, api="chat", after_another=True)


CASES = {row["name"]: row for row in rows()}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    return hear_through_gateway("openai_gateway.py", list(CASES.values()), tmp_path_factory.mktemp("served"))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("how", ["whole", "streamed"])
@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_is_raised_and_never_asked_again_in_vain(heard, api, how, fault):
    status, kind, code = REFUSED[fault]
    verdict = heard[f"{api}, {fault}, {how}"]
    assert (verdict["status"], verdict["code"]) == (status, code), verdict
    assert kind in verdict["classes"]
    assert verdict["sent"] == 1
    headers = verdict["headers"]
    if fault != "401":
        assert headers["x-spillway-attempts"] == ("2" if fault in RETRIED else "1")
    assert headers["x-spillway-deployment"] == name_of(fault)
    assert headers["x-request-id"]
    if status != 400:
        assert headers["x-should-retry"] == "false"
    if status == 429:
        assert headers["retry-after"] == "1"
        assert headers["x-spillway-limited-by"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", MID_STREAM)
def test_a_stream_that_breaks_raises_after_what_came(heard, api, fault):
    verdict = heard[f"{api}, {fault}, streamed"]
    assert "APIError" in verdict["classes"], verdict
    assert "APIStatusError" not in verdict["classes"]
    assert verdict["code"] == "stream_interrupted"
    assert verdict["read"] > 1
    assert verdict["sent"] == 1


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["reset-mid-stream", "truncated-stream"])
def test_a_whole_answer_that_breaks_is_none(heard, api, fault):
    verdict = heard[f"{api}, {fault}, whole"]
    assert (verdict["status"], verdict["code"], verdict["sent"]) == (502, "network_error", 1)
    assert verdict["headers"]["x-spillway-attempts"] == "2"


@pytest.mark.parametrize("api", APIS)
def test_a_bad_key_is_an_authentication_error(heard, api):
    verdict = heard[f"{api}, a bad key"]
    assert "AuthenticationError" in verdict["classes"]
    assert (verdict["status"], verdict["code"], verdict["sent"]) == (401, "invalid_api_key", 1)


@pytest.mark.parametrize("api", [*APIS, "models"])
def test_a_model_that_is_not_there_is_not_found(heard, api):
    verdict = heard[f"{api}, no such model"]
    assert "NotFoundError" in verdict["classes"]
    assert (verdict["code"], verdict["sent"]) == ("model_not_found", 1)


@pytest.mark.parametrize("name", ["chat, nothing asked", "responses, nothing asked", "responses, what is not kept"])
def test_a_bad_request_is_one(heard, name):
    verdict = heard[name]
    assert "BadRequestError" in verdict["classes"]
    assert (verdict["code"], verdict["sent"]) == ("bad_request", 1)


def test_a_limit_that_ends_soon_is_waited_for(heard):
    verdict = heard["chat, a limit that ends soon"]
    assert "status" not in verdict
    assert verdict["sent"] == 2
    assert verdict["elapsed_s"] >= 1.0


def test_an_open_circuit_is_waited_for_and_what_fails_then_is_not(heard):
    verdict = heard["chat, an open circuit"]
    assert (verdict["status"], verdict["sent"]) == (502, 2)
    assert verdict["elapsed_s"] >= 1.0
