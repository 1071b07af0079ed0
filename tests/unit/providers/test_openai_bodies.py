"""What OpenAI is sent: URLs, headers, bodies."""

from __future__ import annotations

import json

import pytest
from openai_wires import USER, body, wire

from spillway.core.errors import BadRequest
from spillway.core.ports import ExecuteBatch
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.encoding import Losses
from spillway.providers.openai import OpenAiConfig


def test_what_is_not_asked_for_is_not_sent():
    assert body(GenerateRequest(messages=USER)) == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_every_field_of_a_request_is_sent_under_its_own_name():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    sent = body(
        GenerateRequest(
            messages=USER,
            max_tokens=5,
            temperature=0.5,
            top_p=0.9,
            stop=("a", "b"),
            seed=7,
            tools=[tool],
            tool_choice="required",
            response_format={"type": "json_object"},
            reasoning_effort="low",
            extra={"verbosity": "low"},
        ),
        stream=True,
    )
    assert sent == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 7,
        "tools": [tool],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "verbosity": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        (None, "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
        ("https://api.openai.com.example.org/v1", "max_tokens"),
    ],
)
def test_only_the_provider_itself_gets_the_newer_name_of_the_output_limit(endpoint, field):
    assert body(GenerateRequest(messages=USER, max_tokens=5), endpoint=endpoint)[field] == 5


def test_an_output_limit_in_extra_replaces_the_other():
    sent = body(
        GenerateRequest(messages=USER, max_tokens=5, extra={"max_completion_tokens": 9}), endpoint="http://h/v1"
    )
    assert "max_tokens" not in sent
    assert sent["max_completion_tokens"] == 9


def test_stream_options_of_the_caller_are_kept_and_usage_is_always_asked_for():
    extra = {"stream_options": {"include_obfuscation": False, "include_usage": False}}
    sent = body(GenerateRequest(messages=USER, extra=extra), stream=True)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "other"},
        {"stream": True},
        {"base_url": "http://elsewhere"},
        {"functions": [{"name": "f"}]},
    ],
)
def test_what_can_not_be_carried_is_refused_by_name(extra):
    with pytest.raises(BadRequest, match=f"extra.{next(iter(extra))}"):
        body(GenerateRequest(messages=USER, extra=extra))


@pytest.mark.parametrize("value", [object(), float, {1, object()}])
def test_what_has_no_json_form_is_a_bad_request(value):
    with pytest.raises(BadRequest, match="JSON"):
        body(GenerateRequest(messages=USER, extra={"metadata": value}))


def test_a_lone_surrogate_is_a_bad_request():
    with pytest.raises(BadRequest):
        body(GenerateRequest(messages=({"role": "user", "content": "\ud800"},)))


@pytest.mark.parametrize(
    ("options", "url", "key_header"),
    [
        ({}, "https://api.openai.com/v1/chat/completions", "authorization"),
        ({"endpoint": "http://h:1/v1/"}, "http://h:1/v1/chat/completions", "authorization"),
        (
            {"variant": "azure", "resource": "r", "api_version": "2024-10-21"},
            "https://r.openai.azure.com/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
        (
            {"variant": "azure", "endpoint": "http://h:1", "deployment": "d", "api_version": "2024-10-21"},
            "http://h:1/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
        (
            {"variant": "azure", "resource": "r"},
            "https://r.openai.azure.com/openai/v1/chat/completions",
            "api-key",
        ),
    ],
)
def test_urls_and_credentials(options, url, key_header):
    one = wire("m/1", **options)
    assert one.encode(GenerateRequest(messages=USER), Losses("openai"), stream=False)[0] == url
    assert "s3cret" in one.headers(Secret("s3cret"))[key_header]


def test_organisation_and_project_go_into_headers():
    headers = wire(organization="org-1", project="proj-1").headers(Secret("k"))
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-1"


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "azure"},
        {"variant": "other"},
        {"resource": "r"},
        {"api_version": "1"},
        {"endpoint": "api.openai.com"},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError):
        OpenAiConfig(**options)


EVERY_PART = [
    {"type": "text", "text": "look"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    {"type": "something_new", "x": 1},
]


def test_messages_pass_with_every_part():
    messages = [{"role": "user", "content": EVERY_PART, "name": "ann"}]
    assert body(GenerateRequest(messages=messages))["messages"] == messages


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "auto",
        "required",
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "c"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}},
    ],
)
def test_every_choice_of_tools_passes(choice):
    assert body(GenerateRequest(messages=USER, tool_choice=choice))["tool_choice"] == choice


def test_what_an_earlier_answer_told_beside_its_message_goes_to_copies_of_the_api_only():
    said = {
        "role": "assistant",
        "content": "so",
        "reasoning_content": "hm",
        "annotations": [{"type": "url_citation"}],
        "content_filter_results": {"hate": {}},
        "audio": {"id": "audio_1", "data": "AAAA", "transcript": "so"},
        "refusal": "no",
        "tool_calls": [{"id": "c", "type": "function", "function": {}, "extra_content": {"google": {}}}],
        "invented": 1,
    }
    request = GenerateRequest(messages=[*USER, said, *USER])
    assert body(request, endpoint="http://copy/v1")["messages"][1] == said
    for options in ({}, {"variant": "azure", "resource": "r"}):
        losses = Losses("openai")
        assert body(request, losses=losses, **options)["messages"][1] == {
            "role": "assistant",
            "content": "so",
            "audio": {"id": "audio_1"},
            "refusal": "no",
            "tool_calls": [{"id": "c", "type": "function", "function": {}}],
            "invented": 1,
        }
        assert [warning.partition(":")[0] for warning in losses.warnings] == [
            "messages[1].reasoning_content",
            "messages[1].annotations",
            "messages[1].tool_calls.extra_content",
        ]


def test_one_name_for_all_attempts_of_a_request_and_their_number():
    request = GenerateRequest(messages=USER, idempotency_id="abc-1")
    sent = [
        wire().attempt_headers(ExecuteBatch(request=request, deadline=1.0, attempt=attempt)) for attempt in range(3)
    ]
    assert [one["x-spillway-attempt"] for one in sent] == ["0", "1", "2"]
    assert {(one["idempotency-key"], one["x-client-request-id"]) for one in sent} == {("abc-1", "abc-1")}


@pytest.mark.parametrize("name", ["", "ä", "a\nb", "x" * 513])
def test_what_is_no_header_names_no_request(name):
    batch = ExecuteBatch(request=GenerateRequest(messages=USER, idempotency_id=name), deadline=1.0)
    assert wire().attempt_headers(batch) == {"x-spillway-attempt": "0"}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://api.openai.com/v1/responses"),
        ({"endpoint": "https://eu.api.openai.com/v1"}, "https://eu.api.openai.com/v1/responses"),
        (
            {"variant": "azure", "resource": "r", "api_version": "2025-04-01-preview"},
            "https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview",
        ),
        ({"variant": "azure", "resource": "r"}, "https://r.openai.azure.com/openai/v1/responses"),
    ],
)
def test_urls_of_responses(options, url):
    one = wire("m", api="responses", **options)
    found, sent = one.encode(GenerateRequest(messages=USER), Losses("openai"), stream=False)
    assert found == url
    assert json.loads(sent)["model"] == "m"


def test_azure_takes_a_key_or_a_token_of_entra():
    key = wire(variant="azure", resource="r").headers(Secret("k"))
    token = wire(variant="azure", resource="r", auth="entra").headers(Secret("k"))
    assert (key.get("api-key"), key.get("authorization")) == ("k", None)
    assert (token.get("api-key"), token.get("authorization")) == (None, "Bearer k")
    with pytest.raises(ValueError, match="azure"):
        OpenAiConfig(auth="entra")


def test_tokens_are_counted_at_openai_and_not_at_azure():
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = GenerateRequest(messages=USER, tools=tools, counts=True, extra={"store": True})
    url, sent = wire().encode(request, Losses("openai"), stream=False)
    assert url == "https://api.openai.com/v1/responses/input_tokens"
    assert json.loads(sent).keys() == {"model", "input", "tools"}
    with pytest.raises(BadRequest, match="Azure"):
        wire(variant="azure", resource="r").encode(request, Losses("azure"), stream=False)


def test_token_numbers_and_a_length_of_vectors_are_sent():
    request = GenerateRequest(inputs=((1, 2), (3,)), dimensions=8, extra={"user": "u", "encoding_format": "float"})
    assert body(request) == {
        "model": "gpt-6-luna",
        "input": [[1, 2], [3]],
        "dimensions": 8,
        "user": "u",
        "encoding_format": "float",
    }
    assert wire().most_inputs == 2048
